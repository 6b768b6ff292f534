"""`change_node_types`: somebody edits, adds or removes a node type of a running cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import ChangesConfiguration, UndoesEffects
from chaos.drawn import Drawn
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import ConfigChange

_RESOURCES = ({"CPU": 2.0, "GPU": 1.0}, {"CPU": 1.0}, {"CPU": 4.0, "GPU": 2.0})


class ChangeNodeTypes(Fault):
    """While in force, nodes of `node_type` have other `resources`, or it is gone (`remove`), or `new_type` is there."""

    name: ClassVar[str] = "change_node_types"
    summary: ClassVar[str] = "a node type is edited, added or removed"
    needs: ClassVar[tuple[type, ...]] = (ChangesConfiguration, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    node_type: str | None = None
    remove: bool = False
    new_type: Annotated[str | None, Drawn(among=("added",))] = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    resources: Annotated[dict[str, float] | None, Drawn(among=_RESOURCES)] = Field(default=None, min_length=1)
    max_workers: int = Field(default=4, ge=0)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """One change: of a type that was drawn, else of a new one."""
        if drawn["node_type"] is None or drawn["new_type"] is not None:
            resources = drawn["resources"] or _RESOURCES[0]
            return {**drawn, "node_type": None, "new_type": "added", "remove": False, "resources": resources}
        remove = drawn["remove"] or drawn["resources"] is None
        return {**drawn, "remove": remove, "resources": None if remove else drawn["resources"]}

    @model_validator(mode="after")
    def _one_change(self) -> ChangeNodeTypes:
        if self.new_type == "head":
            raise ValueError("a node type cannot be called 'head'")
        if (self.node_type is None) == (self.new_type is None):
            raise ValueError("give either node_type, to edit or remove it, or new_type, to add it")
        if self.remove == (self.resources is not None) or (self.remove and self.node_type is None):
            raise ValueError("give resources, or remove: true with a node_type")
        return self

    async def inject(self, site: Site) -> None:
        """Edits the autoscaler's configuration."""
        assert isinstance(site.cluster, ChangesConfiguration)
        change = ConfigChange(
            node_type=self.node_type or self.new_type,
            resources=self.resources,
            max_workers=None if self.new_type is None else self.max_workers,
            removed=self.remove,
        )
        await site.cluster.change_configuration(change, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler has read the edit, and has no instance of a removed type left."""
        assert isinstance(site.cluster, ChangesConfiguration)
        if not await site.cluster.configuration_was_read():
            return Effect(outcome="unknown", detail="the autoscaler has not read the edited configuration")
        seen = "the autoscaler has read the edit"
        there = sum(node.node_type == self.node_type for node in await site.cluster.nodes() if node.state != "stopping")
        if self.remove and there:
            return Effect(outcome="unknown", detail=f"{seen}, but there are still {there} of {self.node_type}")
        return Effect(outcome="took_effect", detail=seen)
