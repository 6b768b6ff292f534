"""What is measured of the path between two nodes, and what a node's kernel shows of its network."""

from __future__ import annotations

from chaos.value import Value


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
