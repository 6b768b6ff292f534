"""`fill_disk`: the disk that a node spills objects to is full, as when logs or caches have grown over it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import FillsDisks, Gauges, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import DiskFill

_SLACK_PERCENT = 1.0


class FillDisk(Fault):
    """The file system each victim spills objects to is filled to `until_percent`."""

    name: ClassVar[str] = "fill_disk"
    summary: ClassVar[str] = "fill the disk a node spills objects to"
    needs: ClassVar[tuple[type, ...]] = (FillsDisks, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    until_percent: Annotated[float, Drawn(least=50.0)] = Field(default=100.0, ge=1.0, le=100.0)

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:
        """There is nothing to fill on the head, or where no type of node has a disk of limited size."""
        if selected == "head":
            return "the head has no disk of limited size; target workers"
        if all(kind.disk_limit_mb is None for kind in cluster.node_types.values()):
            return "no node type has a disk of limited size; give one disk_limit_mb"
        return ""

    async def measure_before(self, site: Site) -> Readings:
        """How full each victim's disk is, in percent."""
        assert isinstance(site.cluster, FillsDisks)
        read = {victim: _full_percent(await site.cluster.gauges(victim)) for victim in site.victims}
        return {(victim,): percent for victim, percent in read.items() if percent is not None}

    async def inject(self, site: Site) -> None:
        """Begins to fill each victim's disk."""
        assert isinstance(site.cluster, FillsDisks)
        for victim in site.victims:
            await site.cluster.fill_disk(
                victim,
                DiskFill(until_percent=self.until_percent),
                effect_id=site.effect_for(victim),
                lease_s=site.lease_s,
            )

    async def probe(self, site: Site) -> Effect:
        """Asks each victim's file system how full it is."""
        assert isinstance(site.cluster, FillsDisks)
        full: dict[str, float] = {}
        for victim in site.victims:
            percent = _full_percent(await site.cluster.gauges(victim))
            if percent is not None:
                full[victim] = percent
        if not full:
            return self._saw("no_effect", "the victims were gone")
        least = min(full, key=full.__getitem__)
        before = site.before.get((least,), 0.0)
        detail = f"the disk of {least} is the least full, before {before:g} %"
        if full[least] < self.until_percent - _SLACK_PERCENT:
            return self._saw("unknown", detail, full[least])
        return self._saw("took_effect" if full[least] > before else "no_effect", detail, full[least])

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether a process of ours still fills a disk: the job may fill it by itself."""
        assert isinstance(site.cluster, FillsDisks)
        ours, others = await site.active()
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            if ours or (gauges is not None and gauges.disk_fillers and not others.explain(victim, fault=self.name)):
                return self._saw("took_effect", f"the disk of {victim} is still filled", _full_percent(gauges))
        return self._saw("no_effect", "no process of ours fills a disk any more")

    def _saw(self, outcome: Outcome, detail: str, percent: float | None = None) -> Effect:
        return Effect(outcome=outcome, detail=detail, asked=self.until_percent, measured=percent, unit="%")


def _full_percent(gauges: Gauges | None) -> float | None:
    if gauges is None or gauges.disk_mb is None or gauges.disk_free_mb is None:
        return None
    return round(100.0 * (1.0 - gauges.disk_free_mb / gauges.disk_mb), 1)
