"""`delay_launch`: the cloud accepts a launch and takes its time, as in a capacity crunch or with a slow image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.events import NodeJoined, NodeLaunching, NodeStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LaunchFault

_RECORDING_S = 0.05  # the Cloud accepts a launch a moment before it records it


class DelayLaunch(Fault):
    """Instances asked for while in force start `delay_s` late; of one `node_type`, at most `count`, where given.

    With `up_to_s` the delay of each is drawn, evenly between `delay_s` and that, the same with the same seed.
    """

    name: ClassVar[str] = "delay_launch"
    summary: ClassVar[str] = "instances asked for start late"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 60.0

    delay_s: float = Field(gt=0.0, le=3600.0)
    up_to_s: float | None = Field(default=None, gt=0.0, le=3600.0)
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """No delay is drawn below the least."""
        up_to_s = drawn["up_to_s"]
        return drawn if up_to_s is None else {**drawn, "up_to_s": max(up_to_s, drawn["delay_s"])}

    @model_validator(mode="after")
    def _ordered(self) -> DelayLaunch:
        if self.up_to_s is not None and self.up_to_s < self.delay_s:
            raise ValueError(
                f"up_to_s {self.up_to_s:g} is below delay_s {self.delay_s:g}; delays are drawn between them"
            )
        return self

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to hold launches."""
        assert isinstance(site.cluster, FaultsLaunches)
        fault = LaunchFault(
            node_type=self.node_type,
            count=self.count,
            delay_s=self.delay_s,
            up_to_s=self.up_to_s,
            stream=site.stream if self.up_to_s is not None else "",
        )
        await site.cluster.fault_launches(fault, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a node that the GCS saw, and that began at least `delay_s` after it had been asked for.

        What was asked for is the longest delay there could be.
        """
        most_s = self.delay_s if self.up_to_s is None else self.up_to_s
        joined = {event.node: record.t_s for record, event in site.history.of(NodeJoined, since_s=site.injected_s)}
        began = {event.node: record.t_s for record, event in site.history.of(NodeStarted, since_s=site.injected_s)}
        asked = {
            event.node: record.t_s
            for record, event in site.history.of(NodeLaunching, since_s=site.injected_s)
            if event.node in joined and event.node in began and self.node_type in (None, event.node_type)
        }
        waited = [began[node] - asked_s for node, asked_s in asked.items()]
        late = [waited_s for waited_s in waited if waited_s >= self.delay_s - _RECORDING_S]
        if not late:
            return Effect(outcome="unknown", detail="no late launch has joined", asked=most_s, unit="s")
        return Effect(
            outcome="took_effect",
            detail=f"{len(late)} of {len(asked)} launches joined late",
            asked=most_s,
            measured=round(max(late), 3),
            unit="s",
        )
