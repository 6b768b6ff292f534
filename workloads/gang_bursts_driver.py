"""The placement groups of `gang_bursts`; each batch writes its rows as those of `task_bursts` do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chaos.errors import ChaosError
from chaos.events import DemandChanged
from workloads.contract import report
from workloads.driver import main
from workloads.gang_bursts import GangBursts
from workloads.inference_driver import InferenceDriver
from workloads.task_bursts_driver import predict_rows

_POLL_S = 0.5
_LOOK_S = 0.1


class GangBurstsDriver(InferenceDriver[GangBursts]):
    """Runs a gang_bursts workload on the Ray cluster that the environment names."""

    def run(self) -> None:
        """Runs the waves one after the other."""
        from ray.util.placement_group import placement_group, remove_placement_group

        workload = self.workload
        self.output.mkdir(parents=True, exist_ok=True)
        self.report_started()
        for wave in range(workload.waves):
            if wave:
                time.sleep(workload.pause_s)
            report(DemandChanged(bundles=workload.wants(workload.gangs)))
            bundles = [workload.bundle] * workload.gang_size
            groups = [placement_group(bundles, strategy=workload.strategy) for _ in range(workload.gangs)]
            left = dict(enumerate(groups))
            try:
                for done in self._wave(wave, left):
                    remove_placement_group(left.pop(done))
                    report(DemandChanged(bundles=workload.wants(len(left))))
            finally:
                for group in left.values():
                    remove_placement_group(group)

    def _wave(self, wave: int, groups: Mapping[int, Any]) -> Iterator[int]:
        """The numbers of the groups, each when all of its batches are computed.

        Raises:
            ChaosError: nothing moved for `no_progress_timeout_s`.
        """
        import ray

        waiting = dict(groups)
        running: dict[Any, tuple[int, Callable[[], Any]]] = {}
        progressed_s = time.monotonic()
        while waiting or running:
            for number in [number for number, group in waiting.items() if group.wait(_LOOK_S)]:
                group = waiting.pop(number)
                for bundle in range(self.workload.gang_size):
                    next_batch = self._batches(group, bundle, self.workload.starts(wave, number, bundle)).__next__
                    running[next_batch()] = number, next_batch
                progressed_s = time.monotonic()
            done, _ = ray.wait(list(running), timeout=_POLL_S) if running else ([], [])
            for ref in done:
                ray.get(ref)
                number, next_batch = running.pop(ref)
                if (batch := next_batch()) is not None:
                    running[batch] = number, next_batch
                elif number not in (other for other, _ in running.values()):
                    yield number
                progressed_s = time.monotonic()
            if time.monotonic() - progressed_s > self.workload.no_progress_timeout_s:
                told = f"{len(waiting)} groups wait, {len(running)} tasks run"
                raise ChaosError(f"nothing moved for {self.workload.no_progress_timeout_s:g} s; {told}")

    def _batches(self, group: Any, bundle: int, starts: range) -> Iterator[Any]:
        """Submits one batch of a bundle after the other; None when there is no other."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        submit = ray.remote(
            num_cpus=1,
            num_gpus=self.workload.num_gpus,
            max_retries=-1,
            max_calls=0,  # as in task_bursts
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle),
        )(predict_rows).remote
        for start in starts:
            yield submit(self.predictor, self.predictor_arguments(), start, self.workload.batch_rows)
        yield None


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from workloads.gang_bursts_driver import GangBurstsDriver as Importable

    sys.exit(main(Importable, GangBursts))
