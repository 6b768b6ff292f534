"""`conflict_patch`: somebody else edits the RayCluster at the same time as Ray's autoscaler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import UndoesEffects
from chaos.events import AutoscalerLogged
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import PatchConflict
from chaos.kuberay import RunsOnKubeRay


class ConflictPatch(Fault):
    """The first `patches` edits that Ray asks for while in force, or all, are refused: the object has been modified."""

    name: ClassVar[str] = "conflict_patch"
    summary: ClassVar[str] = "Ray's edits of the RayCluster conflict with another's"
    needs: ClassVar[tuple[type, ...]] = (RunsOnKubeRay, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    patches: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Has Ray's edits refused."""
        assert isinstance(site.cluster, RunsOnKubeRay)
        harm = PatchConflict(patches=self.patches)
        await site.cluster.fault_kuberay(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for an edit that was refused, and that the autoscaler took for a failed launch or termination."""
        refused = site.answered_wrong("conflict")
        if not refused:
            return Effect(outcome="unknown", detail="no edit was asked for while in force")
        noticed = any(
            "ALLOCATION_FAILED" in event.text or "TERMINATION_FAILED" in event.text
            for _, event in site.history.of(AutoscalerLogged, since_s=site.injected_s)
        )
        if not noticed:
            return Effect(outcome="unknown", detail=f"{refused} refused, but the autoscaler has not said so")
        detail = f"the autoscaler saw {refused} edits refused"
        return Effect(outcome="took_effect", detail=detail, measured=float(refused))
