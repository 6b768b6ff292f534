"""What faults share that harm the packets between a node and its peers: whom they hit, and how that is measured."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints

from chaos.cluster import PathSample, ShapesNetworks, UndoesEffects
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import Direction, NetworkShape

CLOUD = "cloud"
Path: TypeAlias = tuple[str, str]
# The field's own letters, so that a misspelt group is refused and not taken for a node.
PeerName = Annotated[str, StringConstraints(pattern=r"^(head|cloud|w[1-9][0-9]*)$")]
Peers: TypeAlias = (
    Literal["any", "head", "workers", "all", "cloud"] | Annotated[tuple[PeerName, ...], Field(min_length=1)]
)
Ports = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535)], ...],
    Field(max_length=15),
    AfterValidator(lambda ports: tuple(sorted(set(ports)))),
]


async def living(site: Site) -> tuple[str, ...]:
    """The nodes that run, or are paused."""
    return tuple(node.node for node in await site.cluster.nodes() if node.state in ("running", "paused"))


def is_peer(node: str, victim: str, peers: Peers) -> bool:
    """Whether a node, or the Cloud, is one of a victim's peers."""
    if node == victim:
        return False
    if isinstance(peers, tuple):
        return node in peers
    if node == CLOUD or peers == CLOUD:
        return node == peers or (node == CLOUD and peers == "any")
    return peers in ("any", "all") or (node == "head") == (peers == "head")


async def peers_of(site: Site, victim: str, peers: Peers) -> tuple[str, ...]:
    """Those of a victim's peers that there are now."""
    return tuple(node for node in (*await living(site), CLOUD) if is_peer(node, victim, peers))


class PathFault(Fault, ABC):
    """Harms packets between each victim and its `peers`; measured by packets of our own along one path a way.

    `peers` is whom it hits: `any` is whoever it is, later nodes too; `all` is the head and the workers there are.
    """

    needs: ClassVar[tuple[type, ...]] = (ShapesNetworks, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    peers: Peers = "any"
    ports: Ports = ()
    direction: Direction = "out"

    @abstractmethod
    def shape(self) -> NetworkShape:
        """The harm, without whom it hits."""

    @abstractmethod
    async def sampled(self, site: Site, path: Path) -> PathSample:
        """Sends as many packets along a path as it takes to see the harm."""

    async def inject(self, site: Site) -> None:
        """Shapes the victims' network stacks."""
        assert isinstance(site.cluster, ShapesNetworks)
        for victim in site.victims:
            hit = None if self.peers == "any" else await peers_of(site, victim, self.peers)
            scope = {"peers": hit, "ports": self.ports, "direction": self.direction}
            await site.cluster.shape_network(
                victim, self.shape().model_copy(update=scope), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def paths(self, site: Site) -> tuple[Path, ...]:
        """For each victim that lives, the path to one of its peers, or from it, or both, as the direction has it."""
        here = set(await living(site))
        found: list[Path] = []
        for victim in site.victims:
            candidates = await peers_of(site, victim, self.peers)
            if victim in here and candidates:
                found += self.ways(victim, candidates[0])
        return tuple(found)

    def ways(self, victim: str, peer: str) -> list[Path]:
        """The paths between two nodes that the direction means."""
        there = [(victim, peer)] if self.direction in ("out", "both") else []
        return [*there, (peer, victim)] if self.direction in ("in", "both") else there

    async def sample_all(self, site: Site, paths: Iterable[tuple[str, ...]]) -> dict[Path, PathSample]:
        """Samples those of the paths whose ends live, at the same time; one whose end goes meanwhile is left out."""
        here = {*await living(site), CLOUD}
        chosen = [(path[0], path[1]) for path in paths if here.issuperset(path[:2])]
        samples = await asyncio.gather(*(self.sampled(site, path) for path in chosen))
        here = {*await living(site), CLOUD}
        return {path: seen for path, seen in zip(chosen, samples, strict=True) if here.issuperset(path)}

    async def sample_path(
        self, site: Site, path: Path, *, packets: int, interval_ms: float, patience_ms: float
    ) -> PathSample:
        """Sends packets along a path, at a port the fault hits."""
        assert isinstance(site.cluster, ShapesNetworks)
        return await site.cluster.sample_path(
            *path,
            packets=packets,
            interval_ms=interval_ms,
            patience_ms=patience_ms,
            port=self.ports[0] if self.ports else 0,
        )


class ShareFault(PathFault, ABC):
    """Hits `percent` of the packets, each by chance; proven by counting how many of ours it hit."""

    percent: float = Field(gt=0.0, le=100.0)

    # Enough that some are hit, within half of the time the probe has, and of what a short harm lasts.
    _wanted_hits: ClassVar[float] = 20.0
    _packets: ClassVar[tuple[int, int]] = (200, 5000)
    _packets_of_a_short_harm: ClassVar[int] = 1000
    # With fewer to be expected, what is seen may be too few to tell.
    _telling_hits: ClassVar[float] = 10.0
    # Less of what was asked for is not it; fewer hits may be strays.
    _least_share: ClassVar[float] = 1 / 3
    _least_hits: ClassVar[int] = 3
    _interval_ms: ClassVar[float] = 1.0
    # What is measured right before the injection makes it late.
    _packets_before: ClassVar[int] = 100
    _interval_before_ms: ClassVar[float] = 0.4
    # So far from the expected count is chance once in some two thousand looks.
    _deviations: ClassVar[float] = 3.5

    @abstractmethod
    def changed(self, sample: PathSample) -> int:
        """How many packets of a sample were hit."""

    def seen_of(self, sample: PathSample) -> int:
        """How many packets of a sample could have been seen to be hit."""
        return sample.sent

    async def sampled(self, site: Site, path: Path) -> PathSample:
        """Enough packets for the share to show; before the injection, as few as will do, and soon."""
        if not site.before:
            return await self._sent(site, path, self._packets_before, self._interval_before_ms)
        least, most = self._packets
        if site.duration_s is not None:
            half = math.floor(site.duration_s * 1000.0 / self._interval_ms / 2)
            most = min(most, max(self._packets_of_a_short_harm, half))
        packets = min(most, max(least, math.ceil(self._wanted_hits * 100.0 / self.percent)))
        return await self._sent(site, path, packets, self._interval_ms)

    async def _sent(self, site: Site, path: Path, packets: int, interval_ms: float) -> PathSample:
        return await self.sample_path(
            site, path, packets=packets, interval_ms=interval_ms, patience_ms=self.patience_ms()
        )

    def patience_ms(self) -> float:
        """How long after the last packet was sent it may still come."""
        return 250.0

    async def measure_before(self, site: Site) -> Readings:
        """The share that is hit without the fault, in percent."""
        return {
            path: self._percent(seen) for path, seen in (await self.sample_all(site, await self.paths(site))).items()
        }

    async def probe(self, site: Site) -> Effect:
        """Counts again: on every path about as many more are hit as was asked for."""
        samples = await self.sample_all(site, site.before)
        if not samples:
            return self._saw("unknown", "there is no path to count packets on")
        path, seen = min(samples.items(), key=lambda item: self._percent(item[1]) - site.before[item[0]])
        added = self._percent(seen) - site.before[path]
        enough = max(self._least_share * self.percent, self.percent - self._deviations * self._deviation(seen))
        bit = added >= enough and self.changed(seen) >= self._least_hits
        means = await means_of(site)
        detail = f"{self.changed(seen)} of {self.seen_of(seen)} packets, {named(path)}{means}"
        if not bit and self.percent / 100.0 * self.seen_of(seen) < self._telling_hits:
            return self._saw("unknown", f"{detail}: too few to tell", added)
        return self._saw("took_effect" if bit else "no_effect", detail, added)

    async def probe_healed(self, site: Site) -> Effect:
        """Counts once more: no path has much of it left, or the harm is undone and nothing can be told."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        samples = await self.sample_all(site, site.before)
        left = {path: self._percent(seen) - site.before[path] for path, seen in samples.items()}
        hit = {path: added for path, added in left.items() if added > self.percent / 2 and not others.explain(*path)}
        if hit:
            path, added = max(hit.items(), key=lambda item: item[1])
            return self._saw("took_effect", f"{named(path)} is still hit", added)
        return self._saw("no_effect", "undone", max(left.values(), default=None))

    def _percent(self, sample: PathSample) -> float:
        return 100.0 * self.changed(sample) / max(1, self.seen_of(sample))

    def _deviation(self, sample: PathSample) -> float:
        """The standard deviation of the percentage when each packet is hit by chance."""
        return math.sqrt(self.percent * (100.0 - self.percent) / max(1, self.seen_of(sample)))

    def _saw(self, outcome: Outcome, detail: str, percent: float | None = None) -> Effect:
        measured = None if percent is None else round(percent, 2)
        return Effect(outcome=outcome, detail=detail, asked=self.percent, measured=measured, unit="%")


async def means_of(site: Site) -> str:
    """By which of the kernel's means the victims' packets are harmed, as it shows; for the end of a sentence."""
    assert isinstance(site.cluster, ShapesNetworks)
    here = set(await living(site))
    means = {kind for node in site.victims if node in here for kind in (await site.cluster.view_network(node)).means}
    return f", by {' and '.join(sorted(means))}" if means else ""


def named(path: tuple[str, ...]) -> str:
    """A path, for people."""
    return " → ".join(path)


def lowest(readings: Mapping[Path, float]) -> tuple[Path, float]:
    """The path with the smallest reading."""
    return min(readings.items(), key=lambda item: item[1])
