"""Runs of a campaign, judged from the history alone: on the twin each on a model of its own, else on a warm cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chaos.background import Background
from chaos.campaign import BaselineFailed
from chaos.checker import Verdict
from chaos.checkers import evaluate
from chaos.cluster_spec import ClusterSpec
from chaos.events import BaselineKnown
from chaos.finish import to_the_end
from chaos.history import History
from chaos.report.live import SilentView
from chaos.spec import RunSpec
from chaos.store import RunDirectory
from chaos.twin_runs import TwinRuns
from chaos.warm import WarmClusters

_SCOPE = "fuzz"


@dataclass(frozen=True)
class Judged:
    """One run: its history, what the checkers said, and where it lies for now."""

    history: History
    verdicts: Sequence[Verdict]
    directory: RunDirectory

    @staticmethod
    def load(path: Path) -> Judged:
        """The run that was recorded there."""
        directory = RunDirectory(path)
        history = History.load(directory.history)
        return Judged(history, evaluate(history), directory)


class Runner(Protocol):
    """Runs specifications, in directories that are the caller's to keep or remove.

    `exact` where the same specification comes to the same each time.
    """

    exact: bool

    def baseline(self, spec: RunSpec) -> BaselineKnown:
        """What a fault-free run measures.

        Raises:
            BaselineFailed: a property failed without any fault; its directory is the caller's, as one of a run.
            NoBaseline: it cannot serve as a baseline.
            ClusterError: the cluster failed us.
        """
        ...

    def run(self, spec: RunSpec, baseline: BaselineKnown) -> Judged:
        """One run.

        Raises:
            ClusterError: the cluster failed us.
        """
        ...

    def close(self) -> None:
        """Heals and ends what was started."""
        ...


class TwinRunner:
    """Each run on a model of its own, in virtual time."""

    exact = True

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._twins = TwinRuns(view=SilentView)

    def baseline(self, spec: RunSpec) -> BaselineKnown:
        """A fault-free run, of which nothing is kept but what it measured; and all of it where it failed."""
        try:
            return self._twins.baseline(spec, store=self._scratch)
        except BaselineFailed as failed:
            kept = RunDirectory(self._scratch / failed.directory.path.name)
            failed.directory.path.rename(kept.path)
            raise BaselineFailed(kept, failed.results) from failed
        finally:
            for left in self._scratch.glob("raychaos-baseline-*"):
                shutil.rmtree(left)

    def run(self, spec: RunSpec, baseline: BaselineKnown) -> Judged:
        """One run."""
        return Judged.load(self._twins.run(spec, store=self._scratch, baseline=baseline))

    def close(self) -> None:
        """There is nothing to end."""


class LiveRunner:
    """Runs on one warm cluster, which is reset and proven clean after each, rebuilt where it is not, or for another
    specification. Baselines are kept for whoever runs the same cluster and workload on this machine. `tell` is told
    what takes a while.
    """

    exact = False

    def __init__(self, scratch: Path, tell: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._tell = tell
        self._warm = WarmClusters("fuzz", view=SilentView)
        self._time = Background()
        self._running: ClusterSpec | None = None

    def baseline(self, spec: RunSpec) -> BaselineKnown:
        """What is kept from earlier, or a fault-free run now."""
        self._make_room_for(spec.cluster)
        return self._time.call(lambda: self._warm.baseline(spec, store=self._scratch, scope=_SCOPE))

    def run(self, spec: RunSpec, baseline: BaselineKnown) -> Judged:  # noqa: ARG002 -- it is kept on this machine
        """One run."""
        self._make_room_for(spec.cluster)
        return Judged.load(self._time.call(lambda: self._warm.run(spec, store=self._scratch, scope=_SCOPE)))

    def close(self) -> None:
        """Ends the cluster."""
        try:
            self._time.call(lambda: to_the_end(self._warm.close()))
        finally:
            self._time.close()

    def _make_room_for(self, spec: ClusterSpec) -> None:
        """Ends the cluster of another specification: a machine has room for one."""
        if spec != self._running:
            self._tell(f"another cluster, of up to {spec.worker_limit} workers, and a fault-free run if none is kept")
            if (before := self._running) is not None:
                self._time.call(lambda: to_the_end(self._warm.let_go(before, scope=_SCOPE)))
            self._running = spec
