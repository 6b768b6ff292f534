"""`delay_terminate`: the cloud accepts to end an instance, and takes its time."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import NodeTerminated, NodeTerminating
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import TerminationFault

_RECORDING_S = 0.05  # the Cloud accepts a termination a moment before it records it


class DelayTerminate(Fault):
    """Instances whose end is asked for while in force end `delay_s` late, at the latest when the fault is healed."""

    name: ClassVar[str] = "delay_terminate"
    summary: ClassVar[str] = "the cloud ends instances late"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    delay_s: float = Field(gt=0.0, le=3600.0)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to hold terminations."""
        assert isinstance(site.cluster, FaultsAnswers)
        harm = TerminationFault(delay_s=self.delay_s)
        await site.cluster.fault_answers(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for an instance that was gone `delay_s` later than ending it took, once it was asked for in force."""
        gone = {event.node: (record.t_s, event.stop_s) for record, event in site.history.of(NodeTerminated)}
        asked = {event.node: record.t_s for record, event in reversed(site.history.of(NodeTerminating))}
        until_s = site.injected_s + (site.duration_s or site.lease_s)
        asked_since = {node: asked_s for node, asked_s in asked.items() if site.injected_s <= asked_s <= until_s}
        waited = [
            gone_s - stop_s - asked_since[node]
            for node, (gone_s, stop_s) in gone.items()
            if node in asked_since and stop_s is not None
        ]
        late = [waited_s for waited_s in waited if waited_s >= self.delay_s - _RECORDING_S]
        if not late:
            detail = f"{len(asked_since)} terminations were asked for, none has ended late"
            return Effect(outcome="unknown", detail=detail, asked=self.delay_s, unit="s")
        return Effect(
            outcome="took_effect",
            detail=f"{len(late)} of {len(asked_since)} instances ended late",
            asked=self.delay_s,
            measured=round(max(late), 3),
            unit="s",
        )
