"""A run that is driven from outside, step by step: load, injections and healing as they come."""

from __future__ import annotations

import asyncio

from chaos.campaign import View
from chaos.cluster import Cluster
from chaos.errors import ClusterError
from chaos.events import BaselineKnown, WorkloadStarted
from chaos.fault import Fault
from chaos.history import History, Record
from chaos.job import Job
from chaos.nemesis import Nemesis
from chaos.probe_command import ask
from chaos.run import Run
from chaos.schedule import Injection
from chaos.spec import RunSpec
from chaos.store import RunDirectory
from chaos.target import Target
from chaos.workload import Load, SteppedWorkload

START_LIMIT_S = 60.0
DURATION_LIMIT_S = 600.0
"""How long an injection of a session lasts that nobody heals."""


class Session:
    """One run on a started cluster. What it is told to do is done at once; what time that takes, `wait` lets pass."""

    def __init__(
        self,
        spec: RunSpec,
        cluster: Cluster,
        directory: RunDirectory,
        *,
        versions: dict[str, str],
        view: View,
        run_id: str | None = None,
        baseline: BaselineKnown | None = None,
    ) -> None:
        assert isinstance(spec.workload, SteppedWorkload), f"{spec.workload.name} takes no orders"
        self._view = view
        self._nemesis: Nemesis | None = None
        self._job: Job | None = None
        self._records: list[Record] = []
        self._load = Load()
        self._injected = 0
        self._running: asyncio.Task[History] | None = None
        self._run = Run(
            spec,
            cluster,
            directory,
            versions=versions,
            ask=ask,
            run_id=run_id,
            baseline=baseline,
            listener=self._take,
            on_load=self._begin_load,
        )

    @property
    def history(self) -> History:
        """What has happened so far."""
        return History(self._records)

    @property
    def load(self) -> Load:
        """What the workload has been told."""
        return self._load

    async def begin(self) -> None:
        """Returns when the load has begun.

        Raises:
            ClusterError: it did not, or not in time.
        """
        self._running = asyncio.create_task(self._run.execute())
        started = asyncio.create_task(self._until_started())
        try:
            await asyncio.wait({self._running, started}, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                self._running.result()
            if not started.done():
                raise ClusterError(f"the load did not begin within {START_LIMIT_S:g} s")
        finally:
            started.cancel()

    async def wait(self, seconds: float) -> None:
        """Lets time pass; ends early, with its error, where the run fails."""
        assert self._running is not None
        await asyncio.wait({self._running}, timeout=seconds)
        if self._running.done():
            self._running.result()

    def demand(self, tasks: int, *, batches: int) -> None:
        """From now on so many tasks at a time, for so many batches more."""
        self._tell(Load(tasks=tasks, batches=self._load.batches + batches))

    def inject(self, fault: Fault, *, target: Target | None = None) -> str:
        """Makes a fault now; returns the id by which it is healed, if it lasts."""
        assert self._nemesis is not None
        self._injected += 1
        name = f"s{self._injected}"
        lasting = {"duration_s": DURATION_LIMIT_S} if type(fault).lasts else {}
        injection = Injection(id=name, fault=fault, target=target, at_s=self._since_start_s(), may_miss=True, **lasting)
        self._nemesis.add(injection)
        return name

    def heal(self, injection: str) -> None:
        """Heals an injection; harmless where it is healed."""
        assert self._nemesis is not None
        self._nemesis.heal(injection)

    async def end(self) -> History:
        """The load ends, all is healed, and the cluster is watched until it is idle; returns the whole history."""
        assert self._running is not None
        self._tell(self._load.model_copy(update={"ended": True}))
        return await self._running

    async def break_off(self) -> None:
        """Ends the run as an interrupted one; everything is healed."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})

    def _begin_load(self, nemesis: Nemesis, job: Job) -> None:
        self._nemesis, self._job = nemesis, job

    def _tell(self, load: Load) -> None:
        assert self._job is not None
        self._load = load
        load.tell(self._job.data)

    def _take(self, record: Record) -> None:
        self._records.append(record)
        self._view.show(record)

    async def _until_started(self) -> None:
        while self.history.first(WorkloadStarted) is None:
            await asyncio.sleep(0.05)

    def _since_start_s(self) -> float:
        started = self.history.first(WorkloadStarted)
        assert started is not None
        return max(0.0, self._run.now_s() - started[0].t_s)
