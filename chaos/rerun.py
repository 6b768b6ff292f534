"""One specification run again and again, under one schedule after another: on one warm cluster, or on the twin.

A run is judged, and that is all: no picture, no report, and one baseline for all of them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chaos.checker import Judgement, merge
from chaos.checkers import evaluate
from chaos.commands import TWIN
from chaos.errors import ChaosError
from chaos.events import FaultDue, WorkloadStarted
from chaos.finish import to_the_end
from chaos.history import History
from chaos.report.live import SilentView
from chaos.schedule import Schedule
from chaos.signature import Signature, signature_of
from chaos.spec import RunSpec, refuse_impossible
from chaos.twin_runs import TwinRuns
from chaos.warm import WarmClusters

_SCOPE = "rerun"


@dataclass(frozen=True)
class Rerun:
    """What came of one run, in `path` until the next; `by_time` are the injections whose event had not come."""

    path: Path
    judgement: Judgement
    signature: Signature | None
    by_time: tuple[str, ...]


class Reruns:
    """Runs one specification under any schedules; what it started is ended when its block is left."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._twins = TwinRuns(view=SilentView)
        self._warm = WarmClusters("rerun", view=SilentView)
        self._scratch = Path(tempfile.mkdtemp(prefix="raychaos-rerun-"))

    async def __aenter__(self) -> Reruns:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await to_the_end(self._warm.close())
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def possible(self, schedule: Schedule) -> bool:
        """Whether the cluster can be given this schedule at all."""
        try:
            refuse_impossible(self._spec.model_copy(update={"schedule": schedule}), name="schedule")
        except ChaosError:
            return False
        return True

    async def run(self, schedule: Schedule) -> Rerun:
        """One run, judged.

        Raises:
            InvalidSpec: the kind of cluster cannot do it.
            ClusterError: this machine cannot run the cluster, or it failed.
            BaselineFailed: the fault-free run did not pass.
        """
        spec = self._spec.model_copy(update={"schedule": schedule})
        for old in self._scratch.iterdir():
            shutil.rmtree(old)
        if spec.cluster.kind == TWIN:
            # In a thread of its own: the twin's time has an event loop of its own.
            path = await to_the_end(asyncio.to_thread(self._twins.run, spec, store=self._scratch))
        else:
            path = await self._warm.run(spec, store=self._scratch, scope=_SCOPE)
        history = await asyncio.to_thread(History.load, path / "history.jsonl")
        verdicts = await asyncio.to_thread(evaluate, history)
        return Rerun(
            path=path,
            judgement=merge(verdict.verdict for verdict in verdicts),
            signature=signature_of(history, verdicts),
            by_time=tuple(event.injection for _, event in history.of(FaultDue) if event.by_time),
        )


def due_times(history: History) -> dict[str, float]:
    """When each injection was due, in seconds after the workload started, by id."""
    started = history.first(WorkloadStarted)
    if started is None:
        return {}
    began_s = started[0].t_s
    return {event.injection: max(0.0, event.due_s - began_s) for _, event in history.of(FaultDue)}
