"""Harm that does and shows what a test says, and where it acts."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from chaos.cluster import (
    PausesNodes,
    UndoesEffects,
)
from chaos.events import Event, RunOpened
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import (
    LaunchFault,
)
from chaos.history import History
from tests.doubles.cluster import FakeCluster


class Scripted(Fault):
    """Harm whose probes answer what the cluster's `seen` says for its injection, in turn; the last answer stays."""

    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "a stand-in"
    needs: ClassVar[tuple[type, ...]] = (PausesNodes, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    async def inject(self, site: Site) -> None:
        """Pauses the victims."""
        for victim in site.victims:
            await fake(site).pause_node(victim, effect_id=site.effect_for(victim), lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """The next scripted answer."""
        return self._next(site, site.effect_id, "took_effect")

    async def probe_healed(self, site: Site) -> Effect:
        """The next scripted answer."""
        return self._next(site, f"{site.effect_id}/healed", "no_effect")

    def _next(self, site: Site, key: str, otherwise: Literal["took_effect", "no_effect"]) -> Effect:
        answers = fake(site).seen.get(key, [])
        if len(answers) > 1:
            return answers.pop(0)
        return answers[0] if answers else Effect(outcome=otherwise, detail="as ever")


class ScriptedLaunch(Scripted):
    """The same, on launches."""

    name: ClassVar[str] = "scripted_launch"
    acts_on: ClassVar[ActsOn] = "launches"

    async def inject(self, site: Site) -> None:
        """Faults launches."""
        await fake(site).fault_launches(LaunchFault(error="no"), effect_id=site.effect_id, lease_s=site.lease_s)


def fake(site: Site) -> FakeCluster:
    """The site's cluster, known to be a double."""
    assert isinstance(site.cluster, FakeCluster)
    return site.cluster


async def injected(fault: Fault, site: Site) -> Site:
    """Measures and injects as the nemesis does; the site its probes are given."""
    measured = replace(site, before=await fault.measure_before(site))
    await fault.inject(measured)
    return measured


def site_of(
    cluster: FakeCluster, *victims: str, events: list[tuple[float, Event]] | None = None, injected_s: float = 10.0
) -> Site:
    """Where an injection `run.i1` made at `injected_s` acts, with a history of `(t_s, event)` pairs."""
    return Site(
        cluster=cluster,
        victims=victims,
        effect_id="run.i1",
        lease_s=20.0,
        duration_s=5.0,
        injected_s=injected_s,
        history=History.of_events(events or []),
    )


def opened(*, seed: int = 1) -> RunOpened:
    """The beginning of the run `run`."""
    return RunOpened(run_id="run", seed=seed, cluster="fake", schedule_hash="", spec={}, versions={})


def unknown(detail: str = "not yet") -> Effect:
    """A probe that cannot tell."""
    return Effect(outcome="unknown", detail=detail)
