"""A cluster without nodes that can be harmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chaos.cluster import (
    ChangesConfiguration,
    Connection,
    EndsProcesses,
    FaultsAnswers,
    FaultsDevices,
    FaultsLaunches,
    FaultsRpcs,
    FaultsViews,
    FillsDisks,
    FillsStores,
    Gauges,
    GivesNotice,
    KillsNodes,
    LimitsFiles,
    NetworkView,
    Node,
    NodeProcess,
    PathMeasurement,
    PathSample,
    PausesNodes,
    PressesMemory,
    RestartsHead,
    RestartsNodes,
    RestartsRaylets,
    RpcFaultsSeen,
    ShapesNetworks,
    SignalsProcesses,
    SkewsClocks,
    ThrottlesCpus,
    ThrottlesDisks,
    UndoesEffects,
    Vitals,
)
from chaos.errors import InjectionError
from chaos.fault import Effect
from chaos.harm import (
    AnswerHarm,
    ClockSkew,
    CloudHarm,
    ConfigChange,
    CpuThrottle,
    DeviceFault,
    DiskFill,
    DiskThrottle,
    EndedOperator,
    EndedProcess,
    EndingNode,
    FileLimit,
    KubeRayHarm,
    LaunchHarm,
    MemoryPressure,
    NetworkShape,
    NodeHarm,
    Role,
    RpcFault,
    StoreFill,
    ViewHarm,
)
from chaos.history import Recorder
from chaos.kuberay import RunsOnKubeRay
from tests.doubles.clock import VirtualClock
from tests.doubles.nodes import FakeProcess, node_named, processes_on

OPEN_MBIT = 900.0


class FakeCluster:
    """A cluster in name only, with every capability.

    Harm is in force as soon as it is applied and shows in vitals and paths, unless `harmless`. `failing` maps the name
    of a method to the error it raises; `slow_s` to how long it takes on the clock; `calls` is what was asked, in order;
    `open_mbit` is how fast a path is without harm. Every look at a node's gauges is two seconds after the one before,
    in which the node used `busy_cores`, or what it may; `taken` is what takes resources, by effect.
    """

    kind = "fake"

    def __init__(self, clock: VirtualClock | None = None, *, workers: int = 3, name: str = "fake") -> None:
        self.name = name
        self.clock = clock
        self.calls: list[tuple[str, ...]] = []
        self.failing: dict[str, Exception] = {}
        self.slow_s: dict[str, float] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.open_mbit = OPEN_MBIT
        self.harmless = False
        self.effects: dict[str, tuple[str, bool, NetworkShape | None, CloudHarm | None]] = {}
        self.taken: dict[str, NodeHarm] = {}
        self.busy_cores = 2.0
        self.gauged: dict[str, Gauges] = {}
        self.members: dict[str, Node] = {"head": node_named("head")}
        for ordinal in range(1, workers + 1):
            self.members[f"w{ordinal}"] = node_named(f"w{ordinal}")
        self.processes: list[FakeProcess] = []
        self.on_nodes = {node: processes_on(node) for node in self.members}
        self.stopped: dict[str, tuple[str, Role]] = {}
        self.ended: dict[str, tuple[str, EndedProcess]] = {}
        self.executed: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
        self.data = Path()
        self.seen: dict[str, list[Effect]] = {}
        self.changes: dict[str, ConfigChange] = {}
        self.rpc_faults: dict[str, RpcFault] = {}
        self.rpcs_seen: dict[str, RpcFaultsSeen] = {}

    def named(self, method: str) -> list[tuple[str, ...]]:
        """The calls of one method, without its name."""
        return [call[1:] for call in self.calls if call[0] == method]

    async def start(self) -> None:
        """Nothing to start."""

    async def begin_run(self, recorder: Recorder) -> None:
        """Nothing to record."""

    async def end_run(self) -> None:
        """Every effect is undone."""
        self.effects.clear()

    async def stop(self) -> None:
        """Nothing to stop."""

    async def nodes(self) -> tuple[Node, ...]:
        """The members, head first."""
        await self._called("nodes")
        return tuple(sorted(self.members.values(), key=lambda node: node.ordinal))

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> FakeProcess:
        """The next of `processes`."""
        self.executed.append((module, arguments, dict(environment)))
        return self.processes.pop(0)

    async def hosts_programs(self) -> bool:
        """The head does."""
        return "head" in self.members

    def data_directory(self, run_id: str) -> tuple[Path, str]:
        """`data`, also on the nodes."""
        return self.data, f"/on-nodes/{run_id}"

    async def dump_stacks(self, into: Path) -> int:
        """No stacks."""
        return 0

    async def collect_logs(self, into: Path) -> None:
        """No logs."""

    async def leftovers(self) -> tuple[str, ...]:
        """The effects in force."""
        return tuple(self.effects)

    async def undo(self, effect_id: str) -> None:
        """Removes the effect."""
        await self._called("undo", effect_id)
        self.effects.pop(effect_id, None)
        self.stopped.pop(effect_id, None)
        node, end = self.ended.pop(effect_id, ("", None))
        if end is not None and end.restart:
            self.on_nodes[node] = processes_on(node)

    async def active_effects(self) -> tuple[str, ...]:
        """The effects in force."""
        return tuple(self.effects)

    async def kill_node(self, node: str) -> None:
        """Takes the node out."""
        await self._called("kill_node", node)
        self._live(node)
        del self.members[node]

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Notes the pause."""
        await self._called("pause_node", node, effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, True, None, None)

    async def vitals(self, node: str) -> Vitals | None:
        """Three processes, all stopped while paused."""
        await self._called("vitals", node)
        if node not in self.members:
            return None
        paused = not self.harmless and any(effect[0] == node and effect[1] for effect in self.effects.values())
        return Vitals(processes=3, stopped=3 if paused else 0, cpu_s=1.0)

    async def fault_answers(self, fault: AnswerHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Notes the fault."""
        await self._called("fault_answers", effect_id, f"{lease_s:g}", node)
        if node:
            self._live(node)
        self.effects[effect_id] = (node, False, None, fault)

    async def fault_views(self, fault: ViewHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Notes the fault."""
        await self._called("fault_views", effect_id, f"{lease_s:g}", node)
        if node:
            self._live(node)
        self.effects[effect_id] = (node, False, None, fault)

    async def processes_of(self, node: str) -> tuple[NodeProcess, ...]:
        """What `on_nodes` says, stopped as asked."""
        await self._called("processes_of", node)
        if node not in self.members:
            return ()
        roles = {role for owner, role in self.stopped.values() if owner == node and not self.harmless}
        return tuple(item.model_copy(update={"stopped": item.role in roles}) for item in self.on_nodes[node])

    async def kill_processes(self, node: str, processes: Sequence[NodeProcess]) -> None:
        """Takes them out."""
        wanted = {(item.pid, item.started_ticks) for item in processes}
        await self._called("kill_processes", node, *(str(pid) for pid, _ in sorted(wanted)))
        self._live(node)
        if not self.harmless:
            self.on_nodes[node] = [x for x in self.on_nodes[node] if (x.pid, x.started_ticks) not in wanted]

    async def stop_processes(self, node: str, role: Role, *, effect_id: str, lease_s: float) -> None:
        """Notes it."""
        await self._called("stop_processes", node, role, effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, False, None, None)
        self.stopped[effect_id] = (node, role)

    async def end_process(self, node: str, end: EndedProcess, *, effect_id: str, lease_s: float) -> None:
        """Takes it out, to be put back."""
        await self._called("end_process", node, end.role, effect_id, f"{lease_s:g}")
        self.effects[effect_id] = (node, False, None, None)
        self.ended[effect_id] = (node, end)
        if not self.harmless:
            self.on_nodes[node] = [item for item in self.on_nodes[node] if item.role != end.role]

    async def prepare_notice(self) -> None:
        """Notes it."""
        await self._called("prepare_notice")

    async def give_notice(self, node: str, ending: EndingNode, *, effect_id: str, lease_s: float) -> None:
        """Notes it."""
        await self._called("give_notice", node, ending.told_by, f"{ending.notice_s:g}", effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, False, None, None)

    async def restart_node(self, node: str) -> None:
        """Notes it."""
        await self._called("restart_node", node)
        self._live(node)

    async def restart_raylet(self, node: str) -> None:
        """Notes it."""
        await self._called("restart_raylet", node)
        self._live(node)

    async def fault_launches(self, fault: LaunchHarm, *, effect_id: str, lease_s: float) -> None:
        """Notes the fault."""
        await self._called("fault_launches", effect_id, f"{lease_s:g}")
        self.effects[effect_id] = ("", False, None, fault)

    async def fault_devices(self, node: str, fault: DeviceFault, *, effect_id: str, lease_s: float) -> None:
        """Notes the fault."""
        await self._called("fault_devices", node, fault.mode, f"{fault.factor:g}", effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, False, None, None)

    async def change_configuration(self, change: ConfigChange, *, effect_id: str, lease_s: float) -> None:
        """Notes the change."""
        await self._called("change_configuration", effect_id, f"{lease_s:g}")
        self.effects[effect_id] = ("", False, None, None)
        self.changes[effect_id] = change

    async def configuration_was_read(self) -> bool:
        """At once, unless harmless."""
        return not self.harmless

    async def fault_kuberay(self, fault: KubeRayHarm, *, effect_id: str, lease_s: float) -> None:
        """Notes the fault."""
        await self._called("fault_kuberay", effect_id, f"{lease_s:g}")
        self.effects[effect_id] = ("", False, None, fault)

    async def operator_is_up(self) -> bool:
        """Unless a fault has ended it, and is not harmless."""
        await self._called("operator_is_up")
        ended = any(isinstance(effect[3], EndedOperator) for effect in self.effects.values())
        return self.harmless or not ended

    async def restart_head(self) -> None:
        """Noted."""
        await self._called("restart_head")

    async def fault_rpcs(self, fault: RpcFault, *, effect_id: str, lease_s: float) -> None:
        """Notes the fault."""
        await self._called("fault_rpcs", effect_id, f"{lease_s:g}")
        self.effects[effect_id] = ("", False, None, None)
        self.rpc_faults[effect_id] = fault

    async def rpc_faults_seen(self, node: str) -> RpcFaultsSeen | None:
        """What a test says is seen."""
        return self.rpcs_seen.get(node)

    async def shape_network(self, node: str, shape: NetworkShape, *, effect_id: str, lease_s: float) -> None:
        """Notes the shape."""
        await self._called("shape_network", node, effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, False, shape, None)

    async def throttle_cpu(self, node: str, throttle: CpuThrottle, *, effect_id: str, lease_s: float) -> None:
        """Notes the throttle."""
        await self._take("throttle_cpu", node, throttle, effect_id, lease_s)

    async def press_memory(self, node: str, pressure: MemoryPressure, *, effect_id: str, lease_s: float) -> None:
        """Notes the pressure."""
        await self._take("press_memory", node, pressure, effect_id, lease_s)

    async def limit_files(self, node: str, limit: FileLimit, *, effect_id: str, lease_s: float) -> None:
        """Notes the limit."""
        await self._take("limit_files", node, limit, effect_id, lease_s)

    async def fill_store(self, node: str, fill: StoreFill, *, effect_id: str, lease_s: float) -> None:
        """Notes the filling."""
        await self._take("fill_store", node, fill, effect_id, lease_s)

    async def fill_disk(self, node: str, fill: DiskFill, *, effect_id: str, lease_s: float) -> None:
        """Notes the filling."""
        await self._take("fill_disk", node, fill, effect_id, lease_s)

    async def skew_clock(self, node: str, skew: ClockSkew, *, effect_id: str, lease_s: float) -> None:
        """Notes the skew."""
        await self._take("skew_clock", node, skew, effect_id, lease_s)

    async def throttle_disk(self, node: str, throttle: DiskThrottle, *, effect_id: str, lease_s: float) -> None:
        """Notes the throttle."""
        await self._take("throttle_disk", node, throttle, effect_id, lease_s)

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """What the throttles in force leave of a disk as fast as `open_mbit` says in megabytes."""
        await self._called("measure_disk", node, str(transfer_kib))
        if node not in self.members:
            return None
        in_force = {key for key, effect in self.effects.items() if effect[0] == node and not self.harmless}
        held = [harm for key, harm in self.taken.items() if key in in_force]
        return min([self.open_mbit, *(harm.mb_per_s for harm in held if isinstance(harm, DiskThrottle))])

    async def gauges(self, node: str) -> Gauges | None:
        """What is left by what is taken of two cores, 1000 MB, a disk of 100 MB and 1024 files."""
        await self._called("gauges", node)
        if node not in self.members:
            return None
        in_force = {key for key, effect in self.effects.items() if effect[0] == node and not self.harmless}
        harms = [harm for key, harm in self.taken.items() if key in in_force]
        cores = [harm.cores for harm in harms if isinstance(harm, CpuThrottle)]
        held_mb = sum(harm.mb or 400 for harm in harms if isinstance(harm, MemoryPressure))
        full = [harm.until_percent for harm in harms if isinstance(harm, DiskFill)]
        spares = [harm.spare for harm in harms if isinstance(harm, FileLimit)]
        last = self.gauged.get(node, Gauges(at_s=0.0, cpu_s=0.0))
        may_use = min([self.busy_cores, *cores])
        self.gauged[node] = Gauges(
            at_s=last.at_s + 2.0,
            cpu_s=last.cpu_s + 2.0 * may_use,
            cpu_limit_cores=min(cores, default=None),
            throttled=last.throttled + (10 if may_use < self.busy_cores else 0),
            memory_mb=500.0 + held_mb,
            memory_limit_mb=1000.0,
            ballast_mb=held_mb,
            store_fillers=sum(isinstance(harm, StoreFill) for harm in harms),
            disk_fillers=len(full),
            disk_mb=100.0,
            disk_free_mb=100.0 - max([10.0, *full]),
            raylet_files=50,
            raylet_file_limit=min([1024, *(50 + spare for spare in spares)]),
            clock_offset_s=sum(harm.offset_s for harm in harms if isinstance(harm, ClockSkew)),
        )
        return self.gauged[node]

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """What the shapes in force leave of a fast path."""
        await self._called("measure_path", source, destination, str(transfer_kib))
        if not {source, destination} <= self.members.keys():
            return PathMeasurement(reachable=False)
        shapes = [(node, shape) for node, _, shape, _ in self.effects.values() if shape and not self.harmless]
        cut = any((shape.cut or shape.reset) and hit(node, shape, source, destination) for node, shape in shapes)
        rates = [shape.rate_mbit for node, shape in shapes if node in (source, destination) and shape.rate_mbit]
        if cut:
            return PathMeasurement(reachable=False)
        return PathMeasurement(reachable=True, rtt_ms=0.1, rate_mbit=min([self.open_mbit, *rates]))

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
    ) -> PathSample:
        """Exactly the shares that the shapes in force ask for."""
        await self._called("sample_path", source, destination, str(packets), str(port))
        if not {source, destination} <= {*self.members, "cloud"}:
            return PathSample(sent=packets, arrived=0)
        shapes = [
            shape
            for node, _, shape, _ in self.effects.values()
            if shape and not self.harmless and hit(node, shape, source, destination, port=port)
        ]
        down = any(shape.cut and not shape.up_s for shape in shapes)
        share = sum(shape.down_s / (shape.down_s + shape.up_s) for shape in shapes if shape.cut and shape.up_s)
        lost = round(packets * (share + sum(shape.loss_percent for shape in shapes) / 100.0))
        arrived = 0 if down else packets - lost
        return PathSample(
            sent=packets,
            arrived=arrived,
            duplicates=round(arrived * sum(shape.duplicate_percent for shape in shapes) / 100.0),
            damaged=round(arrived * sum(shape.corrupt_percent for shape in shapes) / 100.0),
            overtaken=round(arrived * sum(shape.reorder_percent for shape in shapes) / 100.0),
            delay_ms=0.1 + sum(shape.delay_ms for shape in shapes) if arrived else None,
            spread_ms=0.0 if arrived else None,
        )

    async def view_network(self, node: str) -> NetworkView:
        """A connection to each other node that was not reset, and `fake` as the means of every shape."""
        await self._called("view_network", node)
        shapes = [(at, shape) for at, _, shape, _ in self.effects.values() if shape and not self.harmless]
        return NetworkView(
            means=("fake",) if any(at == node for at, _ in shapes) else (),
            connections=tuple(
                Connection(peer=peer, own_port=40000, peer_port=6379)
                for peer in self.members
                if peer != node and not any(shape.reset and hit(at, shape, node, peer) for at, shape in shapes)
            ),
        )

    async def _called(self, method: str, *arguments: str) -> None:
        self.before(method)
        self.calls.append((method, *arguments))
        if method in self.slow_s:
            assert self.clock is not None
            await self.clock.sleep(self.slow_s[method])
        if method in self.failing:
            raise self.failing[method]

    async def _take(self, method: str, node: str, harm: NodeHarm, effect_id: str, lease_s: float) -> None:
        await self._called(method, node, effect_id, f"{lease_s:g}")
        self._live(node)
        self.taken[effect_id] = harm
        self.effects[effect_id] = (node, False, None, None)

    def _live(self, node: str) -> None:
        if node not in self.members:
            raise InjectionError(f"node {node!r} does not run")


def hit(node: str, shape: NetworkShape, source: str, destination: str, *, port: int = 0) -> bool:
    """Whether a shape of a node is of packets that go along a path, to a port."""
    way = {source: "out", destination: "in"}.get(node)
    peer = destination if source == node else source
    return (
        way is not None
        and shape.direction in ("both", way)
        and (shape.peers is None or peer in shape.peers)
        and (not shape.ports or port in (0, *shape.ports))
    )


CAPABILITIES: tuple[type, ...] = (
    UndoesEffects,
    KillsNodes,
    PausesNodes,
    SignalsProcesses,
    EndsProcesses,
    GivesNotice,
    RestartsNodes,
    RestartsRaylets,
    FaultsLaunches,
    FaultsAnswers,
    FaultsDevices,
    ShapesNetworks,
    FaultsRpcs,
    FaultsViews,
    ChangesConfiguration,
    RunsOnKubeRay,
    RestartsHead,
    ThrottlesCpus,
    PressesMemory,
    LimitsFiles,
    FillsStores,
    FillsDisks,
    ThrottlesDisks,
    SkewsClocks,
)
assert all(issubclass(FakeCluster, capability) for capability in CAPABILITIES)
