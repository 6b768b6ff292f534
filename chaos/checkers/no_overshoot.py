"""Never more nodes than allowed, and not for long more than demand explains."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.checker import Verdict
from chaos.checkers.cost import Explained, explained, faults_cost_s, headless_spans, unaimed_spans, uncovered_since_s
from chaos.checkers.facts import Facts, in_time
from chaos.checkers.property import Property
from chaos.cluster_spec import ClusterSpec
from chaos.demand import live_workers, needless, wanted
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

_SAMPLE_LAG_S = 2.0
_NEVER_S = float("inf")


@dataclass(frozen=True)
class _Instance:
    """One instance the autoscaler asked for, from its launch (or the run's beginning) to the first sign of its end.

    From `leaving_s` on, a little earlier, it no longer counts against a limit. `away` are the stretches in which it had
    ended and come back under its name, until the autoscaler has had the time to end what is then too many.
    """

    node: str
    node_type: str
    from_s: float
    ended_s: float
    leaving_s: float
    record: Record
    away: tuple[tuple[float, float], ...] = ()

    def counts_at(self, t_s: float) -> bool:
        """Whether it counts against a limit at a moment, as far as its end tells."""
        return t_s < self.leaving_s and not self.is_away(t_s)

    def is_away(self, t_s: float) -> bool:
        """Whether it had ended for a while."""
        return any(from_s <= t_s < to_s for from_s, to_s in self.away)


class NoOvershoot(Property):
    """The autoscaler never has more instances than the limits, and no more than demand explains for long.

    Assumes that instances are what Ray's limits are about, so pending, running and paused ones count, and not those on
    their way out: stopping, draining (by the last sample that the GCS answered), declared dead, or gone within an
    update of the autoscaler (a replacement may overlap with what it replaces). A node that ended and came back under
    its name was not asked for again: it counts from `overshoot_s` after its return. Instances that the Cloud made
    without being asked (a duplicated launch) do not count here; that they go away is `no_leaked_nodes`. Faults do not
    excuse being above a limit. Limits are those of the configuration in force; after an edit those before it are
    allowed for `overshoot_s`, in which the time of faults on the head does not count: without a GCS, or while it hangs,
    the autoscaler can follow no edit.

    Demand explains as many workers as there were plus those the demand of the last `overshoot_s` seconds wanted more
    (at most: each shape packed alone), that which stood as they began included, and what an edit asked for that was
    undone before the next sample; on KubeRay without the time in which faults on launches, on the operator or on the
    head may have held back pods. A launch beyond that is surplus until it ends, or demand and the workers that are at
    work or that a minimum keeps catch up; so is a worker idle for longer than its timeout and `overshoot_s`, that
    nothing keeps. Both may be late by the faults' cost.
    """

    name = "no_overshoot"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on any instance above a limit, and on surplus that lasts longer than `overshoot_s`."""
        samples = in_time([(r, s) for r, s in facts.history.of(ClusterSampled) if r.t_s <= facts.watched_to_s])
        instances = _instances(facts, samples)
        if not samples or not any(s.reachable for _, s in samples):
            return self.verdict("inconclusive", "the cluster was not sampled")
        if not instances:
            return self.verdict("inconclusive", "no worker was ever launched, so none could be too many")
        above = self._above_limits(facts, samples, instances)
        if above is not None:
            return above
        lasting = [*_surplus_launches(facts, samples, instances), *_surplus_idle(facts, samples)]
        bound_s = facts.bounds.overshoot_s
        allowed = max(cluster.worker_limit for cluster in (facts.cluster, *(cluster for _, cluster in facts.edits)))
        peak = max(len(counted) for _, counted in _counted(samples, instances))
        if lasting:
            worst_s, told, evidence = max(lasting, key=lambda one: one[0])
            if worst_s > bound_s:
                return self.verdict("fail", told, evidence, measured=worst_s, bound=bound_s, unit="s")
            return self.verdict(
                "pass",
                f"at most {peak} of {allowed} workers; {told}",
                evidence,
                measured=worst_s,
                bound=bound_s,
                unit="s",
            )
        return self.verdict(
            "pass",
            f"at most {peak} of {allowed} workers, none beyond what demand explained",
            [samples[0][0], samples[-1][0]],
            measured=0.0,
            bound=bound_s,
            unit="s",
        )

    def _above_limits(
        self, facts: Facts, samples: list[tuple[Record, ClusterSampled]], instances: dict[str, _Instance]
    ) -> Verdict | None:
        idle = headless_spans(facts)
        for record, counted in _counted(samples, instances):
            most, limits = _limits(facts, record.t_s, idle)
            counts = Counter(one.node_type for one in counted)
            over = next((name for name, limit in limits.items() if counts[name] > limit), None)
            if len(counted) > most or over is not None:
                limit = most if over is None else limits[over]
                number = len(counted) if over is None else counts[over]
                names = ", ".join(one.node for one in counted)
                return self.verdict(
                    "fail",
                    f"{number} instances{'' if over is None else f' of type {over}'} at {record.t_s:.1f} s,"
                    f" at most {limit} allowed: {names}",
                    [record, *(one.record for one in counted)],
                    measured=float(number),
                    bound=float(limit),
                    unit="workers",
                )
        return None


def _limits(facts: Facts, at_s: float, idle: Sequence[Explained]) -> tuple[int, dict[str, int]]:
    """The most workers allowed at a moment, in all and of each type: those before an edit hold `overshoot_s` after it.

    Not counted are the intervals in which the autoscaler may be idle.
    """
    since_s = uncovered_since_s(idle, to_s=at_s, length_s=facts.bounds.overshoot_s)
    clusters = facts.clusters_since(since_s, at_s)
    names = {name for cluster in (facts.cluster, *clusters) for name in cluster.node_types}
    types = [cluster.node_types for cluster in clusters]
    of_type = {name: max(kinds[name].max_workers if name in kinds else 0 for kinds in types) for name in names}
    return max(cluster.max_workers for cluster in clusters), of_type


def _instances(facts: Facts, samples: list[tuple[Record, ClusterSampled]]) -> dict[str, _Instance]:
    absences = _absences(facts)
    grace_s = facts.cluster.update_interval_s + _SAMPLE_LAG_S

    def one(node: str, node_type: str, from_s: float, record: Record) -> _Instance:
        ends = absences.get(node, [])
        ended_s = next((end_s for end_s, back_s in ends if back_s == _NEVER_S), _NEVER_S)
        away = tuple(
            (end_s - grace_s, back_s + facts.bounds.overshoot_s) for end_s, back_s in ends if back_s < _NEVER_S
        )
        return _Instance(node, node_type, from_s, ended_s, ended_s - grace_s, record, away)

    found = {}
    if samples:
        record, first = samples[0]
        types = {view.node: view.node_type for view in first.nodes}
        for node in sorted(first.cloud):
            if node != "head":
                found[node] = one(node, types.get(node, ""), float("-inf"), record)
    for record, launch in in_time(facts.history.of(NodeLaunching)):
        found[launch.node] = one(launch.node, launch.node_type, record.t_s, record)
    return found


def _absences(facts: Facts) -> dict[str, list[tuple[float, float]]]:
    """When each node first showed an end, and when it was back, if ever; what the autoscaler ends stays ended."""
    found: dict[str, list[tuple[float, float]]] = {}
    ray_node_ids: dict[str, str] = {}
    crashed: set[str] = set()
    for record in sorted(facts.history, key=lambda record: record.t_s):
        event = record.event
        if isinstance(event, (NodeStarted, NodeJoined)):
            again = isinstance(event, NodeStarted)
            if isinstance(event, NodeJoined):
                again = ray_node_ids.get(event.node, event.ray_node_id) != event.ray_node_id
                ray_node_ids[event.node] = event.ray_node_id
            if again and event.node in crashed:
                crashed.discard(event.node)
                found[event.node][-1] = (found[event.node][-1][0], record.t_s)
        elif (
            isinstance(event, (NodeDied, NodeTerminating, NodeTerminated, NodeLaunchFailed)) and event.node is not None
        ):
            if isinstance(event, NodeDied) and ray_node_ids.get(event.node, event.ray_node_id) != event.ray_node_id:
                continue  # it is back already, under another id
            ends = found.setdefault(event.node, [])
            if not ends or ends[-1][1] < _NEVER_S:
                ends.append((record.t_s, _NEVER_S))
                if isinstance(event, (NodeDied, NodeTerminated)):
                    crashed.add(event.node)
            elif isinstance(event, NodeTerminating):
                crashed.discard(event.node)
    return found


def _counted(
    samples: list[tuple[Record, ClusterSampled]], instances: dict[str, _Instance]
) -> Iterator[tuple[Record, list[_Instance]]]:
    """The instances that count at each sample; what drained when the GCS last answered drains on while it does not."""
    draining: set[str] = set()
    for record, sample in samples:
        if sample.reachable:
            draining = {view.node for view in sample.nodes if view.status == "draining"}
        yield (
            record,
            [
                instances[node]
                for node, state in sorted(sample.cloud.items())
                if state != "stopping"
                and node in instances
                and node not in draining
                and instances[node].counts_at(record.t_s)
            ],
        )


def _surplus_launches(
    facts: Facts, samples: list[tuple[Record, ClusterSampled]], instances: dict[str, _Instance]
) -> list[tuple[float, str, list[Record]]]:
    """How long each launch stayed that no demand explained, with what to tell and the evidence.

    On KubeRay a pod begins when the operator makes it: the time before that does not count which is explained by faults
    on launches, the operator or the head.
    """
    answered = [(record, sample) for record, sample in samples if sample.reachable]
    times = [record.t_s for record, _ in answered]
    most = [wanted(sample, facts.cluster_at(record.t_s)).most for record, sample in answered]
    sizes = [len(live_workers(sample)) + more for (_, sample), more in zip(answered, most, strict=True)]
    used = [
        _in_use(sample, facts.cluster_at(record.t_s)) + more
        for (record, sample), more in zip(answered, most, strict=True)
    ]
    edited = [
        (t_s, len(live_workers(sample)) + wanted(sample, cluster).most)
        for t_s, cluster in facts.edits
        if (sample := _holding(samples, t_s)) is not None and sample.reachable
    ]
    spans = explained(facts, scaling=True)
    late = unaimed_spans(facts) if facts.cluster.on_kuberay else ()
    found = []
    for one in sorted(instances.values(), key=lambda one: (one.from_s, one.node)):
        since_s = uncovered_since_s(late, to_s=one.from_s, length_s=facts.bounds.overshoot_s)
        begin = _in_force(samples, times, since_s)
        end = bisect_right(times, one.from_s + _SAMPLE_LAG_S)
        if begin == end:
            continue
        by_edits = [size for t_s, size in edited if since_s < t_s <= one.from_s]
        size = max([*sizes[begin:end], *by_edits])
        count = _launched_at(one, instances)
        if count <= size:
            continue
        later = (t for t, s in zip(times[end:], used[end:], strict=True) if s >= _there_at(t, instances))
        until_s = min(one.ended_s, next(later, facts.watched_to_s), facts.watched_to_s)
        if until_s <= one.from_s:
            continue
        lasted_s = until_s - one.from_s - faults_cost_s(spans, from_s=one.from_s, to_s=until_s)
        told = f"{one.node} was launched as worker {count} where demand explained {size}; surplus for {lasted_s:.1f} s"
        found.append((lasted_s, told, [one.record, *(record for record, _ in answered[begin:end][-3:])]))
    return found


def _in_use(sample: ClusterSampled, cluster: ClusterSpec) -> int:
    """The workers that are at work or that a minimum keeps."""
    of_type = Counter(view.node_type for view in live_workers(sample))
    busy = Counter(view.node_type for view in live_workers(sample) if view.status != "idle")
    kept = {name: min(of_type[name], kind.min_workers) for name, kind in cluster.node_types.items()}
    return sum(max(busy[name], kept.get(name, 0)) for name in of_type)


def _holding(samples: list[tuple[Record, ClusterSampled]], at_s: float) -> ClusterSampled | None:
    """The last sample before a moment."""
    place = bisect_right(samples, at_s, key=lambda pair: pair[0].t_s) - 1
    return samples[place][1] if place >= 0 else None


def _in_force(samples: list[tuple[Record, ClusterSampled]], answered_s: list[float], at_s: float) -> int:
    """Of the samples that were answered, the first that tells of a moment or later: the one before it, if it holds.

    A sample holds until the next one, which may be long after it where nothing changes; or is not answered.
    """
    before = _holding(samples, at_s)
    holds = before is not None and before.reachable
    return bisect_right(answered_s, at_s) - 1 if holds else bisect_left(answered_s, at_s)


def _launched_at(launch: _Instance, instances: dict[str, _Instance]) -> int:
    """How many instances there were with this launch, without those on their way out and later ones of its moment."""
    return sum(
        (one.from_s, one.node) <= (launch.from_s, launch.node) and one.counts_at(launch.from_s)
        for one in instances.values()
    )


def _there_at(at_s: float, instances: dict[str, _Instance]) -> int:
    return sum(one.from_s <= at_s < one.ended_s and not one.is_away(at_s) for one in instances.values())


def _surplus_idle(facts: Facts, samples: list[tuple[Record, ClusterSampled]]) -> list[tuple[float, str, list[Record]]]:
    """How much longer than its timeout a needless worker stayed, less what the faults explain of that time.

    One that was kept for a while has overstayed only since nothing keeps it any more.
    """
    spans = explained(facts, scaling=True)
    since: dict[str, float] = {}
    worst: dict[str, tuple[float, str, list[Record]]] = {}
    for record, sample in samples:
        cluster = facts.cluster_at(record.t_s)
        if sample.reachable:
            unkept = needless(sample, cluster, idle_longer_by_s=-_NEVER_S)
            since = {node: since.get(node, record.t_s) for node in unkept}
        for node in needless(sample, cluster, idle_longer_by_s=facts.bounds.overshoot_s):
            view = next(view for view in sample.nodes if view.node == node)
            since_s = max(since.get(node, record.t_s), facts.edited_s(record.t_s))
            over_s = min(view.idle_s - cluster.idle_timeout_of(view.node_type), record.t_s - since_s)
            over_s -= faults_cost_s(spans, from_s=record.t_s - over_s, to_s=record.t_s)
            if over_s > worst.get(node, (0.0,))[0]:
                told = f"{node} stayed {over_s:.1f} s beyond its idle timeout with nothing to keep it"
                worst[node] = (over_s, told, [record])
    return list(worst.values())
