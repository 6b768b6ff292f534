"""The cluster under test, and the small protocols that say what can be done to it.

A cluster lacks a capability by not implementing its protocol. Lasting harm is applied under an `effect_id` chosen
by the caller, with a lease; `undo` of that id removes it, however often it is called, and the lease removes it when
nobody does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from chaos.harm import LaunchFault, NetworkShape
from chaos.history import Recorder
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
        """Starts `python -m module arguments` on the head node, connected to this cluster."""
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


@runtime_checkable
class FaultsLaunches(Protocol):
    """The Cloud can be made to launch late or not at all."""

    async def fault_launches(self, fault: LaunchFault, *, effect_id: str, lease_s: float) -> None:
        """Applies to launches asked for from now on, until undone or the lease ends."""
        ...


class PathMeasurement(Value):
    """A path between two nodes as measured by sockets inside their network namespaces."""

    reachable: bool
    rtt_ms: float | None = None
    rate_mbit: float | None = None


class PathSample(Value):
    """Numbered packets sent one way along a path, each counted where it arrived.

    `arrived` counts numbers, `duplicates` what came of them beyond the first, `damaged` what came with a changed
    content, `overtaken` what came after a later number. The median delay and the spread (from the tenth to the
    ninetieth percentile) are of first arrivals, measured one way by one clock.
    """

    sent: int
    arrived: int
    duplicates: int = 0
    damaged: int = 0
    overtaken: int = 0
    delay_ms: float | None = None
    spread_ms: float | None = None

    @property
    def lost(self) -> int:
        """How many never came."""
        return self.sent - self.arrived


class Connection(Value):
    """An established TCP connection of a node, as its kernel lists it; `peer` is a node, `cloud`, or an address."""

    peer: str
    own_port: int
    peer_port: int


class NetworkView(Value):
    """What a node's kernel shows of its network: by which means packets are harmed, and its connections."""

    means: tuple[str, ...] = ()
    connections: tuple[Connection, ...] = ()


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
