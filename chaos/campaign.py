"""A campaign: runs on one cluster, the first of them a fault-free baseline where none is known for this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from chaos.baseline import measure
from chaos.checkers.scale_down_converges import watch_at_least_s
from chaos.clock import pause
from chaos.cluster import Cluster
from chaos.errors import ChaosError, ClusterError
from chaos.events import BaselineKnown, PhaseBegan, RunAborted
from chaos.history import History, Record
from chaos.probe_command import ask
from chaos.results import Results, judge, prepare, write
from chaos.run import Run
from chaos.schedule import Schedule
from chaos.spec import RunSpec
from chaos.store import RunDirectory, baseline_path, create, load_baseline, save_baseline

TICK_S = 0.25
_TICK_WITHIN_S = 30.0


class BaselineFailed(ChaosError):
    """A property failed in the fault-free run, or it was aborted, so there is nothing to compare faults with."""

    def __init__(self, directory: RunDirectory, results: Results) -> None:
        super().__init__(f"the fault-free run failed or was aborted; see {directory.report}")
        self.directory = directory
        self.results = results


class NoBaseline(ClusterError):
    """A fault-free run passed, but is no ruler: it was too short, or a machine too slow."""


class View(Protocol):
    """Whoever shows a campaign while it goes on."""

    def step(self, text: str) -> None:
        """Says what is being done before a run's clock runs."""
        ...

    def show(self, record: Record) -> None:
        """Takes in a record of the run going on."""
        ...

    def tick(self, now_s: float) -> None:
        """Takes in the time of the run's clock."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class Campaign:
    """Runs specifications on one started cluster; every run gets a directory of its own in the store.

    A run is called what its directory is, unless `run_id_of` calls it something else.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        store: Path,
        versions: Mapping[str, str],
        view: Callable[[], View],
        run_id_of: Callable[[RunSpec], str | None] = lambda _: None,
    ) -> None:
        self._run_id_of = run_id_of
        self._cluster = cluster
        self._store = store
        self._versions = versions
        self._view_of = view

    async def baseline(self, spec: RunSpec, *, renew: bool = False) -> BaselineKnown:
        """What a fault-free run of this specification measures here: kept from earlier, or run now.

        Raises:
            BaselineFailed: a property failed without any fault, or a condition of the spec's `abort` was met.
            NoBaseline: the fault-free run cannot serve as one; says why, and where it lies.
        """
        path = baseline_path(spec, ray_version=self._versions.get("ray", "unknown"))
        known = None if renew else load_baseline(path)
        if known is not None:
            return known
        measured = await self.measured(spec, report=True)
        save_baseline(path, measured)
        return measured

    async def measured(self, spec: RunSpec, *, report: bool = False) -> BaselineKnown:
        """What a fault-free run measures, run now and not kept for others; its report is written if asked for.

        One that did not pass always has its report.

        Raises:
            BaselineFailed: a property failed without any fault, or a condition of the spec's `abort` was met.
            NoBaseline: the fault-free run cannot serve as one; says why, and where it lies.
        """
        fault_free = spec.model_copy(update={"schedule": Schedule()})
        directory = create(self._store, fault_free, suffix="-baseline")
        history = await self._execute(fault_free, directory, None, "fault-free baseline")
        results = judge(history)
        useless = results.judgement == "fail" or history.first(RunAborted) is not None
        if report or useless:
            write(results, directory)
        if useless:
            raise BaselineFailed(directory, results)
        try:
            return measure(history)
        except ClusterError as error:
            raise NoBaseline(f"{error} (the baseline run lies in {directory.path})") from error

    async def run(self, spec: RunSpec, directory: RunDirectory, *, baseline: BaselineKnown | None) -> History:
        """Executes one run; its history is sealed in its directory, also when interrupted."""
        return await self._execute(spec, directory, baseline, "run")

    async def _execute(
        self, spec: RunSpec, directory: RunDirectory, baseline: BaselineKnown | None, what: str
    ) -> History:
        view = self._view_of()
        view.step(f"{what}: {directory.path}")
        preparation = Preparation()

        def listen(record: Record) -> None:
            view.show(record)
            preparation.take(record)

        run = Run(
            spec,
            self._cluster,
            directory,
            versions=self._versions,
            ask=ask,
            run_id=self._run_id_of(spec),
            baseline=baseline,
            watch_s=watch_at_least_s,
            listener=listen,
        )
        ticking = asyncio.create_task(_tick(run, view))
        try:
            return await run.execute()
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            await preparation.close()
            view.close()


class Preparation:
    """Prepares the writing of results when the load has ended: it disturbs none, and what follows waits less."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def take(self, record: Record) -> None:
        """Takes in a record of the run going on."""
        if self._task is None and isinstance(record.event, PhaseBegan) and record.event.phase == "liveness":
            self._task = asyncio.create_task(asyncio.to_thread(prepare))

    async def close(self) -> None:
        """Returns when nothing is being prepared any more."""
        if self._task is not None:
            await self._task


async def _tick(run: Run, view: View) -> None:
    while True:
        view.tick(run.now_s())
        await pause(TICK_S, within_s=_TICK_WITHIN_S, of=lambda: view)
