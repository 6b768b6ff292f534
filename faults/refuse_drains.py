"""`refuse_drains`: nodes refuse to end as idle, as one does that got work since the autoscaler looked."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsViews, UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import RefusedDrains


class RefuseDrains(Fault):
    """Of the drains for idleness that are asked for meanwhile, the first `count` are refused, or all."""

    name: ClassVar[str] = "refuse_drains"
    summary: ClassVar[str] = "nodes that the autoscaler would end as idle refuse"
    needs: ClassVar[tuple[type, ...]] = (FaultsViews, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 3600.0  # as long as it lasts

    count: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Has drains refused."""
        assert isinstance(site.cluster, FaultsViews)
        harm = RefusedDrains(count=self.count)
        await site.cluster.fault_views(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler asked for a drain, and was refused."""
        refused = site.answered_wrong("refused")
        if not refused:
            return Effect(outcome="unknown", detail="no drain was asked for")
        detail = f"{refused} drains were refused"
        return Effect(outcome="took_effect", detail=detail, measured=float(refused))
