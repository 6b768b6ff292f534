"""A run: one schedule against one cluster under one workload, recorded from its opening to its seal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Literal

from chaos.abort import Ask, in_words
from chaos.clock import RealClock
from chaos.cluster import Cluster
from chaos.errors import ChaosError, ClusterError, ExceptionGroup
from chaos.events import (
    BaselineKnown,
    CleanlinessChecked,
    ClusterSampled,
    FingerprintTaken,
    NodeStarted,
    NodeTerminated,
    PhaseBegan,
    RunOpened,
    RunSealed,
    StacksDumped,
    WorkloadFinished,
    WorkloadLogged,
)
from chaos.finish import to_the_end
from chaos.history import History, Record, Recorder
from chaos.job import Job
from chaos.nemesis import Nemesis
from chaos.spec import RunSpec
from chaos.store import RunDirectory
from chaos.survival import expected

SETTLE_LIMIT_S = 60.0
VERIFY_LIMIT_S = 120.0
CLOSE_LIMIT_S = 60.0
# How long what is ending by itself (a program, a node) may still show before it counts as left behind.
CLEAN_LIMIT_S = 5.0
_CLEAN_POLL_S = 0.25
_HANDOVER_S = 10.0

Reason = Literal["complete", "deadline", "interrupted", "error", "aborted"]


class Run:
    """Executes one specification on a started cluster and leaves a sealed history in its directory.

    `watch_s` says how long after the load's end the cluster must be watched for a verdict on its scaling down; `ask`
    runs the command of the spec's abort conditions. Its `run_id` is the directory's, unless given. `on_load` is given
    the nemesis and the job when the load begins; with it, injections may be added as long as that lasts.
    """

    def __init__(
        self,
        spec: RunSpec,
        cluster: Cluster,
        directory: RunDirectory,
        *,
        versions: Mapping[str, str],
        ask: Ask,
        run_id: str | None = None,
        baseline: BaselineKnown | None = None,
        watch_s: Callable[[History], float | None] = lambda _: None,
        listener: Callable[[Record], None] = lambda _: None,
        on_load: Callable[[Nemesis, Job], None] | None = None,
    ) -> None:
        self._spec = spec
        self._cluster = cluster
        self._directory = directory
        self._run_id = run_id or directory.run_id
        self._versions = versions
        self._baseline = baseline
        self._watch_s = watch_s
        self._ask = ask
        self._recorder = Recorder(directory.history, RealClock(), listener=listener)
        self._nemesis = Nemesis(
            spec.schedule,
            cluster,
            self._recorder,
            run_id=self._run_id,
            seed=spec.seed,
            blast_radius=spec.blast_radius,
            open_ended=on_load is not None,
        )
        self._on_load = on_load
        self._job: Job | None = None

    def now_s(self) -> float:
        """The run's clock."""
        return self._recorder.clock.now_s()

    async def execute(self) -> History:
        """Runs all phases; whatever happens, faults are healed and the history is sealed.

        Raises:
            ClusterError: the cluster failed us, not the test.
            asyncio.CancelledError: interrupted; the history says so.
        """
        recorder, spec = self._recorder, self._spec
        recorder.append(
            RunOpened(
                run_id=self._run_id,
                seed=spec.seed,
                cluster=spec.cluster.kind,
                schedule_hash=spec.schedule.hash,
                spec=spec.to_data(),
                versions=dict(self._versions),
            )
        )
        recorder.append(expected(spec))
        if self._baseline is not None:
            recorder.append(self._baseline)
        recorder.append(PhaseBegan(phase="starting"))
        reason: Reason = "error"
        message = ""
        try:
            reason, message = await self._unless_aborted()
        except asyncio.CancelledError:
            reason, message = "interrupted", "interrupted by the user"
            raise
        except (ChaosError, ExceptionGroup) as error:
            reason, message = "error", str(error)
            raise
        finally:
            await to_the_end(self._close(reason, message))
        return recorder

    async def _unless_aborted(self) -> tuple[Reason, str]:
        """The phases until one of the spec's abort conditions is met; then they are broken off, which heals everything.

        Raises:
            ExceptionGroup: healing failed.
        """
        phases = asyncio.create_task(self._phases())
        met = asyncio.create_task(self._spec.abort.met(self._recorder, self._ask))
        try:
            await asyncio.wait({phases, met}, return_when=asyncio.FIRST_COMPLETED)
            if phases.done():
                return phases.result(), ""
            aborted = met.result()
            self._recorder.append(aborted)
            return "aborted", in_words(aborted)
        finally:
            met.cancel()
            await to_the_end(_broken_off(phases))

    async def _phases(self) -> Reason:
        await self._cluster.begin_run(self._recorder)
        await self._require_clean()
        await self._settle()
        reason = await self._load()
        await self._liveness()
        await self._idle()
        return reason

    async def _settle(self) -> None:
        """A warm cluster may still be on its way back from the last run."""
        try:
            await asyncio.wait_for(self._recorder.until(self._at_minimum), SETTLE_LIMIT_S)
        except asyncio.TimeoutError:
            raise ClusterError(
                f"the cluster did not come to rest at {self._spec.cluster.min_workers} workers "
                f"within {SETTLE_LIMIT_S:g} s before the run; is someone else using it?"
            ) from None

    async def _load(self) -> Reason:
        recorder = self._recorder
        self._job = Job(
            self._spec.workload,
            self._cluster,
            recorder,
            run_id=self._run_id,
            log=self._directory.logs / "driver.log",
        )
        await self._nemesis.prepare()
        recorder.append(PhaseBegan(phase="workload"))
        nemesis = asyncio.create_task(self._nemesis.run())
        job = asyncio.create_task(self._job.run())
        if self._on_load is not None:
            self._on_load(self._nemesis, self._job)
        reason: Reason = "complete"
        try:
            await self._until_over(job, nemesis)
            if not job.done() and not _failed(nemesis):
                reason = "deadline"
                await self._end_hung(self._job)
            await self._end_load(nemesis, job)
        except BaseException:
            await to_the_end(self._break_off(nemesis, job))
            raise
        return reason

    async def _break_off(self, nemesis: asyncio.Task[None], job: asyncio.Task[None]) -> None:
        """Interrupted, or failed: heals everything and ends the driver.

        Raises:
            ExceptionGroup: healing failed.
        """
        assert self._job is not None
        self._nemesis.finish()
        nemesis.cancel()
        healed = await asyncio.gather(nemesis, return_exceptions=True)
        if not job.done():
            await self._job.stop(WorkloadFinished(outcome="interrupted", error="interrupted"))
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        errors = [error for error in healed if isinstance(error, Exception)]
        if errors:
            raise ExceptionGroup("breaking off the run failed", errors)

    async def _until_over(self, job: asyncio.Task[None], nemesis: asyncio.Task[None]) -> None:
        """Returns when the job has ended, the nemesis has failed, or the deadline has come."""
        clock = self._recorder.clock
        deadline_s = clock.now_s() + self._spec.deadline_s
        waiting = {job, nemesis}
        while job in waiting and clock.now_s() < deadline_s and not _failed(nemesis):
            left_s = deadline_s - clock.now_s()
            _, waiting = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def _end_load(self, nemesis: asyncio.Task[None], job: asyncio.Task[None]) -> None:
        assert self._job is not None
        self._nemesis.finish()
        try:
            await nemesis
        finally:
            if not job.done():
                await self._job.stop(WorkloadFinished(outcome="interrupted", error="the nemesis failed"))
            await job

    async def _end_hung(self, job: Job) -> None:
        """Stack dumps of what hangs, while it still hangs; then its end."""
        into = self._directory.path / "stacks"
        try:
            count = await asyncio.wait_for(self._cluster.dump_stacks(into), CLOSE_LIMIT_S)
        except (ChaosError, OSError, asyncio.TimeoutError) as error:
            count = 0
            self._recorder.append(WorkloadLogged(text=f"stacks could not be dumped: {str(error) or repr(error)}"))
        self._recorder.append(StacksDumped(path=into.name, processes=count))
        limit = f"the workload had not ended at deadline_s = {self._spec.deadline_s:g}; stacks are in {into.name}/"
        await job.stop(WorkloadFinished(outcome="hung", error=limit))

    async def _liveness(self) -> None:
        """No faults any more: is what was computed right?"""
        assert self._job is not None
        self._recorder.append(PhaseBegan(phase="liveness"))
        if self._job.finished is None or self._job.finished.outcome != "ok":
            return
        try:
            await asyncio.wait_for(self._job.verify(), VERIFY_LIMIT_S)
        except asyncio.TimeoutError:
            raise ClusterError(f"the oracle did not answer within {VERIFY_LIMIT_S:g} s; see logs/verify.log") from None

    async def _idle(self) -> None:
        """Waits until the cluster is back at its minimum, or a little longer than the checker could forgive.

        A cluster without a head has no autoscaler, and does not come back.
        """
        recorder = self._recorder
        idle = recorder.append(PhaseBegan(phase="idle"))
        ended_s = [record.t_s for record, event in recorder.of(NodeTerminated) if event.node == "head"]
        again_s = [record.t_s for record, event in recorder.of(NodeStarted) if event.node == "head"]
        if ended_s and max(again_s, default=0.0) < max(ended_s):
            return
        watch_s = self._watch_s(recorder)
        ended = recorder.last(WorkloadFinished)
        if watch_s is None or ended is None:
            limit_s = self._spec.cluster.idle_timeout_s + SETTLE_LIMIT_S
        else:
            limit_s = max(0.0, ended[0].t_s + watch_s - idle.t_s) + _HANDOVER_S
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(recorder.until(lambda history: self._at_minimum(history, since=idle.seq)), limit_s)

    def _at_minimum(self, history: History, *, since: int = -1) -> bool:
        """Whether the last sample after that record says so; others may have come at the same moment as it."""
        last = history.last(ClusterSampled)
        if last is None or last[0].seq <= since or not last[1].reachable:
            return False
        _, sample = last
        workers = sum(1 for view in sample.nodes if view.node != "head")
        instances = sum(1 for node in sample.cloud if node != "head")
        minimum = self._spec.cluster.min_workers
        return workers == minimum and instances == minimum and not sample.autoscaler_pending

    async def _close(self, reason: Reason, message: str) -> None:
        recorder = self._recorder
        errors: list[Exception] = []
        recorder.append(PhaseBegan(phase="stopping"))
        for closing in (self._cluster.end_run, self._check_cleanliness):
            try:
                await asyncio.wait_for(closing(), CLOSE_LIMIT_S)
            except (ChaosError, ExceptionGroup, OSError, asyncio.TimeoutError) as error:
                errors.append(error)
        try:
            await asyncio.wait_for(self._collect_logs(), CLOSE_LIMIT_S)
        except (ChaosError, OSError, asyncio.TimeoutError) as error:
            message = f"{message}; logs are incomplete: {str(error) or repr(error)}".removeprefix("; ")
        if errors and reason == "complete":
            reason, message = "error", "; ".join(str(error) or repr(error) for error in errors)
        recorder.append(RunSealed(reason=reason, message=message))
        if errors:
            raise ExceptionGroup("closing the run failed", errors)

    async def _require_clean(self) -> None:
        """Refuses a cluster that shows harm of an earlier run: nothing could be concluded from a run on it."""
        seen = await self._leftovers()
        self._recorder.append(FingerprintTaken(seen=seen))
        if seen:
            raise ClusterError(
                f"cluster {self._cluster.name!r} is not clean: {'; '.join(seen)}; `raychaos heal` undoes what is in "
                f"force, `raychaos down {self._cluster.name}` ends the cluster"
            )

    async def _check_cleanliness(self) -> None:
        self._recorder.append(CleanlinessChecked(leftovers=await self._leftovers()))

    async def _leftovers(self) -> tuple[str, ...]:
        """The cluster's, once they are none or `CLEAN_LIMIT_S` has passed."""
        clock = self._recorder.clock
        limit_s = clock.now_s() + CLEAN_LIMIT_S
        while (seen := await self._cluster.leftovers()) and clock.now_s() < limit_s:
            await clock.sleep(_CLEAN_POLL_S)
        return seen

    async def _collect_logs(self) -> None:
        await self._cluster.collect_logs(self._directory.logs)


async def _broken_off(phases: asyncio.Task[Reason]) -> None:
    """Ends what is under way of the phases; raises what went wrong meanwhile."""
    if not phases.done():
        phases.cancel()
        await asyncio.wait({phases})
        if not phases.cancelled() and (error := phases.exception()) is not None:
            raise error


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None
