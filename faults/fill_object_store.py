"""`fill_object_store`: a node's object store is full of objects nobody gives up, as with references that leak."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FillsStores, UndoesEffects
from chaos.events import ClusterSampled, Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import StoreFill

# The samples tell the share in use to a twentieth.
_SLACK_PERCENT = 5.0


class FillObjectStore(Fault):
    """A program on each victim holds objects worth `percent` of its object store, and lets none be spilled."""

    name: ClassVar[str] = "fill_object_store"
    summary: ClassVar[str] = "hold objects in a node's object store"
    needs: ClassVar[tuple[type, ...]] = (FillsStores, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    percent: float = Field(default=90.0, ge=10.0, le=95.0)

    async def measure_before(self, site: Site) -> Readings:
        """How full each victim's store is, by the last sample of the GCS that tells."""
        return {(victim,): percent for victim, percent in self._used_percent(site, since_s=0.0).items()}

    async def inject(self, site: Site) -> None:
        """Starts the program on each victim; it takes a few seconds to fill the store."""
        assert isinstance(site.cluster, FillsStores)
        for victim in site.victims:
            await site.cluster.fill_store(
                victim, StoreFill(percent=self.percent), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Reads from the GCS how full each victim's store was in the last sample since the injection."""
        used = self._used_percent(site, since_s=site.injected_s)
        missing = [victim for victim in site.victims if victim not in used]
        if missing:
            return self._saw("unknown", f"the GCS has not told of {', '.join(missing)} yet")
        least = min(used, key=used.__getitem__)
        before = site.before.get((least,), 0.0)
        if used[least] < self.percent - _SLACK_PERCENT:
            return self._saw("unknown", f"the store of {least} is the least full, before {before:g} %", used[least])
        if used[least] <= before:
            return self._saw("no_effect", f"the store of {least} was as full before", used[least])
        return self._saw("took_effect", f"the store of {least} is the least full, before {before:g} %", used[least])

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether a program of ours still holds objects: the job may fill the store by itself."""
        assert isinstance(site.cluster, FillsStores)
        ours, others = await site.active()
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            if ours or (gauges is not None and gauges.store_fillers and not others.explain(victim, fault=self.name)):
                return self._saw("took_effect", f"objects are still held on {victim}")
        return self._saw("no_effect", "no program of ours holds objects any more")

    def _saw(self, outcome: Outcome, detail: str, percent: float | None = None) -> Effect:
        return Effect(outcome=outcome, detail=detail, asked=self.percent, measured=percent, unit="%")

    @staticmethod
    def _used_percent(site: Site, *, since_s: float) -> dict[str, float]:
        """Of each victim, from the last sample that tells."""
        used: dict[str, float] = {}
        for record, event in site.history.of(ClusterSampled):
            if record.t_s < since_s:
                continue
            for view in event.nodes:
                if view.node in site.victims and view.store_used is not None:
                    used[view.node] = round(view.store_used * 100.0, 1)
        return used
