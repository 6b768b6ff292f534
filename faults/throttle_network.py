"""`throttle_network`: a node's network becomes slow, as behind a noisy neighbour or an exhausted burst credit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import ShapesNetworks, UndoesEffects
from chaos.drawn import Drawn
from chaos.errors import InjectionError
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import NetworkShape

_PROBE_S = 0.4
# A policer lets so much pass before it limits anything; a transfer must go on after that.
_BURST_KIB = 64
_MOST_KIB = 2048
# How much faster than asked a path may seem while limited, and must have been before for the limit to show.
_TOLERANCE = 1.25
_CLEARLY = 1.5
# A path this many times faster than the limit is free of it, however fast it was before.
_FREE = 2.0
_UNIT = "Mbit/s"


class ThrottleNetwork(Fault):
    """Each victim sends and receives at most `rate_mbit` megabits a second."""

    name: ClassVar[str] = "throttle_network"
    summary: ClassVar[str] = "limit a node's network rate, both ways"
    needs: ClassVar[tuple[type, ...]] = (ShapesNetworks, UndoesEffects)
    shapes: ClassVar[tuple[str, ...]] = ("rate_mbit",)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    rate_mbit: Annotated[float, Drawn(most=1000.0, milder="more")] = Field(ge=0.1, le=10_000.0)

    async def measure_before(self, site: Site) -> Readings:
        """Megabits a second from each victim to the head and back, or to a worker where the head is the victim.

        Some ten milliseconds a path. A path that carries nothing has a rate of 0.
        """
        living = [node.node for node in await site.cluster.nodes() if node.state in ("running", "paused")]
        pairs = [(victim, next((node for node in living if node != victim), None)) for victim in site.victims]
        both_ways = [path for victim, peer in pairs if peer is not None for path in ((victim, peer), (peer, victim))]
        return {path: rate or 0.0 for path, rate in (await self._rates(site, both_ways)).items()}

    async def inject(self, site: Site) -> None:
        """Shapes the victims' network stacks."""
        assert isinstance(site.cluster, ShapesNetworks)
        for victim in site.victims:
            await site.cluster.shape_network(
                victim,
                NetworkShape(rate_mbit=self.rate_mbit),
                effect_id=site.effect_for(victim),
                lease_s=site.lease_s,
            )

    async def probe(self, site: Site) -> Effect:
        """Measures the same paths again: each was clearly faster than asked, and now is not.

        A path whose nodes are gone proves nothing either way; the others are judged, and how many they are is told.
        """
        if not site.before:
            return self._saw("unknown", "there was no path to measure before")
        rates = await self._rates(site, site.before)
        if not rates:
            return self._saw("unknown", f"the nodes of all {len(site.before)} paths are gone")
        gone = len(site.before) - len(rates)
        rest = f"; {gone} of {len(site.before)} paths went with their nodes" if gone else ""
        path, rate = min(((path, site.before[path]) for path in rates), key=_by_rate)
        if rate < self.rate_mbit * _CLEARLY:
            return self._saw("no_effect", f"{_named(path)} was not clearly faster before{rest}", rate)
        measured = {path: rate for path, rate in rates.items() if rate is not None}
        if len(measured) < len(rates):
            return self._saw("unknown", f"{len(measured)} of {len(rates)} paths could be measured{rest}")
        path, rate = max(measured.items(), key=_by_rate)
        limited = rate <= self.rate_mbit * _TOLERANCE
        return self._saw("took_effect" if limited else "no_effect", f"the fastest path is {_named(path)}{rest}", rate)

    async def probe_healed(self, site: Site) -> Effect:
        """Measures once more: much of the way back to what it was, or the limit is undone and nothing can be told.

        Nothing can be told where a path was never clearly faster, where its nodes are gone, or where another injection
        still holds one of its ends.
        """
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        telling = [path for path, rate in site.before.items() if rate >= self.rate_mbit * _CLEARLY]
        rates = {path: rate or 0.0 for path, rate in (await self._rates(site, telling)).items()}
        slow = {
            path: rate
            for path, rate in rates.items()
            if rate < self._free_mbit(site.before[path]) and not others.explain(*path)
        }
        if slow:
            path, rate = min(slow.items(), key=_by_rate)
            return self._saw("took_effect", f"{_named(path)} is still slow", rate)
        return self._saw("no_effect", "the limit is gone", min(rates.values(), default=None))

    def _free_mbit(self, before_mbit: float) -> float:
        """From here on a path is free of the limit: half-way back to what it was, or well above what was asked."""
        return min(self.rate_mbit * _FREE, (self.rate_mbit + before_mbit) / 2)

    def _saw(self, outcome: Outcome, detail: str, rate_mbit: float | None = None) -> Effect:
        measured = None if rate_mbit is None else round(rate_mbit, 3)
        return Effect(outcome=outcome, detail=detail, asked=self.rate_mbit, measured=measured, unit=_UNIT)

    async def _rates(self, site: Site, paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], float | None]:
        """The rate of each path whose nodes live, also afterwards; None where nothing could be transferred.

        Measured one after the other, for they may share a limit.
        """
        assert isinstance(site.cluster, ShapesNetworks)
        living = await _living(site)
        transfer_kib = min(_MOST_KIB, _BURST_KIB + int(self.rate_mbit * 1000 / 8 * _PROBE_S))
        rates: dict[tuple[str, ...], float | None] = {}
        for path in paths:
            if not living.issuperset(path):
                continue
            try:
                rates[path] = (await site.cluster.measure_path(*path, transfer_kib=transfer_kib)).rate_mbit
            except InjectionError:
                if (await _living(site)).issuperset(path):
                    raise
        still = await _living(site)
        return {path: rate for path, rate in rates.items() if still.issuperset(path)}


async def _living(site: Site) -> set[str]:
    return {node.node for node in await site.cluster.nodes() if node.state in ("running", "paused")}


def _by_rate(reading: tuple[tuple[str, ...], float]) -> float:
    return reading[1]


def _named(path: tuple[str, ...]) -> str:
    return " → ".join(path)
