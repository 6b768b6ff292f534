"""`change_limits`: somebody edits how few or how many workers a running cluster may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import ChangesConfiguration, UndoesEffects
from chaos.drawn import Drawn
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import ConfigChange


class ChangeLimits(Fault):
    """While in force, at least `min_workers` and at most `max_workers`; of one `node_type`, where given."""

    name: ClassVar[str] = "change_limits"
    summary: ClassVar[str] = "the minimum or maximum of workers is edited"
    needs: ClassVar[tuple[type, ...]] = (ChangesConfiguration, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    min_workers: Annotated[int | None, Drawn(most=2)] = Field(default=None, ge=0)
    max_workers: Annotated[int | None, Drawn(most=6, milder="more")] = Field(default=None, ge=0)
    node_type: str | None = None

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """A minimum only of a node type, and not above its maximum; without either, a maximum of one."""
        least = drawn["min_workers"] if drawn["node_type"] is not None else None
        most = 1 if least is None and drawn["max_workers"] is None else drawn["max_workers"]
        if least is not None and most is not None:
            least = min(least, most)
        return {**drawn, "min_workers": least, "max_workers": most}

    @model_validator(mode="after")
    def _something_changes(self) -> ChangeLimits:
        if self.min_workers is None and self.max_workers is None:
            raise ValueError("give min_workers, max_workers, or both")
        if self.min_workers is not None and self.node_type is None:
            raise ValueError("Ray knows a minimum only for each node type: give node_type with min_workers")
        return self

    async def inject(self, site: Site) -> None:
        """Edits the autoscaler's configuration."""
        assert isinstance(site.cluster, ChangesConfiguration)
        change = ConfigChange(node_type=self.node_type, min_workers=self.min_workers, max_workers=self.max_workers)
        await site.cluster.change_configuration(change, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler has read the edit, and the instances there are have come within the limits."""
        assert isinstance(site.cluster, ChangesConfiguration)
        if not await site.cluster.configuration_was_read():
            return Effect(outcome="unknown", detail="the autoscaler has not read the edited configuration")
        there = sum(
            node.node != "head" and node.state in ("pending", "running", "paused")
            for node in await site.cluster.nodes()
            if self.node_type in (None, node.node_type)
        )
        limit = self.max_workers
        seen = "the autoscaler has read the edit"
        if limit is not None and there > limit:
            return Effect(outcome="unknown", detail=f"{seen}, but there are still {there}", asked=limit, measured=there)
        if self.min_workers is not None and there < self.min_workers:
            least = self.min_workers
            return Effect(outcome="unknown", detail=f"{seen}, but there are only {there}", asked=least, measured=there)
        return Effect(outcome="took_effect", detail=f"{seen}; {there} workers are within the limits", measured=there)
