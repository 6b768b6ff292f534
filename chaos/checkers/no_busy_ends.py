"""A node is ended as idle only when it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.instance_log import InstanceProperty, Row, Step, hits_s, misled, nodes_by_ray_id, on_purpose
from chaos.events import BatchCompleted, BatchFailed, BatchInvoked, CloudAnsweredWrong, NodeDied, NodeView
from chaos.history import Record

_IDLE = re.compile(r"draining ray: idle for ([0-9.]+) secs > timeout=([0-9.]+)")
# A sample, the line in the log and what the node told the GCS each may be late; seconds are rounded.
_LATE_S = 3.0
# For how long an update may wait for the Cloud after it has read what nodes do: our node provider's patience with one
# call; Ray's own with the Kubernetes API is 60 s, of which an update makes three calls.
_CALL_LIMIT_S, _KUBERNETES_LIMIT_S = 15.0, 180.0
# Of late answers one is told at once, others within a second.
_TOLD_WITHIN_S = 1.5


@dataclass(frozen=True)
class _End:
    """The autoscaler asked that this node be ended for idleness."""

    step: Step
    node: str
    node_type: str
    idle_s: float
    timeout_s: float
    left_s: float
    undone: bool

    @property
    def t_s(self) -> float:
        """When it asked."""
        return self.step.t_s


class NoBusyEnds(InstanceProperty):
    """The autoscaler asks for the end of a node as idle only when it was idle for longer than its timeout.

    And a node that it ends as idle has nothing in hand: a node at work refuses to go. Assumes that a node's state in a
    sample is never older than a few seconds, which are allowed for. What a node did is not judged where a fault was on
    it, or what the GCS showed was not so, in the time in which it says that it was idle: it may have been frozen, its
    clock wrong, or what is told of it old. Where one was on the head, what was told may be as old as that: what came
    later may be unknown, and so may edits of the configuration. Where the Cloud answered an update late, what that knew
    of the node at work may be as old as its call. Nothing excuses less than the timeout that is logged.
    """

    name = "no_busy_ends"

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails on an end for idleness that came early, of a node seen at work, or with a batch in hand."""
        ends = _ends(facts, found)
        views = _views(facts)
        for end in ends:
            after_s = max(end.idle_s, facts.cluster.health_check.detection_s)
            heard_s = min([end.t_s, *hits_s(facts, "head", end.t_s, after_s=after_s)])
            told, evidence = _too_early(facts, end, heard_s)
            excused = on_purpose(facts, end.node, end.t_s, after_s=after_s) or misled(facts, end.t_s, after_s=after_s)
            if not told and not excused:
                told, evidence = _seen_at_work(end, views.get(end.node, []), min(heard_s, _began_s(facts, end.t_s)))
            if not told and not excused:
                told, evidence = _in_hand(facts, end, heard_s)
            if told:
                return self.verdict("fail", told, [end.step.record, *evidence], unit="nodes", measured=1.0, bound=0)
        told = f"{len(ends)} node(s) ended as idle, none of them at work" if ends else "no node was ended as idle"
        records = [end.step.record for end in ends] or [found[0].steps[0].record]
        return self.verdict("pass", told, records, unit="nodes", measured=0.0, bound=0.0)


def _ends(facts: Facts, found: tuple[Row, ...]) -> list[_End]:
    names = nodes_by_ray_id(facts)
    ends = []
    for row in found:
        for step, left_s in row.stays:
            said = _IDLE.search(step.why)
            node = names.get(row.ray_node_id)
            if step.after != "RAY_STOP_REQUESTED" or said is None or node is None or step.t_s > facts.watched_to_s:
                continue
            undone = any(later.t_s == left_s and later.after == "RAY_RUNNING" for later in row.steps)
            ends.append(_End(step, node, row.node_type, float(said[1]), float(said[2]), left_s, undone))
    return ends


def _began_s(facts: Facts, at_s: float) -> float:
    """When an update may have begun that ended then, and so have read what nodes do.

    That is before its calls to the Cloud, of which the last was answered late if that is told of about then.
    """
    answers = facts.history.of(CloudAnsweredWrong, since_s=at_s - _TOLD_WITHIN_S)
    if not any(event.how == "slow" and record.t_s <= at_s + _TOLD_WITHIN_S for record, event in answers):
        return at_s
    return at_s - (_KUBERNETES_LIMIT_S if facts.cluster.on_kuberay else _CALL_LIMIT_S)


def _views(facts: Facts) -> dict[str, list[tuple[Record, NodeView]]]:
    views: dict[str, list[tuple[Record, NodeView]]] = {}
    for record, sample in facts.samples():
        for view in sample.nodes:
            views.setdefault(view.node, []).append((record, view))
    return views


def _too_early(facts: Facts, end: _End, known_s: float) -> tuple[str, list[Record]]:
    since_s = known_s - facts.bounds.overshoot_s
    least_s = min(cluster.idle_timeout_of(end.node_type) for cluster in facts.clusters_since(since_s, end.t_s))
    if end.idle_s + 1e-6 >= max(end.timeout_s, least_s - 0.5):
        return "", []
    told = (
        f"{end.node} was to be ended as idle at {end.t_s:.1f} s after {end.idle_s:.1f} s; its timeout is {least_s:g} s"
    )
    return told, []


def _seen_at_work(end: _End, views: list[tuple[Record, NodeView]], known_s: float) -> tuple[str, list[Record]]:
    from_s, to_s = end.t_s - end.idle_s + _LATE_S, known_s - _LATE_S
    busy = [record for record, view in views if from_s < record.t_s < to_s and _at_work(view)]
    if not busy:
        return "", []
    told = f"{end.node} was to be ended as idle for {end.idle_s:.1f} s at {end.t_s:.1f} s, and was at work at"
    return f"{told} {busy[-1].t_s:.1f} s", busy[-3:]


def _at_work(view: NodeView) -> bool:
    """Whether something on the node holds a part of it.

    That the node says it is not idle is not enough: a raylet that pulls the arguments of a lease it has not granted
    says so too, and if the lease goes elsewhere it was idle all along (`MaybeMarkFootprintAsBusy` in Ray's
    local_resource_manager.cc keeps the old time).
    """
    return view.status == "running" and any(view.available.get(name, 0) < had for name, had in view.total.items())


def _in_hand(facts: Facts, end: _End, known_s: float) -> tuple[str, list[Record]]:
    """A batch that the node had begun, and that its end broke off; where a fault was on the head, before that."""
    if end.undone:
        return "", []
    ray_node_id = end.step.ray_node_id
    died = next((r for r, e in facts.history.of(NodeDied, since_s=end.t_s) if e.ray_node_id == ray_node_id), None)
    if died is None:
        return "", []
    done = {event.op for _, event in facts.history.of(BatchCompleted)}
    done |= {event.op for _, event in facts.history.of(BatchFailed)}
    to_s = died.t_s if known_s == end.t_s else known_s - _LATE_S
    for record, event in facts.history.of(BatchInvoked):
        if event.node == end.node and event.op not in done and end.t_s - end.idle_s <= event.started_s < to_s:
            told = f"{end.node} was ended as idle at {end.t_s:.1f} s with batch {event.op} in hand since"
            return f"{told} {event.started_s:.1f} s", [record, died]
    return "", []
