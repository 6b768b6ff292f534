"""The nemesis: the one executor of a schedule. It owns order, time and healing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Literal, TypeVar

from chaos.blast_radius import NO_WORKERS, BlastRadius, workers_down, workers_joined
from chaos.clock import Clock
from chaos.cluster import Cluster
from chaos.errors import ChaosError, ExceptionGroup, InjectionError, NothingToHit
from chaos.events import (
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
    NodeTerminating,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.fault import Effect, Readings, Site
from chaos.finish import to_the_end
from chaos.history import Record, Recorder
from chaos.schedule import Anchor, Injection, Schedule

T = TypeVar("T")

PROBE_EVERY_S = 0.25
_PROBE_WITHIN_S = 1.0
HEAL_PROOF_LIMIT_S = 10.0
PREPARE_LIMIT_S = 5.0
# A container or process has ended a moment before the Cloud's list of instances says so.
LISTED_WITHIN_S = 2.0
LEASE_MARGIN_S = 15.0
_SHARE = 100.0

SkipReason = Literal["no_target", "refused", "not_triggered", "failed"]


def stream(seed: int, name: str) -> random.Random:
    """A named stream of randomness derived from a run's seed, the same in every process."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


class Nemesis:
    """Executes one schedule against one cluster, within its blast radius, and leaves nothing in force."""

    def __init__(
        self,
        schedule: Schedule,
        cluster: Cluster,
        recorder: Recorder,
        *,
        run_id: str,
        seed: int,
        blast_radius: BlastRadius = BlastRadius(),  # noqa: B008 -- a frozen value
        open_ended: bool = False,
    ) -> None:
        self._schedule = schedule
        self._cluster = cluster
        self._recorder = recorder
        self._clock: Clock = recorder.clock
        self._run_id = run_id
        self._seed = seed
        self._blast_radius = blast_radius
        # With an open end, injections may be added as long as the load goes on.
        self._open_ended = open_ended
        self._tasks: list[asyncio.Task[None]] = []
        self._healing: dict[str, asyncio.Event] = {}
        # Victims of injections being made, which the history does not know yet.
        self._claimed: dict[str, tuple[str, ...]] = {}
        self._ending = asyncio.Event()
        self._probing: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """Has everything made ready that can be, within a limit: what is not then takes its time at the injection."""
        each = {type(injection.fault): injection.fault for injection in self._schedule.injections}
        waiting = asyncio.gather(*(fault.prepare(self._cluster) for fault in each.values()), return_exceptions=True)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, PREPARE_LIMIT_S)

    async def run(self) -> None:
        """Carries out every injection; returns when the last is healed and probed, soon after `finish` was called.

        Raises:
            ExceptionGroup: healing failed; every other injection was healed all the same.
        """
        for injection in self._schedule.injections:
            self.add(injection)
        try:
            if self._open_ended:
                await self._ending.wait()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            _raise_all(results)
            raise
        finally:
            for probing in self._probing:
                probing.cancel()
            await asyncio.gather(*self._probing, return_exceptions=True)
        _raise_all(results)

    def add(self, injection: Injection) -> None:
        """One injection more, from now on."""
        self._healing[injection.id] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._carry_out(injection)))

    def heal(self, injection: str) -> None:
        """Heals what lasts of an injection now, and not when its duration is over."""
        self._healing[injection].set()

    def finish(self) -> None:
        """The load is over: what has not been triggered will not be, what is in force is healed now."""
        self._ending.set()

    # -- one injection --------------------------------------------------------------------------------------

    async def _carry_out(self, injection: Injection) -> None:
        due = await self._due(injection)
        if due is None:
            self._skip(injection, "not_triggered", "the load ended before its trigger")
            return
        due_s, by_time = due
        self._recorder.append(
            FaultDue(injection=injection.id, fault=injection.fault.name, due_s=due_s, by_time=by_time)
        )
        try:
            struck = await self._strike(injection, due_s)
        finally:
            self._claimed.pop(injection.id, None)
        if struck is None:
            return
        site, heal_due_s = struck
        probing = asyncio.create_task(self._probe(injection, site, heal_due_s))
        self._probing.append(probing)
        if heal_due_s is not None:
            await self._hold_then_heal(injection, site, heal_due_s)
        await probing

    async def _strike(self, injection: Injection, due_s: float) -> tuple[Site, float | None] | None:
        """Makes a due injection: where, and when its healing is due; None, and recorded as skipped, where it cannot."""
        fault = injection.fault
        site = await self._site_of(injection)
        if site is None:
            return None
        try:
            await fault.inject(site)
        except ChaosError as error:
            failed_s = self._clock.now_s()
            try:
                await self._heal_after(error, injection, site)
            finally:
                await self._give_up(injection, site.victims, error, failed_s)
            return None
        except BaseException as error:
            await self._heal_after(error, injection, site)
            raise
        applied_s = self._clock.now_s()
        heal_due_s = None if injection.duration_s is None else applied_s + injection.duration_s
        self._recorder.append(
            FaultInjected(
                injection=injection.id,
                fault=fault.name,
                victims=site.victims,
                due_s=due_s,
                applied_s=applied_s,
                lateness_s=round(applied_s - due_s, 6),
                effect_id=site.effect_id,
                heal_due_s=heal_due_s,
            )
        )
        return site, heal_due_s

    async def _hold_then_heal(self, injection: Injection, site: Site, heal_due_s: float) -> None:
        over = asyncio.create_task(self._healing[injection.id].wait())
        sleeping = asyncio.create_task(self._sleep_until(heal_due_s))
        try:
            await asyncio.wait({over, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            sleeping.cancel()
            due_s = min(heal_due_s, self._clock.now_s())
            await to_the_end(self._heal_and_prove(injection, site, due_s))

    async def _heal_and_prove(self, injection: Injection, site: Site, due_s: float) -> None:
        await injection.fault.heal(site)
        healed_s = self._clock.now_s()
        seen = await self._until_healed(injection, site)
        self._recorder.append(
            FaultHealed(
                injection=injection.id,
                fault=injection.fault.name,
                due_s=due_s,
                healed_s=healed_s,
                proven=seen.outcome == "no_effect",
                detail=seen.detail,
            )
        )

    async def _heal_after(self, error: BaseException, injection: Injection, site: Site) -> None:
        """Heals what an injection that went wrong may have done; should that go wrong too, both errors are told."""
        try:
            await to_the_end(injection.fault.heal(site))
        except ChaosError as healing:
            told = [error, healing] if isinstance(error, Exception) else [healing]
            raise ExceptionGroup(f"injection {injection.id} was not healed", told) from None

    async def _until_healed(self, injection: Injection, site: Site) -> Effect:
        limit_s = self._clock.now_s() + HEAL_PROOF_LIMIT_S
        while True:
            try:
                seen = await injection.fault.probe_healed(site)
            except ChaosError as error:
                seen = Effect(outcome="unknown", detail=str(error))
            if seen.outcome == "no_effect" or self._clock.now_s() >= limit_s:
                return seen
            await self._clock.sleep(PROBE_EVERY_S)

    async def _probe(self, injection: Injection, site: Site, heal_due_s: float | None) -> None:
        fault = injection.fault
        limit_s = (
            heal_due_s if fault.acts_on in ("launches", "cloud") and heal_due_s else site.injected_s
        ) + fault.effect_within_s
        while True:
            try:
                seen = await fault.probe(site)
            except ChaosError as error:
                seen = Effect(outcome="unknown", detail=str(error))
            in_time = self._clock.now_s() < limit_s
            if seen.outcome == "took_effect" or not in_time or self._over(fault.acts_on, heal_due_s):
                break
            await self._clock.pause(
                PROBE_EVERY_S, within_s=max(0.0, min(_PROBE_WITHIN_S, limit_s - self._clock.now_s()))
            )
        self._recorder.append(
            FaultProbed(
                injection=injection.id,
                fault=fault.name,
                outcome=seen.outcome,
                detail=seen.detail,
                asked=seen.asked,
                measured=seen.measured,
                unit=seen.unit,
            )
        )

    def _over(self, acts_on: str, heal_due_s: float | None) -> bool:
        """Whether nothing more can be seen: harm to nodes is healed, or the load that asks for launches has ended."""
        if acts_on in ("launches", "cloud"):
            return self._ending.is_set()
        return heal_due_s is not None and (self._ending.is_set() or self._clock.now_s() >= heal_due_s)

    # -- when and whom --------------------------------------------------------------------------------------

    async def _due(self, injection: Injection) -> tuple[float, bool] | None:
        """When it is due, once that has come, and whether by time for want of its event; None where the load ended."""
        due = await self._or_ending(self._trigger(injection))
        if due is None:
            return None
        return due if await self._sleep_until(due[0]) else None

    async def _trigger(self, injection: Injection) -> tuple[float, bool]:
        if injection.on is None:
            return await self._started() + (injection.at_s or 0.0), False
        anchored = asyncio.create_task(self._anchored(injection.on))
        try:
            if injection.or_at_s is not None:
                latest_s = await self._started() + injection.or_at_s
                sleeping = asyncio.create_task(self._clock.sleep(latest_s - self._clock.now_s()))
                try:
                    await asyncio.wait({anchored, sleeping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sleeping.cancel()
                if not anchored.done():
                    return latest_s, True
            return await anchored + injection.after_s, False
        finally:
            anchored.cancel()

    async def _started(self) -> float:
        place = 0
        while True:
            record = await self._recorder.follow(start=place)
            if isinstance(record.event, WorkloadStarted):
                return record.t_s
            place += 1

    async def _anchored(self, anchor: Anchor) -> float:
        await self._started()
        place = met = 0
        loaded, since = False, anchor.since
        while True:
            record = await self._recorder.follow(start=place)
            place += 1
            loaded = loaded or isinstance(record.event, WorkloadStarted)
            if isinstance(record.event, FaultInjected) and record.event.injection == since:
                since = None
            elif loaded and since is None and _fits(anchor, record):
                met += 1
                if met == anchor.nth:
                    return record.t_s

    async def _or_ending(self, waiting_for: Coroutine[Any, Any, T]) -> T | None:
        waiting = asyncio.create_task(waiting_for)
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            ending.cancel()

    async def _sleep_until(self, t_s: float) -> bool:
        """Sleeps until then, or until the load ends; says whether the time has come."""
        sleeping = asyncio.create_task(self._clock.sleep(t_s - self._clock.now_s()))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({sleeping, ending}, return_when=asyncio.FIRST_COMPLETED)
            return sleeping.done()
        finally:
            sleeping.cancel()
            ending.cancel()

    async def _site_of(self, injection: Injection) -> Site | None:
        """Where a due injection acts, measured before the harm; None, and recorded as skipped, where it cannot."""
        victims: tuple[str, ...] | None = ()
        try:
            victims = await self._victims(injection)
            if victims is None:
                self._skip(injection, "no_target", f"no node fits target {injection.target}")
                return None
            if refusal := self._refusal(injection, victims):
                self._skip(injection, "refused", refusal)
                return None
            self._claimed[injection.id] = victims
            site = Site(
                cluster=self._cluster,
                victims=victims,
                effect_id=f"{self._run_id}.{injection.id}",
                lease_s=(injection.duration_s or 0.0) + LEASE_MARGIN_S,
                injected_s=self._clock.now_s(),
                history=self._recorder,
                duration_s=injection.duration_s,
            )
            before = await self._measured(injection, site)
        except ChaosError as error:
            await self._give_up(injection, victims or (), error, self._clock.now_s())
            return None
        return replace(site, before=before, injected_s=self._clock.now_s())

    def _refusal(self, injection: Injection, victims: tuple[str, ...]) -> str:
        """Why the blast radius does not allow these victims now; empty where it does."""
        claimed = {node for nodes in self._claimed.values() for node in nodes} - NO_WORKERS
        return self._blast_radius.refusal(
            injection,
            victims,
            down=workers_down(self._recorder) | claimed,
            joined=workers_joined(self._recorder),
        )

    async def _measured(self, injection: Injection, site: Site) -> Readings:
        """What the fault measures before the harm, within its limit.

        Raises:
            ChaosError: it could not be measured, or not in time.
        """
        fault = injection.fault
        measuring = asyncio.create_task(fault.measure_before(site))
        limit = asyncio.create_task(self._clock.sleep(fault.measure_within_s))
        try:
            await asyncio.wait({measuring, limit}, return_when=asyncio.FIRST_COMPLETED)
            if measuring.done():
                return measuring.result()
        finally:
            measuring.cancel()
            limit.cancel()
        raise InjectionError(
            f"what {fault.name} compares with was not measured within {fault.measure_within_s:g} s, so nothing was done"
        )

    async def _give_up(
        self, injection: Injection, victims: tuple[str, ...], error: ChaosError, failed_s: float
    ) -> None:
        """Records an injection that failed: for want of a target where nothing was there to hit, or no victim."""
        self._claimed.pop(injection.id, None)
        if isinstance(error, NothingToHit):
            self._skip(injection, "no_target", str(error))
            return
        gone = False
        try:
            # The driver is no node: that it ended, no list of nodes can tell.
            gone = bool(victims) and victims != ("driver",) and await self._were_gone(victims, failed_s)
        finally:  # cancelled meanwhile, it has failed all the same
            told = f"{', '.join(victims)} went away before it could be hit: {error}" if gone else str(error)
            self._skip(injection, "no_target" if gone else "failed", told)

    async def _were_gone(self, victims: tuple[str, ...], failed_s: float) -> bool:
        """Whether no victim was there any more then: a list may be the last to know.

        One that the autoscaler had ended only afterwards was there.
        """
        limit_s = self._clock.now_s() + LISTED_WITHIN_S
        left, there = set(victims), {"running", "paused"}
        while True:
            try:
                listed = {node.node for node in await self._cluster.nodes() if node.state in there}
            except ChaosError:
                return False  # whether they were there is not known, so what is told is the error
            asked = self._recorder.of(NodeTerminating, since_s=failed_s)
            left &= listed | {event.node for record, event in asked if record.t_s > failed_s}
            if not left:
                return True
            if self._clock.now_s() >= limit_s:
                return False
            there.add("stopping")  # those that were so at first are not left
            await self._clock.sleep(PROBE_EVERY_S)

    async def _victims(self, injection: Injection) -> tuple[str, ...] | None:
        target = injection.target
        if target is None:
            acts_on = injection.fault.acts_on
            return (acts_on,) if acts_on in ("head", "driver") else ()
        nodes = await self._cluster.nodes()
        if not target.names_one:
            # `oldest`, `random` and their like choose from the nodes that Ray has.
            in_ray = workers_joined(self._recorder)
            nodes = tuple(node for node in nodes if node.node in in_ray)
        return target.resolve(nodes, stream(self._seed, f"target/{injection.id}")) or None

    def _skip(self, injection: Injection, reason: SkipReason, detail: str) -> None:
        self._recorder.append(
            FaultSkipped(injection=injection.id, fault=injection.fault.name, reason=reason, detail=detail)
        )


def _fits(anchor: Anchor, record: Record) -> bool:
    event = record.event
    if anchor.progress_percent is not None:
        return isinstance(event, WorkloadProgressed) and (
            event.rows_done * _SHARE >= anchor.progress_percent * event.rows_total
        )
    return (
        event.kind == anchor.event
        and anchor.node_type in (None, getattr(event, "node_type", None))
        and anchor.injection in (None, getattr(event, "injection", None))
    )


def _raise_all(results: list[BaseException | None]) -> None:
    errors = [r for r in results if isinstance(r, Exception) and not isinstance(r, asyncio.CancelledError)]
    if errors:
        raise ExceptionGroup("injections failed", errors)
