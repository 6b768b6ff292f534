"""`omit_from_listing`: a healthy instance is missing from what the cloud lists."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import ClusterSampled
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import Omission


class OmitFromListing(Fault):
    """The victims are missing from the next `answers` listings, or, without that, from all while in force."""

    name: ClassVar[str] = "omit_from_listing"
    summary: ClassVar[str] = "a healthy instance is missing from the cloud's list"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    answers: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud what to leave out."""
        assert isinstance(site.cluster, FaultsAnswers)
        for victim in site.victims:
            harm = Omission(answers=self.answers)
            effect_id = site.effect_for(victim)
            await site.cluster.fault_answers(harm, node=victim, effect_id=effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was given listings without a victim that the Cloud had running."""
        missing = site.answered_wrong("omitted")
        if not missing:
            return Effect(outcome="unknown", detail="the autoscaler has not asked for a listing yet")
        sample = site.history.last(ClusterSampled)
        cloud = sample[1].cloud if sample is not None else {}
        running = [victim for victim in site.victims if cloud.get(victim) in ("running", "paused")]
        if not running:
            return Effect(outcome="unknown", detail=f"missing from {missing} listings, but not running either")
        detail = f"missing from {missing} listings, while {', '.join(running)} ran"
        return Effect(outcome="took_effect", detail=detail, measured=float(missing))
