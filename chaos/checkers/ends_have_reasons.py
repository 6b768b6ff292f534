"""A healthy node is ended only for a reason that the autoscaler recorded, and that is true."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.checker import Verdict
from chaos.checkers.facts import Facts, in_time
from chaos.checkers.instance_log import SAME_MOMENT_S, InstanceProperty, Row, Step, nodes_by_instance, nodes_by_ray_id
from chaos.events import ClusterSampled, FaultInjected, NodeDied, NodeJoined, NodeTerminating
from chaos.history import Record

# The line and the call that it announces are of one update; each may be recorded a little late.
_LATE_S = 3.0
_SAMPLED_S = 1.0


@dataclass(frozen=True)
class _End:
    """The autoscaler had the Cloud end a node that the GCS saw alive and well; `step` is the line that announced it."""

    record: Record
    node: str
    seen: Record
    row: Row | None
    step: Step | None


class EndsHaveReasons(InstanceProperty):
    """The autoscaler has the Cloud end a node that is alive and well only for a reason, and a true one.

    Reasons are: it is idle (whether it is, `no_busy_ends` judges), a limit is exceeded, its type's configuration is
    outdated, Ray on it has stopped. One that runs is drained first, whatever the reason. Assumes that a node is well
    when the sample before has it alive and not draining, and no fault is or just was on it, neither then nor, where its
    end failed and is asked for again, at the first time, or it has joined anew since. Then a reason is untrue that says
    that Ray on it has stopped or never started, and one that says that a limit is exceeded where no sample of the last
    seconds shows that.
    """

    name = "ends_have_reasons"

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails on an end without a line that announces it, and on one with a reason that is not so."""
        ends = _ends(facts, found)
        for end in ends:
            if told := _amiss(facts, end):
                evidence = [end.record, end.seen, *([end.step.record] if end.step else [])]
                return self.verdict("fail", told, evidence, measured=1.0, bound=0.0, unit="nodes")
        for step, told in _needless_drains(facts, found):
            return self.verdict("fail", told, [step.record], measured=1.0, bound=0.0, unit="nodes")
        told = f"{len(ends)} healthy node(s) ended without a drain, each for a true reason" if ends else ""
        records = [end.record for end in ends] or [found[0].steps[0].record]
        told = told or "no healthy node was ended without a drain"
        return self.verdict("pass", told, records, measured=0.0, bound=0.0, unit="nodes")


def _ends(facts: Facts, found: tuple[Row, ...]) -> list[_End]:
    names = nodes_by_instance(facts)
    samples = facts.samples()
    ends = []
    for record, event in in_time(facts.history.of(NodeTerminating)):
        if record.t_s > facts.watched_to_s or event.node == "head":
            continue
        before = [(r, s) for r, s in samples if r.t_s <= record.t_s]
        if (
            not before
            or record.t_s - before[-1][0].t_s > _LATE_S
            or not _is_well(facts, event.node, before[-1], record)
        ):
            continue
        own = [row for row in found if names.get(row.cloud_instance) == event.node]
        told = [
            (row, step)
            for row in own
            for step in row.steps
            # Calls to the Cloud wait for each other, so the line may be much older than the end.
            if step.after == "TERMINATING" and step.t_s <= record.t_s + SAME_MOMENT_S
        ]
        # One that waits for just this end goes before another that was only logged in the same moment.
        waiting = [pair for pair in told if pair[1].t_s <= record.t_s <= pair[0].over_s]
        row, step = max(waiting or told, key=lambda pair: pair[1].t_s) if told else (own[-1] if own else None, None)
        first = _first_try(row, step) if row and step else step
        if first and first is not step and _harmed_s(facts, event.node, first.t_s) is not None:
            continue
        ends.append(_End(record, event.node, before[-1][0], row, step))
    return ends


def _first_try(row: Row, step: Step) -> Step:
    """The termination that failed, and that a step tries again: without another reason."""
    first = step
    for earlier in reversed(row.steps[: row.steps.index(step)]):
        if earlier.after not in ("TERMINATING", "TERMINATION_FAILED"):
            break
        first = earlier
    return first


def _is_well(facts: Facts, node: str, before: tuple[Record, ClusterSampled], end: Record) -> bool:
    view = next((view for view in before[1].nodes if view.node == node), None)
    if view is None or view.status == "draining":
        return False
    joins = in_time([(r, e) for r, e in facts.history.of(NodeJoined) if e.node == node and r.t_s <= end.t_s])
    if not joins:
        return False
    back, joined = joins[-1]
    if any(e.ray_node_id == joined.ray_node_id and r.t_s <= end.t_s for r, e in facts.history.of(NodeDied)):
        return False
    harmed_s = _harmed_s(facts, node, end.t_s)
    return harmed_s is None or harmed_s < back.t_s <= end.t_s - 2.0 * facts.cluster.update_interval_s - _SAMPLED_S


def _harmed_s(facts: Facts, node: str, at_s: float) -> float | None:
    """When a fault on this node last began that is or just was in force."""
    reach_s = facts.cluster.health_check.detection_s
    began = [
        event.applied_s
        for _, event in facts.history.of(FaultInjected)
        if node in event.victims and event.due_s <= at_s <= max(event.applied_s, event.heal_due_s or 0.0) + reach_s
    ]
    return max(began, default=None)


def _amiss(facts: Facts, end: _End) -> str:
    """What is wrong with the reason; empty where it is a reason."""
    what = f"{end.node}, alive and well, was ended at {end.record.t_s:.1f} s"
    if end.step is None or end.row is None:
        return f"{what}, and the autoscaler's log does not say why"
    asked = [step for step in end.row.steps if step.why.startswith(("draining ray", "terminating ray"))]
    why = asked[-1].why if asked else end.step.why
    if "MAX_NUM" in why:
        asked_s = asked[-1].t_s if asked else end.step.t_s
        within = _within_limits(facts, asked_s, end.row.node_type)
        return f"{what} as one too many: {within}" if within else ""
    if any(step.before == "RAY_RUNNING" and step.after == "TERMINATING" for step in asked):
        return f"{what} without a drain: {why}"
    if asked:
        return ""
    return f"{what} as one that is not: {end.step.why}"


def _needless_drains(facts: Facts, found: tuple[Row, ...]) -> list[tuple[Step, str]]:
    """The drains of nodes that run as one too many, where they were not, with what to tell."""
    names = nodes_by_ray_id(facts)
    drains = []
    for row in found:
        node = names.get(row.ray_node_id)
        for step in row.steps:
            if (
                node is None
                or step.before != "RAY_RUNNING"
                or "MAX_NUM" not in step.why
                or step.t_s > facts.watched_to_s
            ):
                continue
            within = _within_limits(facts, step.t_s, row.node_type)
            if within and _harmed_s(facts, node, step.t_s) is None:
                drains.append((step, f"{node} was to be ended at {step.t_s:.1f} s as one too many: {within}"))
    return drains


def _within_limits(facts: Facts, at_s: float, node_type: str) -> str:
    """That the Cloud had no more instances lately than each limit in force allows; empty where it had."""
    since_s = at_s - facts.bounds.overshoot_s
    samples = [sample for _, sample in facts.samples(from_s=since_s, to_s=at_s + _LATE_S)]
    clusters = facts.clusters_since(since_s, at_s)
    limits = [cluster.max_workers for cluster in clusters]
    limits += [cluster.node_types[node_type].max_workers for cluster in clusters if node_type in cluster.node_types]
    most = max((sum(node != "head" for node in sample.cloud) for sample in samples), default=0)
    gone = any(node_type not in cluster.node_types for cluster in clusters)
    return f"{most} there, {min(limits)} allowed" if samples and not gone and most <= min(limits) else ""
