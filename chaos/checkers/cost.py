"""What the injected faults explain: the one model of their cost that every bounded checker uses.

An injection explains one interval of the run: **from the moment it was applied until everything it set off has had the
time to be over**,

    [applied,  end of the harm  +  recovery]

- *end of the harm* is the latest of
  - the moment the fault was healed; where no healing was recorded, the moment it was due;
  - for each victim lost to it: the moment the GCS declared it dead, at most `HealthCheck.detection_s` after its
    instance went away;
  - for a fault without node victims, or on the head: for each launch asked for while it was in force, the moment the
    node joined or failed, at most the baseline's `join_s` plus the fault's own time (its duration, or the delay its
    probe says was asked for, where that is longer) after the request; on KubeRay, whose operator tries again ever
    later what fails (controller-runtime's back-off), the moment a launch joined, at most `join_s` after it began, that
    came within the fault's own time after the harm in place of one that had failed: the autoscaler has not ceased to
    wait since;
  - for a fault on the driver: where the driver was started again after it, the moment the new one's first batch was
    completed, at most the baseline's longest pause (which holds a driver's start) after it was started;
  - for a fault on the head, or one that ended the head while it was being made: where the GCS fell silent while it was
    in force, the moment it answered again, at most the time a head may take to start;
- *recovery* is one update of the autoscaler, plus the baseline's `join_s` for a replacement, plus redoing the longest
  batch that a victim had in hand then: not failed before, its rows not begun anew, and never completed.

An injection that edits the autoscaler's configuration (`config.changed`) slows the job for as long as it is in force,
like any other. But how the cluster scales is then judged by the configuration in force: for that, each edit and its
undoing explain only the recovery after it, in which the autoscaler reads and follows it.

The cost of the faults in a window is the length of the **union** of these intervals inside the window. So it is never
more than the window, two faults at once do not count twice, and what is left over (the window less its cost) must fit
`factor x baseline + slack` like a fault-free run's.

A worker is lost to the latest fault on it that was in force, or just over; one that came back may be lost again. It may
also be lost to a fault on the head: where the target is the head's machine, always; where the fault is on a process
there (the GCS, the autoscaler), or ended the head while it was being made, only once the GCS had fallen silent or the
head ended. Losses that no injection explains cost nothing: a node that dies unasked is a finding. An injection whose
probe saw no effect explains nothing; one whose effect is unknown does.
No kind of fault is named here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaos.checkers.facts import Facts, in_time
from chaos.checkers.measure import Span, launches
from chaos.events import (
    BatchCompleted,
    BatchFailed,
    BatchInvoked,
    ClusterSampled,
    ConfigChanged,
    DriverRestarted,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeStarted,
    NodeTerminated,
    NodeView,
)
from chaos.history import Record

_CLOCK_SLIP_S = 0.5
# How long after the GCS fell silent the first sample says so.
_SILENCE_SEEN_S = 5.0
_SECONDS_IN = {"s": 1.0, "ms": 0.001}

S = TypeVar("S", bound=Span)


@dataclass(frozen=True)
class Explained:
    """The interval one injection explains, and the records it was derived from."""

    injection: str
    fault: str
    from_s: float
    to_s: float
    record: Record


@dataclass(frozen=True)
class Loss:
    """A worker that went away without the autoscaler ending it: its instance, or the GCS's trust in it.

    `injection` is the one that explains it, or None: it died unasked.
    """

    node: str
    lost_s: float
    dead_s: float
    record: Record
    injection: str | None = None


def faults_cost_s(spans: Sequence[Explained], *, from_s: float, to_s: float) -> float:
    """How many seconds of this window these intervals cover; between 0 and the window's length."""
    return sum((end_s - begin_s for begin_s, end_s in _covered(spans, from_s=from_s, to_s=to_s)), 0.0)


def uncovered_since_s(spans: Sequence[Explained], *, to_s: float, length_s: float) -> float:
    """The moment since which, until `to_s`, so many seconds lie outside these intervals."""
    since_s = to_s - length_s
    for begin_s, end_s in reversed(_covered(spans, from_s=-math.inf, to_s=to_s)):
        if end_s <= since_s:
            break
        since_s -= end_s - begin_s
    return since_s


def _covered(spans: Sequence[Explained], *, from_s: float, to_s: float) -> list[tuple[float, float]]:
    """What these intervals cover of a window, by time, each moment once."""
    covered: list[tuple[float, float]] = []
    reached_s = from_s
    for span in sorted(spans, key=lambda span: span.from_s):
        begin_s, end_s = max(span.from_s, reached_s), min(span.to_s, to_s)
        if end_s > begin_s:
            covered.append((begin_s, end_s))
            reached_s = end_s
    return covered


def least_explained(facts: Facts, windows: Sequence[S], *, scaling: bool = False) -> tuple[S, float]:
    """The window with the most time the faults do not explain, and how many seconds of it they do."""
    spans = explained(facts, scaling=scaling)
    costs_s = [faults_cost_s(spans, from_s=window.from_s, to_s=window.to_s) for window in windows]
    return max(zip(windows, costs_s, strict=True), key=lambda pair: pair[0].duration_s - pair[1])


def explained(facts: Facts, *, scaling: bool = False) -> tuple[Explained, ...]:
    """The interval each injection explains, by start; of its edits for `scaling`, only what following each takes."""
    recovery_s = facts.cluster.update_interval_s + _join_s(facts)
    lost = losses(facts)
    found = []
    for record, event in facts.history.of(FaultInjected):
        if _showed_nothing(facts, event.injection):
            continue
        in_force_to_s = _in_force_to_s(facts, event)
        edited = [r for r, edit in facts.history.of(ConfigChanged) if edit.effect == event.effect_id]
        if scaling and edited:
            found += [Explained(event.injection, event.fault, r.t_s, r.t_s + recovery_s, r) for r in edited]
            continue
        own = [loss for loss in lost if loss.injection == event.injection]
        late_s = [
            *_late_launches_s(facts, event, in_force_to_s),
            *_silence_s(facts, event, in_force_to_s),
            *_restart_s(facts, event),
        ]
        end_s = max([in_force_to_s, *(loss.dead_s for loss in own), *late_s])
        # On a victim that lives, a process may have died with what it ran.
        broken_off = [(loss.node, loss.lost_s) for loss in own] + [(node, event.applied_s) for node in event.victims]
        redo_s = max((_unfinished_s(facts, node, at_s) for node, at_s in broken_off), default=0.0)
        found.append(
            Explained(event.injection, event.fault, event.applied_s, end_s + recovery_s + redo_s, record),
        )
    return tuple(sorted(found, key=lambda span: span.from_s))


def headless_spans(facts: Facts) -> tuple[Explained, ...]:
    """Of the intervals that injections explain, those of what hit the head: meanwhile the autoscaler may do nothing."""
    hit = {event.injection for _, event in facts.history.of(FaultInjected) if _hit_head(facts, event)}
    return tuple(span for span in explained(facts, scaling=True) if span.injection in hit)


def unaimed_spans(facts: Facts) -> tuple[Explained, ...]:
    """Of the intervals that injections explain, those of what was on no node, or on the head: on launches, or who makes
    them.
    """
    aimed = {
        event.injection for _, event in facts.history.of(FaultInjected) if event.victims and "head" not in event.victims
    }
    return tuple(span for span in explained(facts, scaling=True) if span.injection not in aimed)


def losses(facts: Facts) -> tuple[Loss, ...]:
    """Workers lost before the cluster was stopped, by time; one that came back and is lost again is another loss.

    None is one the autoscaler retired for idleness, nor an instance killed before it had joined.
    """
    gone: dict[tuple[str, int], list[Record]] = {}
    until_s = facts.watched_to_s
    joined = {event.node for _, event in facts.history.of(NodeJoined)}
    views = _last_views(facts)
    for record, life in _ends(facts):
        event = record.event
        assert isinstance(event, (NodeDied, NodeTerminated))
        if record.t_s > until_s or event.node == "head":
            continue
        if isinstance(event, NodeTerminated) and event.cause in ("autoscaler", "down"):
            continue
        killed = isinstance(event, NodeTerminated) and event.cause == "killed"
        if killed and event.node not in joined:
            continue  # an instance that was no worker yet
        one = (event.node, life)
        if killed or one in gone or not _was_retired(facts, views.get(event.node, []), record.t_s):
            gone.setdefault(one, []).append(record)
    found = []
    for (node, _), records in gone.items():
        lost_s = records[0].t_s
        instance_s = next((r.t_s for r in records if isinstance(r.event, NodeTerminated)), None)
        died_s = next((r.t_s for r in records if isinstance(r.event, NodeDied)), None)
        dead_s = died_s if died_s is not None else lost_s + facts.cluster.health_check.detection_s
        if instance_s is not None:
            dead_s = max(instance_s, min(dead_s, instance_s + facts.cluster.health_check.detection_s))
        found.append(Loss(node, lost_s, dead_s, records[0], _explaining(facts, node, lost_s)))
    return tuple(sorted(found, key=lambda loss: loss.lost_s))


def _ends(facts: Facts) -> list[tuple[Record, int]]:
    """Every end of a node by time, each with which of the node's lives it ended.

    Another life begins when the node's instance starts after an end, or the node joins under another id.
    """
    life: dict[str, int] = {}
    life_of: dict[str, int] = {}
    id_in: dict[tuple[str, int], str] = {}
    ended: set[tuple[str, int]] = set()
    found = []
    for record in sorted(facts.history, key=lambda r: r.t_s):
        event = record.event
        if not isinstance(event, (NodeStarted, NodeJoined, NodeDied, NodeTerminated)):
            continue
        now = life.setdefault(event.node, 0)
        if isinstance(event, NodeStarted):
            life[event.node] += (event.node, now) in ended
        elif isinstance(event, NodeJoined):
            life[event.node] += id_in.get((event.node, now), event.ray_node_id) != event.ray_node_id
            life_of[event.ray_node_id] = life[event.node]
            id_in[event.node, life[event.node]] = event.ray_node_id
        else:
            which = life_of.get(event.ray_node_id, now) if isinstance(event, NodeDied) else now
            ended.add((event.node, which))
            found.append((record, which))
    return found


def _explaining(facts: Facts, node: str, lost_s: float) -> str | None:
    """The latest injection that can have cost this node: on it or on the head, in force or just over."""
    reach_s = facts.cluster.health_check.detection_s + _CLOCK_SLIP_S
    candidates = [
        event
        for _, event in facts.history.of(FaultInjected)
        if (node in event.victims or _failed_workers(facts, event, lost_s))
        and event.due_s - _CLOCK_SLIP_S <= lost_s <= _in_force_to_s(facts, event) + reach_s
    ]
    return max(candidates, key=lambda event: event.applied_s).injection if candidates else None


def _failed_workers(facts: Facts, event: FaultInjected, lost_s: float) -> bool:
    """Whether a fault hit the head so that workers may have been lost by then."""
    if not _hit_head(facts, event):
        return False
    if any(asked.injection == event.injection and asked.on_head for asked in facts.asked):
        return True
    silent = (r.t_s for r, s in facts.history.of(ClusterSampled, since_s=event.due_s) if not s.reachable)
    ended = (r.t_s for r, e in facts.history.of(NodeTerminated, since_s=event.due_s) if e.node == "head")
    return min((*silent, *ended), default=float("inf")) <= lost_s + _CLOCK_SLIP_S


def _hit_head(facts: Facts, event: FaultInjected) -> bool:
    """Whether a fault was on the head, or, without victims, ended it while it was made and had it start again."""
    if event.victims:
        return "head" in event.victims
    to_s = event.applied_s + _SILENCE_SEEN_S
    ended_s = [r.t_s for r, e in facts.history.of(NodeTerminated, since_s=event.due_s) if e.node == "head"]
    started_s = [r.t_s for r, e in facts.history.of(NodeStarted, since_s=event.due_s) if e.node == "head"]
    return any(one_s <= to_s and max(started_s, default=one_s) > one_s for one_s in ended_s)


def _in_force_to_s(facts: Facts, event: FaultInjected) -> float:
    healed = [h.healed_s for _, h in facts.history.of(FaultHealed) if h.injection == event.injection]
    due_s = event.applied_s if event.heal_due_s is None else event.heal_due_s
    return max(event.applied_s, min(healed, default=due_s))


def _late_launches_s(facts: Facts, event: FaultInjected, in_force_to_s: float) -> list[float]:
    if event.victims and "head" not in event.victims:
        return []
    failed = {e.node: r.t_s for r, e in facts.history.of(NodeLaunchFailed) if e.node is not None}
    own_s = max(in_force_to_s - event.applied_s, _asked_s(facts, event.injection))
    ends = []
    for launch in launches(facts):
        asked_s = launch.launching.t_s
        if not event.applied_s - _CLOCK_SLIP_S <= asked_s <= in_force_to_s:
            continue
        seen_s = launch.joined.t_s if launch.joined else failed.get(launch.node, float("inf"))
        ends.append(min(seen_s, asked_s + _join_s(facts) + own_s))
    if facts.cluster.on_kuberay:
        ends += _tried_again_s(facts, event.applied_s, in_force_to_s)
    return ends


def _tried_again_s(facts: Facts, from_s: float, to_s: float) -> list[float]:
    """When launches joined that came after this interval in place of ones that had failed in it.

    Such are, of each type as many as failed, those that came within as long again, while the autoscaler has not ceased
    to wait for a launch since.
    """
    failed: Counter[str] = Counter()
    for record, event in facts.history.of(NodeLaunchFailed, since_s=from_s):
        if record.t_s <= to_s:
            failed[event.node_type] += event.count
    after = in_time(facts.history.of(ClusterSampled, since_s=to_s))
    calm_s = next((r.t_s for r, s in after if s.reachable and not s.autoscaler_pending), math.inf)
    until_s = min(calm_s, to_s + (to_s - from_s))
    ends = []
    for launch in launches(facts):
        if to_s < launch.launching.t_s <= until_s and failed[launch.node_type]:
            failed[launch.node_type] -= 1
            joined_s = launch.joined.t_s if launch.joined else math.inf
            ends.append(min(joined_s, launch.launching.t_s + _join_s(facts)))
    return ends


def _silence_s(facts: Facts, event: FaultInjected, in_force_to_s: float) -> list[float]:
    """When the GCS answered again that fell silent by a fault that hit the head."""
    if not _hit_head(facts, event):
        return []
    samples = in_time(facts.history.of(ClusterSampled, since_s=event.applied_s))
    silent_s = [r.t_s for r, s in samples if not s.reachable and r.t_s <= in_force_to_s + _SILENCE_SEEN_S]
    if not silent_s:
        return []
    limit_s = in_force_to_s + facts.cluster.start_limit_s
    return [min(limit_s, next((r.t_s for r, s in samples if s.reachable and r.t_s > silent_s[-1]), limit_s))]


def _restart_s(facts: Facts, event: FaultInjected) -> list[float]:
    """When the driver computed again that was started in place of one that the fault hit."""
    if "driver" not in event.victims:
        return []
    again_s = next((r.t_s for r, _ in facts.history.of(DriverRestarted, since_s=event.applied_s)), None)
    if again_s is None:
        return []
    limit_s = again_s + (facts.baseline.longest_pause_s if facts.baseline else 0.0)
    first_s = min((r.t_s for r, _ in facts.history.of(BatchCompleted, since_s=again_s)), default=limit_s)
    return [min(first_s, limit_s)]


def _asked_s(facts: Facts, injection: str) -> float:
    return max(
        (
            event.asked * _SECONDS_IN[event.unit]
            for _, event in facts.history.of(FaultProbed)
            if event.injection == injection and event.asked is not None and event.unit in _SECONDS_IN
        ),
        default=0.0,
    )


def _showed_nothing(facts: Facts, injection: str) -> bool:
    outcomes = {event.outcome for _, event in facts.history.of(FaultProbed) if event.injection == injection}
    return outcomes == {"no_effect"}


def _unfinished_s(facts: Facts, node: str, at_s: float) -> float:
    """How long the longest batch had run that this node had in hand at a moment, and did not complete after it."""
    ended = {event.op for _, event in facts.history.of(BatchCompleted)}
    ended |= {event.op for record, event in facts.history.of(BatchFailed) if record.t_s <= at_s}
    begun = [event for _, event in facts.history.of(BatchInvoked) if event.started_s <= at_s]
    last_s: dict[str, float] = {}
    for event in begun:
        last_s[event.rows] = max(event.started_s, last_s.get(event.rows, event.started_s))
    return max(
        (
            at_s - event.started_s
            for event in begun
            if event.node == node and event.op not in ended and event.started_s == last_s[event.rows]
        ),
        default=0.0,
    )


def _last_views(facts: Facts) -> dict[str, list[tuple[float, NodeView]]]:
    views: dict[str, list[tuple[float, NodeView]]] = {}
    for record, sample in in_time(facts.history.of(ClusterSampled)):
        for view in sample.nodes:
            views.setdefault(view.node, []).append((record.t_s, view))
    return views


def _was_retired(facts: Facts, views: list[tuple[float, NodeView]], at_s: float) -> bool:
    """Whether the autoscaler was about to end the node: last seen draining, or idle as long as it may be."""
    before = [view for t_s, view in views if t_s <= at_s]
    if not before:
        return False
    last = before[-1]
    limit_s = facts.cluster_at(at_s).idle_timeout_of(last.node_type)
    return last.status == "draining" or (last.status == "idle" and last.idle_s >= limit_s - 2.0)


def _join_s(facts: Facts) -> float:
    return facts.baseline.join_s if facts.baseline else 0.0
