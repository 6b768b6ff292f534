"""What a node's network is to obey, with names of nodes made into addresses: values, from which commands are made."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from chaos.harm import Direction, NetworkShape


@dataclass(frozen=True)
class Scope:
    """Which packets: of these addresses (None: all), of these ports at either end (none: all), in this direction."""

    addresses: tuple[str, ...] | None = None
    ports: tuple[int, ...] = ()
    direction: Direction = "both"

    @property
    def everything(self) -> bool:
        """Whether it is told apart by direction alone."""
        return self.addresses is None and not self.ports

    def goes(self, way: Direction) -> bool:
        """Whether packets that go this way are among them."""
        return self.direction in ("both", way)


@dataclass(frozen=True)
class Impairment:
    """What happens to the packets of one scope on their way; the quantities are those of `NetworkShape`."""

    scope: Scope = Scope()
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    correlation_percent: float = 0.0
    loss_percent: float = 0.0
    duplicate_percent: float = 0.0
    corrupt_percent: float = 0.0
    reorder_percent: float = 0.0
    reorder_ms: float = 0.0

    def __bool__(self) -> bool:
        shares = (self.loss_percent, self.duplicate_percent, self.corrupt_percent, self.reorder_percent)
        return self.delay_ms > 0.0 or any(shares)

    def and_then(self, other: Impairment) -> Impairment:
        """Both, one after the other, on the same packets: delays add up, and either may lose a packet."""
        return Impairment(
            delay_ms=self.delay_ms + other.delay_ms,
            jitter_ms=self.jitter_ms + other.jitter_ms,
            correlation_percent=max(self.correlation_percent, other.correlation_percent),
            loss_percent=_either(self.loss_percent, other.loss_percent),
            duplicate_percent=_either(self.duplicate_percent, other.duplicate_percent),
            corrupt_percent=_either(self.corrupt_percent, other.corrupt_percent),
            reorder_percent=_either(self.reorder_percent, other.reorder_percent),
            reorder_ms=max(self.reorder_ms, other.reorder_ms),
        )


@dataclass(frozen=True)
class Wanted:
    """All that a node's network is to obey."""

    rate_mbit: float | None = None
    cuts: tuple[Scope, ...] = ()
    resets: tuple[Scope, ...] = ()
    impairments: tuple[Impairment, ...] = ()

    @staticmethod
    def of(shapes: Iterable[NetworkShape], addresses: Mapping[str, str]) -> Wanted:
        """All shapes at once: the slowest rate, and everything else of each. Of a cut that flaps: while it is down."""
        shapes = tuple(shapes)
        scoped = [(_scope(shape, addresses), shape) for shape in shapes]
        impairments = [_impairment(scope, shape) for scope, shape in scoped if scope is not None]
        return Wanted(
            rate_mbit=min((shape.rate_mbit for shape in shapes if shape.rate_mbit is not None), default=None),
            cuts=_sorted(scope for scope, shape in scoped if shape.cut),
            resets=_sorted(scope for scope, shape in scoped if shape.reset),
            impairments=tuple(sorted(filter(None, impairments), key=repr)),
        )

    def along(self, way: Direction) -> Impairment | None:
        """All impairments of packets that go this way as one; None where some are of some packets only."""
        mine = [item for item in self.impairments if item.scope.goes(way)]
        if any(not item.scope.everything for item in mine):
            return None
        return reduce(Impairment.and_then, mine, Impairment())


def flaps(shape: NetworkShape) -> bool:
    """Whether a cut comes and goes."""
    return shape.cut and shape.down_s > 0.0 and shape.up_s > 0.0


def _either(first: float, second: float) -> float:
    return 100.0 - (100.0 - first) * (100.0 - second) / 100.0


def _scope(shape: NetworkShape, addresses: Mapping[str, str]) -> Scope | None:
    """None where no peer has an address, so that no packet is meant."""
    if shape.peers is None:
        return Scope(None, tuple(sorted(set(shape.ports))), shape.direction)
    found = {ipaddress.IPv4Address(addresses[peer]) for peer in shape.peers if peer in addresses}
    if not found:
        return None
    return Scope(tuple(str(address) for address in sorted(found)), tuple(sorted(set(shape.ports))), shape.direction)


def _impairment(scope: Scope, shape: NetworkShape) -> Impairment:
    return Impairment(
        scope=scope,
        delay_ms=shape.delay_ms,
        jitter_ms=shape.jitter_ms,
        correlation_percent=shape.correlation_percent,
        loss_percent=shape.loss_percent,
        duplicate_percent=shape.duplicate_percent,
        corrupt_percent=shape.corrupt_percent,
        reorder_percent=shape.reorder_percent,
        reorder_ms=shape.reorder_ms,
    )


def _sorted(scopes: Iterable[Scope | None]) -> tuple[Scope, ...]:
    return tuple(sorted({scope for scope in scopes if scope is not None}, key=repr))
