"""The Ray Core tasks of `task_bursts`.

Why the output holds every row once although tasks are retried: a batch's file is named after its rows and put in place
by a rename, so each attempt replaces the last one's file whole.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from chaos.errors import ChaosError
from chaos.events import DemandChanged
from chaos.workload import Stage
from workloads.contract import OUTPUT, report
from workloads.driver import main
from workloads.images import halve, make_images
from workloads.inference_driver import InferenceDriver
from workloads.parquet import write_whole
from workloads.predictor import Predictor
from workloads.sizes import SHAPES, ModelSize
from workloads.task_bursts import TaskBursts

_POLL_S = 1.0


class TaskBurstsDriver(InferenceDriver[TaskBursts]):
    """Runs a task_bursts workload on the Ray cluster that the environment names."""

    def run(self) -> None:
        """Runs the stages one after the other."""
        import ray
        from ray.autoscaler.sdk import request_resources

        self.output.mkdir(parents=True, exist_ok=True)
        # max_calls=0: by default Ray ends a worker after each GPU task, and every batch would import torch anew.
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": self.workload.num_gpus, "max_retries": -1, "max_calls": 0}
        submit = ray.remote(**options)(predict_rows).remote
        self.report_started()
        requested, first = 0, 0
        for stage in self.workload.stages:
            report(DemandChanged(bundles=self.workload.wants(stage)))
            if stage.request != requested:
                requested = stage.request
                request_resources(bundles=[self.workload.bundles()[0]] * requested)
            if stage.tasks:
                self._run_stage(stage, first, submit)
                first += stage.batches * self.workload.batch_rows
            else:
                time.sleep(stage.pause_s)
        if requested:
            request_resources(bundles=[])
        self.report_demand({}, 0)

    def _run_stage(self, stage: Stage, first: int, submit: Callable[..., Any]) -> None:
        """Keeps `stage.tasks` tasks submitted until all its batches are done."""
        import ray

        starts = [first + number * self.workload.batch_rows for number in range(stage.batches)]
        running: list[Any] = []
        progressed_s = time.monotonic()
        while starts or running:
            while starts and len(running) < stage.tasks:
                running.append(
                    submit(self.predictor, self.predictor_arguments(), starts.pop(0), self.workload.batch_rows)
                )
            done, running = ray.wait(running, timeout=_POLL_S)
            if done:
                ray.get(done)
                progressed_s = time.monotonic()
            elif time.monotonic() - progressed_s > self.workload.no_progress_timeout_s:
                raise ChaosError(f"no task ended for {self.workload.no_progress_timeout_s:g} s; {len(running)} run")


def predict_rows(kind: type[Predictor], arguments: dict[str, Any], first: int, count: int) -> None:
    """Computes one batch on this node and writes it to its own file under `output`."""
    predictor = _predictor(kind.__module__, kind.__qualname__, json.dumps(arguments, sort_keys=True))
    size: ModelSize = arguments["size"]
    row_ids = np.arange(first, first + count, dtype=np.int64)
    images = halve(make_images(row_ids, side_px=SHAPES[size].source_side_px))
    write_whole(predictor({"row_id": row_ids, "image": images}), predictor.data / OUTPUT / f"rows-{first:09d}.parquet")


@functools.lru_cache(maxsize=1)
def _predictor(module: str, name: str, arguments: str) -> Predictor:
    """The worker process's predictor; the model is built once a process, not once a task."""
    kind: type[Predictor] = getattr(importlib.import_module(module), name)
    return kind(**json.loads(arguments))


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from workloads.task_bursts_driver import TaskBurstsDriver as Importable

    sys.exit(main(Importable, TaskBursts))
