"""One instance is not two."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.instance_log import SAME_MOMENT_S, InstanceProperty, Row, Step, nodes_by_instance
from chaos.events import NodeTerminated
from chaos.history import Record


class NoDoubleEnds(InstanceProperty):
    """The autoscaler never ends one instance of the Cloud as two of its own, nor takes it for two requests' answer.

    Two rows for one instance count it twice, against the limits and for the demand. Ray makes a second one where a
    raylet starts again on its instance, and is to give up the first without ending anything. Assumes that the Cloud
    does not use an instance's name again. What the autoscaler ended and ends once more after it was started anew does
    not count: it could not know. Ends of one update are one call to the Cloud, and an instance that has ended is not
    ended by what follows.
    """

    name = "no_double_ends"

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails when two rows of one autoscaler's for one instance both got it or are both ended through the Cloud."""
        if (twice := _given_twice(found)) is not None:
            first, second, instance = twice
            told = f"instance {instance} was taken for the answer to two requests, at {first.t_s:.1f} s and"
            evidence = [first.record, second.record]
            told = f"{told} {second.t_s:.1f} s"
            return self.verdict("fail", told, evidence, measured=2.0, bound=1.0, unit="requests")
        ended: dict[tuple[str, int], list[Record]] = {}
        for row in found:
            step = next((step for step in row.steps if step.after == "TERMINATING"), None)
            if step is not None and row.cloud_instance:
                ended.setdefault((row.cloud_instance, row.autoscaler), []).append(step.record)
        over_s = _over_s(facts, found)
        for (instance, _), all_records in ended.items():
            records = _apart([record for record in all_records if record.t_s <= over_s.get(instance, record.t_s)])
            if len(records) > 1:
                told = f"instance {instance} was ended as {len(records)} instances, at"
                times = ", ".join(f"{record.t_s:.1f} s" for record in records)
                bound, measured = 1.0, float(len(records))
                return self.verdict("fail", f"{told} {times}", records, measured=measured, bound=bound, unit="ends")
        told = f"{len(ended)} instance(s) were ended, each as one" if ended else "no instance was ended"
        evidence = [records[0] for records in ended.values()] or [found[0].steps[0].record]
        return self.verdict("pass", told, evidence, measured=float(bool(ended)), bound=1.0, unit="ends")


def _over_s(facts: Facts, found: tuple[Row, ...]) -> dict[str, float]:
    """When each instance had ended, by the Cloud or by what the autoscaler knew."""
    names = nodes_by_instance(facts)
    gone_s = {event.node: record.t_s for record, event in facts.history.of(NodeTerminated)}
    over_s = {instance: gone_s[node] for instance, node in names.items() if node in gone_s}
    for row in found:
        for step in row.steps:
            if step.after == "TERMINATED" and row.cloud_instance:
                over_s[row.cloud_instance] = min(step.t_s, over_s.get(row.cloud_instance, step.t_s))
    return over_s


def _apart(records: list[Record]) -> list[Record]:
    """One of those of each moment."""
    kept: list[Record] = []
    for record in sorted(records, key=lambda record: record.t_s):
        if not kept or record.t_s - kept[-1].t_s > SAME_MOMENT_S:
            kept.append(record)
    return kept


def _given_twice(found: tuple[Row, ...]) -> tuple[Step, Step, str] | None:
    """Two requests that were answered with one instance while both waited or ran on it."""
    given: dict[tuple[str, int], list[tuple[Step, float]]] = {}
    for row in found:
        for step in row.steps:
            if (step.before, step.after) == ("REQUESTED", "ALLOCATED") and row.cloud_instance:
                given.setdefault((row.cloud_instance, row.autoscaler), []).append((step, row.over_s))
    for (instance, _), steps in given.items():
        (first, over_s), *more = sorted(steps, key=lambda pair: pair[0].t_s)
        if more and more[0][0].t_s < over_s:
            return first, more[0][0], instance
    return None
