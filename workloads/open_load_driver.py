"""The Ray Core tasks of `open_load`; each writes its rows as those of `task_bursts` do."""

from __future__ import annotations

import sys
import time
from typing import Any

from chaos.errors import ChaosError
from chaos.workload import Load
from workloads.driver import main
from workloads.inference_driver import InferenceDriver
from workloads.open_load import POLL_S, OpenLoad
from workloads.task_bursts_driver import predict_rows


class OpenLoadDriver(InferenceDriver[OpenLoad]):
    """Runs an open_load workload on the Ray cluster that the environment names."""

    def run(self) -> None:
        """Keeps as many tasks submitted as it is told; at the end, one more for what is left."""
        import ray

        self.output.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": self.workload.num_gpus, "max_retries": -1, "max_calls": 0}
        self._submit = ray.remote(**options)(predict_rows).remote
        self._running: list[Any] = []
        self.report_started()
        shape, next_batch, wanted = self.workload.bundles()[0], 0, -1
        while not (load := Load.told(self.data)).ended:
            self._take_ended(limit_s=0.0)
            tasks = min(load.tasks, self.workload.tasks_limit)
            batches = min(load.batches, self.workload.batches_limit)
            asked = min(tasks, len(self._running) + max(0, batches - next_batch))
            if asked != wanted:
                wanted = asked
                self.report_demand(shape, asked)
            while len(self._running) < tasks and next_batch < batches:
                self._begin(next_batch, next_batch + 1)
                next_batch += 1
            time.sleep(POLL_S)
        self._take_ended(limit_s=self.workload.no_progress_timeout_s)
        if next_batch < self.workload.batches_limit:
            self.report_demand(shape, 1)
            self._begin(next_batch, self.workload.batches_limit)
            self._take_ended(limit_s=self.workload.no_progress_timeout_s)
        self.report_demand({}, 0)

    def _begin(self, first: int, end: int) -> None:
        size = self.workload.batch_rows
        arguments = self.predictor_arguments()
        self._running.append(self._submit(self.predictor, arguments, first * size, (end - first) * size))

    def _take_ended(self, *, limit_s: float) -> None:
        """Takes what has ended; with a limit, waits for all of it.

        Raises:
            ChaosError: no task ended for so long.
        """
        import ray

        progressed_s = time.monotonic()
        while self._running:
            done, self._running = ray.wait(self._running, timeout=min(limit_s, 1.0))
            if done:
                ray.get(done)
                progressed_s = time.monotonic()
            elif not limit_s:
                return
            elif time.monotonic() - progressed_s > limit_s:
                raise ChaosError(f"no task ended for {limit_s:g} s; {len(self._running)} run")


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from workloads.open_load_driver import OpenLoadDriver as Importable

    sys.exit(main(Importable, OpenLoad))
