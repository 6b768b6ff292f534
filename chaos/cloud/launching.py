"""Instances that come and go: asked for, booted, ended, and seen to have ended by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import structlog

from chaos.clock import monotonic_s, pause
from chaos.cloud.answers import ApiError, Deviations
from chaos.cloud.driver import NodeDriver, NodeLaunch, TellsOfChanges
from chaos.cloud.harming import POLL_S, Harming
from chaos.cloud.instances import ActiveEffect, Fate, Instance
from chaos.cloud.journal import Journal
from chaos.cloud.launch_faults import LaunchFaults, fated
from chaos.cloud.ledger import Ledger
from chaos.cluster_spec import NodeType
from chaos.errors import ChaosError, InjectionError
from chaos.events import NodeLaunchFailed, NodeLaunching, NodeStarted, NodeTerminated, NodeTerminating
from chaos.harm import Omission, TerminationFault

STOP_LIMIT_S = 5.0
_LAUNCH_REQUEST_TAG = "ray-launch-request"

LaunchFor = Callable[[Instance], Coroutine[Any, Any, NodeLaunch]]
Placed = Callable[[str], Coroutine[Any, Any, None]]
"""Returns once there is room for an instance, or it is not wanted any more."""
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class LaunchRefused(ApiError):
    """A launch was answered with an error, by a fault or because the type does not exist."""


class Launching:
    """Launches and ends instances as asked, under whatever launch faults are in force."""

    def __init__(
        self,
        types: Callable[[], Mapping[str, NodeType]],
        ledger: Ledger,
        driver: NodeDriver,
        harming: Harming,
        journal: Journal,
        deviations: Deviations,
        *,
        launch_for: LaunchFor,
        spawn: Spawn,
        placed: Placed | None = None,
    ) -> None:
        self._types = types
        self._ledger = ledger
        self._driver = driver
        self._harming = harming
        self._journal = journal
        self._deviations = deviations
        # Of what does not tell there may always be more that has ended.
        self._changes = driver.changes if isinstance(driver, TellsOfChanges) else lambda: (object(),)
        self._faults = LaunchFaults(ledger)
        self._launch_for = launch_for
        self._spawn = spawn
        self._placed = placed
        self._log = structlog.get_logger("cloud")

    def resume(self) -> None:
        """Goes on where an earlier Cloud of this cluster stopped: boots what was pending, ends what was stopping."""
        for instance in self._ledger.instances():
            if instance.instance == "head":
                continue  # `start_head` sees to that
            if instance.state == "pending":
                self._spawn(self._boot(instance.instance))
            elif instance.state == "stopping":
                self._spawn(self._end(instance.instance))

    async def start_head(self) -> Instance:
        """Adopts or starts the head."""
        known = self._ledger.find("head")
        if known is not None and known.state in ("running", "pending") and known.handle:
            if not await self._driver.gone([known]):
                known = known.model_copy(update={"state": "running"})
                self._ledger.put(known)
                return known
            if known.state == "pending":
                return await self._head_again(known)
        tags = {
            "ray-node-type": "head",
            "ray-user-node-type": "head",
            "ray-node-status": "up-to-date",
            "ray-node-name": "head",
        }
        head = await self._driver.adopt_head()
        if head is None:
            blank = Instance(instance="head", node="head", node_type="head", state="pending")
            head = await self._driver.start(blank, await self._launch_for(blank))
        head = head.model_copy(update={"state": "running", "tags": tags, "asked_monotonic_s": monotonic_s()})
        self._ledger.put(head)
        self._journal.append(NodeStarted(node="head", node_type="head", instance="head"))
        return head

    async def restart_head(self) -> None:
        """Ends the head at once and starts it again.

        Raises:
            InjectionError: it had ended by itself.
            ClusterError: it did not start again.
        """
        head = self._ledger.live("head")
        # Not one of those that are watched for having ended, until it runs again.
        self._ledger.put(head.model_copy(update={"state": "pending"}))
        await self._harming.release(head)
        if not await self._driver.kill(head):
            self._ledger.put(head)
            raise InjectionError("the head had ended by itself")
        self._journal.append(NodeTerminated(node="head", cause="killed"))
        try:
            await self._head_again(head)
        except BaseException:
            self._ledger.put(head)  # it is missed then, like any node that ended
            raise

    async def _head_again(self, head: Instance) -> Instance:
        again = await self._driver.restart_head(head, await self._launch_for(head))
        again = again.model_copy(update={"state": "running"})
        self._ledger.put(again)
        self._journal.append(NodeStarted(node="head", node_type="head", instance="head"))
        return again

    def launch(self, node_type: str, count: int, tags: dict[str, str]) -> list[Instance]:
        """Accepts a launch of `count` instances; they boot later.

        Raises:
            LaunchRefused: the type is none of this cluster's, or launch faults answer with an error. Instances that no
                fault has hits left for are launched all the same, as clouds do that fill a request in part.
        """
        types = self._types()
        if node_type not in types:
            raise LaunchRefused(f"node type {node_type!r} is none of this cluster's: {', '.join(types)}")
        decided = self._faults.decide(node_type, count)
        request = tags.get(_LAUNCH_REQUEST_TAG, "")
        for hit, reason in decided.refused:
            self._journal.append(NodeLaunchFailed(node_type=node_type, count=hit, reason=reason, request=request))
        launched = self.accept(node_type, decided.fates, tags)
        if decided.refused:
            reasons = "; ".join(reason for _, reason in decided.refused)
            raise LaunchRefused(f"{reasons} ({len(launched)} of {count} were launched)" if launched else reasons)
        if decided.lost:
            for effect_id, _ in decided.lost:
                self._deviations.note(effect_id, "reply_lost", ", ".join(item.instance for item in launched))
            raise LaunchRefused(decided.lost[0][1], status=HTTPStatus.GATEWAY_TIMEOUT)
        return launched

    def accept(self, node_type: str, fates: Sequence[Fate], tags: dict[str, str]) -> list[Instance]:
        """Boots an instance for each fate, whatever faults there are; returns those that were asked for."""
        shape = self._types()[node_type]
        entered = self._ledger.enter_new(node_type, tags, shape=shape, now_s=monotonic_s(), fates=fates)
        request = tags.get(_LAUNCH_REQUEST_TAG, "")
        for instance in entered:
            if instance.fate.asked:
                self._journal.append(NodeLaunching(node=instance.node, node_type=node_type, request=request))
            self._spawn(self._boot(instance.instance))
        return [instance for instance in entered if instance.fate.asked]

    def terminate(self, instance_id: str) -> None:
        """Ends an instance; of one that is gone or unknown, nothing is left to end."""
        instance = self._ledger.find(instance_id)
        if instance is None or instance.state in ("stopping", "terminated"):
            return
        self._ledger.put(instance.model_copy(update={"state": "stopping", **self._held()}))
        self._journal.append(NodeTerminating(node=instance.node))
        self._spawn(self._end(instance_id))

    def tag(self, instance_id: str, tags: dict[str, str]) -> None:
        """Adds tags to an instance."""
        instance = self._ledger.find(instance_id)
        if instance is not None:
            self._ledger.put(instance.model_copy(update={"tags": {**instance.tags, **tags}}))

    def lifted(self, effect: ActiveEffect) -> None:
        """An effect is over: what the Cloud had lost, and what Ray never starts on, is ended."""
        if isinstance(effect.harm, Omission) and effect.harm.lost:
            self._reclaim(effect.instance, lost=True)
        for instance in self._ledger.running():
            if instance.fate.rayless == effect.effect_id:
                self._reclaim(instance.instance)

    async def restart(self, node: str) -> None:
        """Ends all of a node at once, and boots it anew as the same instance; harm in force on it is over.

        Raises:
            InjectionError: no such live node, or it is the head.
        """
        instance = self._ledger.live(node)
        if instance.instance == "head":
            raise InjectionError("the head cannot be restarted so: what the GCS knows would be lost with it")
        # Pending, it is not missed while it is down, and a Cloud that is started again meanwhile boots it.
        self._ledger.put(instance.model_copy(update={"state": "pending", "boot_at_monotonic_s": 0.0}))
        await self._harming.release(instance)
        await self._driver.kill(instance)
        self._spawn(self._boot(instance.instance))

    async def watch(self) -> None:
        """Looks, for ever, for nodes that have ended by themselves."""
        again = False
        while True:
            await pause(POLL_S, of=None if again else lambda: (self._ledger.state(), *self._changes()))
            again = False
            try:
                for instance_id in sorted(await self._driver.gone(self._ledger.running())):
                    again = True  # more may end while this one is stopped
                    instance = self._ledger.find(instance_id)
                    if instance is not None and instance.state == "running":
                        await self._driver.stop(instance, limit_s=0.0)
                        self._retire(instance_id, cause="exited")
            except (ChaosError, OSError) as error:
                again = True
                self._log.error("looking for ended nodes failed; looking again", error=repr(error))

    def _held(self) -> dict[str, object]:
        """What an instance that is to end has to wait for."""
        waits = {
            effect.effect_id: effect.harm.delay_s
            for effect in self._ledger.effects()
            if isinstance(effect.harm, TerminationFault) and effect.harm.delay_s
        }
        if not waits:
            return {}
        effect_id = max(waits, key=lambda name: waits[name])
        return {"end_at_monotonic_s": monotonic_s() + waits[effect_id], "end_held_by": effect_id}

    # -- from boot to end -----------------------------------------------------------------------------------

    async def _boot(self, instance_id: str) -> None:
        booting = self._ledger.find(instance_id)
        assert booting is not None
        if self._placed is not None:
            await self._placed(instance_id)
        await asyncio.sleep(max(0.0, booting.boot_at_monotonic_s - monotonic_s()))
        instance = self._ledger.find(instance_id)  # ended and forgotten meanwhile, it is not there
        if instance is None or instance.state != "pending":
            return
        rayless = self._in_force(instance.fate.rayless)
        try:
            launch = fated(await self._launch_for(instance), instance, rayless=rayless)
            run = self._driver.restart if instance.handle else self._driver.start
            started = await run(instance, launch)
        except (ChaosError, OSError) as error:
            self._boot_failed(instance_id, str(error))
            if instance.handle:  # what was to come back
                await self._driver.stop(instance, limit_s=0.0)
            return
        now = self._ledger.find(instance_id)
        if now is None or now.state != "pending":
            await self._driver.stop(started, limit_s=0.0)
            return
        self._ledger.put(started.model_copy(update={"state": "running", "tags": now.tags, "node": now.node}))
        self._journal.append(NodeStarted(node=now.node, node_type=now.node_type, instance=instance_id))
        if rayless and not self._in_force(now.fate.rayless):
            self._reclaim(instance_id)
        if now.lost:
            self._reclaim(instance_id, lost=True)

    def _in_force(self, effect_id: str) -> bool:
        return self._ledger.effect(effect_id) is not None

    def _reclaim(self, instance_id: str, *, lost: bool = False) -> None:
        """Ends an instance nobody asked to end."""
        instance = self._ledger.find(instance_id)
        if instance is not None and instance.state == "pending" and lost:
            self._ledger.put(instance.model_copy(update={"lost": True}))  # it is ended as soon as it runs
        if instance is not None and instance.state == "running":
            self._ledger.put(instance.model_copy(update={"state": "stopping", "killed": True, "lost": lost}))
            self._spawn(self._end(instance_id))

    def _boot_failed(self, instance_id: str, reason: str) -> None:
        instance = self._ledger.find(instance_id)
        if instance is None or instance.state != "pending":
            return
        self._ledger.put(instance.model_copy(update={"state": "terminated"}))
        self._journal.append(
            NodeLaunchFailed(
                node_type=instance.node_type,
                reason=reason,
                request=instance.tags.get(_LAUNCH_REQUEST_TAG, ""),
                node=instance.node,
            )
        )

    async def _end(self, instance_id: str) -> None:
        """Ends an instance, and whatever an earlier Cloud may have started for it and not come to remember."""
        instance = self._ledger.find(instance_id)
        assert instance is not None
        while self._in_force(instance.end_held_by) and monotonic_s() < instance.end_at_monotonic_s:
            await asyncio.sleep(POLL_S)
        begun_s = monotonic_s()
        while True:
            try:
                await self._harming.release(instance)
                await self._driver.stop(instance, limit_s=STOP_LIMIT_S)
                break
            except (ChaosError, OSError) as error:
                self._log.error("a node does not end; trying again", node=instance.node, error=str(error))
                await asyncio.sleep(STOP_LIMIT_S)
        self._retire(instance_id, cause="autoscaler", stop_s=monotonic_s() - begun_s)

    def _retire(self, instance_id: str, *, cause: Literal["autoscaler", "exited"], stop_s: float | None = None) -> None:
        instance = self._ledger.find(instance_id)
        if instance is None or instance.state == "terminated":
            return
        over = [effect.effect_id for effect in self._ledger.effects_on(instance_id)]
        self._ledger.drop_effects(over)
        for effect_id in over:
            self._deviations.settle(effect_id)
        self._ledger.put(instance.model_copy(update={"state": "terminated"}))
        # Whoever is first to see it go: a node that was killed ended by that.
        why = "killed" if instance.killed else cause
        self._journal.append(NodeTerminated(node=instance.node, cause=why, stop_s=stop_s))
