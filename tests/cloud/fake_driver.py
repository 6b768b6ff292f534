"""A driver that runs nothing: what it was asked to run is noted, and dies or freezes when told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from chaos.cloud.config import CloudConfig
from chaos.cloud.configuring import ConfigurationFile
from chaos.cloud.core import Cloud
from chaos.cloud.driver import CLOUD, NodeLaunch, Sampling
from chaos.cloud.instances import Instance, StateFile
from chaos.cloud.journal import Journal
from chaos.cluster import NetworkView, NodeProcess, PathMeasurement, PathSample
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.events import Event
from chaos.harm import FrozenNode, NetworkShape, NodeHarm
from chaos.value import Value
from tests.doubles import VirtualClock

SPEC = ClusterSpec(
    node_types={"gpu": NodeType(resources={"CPU": 2.0, "GPU": 1.0}), "cpu": NodeType(resources={"CPU": 2.0})}
)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
CONFIG = CloudConfig(cluster="toy", mark="toy#1", driver="process", spec=SPEC)


class FakeDriver:
    """`running` maps handle to instance id, `commands` instance id to what it runs; `frozen` are handles.

    `failing` maps a method to the error it raises. `slow_s` says how long methods take; `started`, how long after a
    node runs `start` says so.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock
        self.running: dict[str, str] = {}
        self.frozen: set[str] = set()
        self.failing: dict[str, Exception] = {}
        self.slow_s: dict[str, float] = {}
        self.calls: list[tuple[str, str]] = []
        self.commands: dict[str, tuple[str, ...]] = {}
        self.started = 0
        self.launches: list[NodeLaunch] = []

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """A new handle, and an address; what runs for the instance already is adopted."""
        await self._called("start", instance)
        self.launches.append(launch)
        handle = next((handle for handle, running in self.running.items() if running == instance.instance), None)
        if handle is None:
            self.started += 1
            handle = f"h{self.started}"
            self.running[handle] = instance.instance
            self.commands[instance.instance] = launch.argv
        if "started" in self.slow_s:
            assert self.clock is not None
            await self.clock.sleep(self.slow_s["started"])
        return instance.model_copy(update={"handle": handle, "address": f"10.0.0.{handle[1:]}"})

    async def adopt_head(self) -> Instance | None:
        """No head elsewhere."""
        return None

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:
        """Like a start."""
        await self._called("restart_head", head)
        return await self.start(head, launch)

    async def stop(self, instance: Instance, *, limit_s: float) -> None:
        """It is gone."""
        await self._called("stop", instance)
        for handle in [handle for handle, running in self.running.items() if running == instance.instance]:
            self.vanish(handle)

    async def kill(self, instance: Instance) -> bool:
        """It is gone."""
        await self._called("kill", instance)
        ran = instance.handle in self.running
        self.vanish(instance.handle)
        return ran

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """It is gone, and there again under a new handle."""
        await self._called("restart", instance)
        self.vanish(instance.handle)
        return await self.start(instance, launch)

    async def prepare_notice(self) -> None:
        """Nothing to do."""

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        """Noted."""
        await self._called(f"keep_up {wanted}", instance)

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        """Its raylet, numbered as its handle is."""
        if instance.handle not in self.running:
            return ()
        return (NodeProcess(pid=int(instance.handle[1:]), started_ticks=7, role="raylet", title="raylet"),)

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Those whose handle does not run."""
        if "gone" in self.failing:
            raise self.failing["gone"]
        return {item.instance for item in instances if item.handle not in self.running}

    def refuses(self, harm: NodeHarm) -> str:
        """Networks, as on one machine."""
        return "use --cluster compose" if isinstance(harm, NetworkShape) else ""

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],
        changed: type[Value] | None = None,
    ) -> None:
        """It freezes, if it runs, or thaws."""
        await self._called("obey", instance)
        if any(isinstance(harm, FrozenNode) for harm in harms) and instance.handle in self.running:
            self.frozen.add(instance.handle)
        else:
            self.frozen.discard(instance.handle)

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """The frozen nodes."""
        return tuple(f"{item.node}: frozen" for item in instances() if item.handle in self.frozen)

    async def tear_down(self) -> None:
        """Nothing runs."""
        self.running.clear()
        self.frozen.clear()

    def vanish(self, handle: str) -> None:
        """It ends by itself."""
        self.running.pop(handle, None)
        self.frozen.discard(handle)

    async def _called(self, method: str, instance: Instance) -> None:
        self.calls.append((method, instance.instance))
        if method in self.slow_s:
            assert self.clock is not None
            await self.clock.sleep(self.slow_s[method])
        if method in self.failing:
            raise self.failing[method]


class FakeNetworkDriver(FakeDriver):
    """The same, with networks: `shapes` and `addresses` are what each instance's network obeys."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        super().__init__(clock)
        self.shapes: dict[str, list[NetworkShape]] = {}
        self.addresses: dict[str, str] = {}

    def refuses(self, harm: NodeHarm) -> str:
        """Nothing."""
        return ""

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],
        changed: type[Value] | None = None,
    ) -> None:
        """Noted."""
        await super().obey(instance, harms, addresses=addresses, changed=changed)
        self.shapes[instance.instance] = [harm for harm in harms if isinstance(harm, NetworkShape)]
        self.addresses = dict(addresses)

    async def sample_path(self, source: Instance, destination: Instance, how: Sampling) -> PathSample:
        """All arrive; the delay says to which port."""
        return PathSample(sent=how.packets, arrived=how.packets, delay_ms=float(how.port))

    async def view_network(self, instance: Instance, *, addresses: Mapping[str, str]) -> NetworkView:
        """The means are the names that have an address."""
        return NetworkView(means=tuple(sorted(addresses)))

    def itself(self) -> Instance:
        """At an address of its own."""
        cloud = Instance(instance=CLOUD, node=CLOUD, node_type=CLOUD, state="running")
        return cloud.model_copy(update={"handle": "own", "address": "10.0.0.99"})

    async def measure_path(self, source: Instance, destination: Instance, *, transfer_kib: int) -> PathMeasurement:
        """As fast as the transfer is large."""
        return PathMeasurement(reachable=True, rtt_ms=1.0, rate_mbit=float(transfer_kib))

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """The frozen nodes, and those whose networks are shaped."""
        shaped = tuple(f"{item.node}: shaped" for item in instances() if self.shapes.get(item.instance))
        return await super().harm_seen(instances) + shaped


class Sky:
    """A Cloud over a fake driver, and where it keeps its state; `reborn` is the Cloud after its own restart."""

    def __init__(
        self, directory: Path, *, driver: FakeDriver | None = None, clock: VirtualClock | None = None,
        config: CloudConfig = CONFIG,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.config = config
        self.driver = driver or FakeDriver(clock)
        self.launch_failing: Exception | None = None
        self.cloud = self._cloud()

    def reborn(self) -> Cloud:
        """A new Cloud with the state of the old one, which must have been abandoned."""
        self.cloud = self._cloud()
        return self.cloud

    def _cloud(self) -> Cloud:
        async def launch_for(instance: Instance) -> NodeLaunch:
            if self.launch_failing is not None:
                raise self.launch_failing
            return NodeLaunch(argv=("ray", "start"), environment={})

        state = StateFile(self.directory / "state.json")
        configuration = ConfigurationFile(self.directory / "autoscaling.yaml", lambda spec: spec.model_dump_json())
        journal = Journal(self.directory / "events.jsonl")
        return Cloud(
            self.config, self.driver, state=state, journal=journal, launch_for=launch_for, configuration=configuration
        )

    async def events(self) -> list[Event]:
        """The lifecycle events so far."""
        lines = [await self.cloud.journal.line(number) for number in range(len(self.cloud.journal))]
        return [_EVENT.validate_python(json.loads(line)["event"]) for line in lines]


def on_virtual_time(patch: pytest.MonkeyPatch, clock: VirtualClock) -> None:
    """Lets the Cloud live on a virtual clock."""
    for module in ("core", "harming", "launching", "answers", "ledger"):
        patch.setattr(f"chaos.cloud.{module}.monotonic_s", clock.now_s)

    async def pause(interval_s: float, **_: object) -> None:
        await clock.sleep(interval_s)

    for module in ("core", "harming", "launching", "answers"):
        patch.setattr(f"chaos.cloud.{module}.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
        patch.setattr(f"chaos.cloud.{module}.pause", pause, raising=False)
