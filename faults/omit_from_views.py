"""`omit_from_views`: a node that lives is missing from what the GCS shows Ray's autoscaler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsViews, UndoesEffects
from chaos.events import GcsAnsweredWrong
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import OmittedView


class OmitFromViews(Fault):
    """The victims are missing from the next `answers` states of the cluster, or, without that, from all meanwhile."""

    name: ClassVar[str] = "omit_from_views"
    summary: ClassVar[str] = "a living node is missing from what the GCS shows the autoscaler"
    needs: ClassVar[tuple[type, ...]] = (FaultsViews, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    answers: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Tells the GCS what to leave out."""
        assert isinstance(site.cluster, FaultsViews)
        for victim in site.victims:
            harm = OmittedView(answers=self.answers)
            effect_id = site.effect_for(victim)
            await site.cluster.fault_views(harm, node=victim, effect_id=effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was shown a state without each victim, which the GCS knew to live."""
        events = [event for _, event in site.history.of(GcsAnsweredWrong, since_s=site.injected_s)]
        missed = {event.effect for event in events if event.how == "left_out"}
        if waiting := [victim for victim in site.victims if site.effect_for(victim) not in missed]:
            return Effect(outcome="unknown", detail=f"no state was asked for yet without {', '.join(waiting)}")
        missing = site.answered_wrong("left_out")
        detail = f"missing from {missing} states of the cluster: {', '.join(site.victims)}"
        return Effect(outcome="took_effect", detail=detail, measured=float(missing))
