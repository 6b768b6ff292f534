"""`stale_listing`: the cloud lists what was, as an API does whose replicas lag behind."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import StaleListing as StaleListings


class StaleListing(Fault):
    """Listings show the instances of `age_s` ago, or, without an age, those there were at the injection."""

    name: ClassVar[str] = "stale_listing"
    summary: ClassVar[str] = "the cloud lists the instances of some time ago"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    age_s: float | None = Field(default=None, gt=0.0, le=3600.0)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud how old its listings are."""
        assert isinstance(site.cluster, FaultsAnswers)
        harm = StaleListings(age_s=self.age_s)
        await site.cluster.fault_answers(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was given listings that differed from what there was."""
        stale = site.answered_wrong("stale")
        if not stale:
            return Effect(outcome="unknown", detail="no listing differed from what there was")
        detail = f"{stale} listings differed from what there was"
        return Effect(outcome="took_effect", detail=detail, measured=float(stale))
