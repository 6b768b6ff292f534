"""The Cloud itself, without HTTP: instances that come and go, and harm done to them under leases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import structlog

from chaos.cloud.config import CloudConfig, dump_json
from chaos.cloud.driver import NetworkDriver, NodeDriver, NodeLaunch, ResolvedShape
from chaos.cloud.instances import ActiveEffect, CloudState, Instance, StateFile
from chaos.cluster import LaunchFault, NetworkShape, PathMeasurement
from chaos.errors import ChaosError, ClusterError, InjectionError
from chaos.events import Event, NodeLaunchFailed, NodeLaunching, NodeStarted, NodeTerminated, NodeTerminating

POLL_S = 0.25
STOP_LIMIT_S = 5.0
_LAUNCH_REQUEST_TAG = "ray-launch-request"

LaunchFor = Callable[[Instance], Coroutine[Any, Any, NodeLaunch]]


class LaunchRefused(ClusterError):
    """A launch was answered with an error, by a fault or because the type does not exist."""


class Journal:
    """The lifecycle events, appended to a file and served to whoever follows; numbered from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = path.read_text().splitlines() if path.exists() else []
        self._grown = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, event: Event) -> None:
        """Records an event as happening now."""
        line = dump_json({"monotonic_s": time.monotonic(), "event": event.model_dump(mode="json")})
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._lines.append(line)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def line(self, number: int) -> str:
        """The line with this number, as soon as it is there."""
        while len(self._lines) <= number:
            await self._grown.wait()
        return self._lines[number]


class Cloud:
    """Instances of one cluster, the leases of harm done to them, and of the cluster itself."""

    def __init__(
        self, config: CloudConfig, driver: NodeDriver, *, state: StateFile, journal: Journal, launch_for: LaunchFor
    ) -> None:
        self._config = config
        self._driver = driver
        self._file = state
        self._state: CloudState = state.load()
        self.journal = journal
        self._launch_for = launch_for
        self._tasks: set[asyncio.Task[None]] = set()
        self._node_locks: dict[str, asyncio.Lock] = {}
        lease_s = config.first_lease_s
        self._owner_until_s = None if lease_s is None else time.monotonic() + lease_s
        self._log = structlog.get_logger("cloud")

    # -- instances ------------------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """All instances that are not terminated, the head first."""
        living = [item for item in self._state.instances.values() if item.state != "terminated"]
        return sorted(living, key=lambda item: (item.instance != "head", item.instance))

    def view(self, instance: Instance) -> Literal["pending", "running", "paused", "stopping"]:
        """The instance's state as a reader of the history knows it."""
        if instance.state == "running" and self._paused(instance.instance):
            return "paused"
        return instance.state if instance.state != "terminated" else "stopping"

    async def resume(self) -> None:
        """Goes on where an earlier Cloud of this cluster stopped: boots what was pending, keeps leases."""
        for instance in self.instances():
            if instance.state == "pending":
                self._spawn(self._boot(instance.instance))
            elif instance.state == "stopping":
                self._spawn(self._end(instance.instance, cause="autoscaler"))
        self._spawn(self._watch())
        self._spawn(self._expire())

    async def start_head(self) -> Instance:
        """Adopts or starts the head."""
        known = self._state.instances.get("head")
        if known is not None and known.state == "running" and not await self._driver.gone([known]):
            return known
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
        head = head.model_copy(update={"state": "running", "tags": tags, "asked_monotonic_s": time.monotonic()})
        self._put(head)
        self.journal.append(NodeStarted(node="head", node_type="head", instance="head"))
        return head

    async def launch(self, node_type: str, count: int, tags: dict[str, str]) -> list[Instance]:
        """Accepts a launch of `count` instances; they boot later.

        Raises:
            LaunchRefused: the type is none of this cluster's, or launch faults answer with an error. Instances that no
                fault has hits left for are launched all the same, as clouds do that fill a request in part.
        """
        if node_type not in self._config.spec.node_types:
            raise LaunchRefused(
                f"node type {node_type!r} is none of this cluster's: {', '.join(self._config.spec.node_types)}"
            )
        refusals = self._refuse(node_type, count, tags)
        accepted = count - sum(hit for hit, _ in refusals)
        launched = self._accept(node_type, accepted, tags)
        if refusals:
            reasons = "; ".join(reason for _, reason in refusals)
            raise LaunchRefused(f"{reasons} ({accepted} of {count} were launched)" if accepted else reasons)
        return launched

    async def terminate(self, instance_id: str) -> None:
        """Ends an instance; of one that is gone or unknown, nothing is left to end."""
        instance = self._state.instances.get(instance_id)
        if instance is None or instance.state in ("stopping", "terminated"):
            return
        self._put(instance.model_copy(update={"state": "stopping"}))
        self.journal.append(NodeTerminating(node=instance.node))
        self._spawn(self._end(instance_id, cause="autoscaler"))

    def tag(self, instance_id: str, tags: dict[str, str]) -> None:
        """Adds tags to an instance."""
        instance = self._state.instances.get(instance_id)
        if instance is not None:
            self._put(instance.model_copy(update={"tags": {**instance.tags, **tags}}))

    def renumber(self) -> None:
        """Numbers the living workers from `w1` in launch order; the next launch continues there."""
        ordinal = 0
        for instance in self.instances():
            if instance.instance == "head":
                continue
            ordinal += 1
            self._put(instance.model_copy(update={"node": f"w{ordinal}"}))
        gone = {key for key, item in self._state.instances.items() if item.state == "terminated"}
        self._state = self._state.model_copy(
            update={
                "next_ordinal": ordinal + 1,
                "instances": {key: item for key, item in self._state.instances.items() if key not in gone},
            }
        )
        self._file.save(self._state)

    # -- harm -----------------------------------------------------------------------------------------------

    async def kill(self, node: str) -> None:
        """Ends a node at once.

        Raises:
            InjectionError: no such live node.
        """
        instance = self._live(node)
        self._put(instance.model_copy(update={"killed": True}))
        await self._driver.kill(instance)

    async def apply(
        self,
        effect_id: str,
        *,
        lease_s: float,
        node: str = "",
        pause: bool = False,
        launch: LaunchFault | None = None,
        network: NetworkShape | None = None,
    ) -> None:
        """Puts lasting harm in force until undone or the lease ends; it is on disk before it is done.

        Raises:
            InjectionError: no such live node, or the id is in use.
        """
        if effect_id in self._state.effects:
            raise InjectionError(f"effect {effect_id!r} is in force already")
        if network is not None:
            self._network_driver()
        instance = "" if launch is not None else self._live(node).instance
        self._put_effect(
            ActiveEffect(
                effect_id=effect_id,
                expires_monotonic_s=time.monotonic() + lease_s,
                instance=instance,
                pause=pause,
                launch=launch,
                network=network,
            )
        )
        if instance:
            await self._enforce(instance)

    async def undo(self, effect_id: str) -> None:
        """Removes harm; other harm on the same node stays in force."""
        effect = self._state.effects.get(effect_id)
        if effect is not None:
            await self._enforce_without(effect)

    def effects(self) -> list[ActiveEffect]:
        """The harm in force."""
        return list(self._state.effects.values())

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path between two nodes."""
        driver = self._network_driver()
        return await driver.measure_path(self._live(source), self._live(destination), transfer_kib=transfer_kib)

    async def harm_seen(self) -> tuple[str, ...]:
        """What still shows of harm, and of what should have ended, whatever we believe to be in force."""
        return await self._driver.harm_seen(self.instances())

    # -- the cluster's own lease ----------------------------------------------------------------------------

    def renew_owner(self, ttl_s: float) -> None:
        """The cluster lives at least this much longer; without renewal it is torn down."""
        self._owner_until_s = time.monotonic() + ttl_s

    def keep(self) -> None:
        """The cluster lives until it is told to end."""
        self._state = self._state.model_copy(update={"kept": True})
        self._file.save(self._state)

    @property
    def kept(self) -> bool:
        """Whether the cluster outlives its starter."""
        return self._state.kept

    def orphaned(self) -> bool:
        """Whether the owner let its lease end."""
        return not self._state.kept and self._owner_until_s is not None and time.monotonic() > self._owner_until_s

    async def tear_down(self) -> None:
        """Ends every node and all harm."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for instance in self.instances():
            if self._paused(instance.instance):
                await self._driver.resume(instance)
        await self._driver.tear_down()
        self._state = CloudState()
        self._file.save(self._state)

    # -- inside ---------------------------------------------------------------------------------------------

    def _live(self, node: str) -> Instance:
        for instance in self.instances():
            if instance.node == node and instance.state == "running":
                return instance
        running = ", ".join(item.node for item in self.instances() if item.state == "running")
        raise InjectionError(f"node {node!r} does not run; running: {running or 'none'}")

    def _network_driver(self) -> NetworkDriver:
        if not isinstance(self._driver, NetworkDriver):
            raise InjectionError("nodes of a local cluster share this machine's network; use --cluster compose")
        return self._driver

    def _paused(self, instance_id: str) -> bool:
        return any(effect.pause and effect.instance == instance_id for effect in self._state.effects.values())

    def _refuse(self, node_type: str, count: int, tags: dict[str, str]) -> list[tuple[int, str]]:
        """How many of `count` instances launch faults refuse, each so many as it has hits left, and why."""
        refusals: list[tuple[int, str]] = []
        for effect, fault in self._launch_effects(node_type):
            hit = _hits(effect, fault, count - sum(hit for hit, _ in refusals))
            if fault.error is None or not hit:
                continue
            self._put_effect(effect.model_copy(update={"launches_hit": effect.launches_hit + hit}))
            request = tags.get(_LAUNCH_REQUEST_TAG, "")
            self.journal.append(NodeLaunchFailed(node_type=node_type, count=hit, reason=fault.error, request=request))
            refusals.append((hit, fault.error))
        return refusals

    def _accept(self, node_type: str, count: int, tags: dict[str, str]) -> list[Instance]:
        now_s = time.monotonic()
        launched = []
        for delay_s in self._delays_s(node_type, count):
            number, ordinal = self._state.next_instance, self._state.next_ordinal
            instance = Instance(
                instance=f"i-{number:05d}",
                node=f"w{ordinal}",
                node_type=node_type,
                state="pending",
                tags=dict(tags),
                asked_monotonic_s=now_s,
                boot_at_monotonic_s=now_s + delay_s,
            )
            self._state = self._state.model_copy(
                update={
                    "next_instance": number + 1,
                    "next_ordinal": ordinal + 1,
                    "instances": {**self._state.instances, instance.instance: instance},
                }
            )
            launched.append(instance)
            request = tags.get(_LAUNCH_REQUEST_TAG, "")
            self.journal.append(NodeLaunching(node=instance.node, node_type=node_type, request=request))
        self._file.save(self._state)
        for instance in launched:
            self._spawn(self._boot(instance.instance))
        return launched

    def _launch_effects(self, node_type: str) -> list[tuple[ActiveEffect, LaunchFault]]:
        return [
            (effect, effect.launch)
            for effect in self._state.effects.values()
            if effect.launch is not None and effect.launch.node_type in (None, node_type)
        ]

    def _delays_s(self, node_type: str, count: int) -> list[float]:
        """How late each of `count` instances is: of an effect that has hits left, the first of them are."""
        delays_s = [0.0] * count
        for effect, fault in self._launch_effects(node_type):
            hit = _hits(effect, fault, count)
            if fault.error is not None or not hit:
                continue
            self._put_effect(effect.model_copy(update={"launches_hit": effect.launches_hit + hit}))
            delays_s[:hit] = [max(delay_s, fault.delay_s) for delay_s in delays_s[:hit]]
        return delays_s

    async def _enforce_without(self, effect: ActiveEffect) -> None:
        lock = self._node_locks.setdefault(effect.instance, asyncio.Lock())
        async with lock:
            if effect.effect_id not in self._state.effects:
                return
            rest = {key: value for key, value in self._state.effects.items() if key != effect.effect_id}
            self._state = self._state.model_copy(update={"effects": rest})
            try:
                await self._enforce_now(effect.instance)
            except BaseException:
                self._state = self._state.model_copy(
                    update={"effects": {**self._state.effects, effect.effect_id: effect}}
                )
                raise
            self._file.save(self._state)

    async def _enforce(self, instance_id: str) -> None:
        async with self._node_locks.setdefault(instance_id, asyncio.Lock()):
            await self._enforce_now(instance_id)

    async def _enforce_now(self, instance_id: str) -> None:
        instance = self._state.instances.get(instance_id)
        if instance is None or instance.state != "running":
            return
        shapes = {
            effect.effect_id: ResolvedShape(
                rate_mbit=effect.network.rate_mbit, cut_from=tuple(self._addresses(effect.network.cut_from))
            )
            for effect in self._state.effects.values()
            if effect.network is not None and effect.instance == instance_id
        }
        if isinstance(self._driver, NetworkDriver):
            await self._driver.shape(instance, shapes)
        if self._paused(instance_id):
            await self._driver.pause(instance)
        else:
            await self._driver.resume(instance)

    def _addresses(self, nodes: tuple[str, ...]) -> list[str]:
        by_node = {item.node: item.address for item in self.instances()}
        return [by_node[node] for node in nodes if by_node.get(node)]

    async def _boot(self, instance_id: str) -> None:
        booting = self._state.instances[instance_id]
        await asyncio.sleep(max(0.0, booting.boot_at_monotonic_s - time.monotonic()))
        instance = self._state.instances.get(instance_id)  # ended and forgotten meanwhile, it is not there
        if instance is None or instance.state != "pending":
            return
        try:
            started = await self._driver.start(instance, await self._launch_for(instance))
        except (ClusterError, OSError) as error:
            if (now := self._state.instances.get(instance_id)) is None or now.state != "pending":
                return
            instance = now
            self._put(instance.model_copy(update={"state": "terminated"}))
            self.journal.append(
                NodeLaunchFailed(
                    node_type=instance.node_type,
                    reason=str(error),
                    request=instance.tags.get(_LAUNCH_REQUEST_TAG, ""),
                    node=instance.node,
                )
            )
            return
        now = self._state.instances.get(instance_id)
        if now is None or now.state != "pending":
            await self._driver.stop(started, limit_s=0.0)
            return
        self._put(started.model_copy(update={"state": "running", "tags": now.tags, "node": now.node}))
        self.journal.append(NodeStarted(node=now.node, node_type=now.node_type, instance=instance_id))

    async def _end(self, instance_id: str, *, cause: Literal["autoscaler", "exited"]) -> None:
        instance = self._state.instances[instance_id]
        if self._paused(instance_id):
            await self._driver.resume(instance)
        while instance.handle:
            try:
                await self._driver.stop(instance, limit_s=STOP_LIMIT_S)
                break
            except ChaosError as error:
                self._log.error("a node does not end; trying again", node=instance.node, error=str(error))
                await asyncio.sleep(STOP_LIMIT_S)
        self._retire(instance_id, cause=cause)

    def _retire(self, instance_id: str, *, cause: Literal["autoscaler", "exited"]) -> None:
        instance = self._state.instances.get(instance_id)
        if instance is None or instance.state == "terminated":
            return
        effects = {key: item for key, item in self._state.effects.items() if item.instance != instance_id}
        self._state = self._state.model_copy(update={"effects": effects})
        self._put(instance.model_copy(update={"state": "terminated"}))
        # Whoever is first to see it go: a node that was killed ended by that.
        self.journal.append(NodeTerminated(node=instance.node, cause="killed" if instance.killed else cause))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            running = [item for item in self.instances() if item.state == "running"]
            try:
                for instance_id in await self._driver.gone(running):
                    instance = self._state.instances.get(instance_id)
                    if instance is not None and instance.state == "running":
                        await self._driver.stop(instance, limit_s=0.0)
                        self._retire(instance_id, cause="exited")
            except (ChaosError, OSError) as error:
                self._log.error("looking for ended nodes failed; looking again", error=repr(error))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            now_s = time.monotonic()
            for effect in self.effects():
                if effect.expires_monotonic_s <= now_s:
                    self._log.warning("a lease ended before its effect was undone", effect=effect.effect_id)
                    try:
                        await self.undo(effect.effect_id)
                    except (ChaosError, OSError) as error:
                        self._log.error("undoing failed; trying again", effect=effect.effect_id, error=repr(error))

    def _put(self, instance: Instance) -> None:
        self._state = self._state.model_copy(
            update={"instances": {**self._state.instances, instance.instance: instance}}
        )
        self._file.save(self._state)

    def _put_effect(self, effect: ActiveEffect) -> None:
        self._state = self._state.model_copy(update={"effects": {**self._state.effects, effect.effect_id: effect}})
        self._file.save(self._state)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a task of the Cloud failed", error=repr(error), exc_info=error)


def _hits(effect: ActiveEffect, fault: LaunchFault, count: int) -> int:
    """How many of `count` instances an effect on launches hits: as many as it has hits left for."""
    return count if fault.count is None else max(0, min(count, fault.count - effect.launches_hit))
