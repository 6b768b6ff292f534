"""What runs in the Cloud is known to the autoscaler, and what it knows of is there."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.checker import Judgement, Verdict
from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.facts import Facts
from chaos.checkers.instance_log import InstanceProperty, Row, heard_to_s
from chaos.events import ClusterSampled, NodeLaunching, NodeStarted, NodeTerminated
from chaos.history import Record


@dataclass(frozen=True)
class _Stretch:
    """A time in which an instance ran that no row was about, or a row was about one that was gone."""

    from_s: float
    to_s: float
    told: str
    evidence: tuple[Record, Record]


class InstancesAccounted(InstanceProperty):
    """The autoscaler accounts for just the instances in the Cloud, a few updates after they came or went at most.

    An instance nobody accounts for costs money and is never ended; one that is gone, and still accounted for, stands in
    the way of another. Assumes that an instance is accounted for by a row
    that names it and is not over. Instances asked for before the history began are not judged: not all about
    their rows is in it.
    **Bound**: two updates, the slack, and what the faults cost: nobody knows what the Cloud does not list.
    """

    name = "instances_accounted"
    needs_new = True

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails on an instance that ran without a row, or was gone with one, for longer than the bound."""
        bound_s = 2.0 * facts.cluster.update_interval_s + facts.bounds.slack_s
        spans = explained(facts)
        worst_s, worst = 0.0, None
        judged = 0
        samples = facts.samples(to_s=heard_to_s(facts))
        if not samples:
            return self.verdict("pass", "not applicable: the autoscaler's log was not heard")
        for node, own in _rows_of_nodes(facts, found).items():
            judged += 1
            for stretch in [*_stretches(node, own, samples), *_kept(facts, node, own, samples[-1][0])]:
                from_s, to_s = stretch.from_s, stretch.to_s
                lasted_s = to_s - from_s - faults_cost_s(spans, from_s=from_s, to_s=to_s)
                if lasted_s > worst_s:
                    worst_s, worst = lasted_s, stretch
        if worst is None:
            told = f"the autoscaler accounted for all of {judged} instance(s)" if judged else "no instance started"
            return self.verdict("pass", told, [samples[-1][0]], measured=0.0, bound=bound_s, unit="s")
        told = f"from {worst.from_s:.1f} s to {worst.to_s:.1f} s {worst.told}"
        judgement: Judgement = "fail"
        if worst_s <= bound_s:
            judgement, told = "pass", f"{told}; of {judged} instance(s) no other for so long"
        return self.verdict(judgement, told, worst.evidence, measured=worst_s, bound=bound_s, unit="s")


def _rows_of_nodes(facts: Facts, found: tuple[Row, ...]) -> dict[str, list[Row]]:
    """Every worker that was asked for and started in this run, with the rows about its instance."""
    asked = {event.node for _, event in facts.history.of(NodeLaunching)}
    by_instance: dict[str, list[Row]] = {}
    for row in found:
        by_instance.setdefault(row.cloud_instance, []).append(row)
    own: dict[str, list[Row]] = {}
    for _, event in facts.history.of(NodeStarted):
        if event.node in asked:
            own[event.node] = by_instance.get(event.instance, [])
    return own


def _kept(facts: Facts, node: str, own: list[Row], last: Record) -> list[_Stretch]:
    """The time for which a row outlived its instance, which did not come back."""
    gone = [record for record, event in facts.history.of(NodeTerminated) if event.node == node]
    back_s = max((record.t_s for record, event in facts.history.of(NodeStarted) if event.node == node), default=0.0)
    if not gone or gone[-1].t_s <= back_s:
        return []
    told = f"the autoscaler still accounted for {node}, which the Cloud had ended"
    found = []
    for row in own:
        end = last if row.over_s > last.t_s else row.steps[-1].record
        if min(row.over_s, last.t_s) > gone[-1].t_s >= _from_s(row):
            found.append(_Stretch(gone[-1].t_s, end.t_s, told, (gone[-1], end)))
    return found


def _stretches(node: str, own: list[Row], samples: list[tuple[Record, ClusterSampled]]) -> list[_Stretch]:
    """The times within those in which it ran, by the samples, that no row covers."""
    told = f"the Cloud ran {node}, and the autoscaler did not account for it"
    found = []
    for first, last in _runs(node, samples):
        open_s = first.t_s
        for begin_s, end_s in sorted((_from_s(row), row.over_s) for row in own):
            if begin_s > open_s and open_s < last.t_s:
                found.append(_Stretch(open_s, min(begin_s, last.t_s), told, (first, last)))
            open_s = max(open_s, end_s)
        if open_s < last.t_s:
            found.append(_Stretch(open_s, last.t_s, told, (first, last)))
    return found


def _runs(node: str, samples: list[tuple[Record, ClusterSampled]]) -> list[tuple[Record, Record]]:
    """The first and the last of each row of samples in which it ran."""
    found: list[tuple[Record, Record]] = []
    runs = False
    for record, sample in samples:
        ran, runs = runs, sample.cloud.get(node) == "running"
        if runs and ran:
            found[-1] = (found[-1][0], record)
        elif runs:
            found.append((record, record))
    return found


def _from_s(row: Row) -> float:
    """When the row began to be about its instance; a line may name that a little later."""
    return next((step.t_s for step in row.steps if step.after not in ("QUEUED", "REQUESTED")), row.steps[0].t_s)
