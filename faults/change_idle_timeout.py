"""`change_idle_timeout`: somebody edits how long an idle worker of a running cluster stays."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import ChangesConfiguration, UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import ConfigChange


class ChangeIdleTimeout(Fault):
    """While in force, an idle worker stays for `idle_timeout_s`; only one of `node_type`, where given."""

    name: ClassVar[str] = "change_idle_timeout"
    summary: ClassVar[str] = "the idle timeout is edited"
    needs: ClassVar[tuple[type, ...]] = (ChangesConfiguration, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    idle_timeout_s: float = Field(gt=0.0, le=86400.0)
    node_type: str | None = None

    async def inject(self, site: Site) -> None:
        """Edits the autoscaler's configuration."""
        assert isinstance(site.cluster, ChangesConfiguration)
        change = ConfigChange(node_type=self.node_type, idle_timeout_s=self.idle_timeout_s)
        await site.cluster.change_configuration(change, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler has read the edit: the kernel notes when the file was read."""
        assert isinstance(site.cluster, ChangesConfiguration)
        if not await site.cluster.configuration_was_read():
            return Effect(outcome="unknown", detail="the autoscaler has not read the edited configuration")
        return Effect(outcome="took_effect", detail="the autoscaler has read the edit")
