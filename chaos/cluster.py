"""The cluster under test, and the small protocols that say what can be done to it.

A cluster lacks a capability by not implementing its protocol. Lasting harm is applied under an `effect_id` chosen
by the caller, with a lease; `undo` of that id removes it, however often it is called, and the lease removes it when
nobody does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from chaos.harm import (
    AnswerHarm,
    ClockSkew,
    ConfigChange,
    CpuThrottle,
    DeviceFault,
    DiskFill,
    DiskThrottle,
    EndedProcess,
    EndingNode,
    FileLimit,
    LaunchHarm,
    MemoryPressure,
    NetworkShape,
    Role,
    RpcFault,
    StoreFill,
    ViewHarm,
)
from chaos.history import Recorder
from chaos.network_reading import Connection as Connection
from chaos.network_reading import NetworkView as NetworkView
from chaos.network_reading import PathMeasurement as PathMeasurement
from chaos.network_reading import PathSample as PathSample
from chaos.value import Value


class Node(Value):
    """A node as the Cloud knows it. `node` is `head` or a launch ordinal `w1`, `w2`, … of this run."""

    node: str
    node_type: str
    state: Literal["pending", "running", "paused", "stopping", "terminated"]
    instance: str
    launched_s: float = 0.0

    @property
    def ordinal(self) -> int:
        """The launch ordinal; 0 for the head."""
        return int(self.node[1:]) if self.node.startswith("w") else 0


class Process(Protocol):
    """A program running on the head node: the workload's driver, or its oracle."""

    def lines(self) -> AsyncIterator[str]:
        """Its standard output and error, line by line, until it ends."""
        ...

    async def wait(self) -> int:
        """Its exit status, once it ends."""
        ...

    async def stop(self) -> None:
        """Ends it and what it started; harmless when it has ended."""
        ...


class Cluster(Protocol):
    """A Ray cluster under test: started, watched, given jobs, stopped."""

    kind: str
    name: str

    async def start(self) -> None:
        """Returns once the head is up and the minimum of workers has joined.

        Raises:
            ClusterError: it cannot be started, or is not healthy within its limit; nothing is left running.
        """
        ...

    async def begin_run(self, recorder: Recorder) -> None:
        """Numbers the workers anew from `w1` and begins to record the cluster's events and samples."""
        ...

    async def end_run(self) -> None:
        """Stops recording; every effect is undone."""
        ...

    async def stop(self) -> None:
        """Ends everything this cluster started; idempotent."""
        ...

    async def nodes(self) -> tuple[Node, ...]:
        """The instances the Cloud has that are not terminated, head first, then by ordinal."""
        ...

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:
        """Starts `python -m module arguments` on the head, or the node meant for it, connected to this cluster."""
        ...

    async def hosts_programs(self) -> bool:
        """Whether the node runs on which `execute` starts programs."""
        ...

    def data_directory(self, run_id: str) -> tuple[Path, str]:
        """A directory all nodes share for one run: its path on this machine, and its path on the nodes."""
        ...

    async def dump_stacks(self, into: Path) -> int:
        """Writes stack dumps of the cluster's Python processes into a directory; returns how many."""
        ...

    async def collect_logs(self, into: Path) -> None:
        """Copies Ray's, the Cloud's and the nodes' logs into a directory."""
        ...

    async def leftovers(self) -> tuple[str, ...]:
        """Traces of harm: active effects, network rules, stopped processes, what outlived its node or its run."""
        ...


@runtime_checkable
class UndoesEffects(Protocol):
    """Lasting effects can be undone by id."""

    async def undo(self, effect_id: str) -> None:
        """Removes the effect; harmless when it is gone or never was."""
        ...

    async def active_effects(self) -> tuple[str, ...]:
        """Ids of the effects in force."""
        ...


@runtime_checkable
class KillsNodes(Protocol):
    """A node can be ended at once, as by a power cut."""

    async def kill_node(self, node: str) -> None:
        """Sends SIGKILL to all of the node."""
        ...


@runtime_checkable
class RestartsHead(Protocol):
    """The head can be ended at once, and started again at its address with what its GCS had stored."""

    async def restart_head(self) -> None:
        """Sends SIGKILL to all of the head and starts it again; returns once it runs, before Ray on it answers."""
        ...


class Vitals(Value):
    """Signs of life of one node, read from the machine and not from the code that harmed it.

    `stopped` counts processes the kernel does not schedule; `cpu_s` is the node's CPU time so far.
    """

    processes: int
    stopped: int
    cpu_s: float


@runtime_checkable
class PausesNodes(Protocol):
    """A node can be frozen and thawed, as by a live migration or a hypervisor stall."""

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Freezes all of the node's processes until undone or the lease ends."""
        ...

    async def vitals(self, node: str) -> Vitals | None:
        """The node's signs of life; None when it is gone."""
        ...


class NodeProcess(Value):
    """A living process of a node, as the kernel shows it; `pid` and `started_ticks` together name it for good.

    `role` is empty for a process that is none of Ray's own and no driver; `title` is what `ps` shows.
    """

    pid: int
    started_ticks: int
    role: Role | Literal[""]
    title: str
    stopped: bool = False


@runtime_checkable
class SignalsProcesses(Protocol):
    """Single processes of a node can be seen, killed and stopped."""

    async def processes_of(self, node: str) -> tuple[NodeProcess, ...]:
        """The node's processes, read from the kernel; none where it does not run."""
        ...

    async def kill_processes(self, node: str, processes: Sequence[NodeProcess]) -> None:
        """SIGKILL to those of the processes that are still the node's.

        Raises:
            InjectionError: not one of them is there any more.
        """
        ...

    async def stop_processes(self, node: str, role: Role, *, effect_id: str, lease_s: float) -> None:
        """SIGSTOP to the node's processes of one role; they go on when it is undone or the lease ends."""
        ...


@runtime_checkable
class EndsProcesses(Protocol):
    """A process of Ray's can be ended, and started again as it was, without its node ending with it."""

    async def end_process(self, node: str, end: EndedProcess, *, effect_id: str, lease_s: float) -> None:
        """Keeps it ended until undone or the lease ends."""
        ...


@runtime_checkable
class GivesNotice(Protocol):
    """A node can be told that it will end, some time before it is ended."""

    async def prepare_notice(self) -> None:
        """Makes ready what the next drain notice takes, so that it is not late by the time a program needs to load."""
        ...

    async def give_notice(self, node: str, ending: EndingNode, *, effect_id: str, lease_s: float) -> None:
        """Tells it now; it is killed when that is undone, or at the latest when the lease ends."""
        ...


@runtime_checkable
class RestartsNodes(Protocol):
    """A node can be started again as the same instance."""

    async def restart_node(self, node: str) -> None:
        """Ends all of the node at once, and starts it anew under its name.

        Raises:
            InjectionError: no such live node, or it is the head, whose end takes the cluster's state with it.
        """
        ...


@runtime_checkable
class RestartsRaylets(Protocol):
    """A node's raylet can be started again while its instance goes on."""

    async def restart_raylet(self, node: str) -> None:
        """Ends the raylet at once, and with it all of Ray on the node; then starts Ray there again.

        Raises:
            InjectionError: no such live node, it is paused, or it is the head.
        """
        ...


@runtime_checkable
class FaultsLaunches(Protocol):
    """The Cloud can be made to launch late, not at all, or otherwise than it was asked to."""

    async def fault_launches(self, fault: LaunchHarm, *, effect_id: str, lease_s: float) -> None:
        """Applies to launches asked for from now on, until undone or the lease ends."""
        ...


@runtime_checkable
class FaultsAnswers(Protocol):
    """The Cloud can be made to answer Ray otherwise than it is, on all instances or on a node's."""

    async def fault_answers(self, fault: AnswerHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Applies to Ray's calls from now on, until undone or the lease ends; nobody else's calls are harmed."""
        ...


@runtime_checkable
class FaultsViews(Protocol):
    """The GCS can be made to show Ray's autoscaler the cluster otherwise than it is, all of it or a node."""

    async def fault_views(self, fault: ViewHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Applies to what the autoscaler is shown and answered from now on; nobody else is harmed."""
        ...


@runtime_checkable
class ChangesConfiguration(Protocol):
    """The configuration of Ray's autoscaler can be edited while it runs."""

    async def change_configuration(self, change: ConfigChange, *, effect_id: str, lease_s: float) -> None:
        """In force, together with every other change, until undone or the lease ends."""
        ...

    async def configuration_was_read(self) -> bool:
        """Whether anybody has read the configuration since it was last edited, as the kernel notes it."""
        ...


class RpcFaultsSeen(Value):
    """RPC faults on one node, read from its processes and from Ray's own logs.

    `failing` and `delaying` are the methods its raylet was started with; `failed` counts the failures that Ray logged;
    `announced` says that Ray told it would delay, `delayed` how often it told that it did (each thousandth time).
    """

    failing: tuple[str, ...] = ()
    delaying: tuple[str, ...] = ()
    failed: int = 0
    announced: bool = False
    delayed: int = 0


@runtime_checkable
class FaultsRpcs(Protocol):
    """Nodes can be started so that calls between Ray's own processes fail or run late there."""

    async def fault_rpcs(self, fault: RpcFault, *, effect_id: str, lease_s: float) -> None:
        """Applies to nodes that start from now on, until undone or the lease ends; they keep it to their end."""
        ...

    async def rpc_faults_seen(self, node: str) -> RpcFaultsSeen | None:
        """What shows of RPC faults on a node; None when it is gone."""
        ...


@runtime_checkable
class FaultsDevices(Protocol):
    """The GPUs of a node can be made to fail under a workload that asks for faults at its device boundary."""

    async def fault_devices(self, node: str, fault: DeviceFault, *, effect_id: str, lease_s: float) -> None:
        """Applies to the node's batches from now on, until undone or the lease ends."""
        ...


@runtime_checkable
class ShapesNetworks(Protocol):
    """A node's network can be throttled, cut and impaired, and its paths measured; `cloud` is a path's end, too."""

    async def shape_network(self, node: str, shape: NetworkShape, *, effect_id: str, lease_s: float) -> None:
        """Applies the shape to the node's own network stack until undone or the lease ends."""
        ...

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Connects from one node to another and transfers `transfer_kib` KiB; bounded to two seconds."""
        ...

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
    ) -> PathSample:
        """Sends so many packets one way, and waits at most `patience_ms` for the last; port 0 is any."""
        ...

    async def view_network(self, node: str) -> NetworkView:
        """Looks at the node's network as its kernel has it."""
        ...


class Gauges(Value):
    """A node's use of its resources at one moment, as the kernel tells it; of limits there are none, None.

    `throttled` counts the scheduling periods in which the node wanted more CPU than its limit; `memory_mb` leaves out
    cache that can go at once; `oom_kills` counts what the kernel killed in the node for want of memory; `ballast_mb` is
    what processes of ours hold there, and `store_fillers` how many of ours hold objects. `raylet_files` of at most
    `raylet_file_limit` are open in its raylet. `disk_mb` and `disk_free_mb` are of the file system of limited size that
    objects are spilled to, where the node has one, on which `disk_fillers` of ours hold a file. `clock_offset_s` is how
    far the time of day that its raylet reads is ahead of the machine's, where the node has a clock of its own.
    """

    at_s: float
    cpu_s: float
    cpu_limit_cores: float | None = None
    throttled: int = 0
    memory_mb: float = 0.0
    memory_limit_mb: float | None = None
    oom_kills: int = 0
    ballast_mb: float = 0.0
    store_fillers: int = 0
    disk_fillers: int = 0
    disk_mb: float | None = None
    disk_free_mb: float | None = None
    raylet_files: int | None = None
    raylet_file_limit: int | None = None
    clock_offset_s: float | None = None


@runtime_checkable
class GaugesNodes(Protocol):
    """A node's use of its resources can be read from outside the node."""

    async def gauges(self, node: str) -> Gauges | None:
        """What the kernel says at this moment; None when the node is gone."""
        ...


@runtime_checkable
class ThrottlesCpus(GaugesNodes, Protocol):
    """A node's CPU time can be limited."""

    async def throttle_cpu(self, node: str, throttle: CpuThrottle, *, effect_id: str, lease_s: float) -> None:
        """Limits all of the node together until undone or the lease ends."""
        ...


@runtime_checkable
class PressesMemory(GaugesNodes, Protocol):
    """Memory can be taken from a node."""

    async def press_memory(self, node: str, pressure: MemoryPressure, *, effect_id: str, lease_s: float) -> None:
        """Holds memory on the node until undone or the lease ends."""
        ...


@runtime_checkable
class LimitsFiles(GaugesNodes, Protocol):
    """The number of files a node's processes may open can be lowered."""

    async def limit_files(self, node: str, limit: FileLimit, *, effect_id: str, lease_s: float) -> None:
        """Lowers the limits of the node's Ray processes until undone or the lease ends."""
        ...


@runtime_checkable
class FillsStores(GaugesNodes, Protocol):
    """A node's object store can be filled with objects that stay."""

    async def fill_store(self, node: str, fill: StoreFill, *, effect_id: str, lease_s: float) -> None:
        """Holds objects in the node's store until undone or the lease ends."""
        ...


@runtime_checkable
class FillsDisks(GaugesNodes, Protocol):
    """The disk a node spills objects to can be filled."""

    async def fill_disk(self, node: str, fill: DiskFill, *, effect_id: str, lease_s: float) -> None:
        """Fills it until undone or the lease ends."""
        ...


@runtime_checkable
class SkewsClocks(GaugesNodes, Protocol):
    """A node's time of day can be moved, and nobody else's."""

    async def skew_clock(self, node: str, skew: ClockSkew, *, effect_id: str, lease_s: float) -> None:
        """Moves it until undone or the lease ends."""
        ...


@runtime_checkable
class ThrottlesDisks(Protocol):
    """How fast a node uses its disk can be limited, and measured."""

    async def throttle_disk(self, node: str, throttle: DiskThrottle, *, effect_id: str, lease_s: float) -> None:
        """Limits the node until undone or the lease ends."""
        ...

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """Megabytes a second that the node itself writes and has on disk; None when it is gone."""
        ...
