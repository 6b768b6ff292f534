"""`lag_views`: the GCS shows what nodes told of themselves some time ago, as when their reports come late."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import FaultsViews, UndoesEffects
from chaos.drawn import Drawn
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LaggedViews


class LagViews(Fault):
    """Ray's autoscaler sees what nodes hold, and the tasks that wait, as they were `age_s` ago."""

    name: ClassVar[str] = "lag_views"
    summary: ClassVar[str] = "the GCS shows the autoscaler what nodes held some time ago"
    needs: ClassVar[tuple[type, ...]] = (FaultsViews, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 3600.0  # as long as it lasts

    age_s: Annotated[float, Drawn(least=1.0, most=8.0)] = Field(default=5.0, gt=0.0, le=600.0)

    async def inject(self, site: Site) -> None:
        """Tells the GCS how old its views are."""
        assert isinstance(site.cluster, FaultsViews)
        harm = LaggedViews(age_s=self.age_s)
        await site.cluster.fault_views(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was shown a state that differed from what there was."""
        lagged = site.answered_wrong("lagged")
        if not lagged:
            return Effect(outcome="unknown", detail="no state that was shown differed from what there was")
        detail = f"{lagged} states that were shown differed from what there was"
        return Effect(outcome="took_effect", detail=detail, measured=float(lagged))
