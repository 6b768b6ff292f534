"""`reset_connections`: connections break, as when a firewall or load balancer loses its table."""

from __future__ import annotations

import re
from typing import ClassVar

from chaos.cluster import PathSample, ShapesNetworks
from chaos.events import NodeDied, NodeTerminated
from chaos.fault import Effect, Readings, Site
from chaos.harm import Direction, NetworkShape
from chaos.path_fault import Path, PathFault, Peers, living, means_of, peers_of

_MOSTLY = 0.5
_NODE = re.compile(r"head|w[1-9][0-9]*")


class ResetConnections(PathFault):
    """TCP between each victim and its `peers` is answered with a reset while in force: connections end, none begins."""

    name: ClassVar[str] = "reset_connections"
    summary: ClassVar[str] = "break a node's TCP connections"
    shapes: ClassVar[tuple[str, ...]] = ("reset",)

    peers: Peers = "head"
    direction: Direction = "both"

    def shape(self) -> NetworkShape:
        """A reset."""
        return NetworkShape(reset=True)

    async def sampled(self, site: Site, path: Path) -> PathSample:
        """One packet; only TCP is reset, so it comes."""
        return await self.sample_path(site, path, packets=1, interval_ms=0.0, patience_ms=100.0)

    async def measure_before(self, site: Site) -> Readings:
        """The connections there are between each victim and its peers: victim, peer and both ports, each once."""
        return {connection: 1.0 for connection in await self._connections(site)}

    async def probe(self, site: Site) -> Effect:
        """Looks at the victims' kernels: of the connections there were, most are gone.

        One whose end died since does not count. One that says nothing lasts where the kernel cannot end it by itself.
        """
        if not site.before:
            return Effect(outcome="unknown", detail="there was no connection to break")
        left = await self._connections(site)
        here = set(await living(site)) - _died(site)
        counted = {key for key in site.before if key[0] in here and (key[1] in here or not _NODE.fullmatch(key[1]))}
        if not counted:
            return Effect(outcome="unknown", detail="of every connection there was, an end has died")
        gone = len(counted - left)
        return Effect(
            outcome="took_effect" if gone > _MOSTLY * len(counted) else "no_effect",
            detail=f"{gone} of {len(counted)} connections are gone{await means_of(site)}",
            asked=float(len(counted)),
            measured=float(gone),
            unit="connections",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Connects from each victim to one of its peers."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        assert isinstance(site.cluster, ShapesNetworks)
        for path in await self.paths(site):
            reached = (await site.cluster.measure_path(*path, transfer_kib=1)).reachable
            if not reached and not others.explain(*path) and set(path) <= {*await living(site), "cloud"}:
                return Effect(outcome="took_effect", detail=f"{' → '.join(path)} cannot be connected")
        return Effect(outcome="no_effect", detail="undone")

    async def _connections(self, site: Site) -> set[tuple[str, ...]]:
        assert isinstance(site.cluster, ShapesNetworks)
        found: set[tuple[str, ...]] = set()
        here = await living(site)
        for victim in site.victims:
            peers = None if self.peers == "any" else await peers_of(site, victim, self.peers)
            seen = (await site.cluster.view_network(victim)).connections if victim in here else ()
            found |= {
                (victim, item.peer, str(item.own_port), str(item.peer_port))
                for item in seen
                if (peers is None or item.peer in peers)
                and (not self.ports or {item.own_port, item.peer_port} & set(self.ports))
            }
        return found


def _died(site: Site) -> set[str]:
    """The nodes that ended since the injection, whatever became of them then."""
    dead = {event.node for _, event in site.history.of(NodeDied, since_s=site.injected_s)}
    return dead | {event.node for _, event in site.history.of(NodeTerminated, since_s=site.injected_s)}
