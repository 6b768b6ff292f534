"""Harm under leases: on the books before it is done, enforced on the nodes, and undone by id or when its lease ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence

import structlog

from chaos.clock import monotonic_s, pause
from chaos.cloud.driver import CLOUD, CloudEnforcer, DiskDriver, GaugeDriver, NetworkDriver, NodeDriver, Sampling
from chaos.cloud.instances import ActiveEffect, Instance
from chaos.cloud.ledger import Ledger
from chaos.cluster import Gauges, NetworkView, PathMeasurement, PathSample
from chaos.errors import ChaosError, InjectionError
from chaos.harm import CloudHarm, EndingNode, FrozenNode, NetworkShape, NodeHarm
from chaos.value import Value

POLL_S = 0.25
_THERE = ("running", "stopping")


class Harming:
    """Applies, enforces and undoes the harm in a ledger."""

    def __init__(
        self,
        ledger: Ledger,
        driver: NodeDriver,
        *,
        enforcers: Sequence[CloudEnforcer] = (),
        lifted: Callable[[ActiveEffect], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._enforcers = enforcers
        self._driver = driver
        self._network_driver = driver if isinstance(driver, NetworkDriver) else None
        self._lifted = lifted
        self._node_locks: dict[str, asyncio.Lock] = {}
        # Nodes that harm has been done to; an earlier Cloud may have done some to any of those there are.
        self._touched: set[str] = set()
        self._inherits = bool(ledger.instances())
        self._log = structlog.get_logger("cloud")

    def forget(self) -> None:
        """What ended is not needed any more."""
        there = {item.instance for item in self._ledger.instances()}
        self._node_locks = {name: lock for name, lock in self._node_locks.items() if name in there or lock.locked()}
        self._touched &= there

    async def kill(self, node: str) -> None:
        """Ends a node at once.

        Raises:
            InjectionError: no such live node, or it had ended by itself.
        """
        if not await self._killed(self._ledger.live(node)):
            raise InjectionError(f"node {node!r} had ended by itself")

    async def _killed(self, instance: Instance) -> bool:
        """Kills a node; whether there was anything left to kill."""
        # On the books first: whoever then sees it go knows why.
        self._ledger.put(instance.model_copy(update={"killed": True}))
        if await self._driver.kill(instance):
            return True
        now = self._ledger.find(instance.instance)
        if now is not None:
            self._ledger.put(now.model_copy(update={"killed": False}))
        return False

    async def apply(self, effect_id: str, harm: NodeHarm | CloudHarm, *, lease_s: float, node: str = "") -> None:
        """Puts lasting harm in force until undone or the lease ends; it is on disk before it is done.

        Raises:
            InjectionError: no such live node, the id is in use, or nodes of this kind cannot be harmed so.
        """
        if self._ledger.effect(effect_id) is not None:
            raise InjectionError(f"effect {effect_id!r} is in force already")
        if isinstance(harm, NodeHarm):
            why = self._driver.refuses(harm)
        else:
            why = next((why for one in self._enforcers if (why := one.refuses(harm))), "")
        if why:
            raise InjectionError(why)
        instance = self._ledger.live(node).instance if node or isinstance(harm, NodeHarm) else ""
        now_s = monotonic_s()
        self._ledger.put_effect(
            ActiveEffect(
                effect_id=effect_id,
                applied_monotonic_s=now_s,
                expires_monotonic_s=now_s + lease_s,
                harm=harm,
                instance=instance,
            )
        )
        if isinstance(harm, NodeHarm):
            self._touched.add(instance)
            async with self._lock_of(instance):
                try:
                    await self._enforce(instance, changed=type(harm))
                except ChaosError:
                    # Of a notice that could not be given, nothing is to follow.
                    if isinstance(harm, EndingNode):
                        self._ledger.drop_effects([effect_id])
                    raise
        else:
            self._enforce_on_cloud(effect_id, harm, undone=False)

    async def undo(self, effect_id: str) -> None:
        """Removes harm; other harm on the same node stays in force. What cannot be removed stays on the books."""
        effect = self._ledger.effect(effect_id)
        if effect is None:
            return
        async with self._lock_of(effect.instance):
            if self._ledger.effect(effect_id) is None:
                return
            if isinstance(effect.harm, EndingNode):
                await self._end_told(effect.instance)
            elif isinstance(effect.harm, NodeHarm):
                await self._enforce_without(effect)
            else:
                self._enforce_on_cloud(effect_id, effect.harm, undone=True)
            self._lifted(effect)
            self._ledger.drop_effects([effect_id])

    async def _enforce_without(self, effect: ActiveEffect) -> None:
        """Lifts one effect from its node; of a node that is gone, nothing is left to lift it from."""
        try:
            await self._enforce(effect.instance, without=effect.effect_id, changed=type(effect.harm))
        except ChaosError:
            instance = self._ledger.find(effect.instance)
            if instance is not None and not await self._driver.gone([instance]):
                raise

    async def _end_told(self, instance_id: str) -> None:
        """Kills a node that was told it would end, unless it has ended."""
        instance = self._ledger.find(instance_id)
        if instance is not None and instance.state in _THERE:
            await self._killed(instance)

    async def release(self, instance: Instance) -> None:
        """Lets a node that is to end obey nothing any more, so that it can end politely, or start anew unharmed.

        What cannot be lifted ends with the node; it is told in the log.
        """
        if not instance.handle or not (self._inherits or instance.instance in self._touched):
            return
        async with self._lock_of(instance.instance):
            try:
                await self._driver.obey(instance, (), addresses={})
            except (ChaosError, OSError) as error:
                self._log.error("a node is ended with harm on it", node=instance.node, error=str(error))
            effects = self._ledger.effects_on(instance.instance)
            self._ledger.drop_effects(item.effect_id for item in effects if isinstance(item.harm, NodeHarm))

    def frozen(self, instance_id: str) -> bool:
        """Whether a node is paused."""
        return any(isinstance(effect.harm, FrozenNode) for effect in self._ledger.effects_on(instance_id))

    def ending(self, instance_id: str) -> bool:
        """Whether a node has been told that it will end."""
        return any(isinstance(effect.harm, EndingNode) for effect in self._ledger.effects_on(instance_id))

    async def expire(self) -> None:
        """Restores what ended with an earlier Cloud; then undoes for ever what nobody undid before its lease ended."""
        await self._restore()
        undoing: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                ends_s = [effect.expires_monotonic_s for effect in self._ledger.effects()]
                await pause(
                    POLL_S,
                    within_s=max(0.0, min(ends_s, default=math.inf) - monotonic_s()),
                    of=None if undoing else self._ledger.state,
                )
                for task in [task for task in undoing.values() if task.done()]:
                    task.result()
                undoing = {effect_id: task for effect_id, task in undoing.items() if not task.done()}
                now_s = monotonic_s()
                # Side by side: a node on which that takes long holds up no other.
                for effect in self._ledger.effects():
                    if effect.expires_monotonic_s <= now_s and effect.effect_id not in undoing:
                        undoing[effect.effect_id] = asyncio.create_task(self._expired(effect.effect_id))
        finally:
            for task in undoing.values():
                task.cancel()
            await asyncio.gather(*undoing.values(), return_exceptions=True)

    async def _expired(self, effect_id: str) -> None:
        self._log.warning("a lease ended before its effect was undone", effect=effect_id)
        try:
            await self.undo(effect_id)
        except (ChaosError, OSError) as error:
            self._log.error("undoing failed; trying again", effect=effect_id, error=repr(error))

    async def follow(self) -> None:
        """For ever, keeps what is meant for peers to these: the address of one that ended may be given to another."""
        known = self._addresses()
        stale: set[str] = set()
        while True:
            await pause(POLL_S, of=None if stale else self._ledger.state)
            before, known = known, self._addresses()
            moved = {name for name in before.keys() | known.keys() if before.get(name) != known.get(name)}
            stale = await self._readdress(stale | self._meant_for(moved))

    def _meant_for(self, peers: Collection[str]) -> set[str]:
        """The instances with a shape that is meant for one of these peers."""
        return {
            effect.instance
            for effect in self._ledger.effects()
            if isinstance(effect.harm, NetworkShape) and set(peers) & set(effect.harm.peers or ())
        }

    async def _readdress(self, instances: Collection[str]) -> set[str]:
        """Enforces their shapes by the addresses there are now; returns those where that is yet to be done."""
        left = set()
        for instance in sorted(instances):
            async with self._lock_of(instance):
                try:
                    await self._enforce(instance, changed=NetworkShape)
                except (ChaosError, OSError) as error:
                    left.add(instance)
                    self._log.error("old addresses are still in force; trying again", node=instance, error=repr(error))
        return left

    async def _restore(self) -> None:
        """Enforces what is on the books: part of it may have been done by processes of a Cloud that is gone."""
        for instance in {effect.instance for effect in self._ledger.effects() if effect.instance}:
            async with self._lock_of(instance):
                try:
                    await self._enforce(instance)
                except (ChaosError, OSError) as error:
                    self._log.error("harm could not be restored", instance=instance, error=repr(error))

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path between two nodes."""
        driver = self._networks()
        return await driver.measure_path(self._end(source), self._end(destination), transfer_kib=transfer_kib)

    async def sample_path(self, source: str, destination: str, how: Sampling) -> PathSample:
        """Counts packets that are sent one way along a path."""
        return await self._networks().sample_path(self._end(source), self._end(destination), how)

    async def view_network(self, node: str) -> NetworkView:
        """What a node's kernel shows of its network."""
        return await self._networks().view_network(self._ledger.live(node), addresses=self._addresses())

    def _networks(self) -> NetworkDriver:
        if self._network_driver is None:
            raise InjectionError("nodes of a local cluster share this machine's network; use --cluster compose")
        return self._network_driver

    def _end(self, name: str) -> Instance:
        """An end of a path: a live node, or the Cloud."""
        return self._networks().itself() if name == CLOUD else self._ledger.live(name)

    def _addresses(self) -> dict[str, str]:
        """Where nodes and, if it has an address of its own, the Cloud are."""
        ends = self._ledger.instances()
        if self._network_driver is not None:
            ends = [*ends, self._network_driver.itself()]
        return {item.node: item.address for item in ends if item.address}

    async def gauges(self, node: str) -> Gauges | None:
        """What a node uses of its resources; None where it does not run."""
        assert isinstance(self._driver, GaugeDriver)
        instance = next((item for item in self._ledger.running() if item.node == node), None)
        return None if instance is None else await self._driver.gauges(instance)

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """How fast a node writes to its disk, in megabytes a second; None where it does not run."""
        if not isinstance(self._driver, DiskDriver):
            raise InjectionError("nodes of a local cluster share this machine's disk; use --cluster compose")
        instance = next((item for item in self._ledger.running() if item.node == node), None)
        return None if instance is None else await self._driver.measure_disk(instance, transfer_kib=transfer_kib)

    def _lock_of(self, instance_id: str) -> asyncio.Lock:
        return self._node_locks.setdefault(instance_id, asyncio.Lock())

    async def _enforce(self, instance_id: str, *, without: str = "", changed: type[Value] | None = None) -> None:
        """Makes a node obey what is in force on it, but for one effect; all of it, or what is of the kind `changed`."""
        instance = self._ledger.find(instance_id)
        if instance is None or instance.state not in _THERE:
            return
        harms = [effect.harm for effect in self._ledger.effects_on(instance_id) if effect.effect_id != without]
        mine = [harm for harm in harms if isinstance(harm, NodeHarm)]
        await self._driver.obey(instance, mine, addresses=self._addresses(), changed=changed)

    def _enforce_on_cloud(self, effect_id: str, changed: CloudHarm, *, undone: bool) -> None:
        """Makes the Cloud obey what is in force on it of the kind that changes."""
        effects = [effect for effect in self._ledger.effects() if not (undone and effect.effect_id == effect_id)]
        for enforcer in self._enforcers:
            if isinstance(changed, enforcer.kinds):
                harms = [effect.harm for effect in effects if isinstance(effect.harm, CloudHarm)]
                enforcer.obey(effect_id, harms, undone=undone)
