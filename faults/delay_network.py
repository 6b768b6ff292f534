"""`delay_network`: packets take longer, as to a region far away or over a congested link."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import PathSample
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import Effect, Readings, Site
from chaos.harm import NetworkShape
from chaos.path_fault import Path, PathFault, lowest, means_of, named

_PACKETS = 30
_INTERVAL_MS = 10.0
# What is measured right before the injection makes it late.
_PACKETS_BEFORE = 15
_INTERVAL_BEFORE_MS = 2.0
# A machine may be busy: so much later than they would come packets are waited for.
_PATIENCE_MS = 500.0
_TOLERANCE = 0.1
_TOLERANCE_MS = 5.0
# The median of a sample of jittered packets strays so far from the middle.
_JITTER_SHARE = 0.25


class DelayNetwork(PathFault):
    """Each packet between a victim and its `peers` is `delay_ms` ± `jitter_ms` late; none overtakes another."""

    name: ClassVar[str] = "delay_network"
    summary: ClassVar[str] = "make a node's packets late"
    shapes: ClassVar[tuple[str, ...]] = ("delay_ms",)

    delay_ms: float = Field(gt=0.0, le=5000.0)
    jitter_ms: Annotated[float, Drawn(most=500.0)] = Field(default=0.0, ge=0.0)
    correlation_percent: float = Field(default=0.0, ge=0.0, le=100.0)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing comes early."""
        return {**drawn, "jitter_ms": min(drawn["jitter_ms"], drawn["delay_ms"])}

    @model_validator(mode="after")
    def _never_early(self) -> DelayNetwork:
        if self.jitter_ms > self.delay_ms:
            raise ValueError(f"jitter_ms = {self.jitter_ms:g} is more than delay_ms = {self.delay_ms:g}")
        return self

    def shape(self) -> NetworkShape:
        """A delay."""
        return NetworkShape(
            delay_ms=self.delay_ms, jitter_ms=self.jitter_ms, correlation_percent=self.correlation_percent
        )

    async def sampled(self, site: Site, path: Path) -> PathSample:
        """A packet every ten milliseconds for a third of a second; before the injection, closer together."""
        return await self.sample_path(
            site,
            path,
            packets=_PACKETS if site.before else _PACKETS_BEFORE,
            interval_ms=_INTERVAL_MS if site.before else _INTERVAL_BEFORE_MS,
            patience_ms=self.delay_ms + self.jitter_ms + _PATIENCE_MS,
        )

    async def measure_before(self, site: Site) -> Readings:
        """Milliseconds one way, the median, on a path of each victim."""
        delays = await self._delays(site, await self.paths(site))
        return {path: delay_ms for path, delay_ms in delays.items()}

    async def probe(self, site: Site) -> Effect:
        """Measures the same paths again: each takes longer, by about what was asked."""
        rises = await self._rises(site)
        if not rises:
            return self._saw("unknown", "there is no path to measure")
        path, rise = lowest(rises)
        lowest_ms = self.delay_ms - max(_TOLERANCE * self.delay_ms, min(_TOLERANCE_MS, self.delay_ms / 2))
        late = rise >= lowest_ms - _JITTER_SHARE * self.jitter_ms
        return self._saw("took_effect" if late else "no_effect", f"added to {named(path)}{await means_of(site)}", rise)

    async def probe_healed(self, site: Site) -> Effect:
        """Measures once more: no path takes much longer than before, or the delay is undone and nothing can be told."""
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        rises = await self._rises(site)
        late = {path: rise for path, rise in rises.items() if rise > self.delay_ms / 2 and not others.explain(*path)}
        if late:
            path, rise = max(late.items(), key=lambda item: item[1])
            return self._saw("took_effect", f"{named(path)} is still late", rise)
        return self._saw("no_effect", "undone", max(rises.values(), default=None))

    async def _rises(self, site: Site) -> dict[Path, float]:
        """By how much each path takes longer than before."""
        return {path: delay - site.before[path] for path, delay in (await self._delays(site, site.before)).items()}

    async def _delays(self, site: Site, paths: Iterable[tuple[str, ...]]) -> dict[Path, float]:
        samples = await self.sample_all(site, paths)
        return {path: seen.delay_ms for path, seen in samples.items() if seen.delay_ms is not None}

    def _saw(self, outcome: Outcome, detail: str, delay_ms: float | None = None) -> Effect:
        measured = None if delay_ms is None else round(delay_ms, 2)
        return Effect(outcome=outcome, detail=detail, asked=self.delay_ms, measured=measured, unit="ms")
