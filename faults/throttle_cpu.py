"""`throttle_cpu`: a node gets less CPU than it wants, as on an oversold host or out of burst credit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chaos.cluster import ThrottlesCpus, UndoesEffects
from chaos.drawn import Drawn
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import CpuThrottle

# Shorter windows hold few of the kernel's scheduling periods (0.1 s), of which one more or less decides.
_WINDOW_S = 1.0
# What a node may seem to use beyond its limit: a period's quota it had left, and the moment before the injection.
_TOLERANCE = 1.25
_SLACK_CORE_S = 0.1
_UNIT = "cores"


class ThrottleCpu(Fault):
    """All of a victim together gets at most `cores` cores' worth of CPU time."""

    name: ClassVar[str] = "throttle_cpu"
    summary: ClassVar[str] = "limit a node's CPU time"
    needs: ClassVar[tuple[type, ...]] = (ThrottlesCpus, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    cores: Annotated[float, Drawn(most=2.0, milder="more")] = Field(ge=0.05, le=1024.0)

    async def measure_before(self, site: Site) -> Readings:
        """Of each victim: CPU seconds so far, when that was, how often it was throttled, its limit where it has one."""
        assert isinstance(site.cluster, ThrottlesCpus)
        found: dict[tuple[str, ...], float] = {}
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            if gauges is not None:
                found[victim, "cpu_s"] = gauges.cpu_s
                found[victim, "at_s"] = gauges.at_s
                found[victim, "throttled"] = float(gauges.throttled)
                if gauges.cpu_limit_cores is not None:
                    found[victim, "limit"] = gauges.cpu_limit_cores
        return found

    async def inject(self, site: Site) -> None:
        """Limits the victims."""
        assert isinstance(site.cluster, ThrottlesCpus)
        for victim in site.victims:
            await site.cluster.throttle_cpu(
                victim, CpuThrottle(cores=self.cores), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel what each victim got since, and that it wanted more."""
        assert isinstance(site.cluster, ThrottlesCpus)
        used: dict[str, float] = {}
        allowed: dict[str, float] = {}
        content: list[str] = []
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            if gauges is None or (victim, "at_s") not in site.before:
                continue
            if site.before.get((victim, "limit"), self.cores + 1.0) <= self.cores:
                return self._saw("no_effect", f"{victim} had no more before", site.before[victim, "limit"])
            window_s = gauges.at_s - site.before[victim, "at_s"]
            if window_s < _WINDOW_S:
                return Effect(outcome="unknown", detail="too soon to tell", asked=self.cores, unit=_UNIT)
            used[victim] = (gauges.cpu_s - site.before[victim, "cpu_s"]) / window_s
            allowed[victim] = self.cores * _TOLERANCE + _SLACK_CORE_S / window_s
            if gauges.throttled <= site.before[victim, "throttled"]:
                content.append(victim)
        if not used:
            return Effect(outcome="no_effect", detail="the victims were gone")
        most = max(used, key=used.__getitem__)
        measured = round(used[most], 3)
        if used[most] > allowed[most]:
            return self._saw("no_effect", f"{most} got more than asked", measured)
        if content:
            return self._saw("unknown", f"{', '.join(content)} never wanted more than it may have", measured)
        return self._saw("took_effect", f"{most} got the most, and wanted more", measured)

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether a victim may use what it could before, unless another injection limits it."""
        assert isinstance(site.cluster, ThrottlesCpus)
        ours, others = await site.active()
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            limit = None if gauges is None else gauges.cpu_limit_cores
            usual = site.before.get((victim, "limit"))
            lowered = limit is not None and (usual is None or limit < usual)
            if ours or (lowered and not others.explain(victim, fault=self.name)):
                return self._saw("took_effect", f"{victim} is still limited", limit)
        return Effect(outcome="no_effect", detail="no limit of ours is left")

    def _saw(self, outcome: Literal["took_effect", "no_effect", "unknown"], detail: str, cores: float | None) -> Effect:
        return Effect(outcome=outcome, detail=detail, asked=self.cores, measured=cores, unit=_UNIT)
