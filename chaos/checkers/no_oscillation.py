"""While what is asked for stays the same, nodes are not ended and launched again."""

from __future__ import annotations

from bisect import bisect_right

from chaos.checker import Verdict
from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.facts import Facts, in_time
from chaos.checkers.instance_log import nodes_by_instance, rows
from chaos.checkers.property import Property
from chaos.events import ClusterSampled, NodeLaunching, NodeTerminating
from chaos.history import Record

_TOLERATED = 1


class NoOscillation(Property):
    """Once faults are over, the autoscaler does not end a node and launch one of its type while demand stays the same.

    A turn is a node's end through the autoscaler, and a launch of the same type at that moment or within `overshoot_s`,
    where neither a fault nor an edit of the configuration explains it, with the same demand waiting when the end was
    decided and right before and after the launch: demand that came between two samples is a reason. The log of the
    autoscaler v2 tells when the end was decided; without it, it was when the Cloud was asked. One turn may be a
    coincidence of a load that changes between two samples; the next is one too many.
    """

    name = "no_oscillation"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on the second turn."""
        samples = facts.samples()
        if not samples:
            return self.verdict("inconclusive", "the cluster was not sampled")
        turns = _turns(facts, samples)
        told = f"{len(turns)} time(s) a node was ended and one like it launched, the demand being the same"
        if len(turns) > _TOLERATED:
            first = f"{told}; first at {turns[0][0].t_s:.1f} s and {turns[0][1].t_s:.1f} s"
            evidence = [record for turn in turns for record in turn]
            return self.verdict("fail", first, evidence, measured=len(turns), bound=_TOLERATED, unit="turns")
        ends = [samples[0][0], samples[-1][0]]
        return self.verdict("pass", told, ends, measured=float(len(turns)), bound=_TOLERATED, unit="turns")


def _decided_s(facts: Facts) -> dict[str, list[float]]:
    """When the autoscaler decided to end each node."""
    names = nodes_by_instance(facts)
    found: dict[str, list[float]] = {}
    for row in rows(facts):
        for step in row.steps:
            if step.after in ("RAY_STOP_REQUESTED", "TERMINATING") and row.cloud_instance in names:
                found.setdefault(names[row.cloud_instance], []).append(step.t_s)
    return {node: [min(times)] for node, times in found.items()}


def _turns(facts: Facts, samples: list[tuple[Record, ClusterSampled]]) -> list[tuple[Record, Record]]:
    spans = explained(facts, scaling=True)
    times = [record.t_s for record, _ in samples]
    launched = in_time(facts.history.of(NodeLaunching))
    decided = _decided_s(facts)
    kinds = {event.node: event.node_type for _, event in launched}

    def waiting(place: int) -> object:
        return samples[place][1].demands if 0 <= place < len(samples) else None

    def steady(decided_s: float, launched_s: float) -> bool:
        """Whether what waited when an end was decided waited around a launch."""
        place = bisect_right(times, launched_s)
        return waiting(bisect_right(times, decided_s) - 1) == waiting(place - 1) == waiting(min(place, len(times) - 1))

    found: list[tuple[Record, Record]] = []
    taken: set[str] = set()
    for ended, end in in_time(facts.history.of(NodeTerminating)):
        if ended.t_s > facts.watched_to_s or end.node not in kinds:
            continue
        decided_s = max((t_s for t_s in decided.get(end.node, []) if t_s <= ended.t_s), default=ended.t_s)
        for record, launch in launched:
            late_s = record.t_s - ended.t_s
            if launch.node in (*taken, end.node) or launch.node_type != kinds[end.node]:
                continue
            if not -facts.cluster.update_interval_s / 2.0 <= late_s <= facts.bounds.overshoot_s:
                continue
            calm = faults_cost_s(spans, from_s=decided_s - 1.0, to_s=record.t_s) == 0.0
            calm &= facts.edited_s(decided_s) == facts.edited_s(record.t_s)
            if calm and steady(decided_s, record.t_s):
                taken.add(launch.node)
                found.append((ended, record))
                break
    return found
