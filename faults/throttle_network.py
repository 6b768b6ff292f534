"""`throttle_network`: a node's network becomes slow, as behind a noisy neighbour or an exhausted burst credit."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from chaos.cluster import NetworkShape, PathMeasurement, ShapesNetworks, UndoesEffects
from chaos.fault import Effect, Fault, Site

_PROBE_S = 0.4
_BURST_KIB = 64
_TOLERANCE = 1.25
_MOST_KIB = 2048


class ThrottleNetwork(Fault):
    """Each victim sends and receives at most `rate_mbit` megabits a second."""

    name: ClassVar[str] = "throttle_network"
    summary: ClassVar[str] = "limit a node's network rate, both ways"
    needs: ClassVar[tuple[type, ...]] = (ShapesNetworks, UndoesEffects)
    acts_on: ClassVar[Literal["nodes", "launches"]] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    rate_mbit: float = Field(ge=0.1, le=10_000.0)

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
        """Measures a transfer from each victim to the head, or from the head to a worker."""
        rates = [path.rate_mbit for path in await self._measure(site) if path.rate_mbit is not None]
        if not rates:
            return Effect(
                outcome="unknown", detail="no transfer could be measured", asked=self.rate_mbit, unit="Mbit/s"
            )
        fastest = max(rates)
        return Effect(
            outcome="took_effect" if fastest <= self.rate_mbit * _TOLERANCE else "no_effect",
            detail="the fastest transfer between a victim and a peer",
            asked=self.rate_mbit,
            measured=round(fastest, 3),
            unit="Mbit/s",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Measures again: faster than the limit, or the victims are gone, or someone else still limits them."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        rates = [path.rate_mbit for path in await self._measure(site) if path.rate_mbit is not None]
        slow = [rate for rate in rates if rate <= self.rate_mbit * _TOLERANCE]
        if slow and not others:
            return Effect(outcome="took_effect", detail="the path is still slow", measured=min(slow), unit="Mbit/s")
        return Effect(outcome="no_effect", detail="the limit is gone", measured=min(rates, default=None), unit="Mbit/s")

    async def _measure(self, site: Site) -> list[PathMeasurement]:
        assert isinstance(site.cluster, ShapesNetworks)
        living = [node.node for node in await site.cluster.nodes() if node.state in ("running", "paused")]
        peer_of = {victim: next((node for node in living if node != victim), None) for victim in site.victims}
        transfer_kib = min(_MOST_KIB, _BURST_KIB + int(self.rate_mbit * 1000 / 8 * _PROBE_S))
        return [
            await site.cluster.measure_path(victim, peer, transfer_kib=transfer_kib)
            for victim, peer in peer_of.items()
            if victim in living and peer is not None
        ]
