"""What is known of each node's life, event by event: the one reading of it for the live view and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from chaos.events import (
    ClusterSampled,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
)
from chaos.history import Record

LifeState: TypeAlias = Literal["pending", "booting", "up", "draining", "lost"]


@dataclass(frozen=True)
class Life:
    """One node's moments, in seconds of the run's clock; None for what is not known to have happened.

    A node that ended and came back under its name has begun another life; `earlier` is the one before.
    """

    node_type: str = ""
    launched_s: float | None = None
    started_s: float | None = None
    joined_s: float | None = None
    terminating_s: float | None = None
    died_s: float | None = None
    terminated_s: float | None = None
    cause: str = ""
    ray_node_id: str = ""
    earlier: Life | None = None

    @property
    def first(self) -> Life:
        """The life the node was launched into."""
        return self if self.earlier is None else self.earlier.first

    @property
    def ended(self) -> bool:
        """Whether the Cloud or the GCS saw it end."""
        return self.terminated_s is not None or self.died_s is not None

    def moments(self) -> list[float]:
        """When something happened, in order, earlier lives included."""
        return sorted({*self._own(), *(() if self.earlier is None else self.earlier.moments())})

    def _own(self) -> list[float]:
        times = (
            self.launched_s,
            self.started_s,
            self.joined_s,
            self.terminating_s,
            self.died_s,
            self.terminated_s,
        )
        return [t for t in times if t is not None]

    def state_at(self, t_s: float) -> LifeState | None:
        """The node's state at a moment; None when it is gone.

        `pending`: asked for; `booting`: its instance runs; `up`: the GCS sees it; `draining`: being terminated; `lost`:
        dead, but the Cloud or the GCS does not know yet.
        """

        def had(moment_s: float | None) -> bool:
            return moment_s is not None and moment_s <= t_s

        if self.earlier is not None and t_s < min(self._own()):
            return self.earlier.state_at(t_s)
        if had(self.terminated_s):
            undetected = self.died_s is not None and had(self.joined_s) and not had(self.died_s)
            return "lost" if undetected and self.cause in ("killed", "exited") else None
        if had(self.died_s):
            return "lost"
        if had(self.terminating_s):
            return "draining"
        if had(self.joined_s):
            return "up"
        return "booting" if had(self.started_s) else "pending"


def lives_after(lives: Mapping[str, Life], record: Record) -> Mapping[str, Life]:
    """The lives by node once this record has happened; the same mapping where it tells nothing of a node's life."""
    event, t_s = record.event, record.t_s
    if isinstance(event, ClusterSampled):
        seen = {view.node: lives.get(view.node, Life()) for view in event.nodes}
        new = {
            view.node: replace(seen[view.node], node_type=view.node_type, joined_s=t_s)
            for view in event.nodes
            if seen[view.node].joined_s is None and seen[view.node].earlier is None
        }
        return {**lives, **new} if new else lives
    if isinstance(event, NodeLaunchFailed):
        return lives if event.node is None else _ended(lives, event.node, t_s, "launch failed")
    if isinstance(event, NodeTerminated):
        return _ended(lives, event.node, t_s, event.cause)
    if not isinstance(event, (NodeLaunching, NodeStarted, NodeJoined, NodeTerminating, NodeDied)):
        return lives
    life = lives.get(event.node, Life())
    if isinstance(event, NodeLaunching):
        life = replace(life, node_type=event.node_type, launched_s=t_s)
    elif isinstance(event, NodeStarted):
        life = Life(earlier=life) if life.ended else life
        life = replace(life, node_type=event.node_type, started_s=t_s)
    elif isinstance(event, NodeJoined):
        life = Life(earlier=life) if life.ray_node_id not in ("", event.ray_node_id) else life
        life = replace(life, node_type=event.node_type, joined_s=t_s, ray_node_id=event.ray_node_id)
    elif isinstance(event, NodeTerminating):
        life = replace(life, terminating_s=t_s)
    elif life.earlier is not None and life.earlier.ray_node_id == event.ray_node_id:
        life = replace(life, earlier=replace(life.earlier, died_s=t_s))  # seen dead when it was back already
    else:
        life = replace(life, died_s=t_s)
    return {**lives, event.node: life}


def _ended(lives: Mapping[str, Life], node: str, t_s: float, cause: str) -> Mapping[str, Life]:
    return {**lives, node: replace(lives.get(node, Life()), terminated_s=t_s, cause=cause)}
