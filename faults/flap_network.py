"""`flap_network`: a node's network comes and goes, as with a loose plug or a port that resets itself."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import PathSample
from chaos.drawn import Drawn
from chaos.fault import Effect, Site
from chaos.harm import Direction, NetworkShape
from chaos.path_fault import Path, PathFault, Peers, means_of

_PACKETS = 100
_PATIENCE_MS = 100.0
# One look takes no longer than that; of a slower flapping it sees a part.
_MOST_S = 3.0
_LEAST = 0.5  # so much of what is to be lost must be lost
_UNIT = "%"


class FlapNetwork(PathFault):
    """In turn no packet passes between each victim and its `peers` for `down_s`, and all do for `up_s`; down first."""

    name: ClassVar[str] = "flap_network"
    summary: ClassVar[str] = "cut a node off and on again, over and over"
    shapes: ClassVar[tuple[str, ...]] = ("cut",)

    peers: Peers = "head"
    direction: Direction = "both"
    down_s: Annotated[float, Drawn(most=8.0)] = Field(ge=0.1, le=60.0)
    up_s: Annotated[float, Drawn(milder="more")] = Field(ge=0.1, le=8.0)

    def shape(self) -> NetworkShape:
        """A cut that flaps."""
        return NetworkShape(cut=True, down_s=self.down_s, up_s=self.up_s)

    async def sampled(self, site: Site, path: Path) -> PathSample:
        """Packets through one period, or as much of it as one look may take."""
        seconds = min(self.down_s + self.up_s, _MOST_S)
        return await self.sample_path(
            site, path, packets=_PACKETS, interval_ms=seconds * 1000.0 / _PACKETS, patience_ms=_PATIENCE_MS
        )

    async def probe(self, site: Site) -> Effect:
        """Sends packets through a period: about as many are lost as are to be, and some come.

        Of a period that is too long for one look, all may be lost.
        """
        samples = await self.sample_all(site, await self.paths(site))
        if not samples:
            return Effect(outcome="unknown", detail="there is no path to send packets along")
        whole = self.down_s + self.up_s <= _MOST_S
        share = self.down_s / (self.down_s + self.up_s)
        bit = all(seen.lost >= _LEAST * share * seen.sent and (seen.arrived or not whole) for seen in samples.values())
        lost = sum(seen.lost for seen in samples.values()) / sum(seen.sent for seen in samples.values())
        return Effect(
            outcome="took_effect" if bit else "no_effect",
            detail=f"packets lost through {'a period' if whole else 'part of a period'}{await means_of(site)}",
            asked=round(100.0 * share, 1) if whole else None,
            measured=round(100.0 * lost, 1),
            unit=_UNIT,
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Sends packets through a period again: hardly any is lost, or the flapping is over and nothing can be told."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        samples = await self.sample_all(site, await self.paths(site))
        lost = [path for path, seen in samples.items() if seen.lost > seen.sent / 10 and not others.explain(*path)]
        if lost:
            return Effect(outcome="took_effect", detail=f"{len(lost)} of {len(samples)} paths still lose packets")
        return Effect(outcome="no_effect", detail="undone")
