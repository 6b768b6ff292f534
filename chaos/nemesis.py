"""The nemesis: the one executor of a schedule. It owns order, time and healing."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Literal

from chaos.blast_radius import NO_WORKERS, BlastRadius, workers_down, workers_joined
from chaos.clock import Clock
from chaos.cluster import Cluster
from chaos.errors import ChaosError, ExceptionGroup, InjectionError
from chaos.events import (
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.fault import Effect, Readings, Site
from chaos.finish import to_the_end
from chaos.history import Record, Recorder
from chaos.schedule import Anchor, Injection, Schedule

PROBE_EVERY_S = 0.25
HEAL_PROOF_LIMIT_S = 10.0
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
    ) -> None:
        self._schedule = schedule
        self._cluster = cluster
        self._recorder = recorder
        self._clock: Clock = recorder.clock
        self._run_id = run_id
        self._seed = seed
        self._blast_radius = blast_radius
        # Victims of injections being made, which the history does not know yet.
        self._claimed: dict[str, tuple[str, ...]] = {}
        self._ending = asyncio.Event()
        self._probing: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Carries out every injection; returns when the last is healed and probed, soon after `finish` was called.

        Raises:
            ExceptionGroup: healing failed; every other injection was healed all the same.
        """
        tasks = [asyncio.create_task(self._carry_out(injection)) for injection in self._schedule.injections]
        try:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            _raise_all(results)
            raise
        finally:
            for probing in self._probing:
                probing.cancel()
            await asyncio.gather(*self._probing, return_exceptions=True)
        _raise_all(results)

    def finish(self) -> None:
        """The load is over: what has not been triggered will not be, what is in force is healed now."""
        self._ending.set()

    # -- one injection --------------------------------------------------------------------------------------

    async def _carry_out(self, injection: Injection) -> None:
        due_s = await self._due(injection)
        if due_s is None:
            self._skip(injection, "not_triggered", "the load ended before its trigger")
            return
        self._recorder.append(FaultDue(injection=injection.id, fault=injection.fault.name, due_s=due_s))
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
            try:
                await self._give_up(injection, site.victims, error)
            finally:
                await self._heal_after(error, injection, site)
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
        try:
            await self._sleep_until(heal_due_s)
        finally:
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
            await self._clock.sleep(PROBE_EVERY_S)
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

    async def _due(self, injection: Injection) -> float | None:
        event_s = await self._or_ending(self._started() if injection.on is None else self._anchored(injection.on))
        if event_s is None:
            return None
        due_s = event_s + (injection.after_s if injection.at_s is None else injection.at_s)
        return due_s if await self._sleep_until(due_s) else None

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

    async def _or_ending(self, waiting_for: Coroutine[Any, Any, float]) -> float | None:
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
            await self._give_up(injection, victims or (), error)
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

    async def _give_up(self, injection: Injection, victims: tuple[str, ...], error: ChaosError) -> None:
        """Records an injection that failed: for want of a target where no victim is there any more."""
        gone = bool(victims) and victims != ("driver",)  # which is no node: that it ended, no list of nodes can tell
        if gone:
            try:
                living = {node.node for node in await self._cluster.nodes() if node.state in ("running", "paused")}
                gone = living.isdisjoint(victims)
            except ChaosError:
                gone = False  # whether they are there is not known, so what is told is the error
        told = f"{', '.join(victims)} went away before it could be hit: {error}" if gone else str(error)
        self._skip(injection, "no_target" if gone else "failed", told)

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
