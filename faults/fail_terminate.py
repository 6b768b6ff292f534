"""`fail_terminate`: the cloud refuses to end instances."""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import AutoscalerLogged
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import TerminationFault
from faults.fail_launch import WORDS


class FailTerminate(Fault):
    """Terminations asked for while in force are refused for `reason`."""

    name: ClassVar[str] = "fail_terminate"
    summary: ClassVar[str] = "the cloud refuses to end instances"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    reason: Literal["throttled", "internal_error"] = "internal_error"

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to refuse terminations."""
        assert isinstance(site.cluster, FaultsAnswers)
        harm = TerminationFault(error=WORDS[self.reason])
        await site.cluster.fault_answers(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a refusal that was really answered, and that the autoscaler took for a failed termination."""
        refused = site.answered_wrong("not_terminated")
        if not refused:
            return Effect(outcome="unknown", detail="no termination was asked for while in force")
        noticed = any(
            "TERMINATION_FAILED" in event.text
            for _, event in site.history.of(AutoscalerLogged, since_s=site.injected_s)
        )
        if not noticed:
            return Effect(outcome="unknown", detail=f"{refused} refused, but the autoscaler has not said so")
        detail = f"the autoscaler saw {refused} terminations fail"
        return Effect(outcome="took_effect", detail=detail, measured=float(refused))
