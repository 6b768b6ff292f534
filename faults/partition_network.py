"""`partition_network`: a node and some of its peers no longer hear each other, as with a broken switch or rule."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Literal

from chaos.cluster import ShapesNetworks, UndoesEffects
from chaos.events import NodeDied, NodeJoined
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import NetworkShape


class PartitionNetwork(Fault):
    """No packet passes, either way, between each victim and its `peers`: the head, the other workers, or both."""

    name: ClassVar[str] = "partition_network"
    summary: ClassVar[str] = "cut a node off from the head, the other workers, or both"
    needs: ClassVar[tuple[type, ...]] = (ShapesNetworks, UndoesEffects)
    shapes: ClassVar[tuple[str, ...]] = ("cut_from",)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    peers: Literal["head", "workers", "all"] = "head"

    async def inject(self, site: Site) -> None:
        """Cuts each victim off from the peers there are now."""
        assert isinstance(site.cluster, ShapesNetworks)
        for victim in site.victims:
            await site.cluster.shape_network(
                victim,
                NetworkShape(cut_from=await self._peers_of(site, victim)),
                effect_id=site.effect_for(victim),
                lease_s=site.lease_s,
            )

    async def probe(self, site: Site) -> Effect:
        """Tries to connect from each victim to each of the peers it was cut off from."""
        reached, tried = await self._reach(site)
        if not tried:
            return Effect(outcome="unknown", detail="there is no peer to be cut off from")
        return Effect(
            outcome="no_effect" if reached else "took_effect",
            detail=f"{reached} of {tried} paths are open",
            measured=float(tried - reached),
            asked=float(tried),
            unit="paths",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Tries to connect again."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        reached, tried = await self._reach(site)
        if reached < tried and not others:
            return Effect(outcome="took_effect", detail=f"{tried - reached} of {tried} paths are still cut")
        return Effect(outcome="no_effect", detail=f"{reached} of {tried} paths are open")

    async def _peers_of(self, site: Site, victim: str) -> tuple[str, ...]:
        return tuple(node for node in await _living(site) if self._is_peer(node, victim))

    def _is_peer(self, node: str, victim: str) -> bool:
        return node != victim and (self.peers == "all" or (node == "head") == (self.peers == "head"))

    async def _reach(self, site: Site) -> tuple[int, int]:
        """How many paths are open, of how many between victims and peers there were then and still are.

        A worker that joined later was never cut off. A node that died since answers nobody, cut off or not: so who
        lives is asked after the paths were tried.
        """
        assert isinstance(site.cluster, ShapesNetworks)
        joined = {event.node for record, event in site.history.of(NodeJoined) if record.t_s <= site.injected_s}
        died = {event.node for _, event in site.history.of(NodeDied)}
        living = await _living(site)
        known = [node for node in living if node == "head" or node in joined - died]
        paths = [
            (victim, peer)
            for victim in site.victims
            for peer in known
            if victim in living and self._is_peer(peer, victim)
        ]
        # At once: a connection that is dropped takes its whole time limit.
        tried = await asyncio.gather(*(site.cluster.measure_path(*path, transfer_kib=1) for path in paths))
        living = await _living(site)
        counted = [seen.reachable for path, seen in zip(paths, tried, strict=True) if set(path) <= set(living)]
        return sum(counted), len(counted)


async def _living(site: Site) -> tuple[str, ...]:
    return tuple(node.node for node in await site.cluster.nodes() if node.state in ("running", "paused"))
