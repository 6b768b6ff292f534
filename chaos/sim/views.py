"""What the GCS shows Ray's autoscaler, and what it answers: the truth, but for the harm in force.

Nobody else is harmed: what the observer sees, and what places work, stays true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from ray.core.generated.autoscaler_pb2 import ClusterResourceState, NodeState, NodeStatus

from chaos.clock import monotonic_s
from chaos.cloud.answers import Deviations
from chaos.cloud.instances import ActiveEffect
from chaos.events import GcsAnsweredWrong
from chaos.harm import LaggedViews, OmittedView, RefusedDrains, ViewHarm
from chaos.sim.ray import HEAD, RayModel
from chaos.sim.shown import Altered, AsItIs, Shown
from chaos.value import Value

H = TypeVar("H", bound=Value)

_MS = 1000.0


class Views:
    """The views of one model; `effects` is all the harm in force, and whoever lifts it settles the `deviations`."""

    def __init__(
        self, model: RayModel, effects: Callable[[], list[ActiveEffect]], deviations: Deviations, *, session: str
    ) -> None:
        self._model = model
        self._effects = effects
        self._deviations = deviations
        self._session = session
        self._hits: dict[str, int] = {}
        self._past: list[tuple[float, ClusterResourceState]] = []

    def shown(self, *, head_type: str = HEAD, without: Collection[str] = ()) -> Shown:
        """The cluster's state as the autoscaler is shown it now, the head as a node of that type.

        Of dead nodes it is not shown those, by Ray node id, that it has no use for.
        """
        now = AsItIs(self._model, session=self._session, head_type=head_type, without=without)
        there = {effect.effect_id for effect in self._effects()}
        self._hits = {effect_id: hits for effect_id, hits in self._hits.items() if effect_id in there}
        if not any(isinstance(effect.harm, ViewHarm) for effect in self._effects()):
            self._past.clear()
            return now
        state = self._lagged(now.state)
        for effect, omission in self._in_force(OmittedView):
            left = [node for node in state.node_states if node.instance_id != effect.instance or _is_dead(node)]
            hits = self._hits.get(effect.effect_id, 0)
            if len(left) == len(state.node_states) or (omission.answers is not None and hits >= omission.answers):
                continue
            shown = ClusterResourceState()
            shown.CopyFrom(state)
            del shown.node_states[:]
            shown.node_states.extend(left)
            state = shown
            self._hit(effect, "left_out", f"without {effect.instance}")
        return Altered(state)

    def drain(self, ray_node_id: str, if_idle: bool) -> bool | asyncio.Task[bool | None]:
        """Has a node end, where it is to be idle only if it is; see `RayModel.drain`."""
        for effect, refusal in self._in_force(RefusedDrains):
            hits = self._hits.get(effect.effect_id, 0)
            if if_idle and (refusal.count is None or hits < refusal.count):
                node = next((node for node in self._model.nodes() if node.ray_node_id == ray_node_id), None)
                if node is not None:
                    self._hit(effect, "refused", node.instance)
                    return False
        return self._model.drain(ray_node_id, if_idle=if_idle)

    def _lagged(self, now: ClusterResourceState) -> ClusterResourceState:
        """Of each node that lives, what it held a while ago, at the earliest when the harm came into force."""
        lags = [(effect, lag.age_s) for effect, lag in self._in_force(LaggedViews)]
        if not lags:
            self._past.clear()
            return now
        effect, age_s = max(lags, key=lambda pair: pair[1])
        self._past.append((monotonic_s(), now))
        until_s = monotonic_s() - age_s
        while len(self._past) > 1 and self._past[1][0] <= until_s:
            self._past.pop(0)
        at_s, then = self._past[0]
        shown = _as_it_was(now, then, ago_s=monotonic_s() - at_s)
        if differing := _differing(now, shown):
            self._hit(effect, "lagged", ", ".join(differing))
        return shown

    def _hit(self, effect: ActiveEffect, how: str, detail: str) -> None:
        self._hits[effect.effect_id] = self._hits.get(effect.effect_id, 0) + 1
        self._deviations.note(effect.effect_id, how, detail, event=GcsAnsweredWrong)

    def _in_force(self, kind: type[H]) -> Iterator[tuple[ActiveEffect, H]]:
        for effect in self._effects():
            if isinstance(effect.harm, ViewHarm) and isinstance(effect.harm, kind):
                yield effect, effect.harm


def _is_dead(node: NodeState) -> bool:
    return bool(node.status == NodeStatus.DEAD)


def _as_it_was(now: ClusterResourceState, then: ClusterResourceState, *, ago_s: float) -> ClusterResourceState:
    """The nodes there are, with what they last told of themselves so long ago, and the tasks that waited then.

    The GCS itself knows who lives, who is drained, which placement groups wait and what is requested. A node that told
    that it was idle is taken to have been so since (`GetNodeStates` in Ray's gcs_autoscaler_state_manager.cc).
    """
    shown = ClusterResourceState()
    shown.CopyFrom(now)
    told = {node.node_id: node for node in then.node_states if not _is_dead(node)}
    for node in shown.node_states:
        if _is_dead(node) or node.status == NodeStatus.DRAINING:
            continue
        before = told.get(node.node_id)
        available = node.total_resources if before is None else before.available_resources
        node.status = NodeStatus.RUNNING if before is None else before.status
        idle = node.status == NodeStatus.IDLE and before is not None
        node.idle_duration_ms = before.idle_duration_ms + int(ago_s * _MS) if idle and before is not None else 0
        held = dict(available)
        node.available_resources.clear()
        node.available_resources.update(held)
    del shown.pending_resource_requests[:]
    shown.pending_resource_requests.extend(then.pending_resource_requests)
    return shown


def _differing(now: ClusterResourceState, shown: ClusterResourceState) -> list[str]:
    """The instances that are shown otherwise than they are, and `demand` where that is."""
    found = [
        one.instance_id
        for one, other in zip(now.node_states, shown.node_states, strict=True)
        if (one.status, dict(one.available_resources)) != (other.status, dict(other.available_resources))
    ]
    same = list(now.pending_resource_requests) == list(shown.pending_resource_requests)
    return found if same else [*found, "demand"]
