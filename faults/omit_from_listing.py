"""`omit_from_listing`: a healthy instance is missing from what the cloud lists."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import CloudAnsweredWrong, ClusterSampled
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
        """Looks whether the autoscaler was given listings without each victim, which the Cloud had running."""
        since_s = omitted_since_s(site)
        if waiting := [victim for victim in site.victims if victim not in since_s]:
            return Effect(outcome="unknown", detail=f"no listing was asked for yet without {', '.join(waiting)}")
        missing = site.answered_wrong("omitted")
        idle = [victim for victim in site.victims if not _ran(site, victim, since_s[victim])]
        if idle:
            detail = f"missing from {missing} listings, but {', '.join(idle)} did not run either"
            return Effect(outcome="unknown", detail=detail)
        detail = f"missing from {missing} listings, while {', '.join(site.victims)} ran"
        return Effect(outcome="took_effect", detail=detail, measured=float(missing))


def omitted_since_s(site: Site) -> dict[str, float]:
    """When the Cloud first said that it left a victim out of a listing, for each it did."""
    victim_of = {site.effect_for(victim): victim for victim in site.victims}
    found: dict[str, float] = {}
    for record, event in site.history.of(CloudAnsweredWrong, since_s=site.injected_s):
        if event.how == "omitted" and event.effect in victim_of:
            found.setdefault(victim_of[event.effect], record.t_s)
    return found


def samples_around(site: Site, at_s: float) -> list[ClusterSampled]:
    """What the cluster looked like last before a time, and since."""
    samples = site.history.of(ClusterSampled)
    last_s = max((record.t_s for record, _ in samples if record.t_s <= at_s), default=at_s)
    return [sample for record, sample in samples if record.t_s >= last_s]


def _ran(site: Site, victim: str, since_s: float) -> bool:
    return any(sample.cloud.get(victim) in ("running", "paused") for sample in samples_around(site, since_s))
