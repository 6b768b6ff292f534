"""`partition_network`: a node and some of its peers no longer hear each other, as with a broken switch or rule."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import PathSample
from chaos.events import NodeDied, NodeJoined
from chaos.fault import Effect, Site
from chaos.harm import Direction, NetworkShape
from chaos.path_fault import CLOUD, Path, PathFault, Peers, is_peer, living, means_of

_PACKETS = 5
_INTERVAL_MS = 5.0
_PATIENCE_MS = 250.0


class PartitionNetwork(PathFault):
    """No packet passes between each victim and its `peers`: both ways, or only not to it, or only not from it."""

    name: ClassVar[str] = "partition_network"
    summary: ClassVar[str] = "cut a node off from the head, other workers, the Cloud, or all"
    shapes: ClassVar[tuple[str, ...]] = ("cut",)

    peers: Peers = "head"
    direction: Direction = "both"

    def shape(self) -> NetworkShape:
        """A cut."""
        return NetworkShape(cut=True)

    async def sampled(self, site: Site, path: Path) -> PathSample:
        """A few packets in a quarter of a second."""
        return await self.sample_path(site, path, packets=_PACKETS, interval_ms=_INTERVAL_MS, patience_ms=_PATIENCE_MS)

    async def probe(self, site: Site) -> Effect:
        """Sends packets between each victim and each of the peers it was cut off from, the ways that were cut."""
        hear = await self._hear(site)
        if not hear:
            return Effect(outcome="unknown", detail="there is no peer to be cut off from")
        open_pairs, pairs = sum(hear.values()), len(hear)
        return Effect(
            outcome="no_effect" if open_pairs else "took_effect",
            detail=f"{open_pairs} of {pairs} paths are open{await means_of(site)}",
            measured=float(pairs - open_pairs),
            asked=float(pairs),
            unit="paths",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Sends packets again: no pair is cut off, unless another injection on one of the two may do it."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        hear = await self._hear(site)
        cut = [pair for pair, heard in hear.items() if not heard and not others.explain(*pair)]
        if cut:
            return Effect(outcome="took_effect", detail=f"{len(cut)} of {len(hear)} paths are still cut")
        return Effect(outcome="no_effect", detail=f"{sum(hear.values())} of {len(hear)} paths are open")

    async def _hear(self, site: Site) -> dict[Path, bool]:
        """Of each pair of a victim and a peer, whether they hear each other some way that was cut.

        A worker that joined later was never cut off, unless the fault hits anyone. A node that died since answers
        nobody, cut off or not: so who lives is asked after the paths were tried.
        """
        pairs = await self._pairs(site)
        ways = [path for pair in pairs for path in self.ways(*pair)]
        samples = await self.sample_all(site, ways)
        return {
            pair: any(samples[path].arrived for path in self.ways(*pair))
            for pair in pairs
            if all(path in samples for path in self.ways(*pair))
        }

    async def _pairs(self, site: Site) -> list[Path]:
        joined = {event.node for record, event in site.history.of(NodeJoined) if record.t_s <= site.injected_s}
        died = {event.node for _, event in site.history.of(NodeDied)}
        here = await living(site)
        known = [node for node in (*here, CLOUD) if node in ("head", CLOUD) or node in joined - died]
        return [
            (victim, peer)
            for victim in site.victims
            for peer in known
            if victim in here and is_peer(peer, victim, self.peers)
        ]
