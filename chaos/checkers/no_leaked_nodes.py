"""At the end nobody keeps a node the others do not know."""

from __future__ import annotations

from chaos.checker import Judgement, Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.property import Property
from chaos.events import ClusterSampled, NodeJoined, NodeLaunching, WorkloadFinished
from chaos.history import Record


class NoLeakedNodes(Property):
    """After the scale-down the Cloud, the GCS and the autoscaler agree on which workers there are.

    Assumes that the Cloud's states in a sample are its own and complete. A node on its way in or out is known to one
    side for a moment longer, so a disagreement is a leak once it has lasted for the bounds' slack; one that is younger
    when the watch ends is inconclusive.
    """

    name = "no_leaked_nodes"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on an instance the GCS does not know, a node without an instance, or a launch pending for ever."""
        finished = facts.history.last(WorkloadFinished)
        if finished is None:
            return self.verdict("inconclusive", "the load never ended, so the cluster never came to rest")
        if facts.felled is not None and facts.headless:
            return self.not_owed("without a head there is no GCS to agree with, and no agreement is", facts.felled)
        samples = facts.samples(from_s=finished[0].t_s)
        if not samples:
            return self.verdict("inconclusive", "the cluster was not sampled after the load had ended")
        if facts.history.first(NodeLaunching) is None and facts.history.first(NodeJoined) is None:
            return self.verdict("inconclusive", "no worker ever came or went, so none could leak")
        record, last = samples[-1]
        odd = _disagreements(last)
        if not odd:
            workers = sorted(view.node for view in last.nodes if view.node != "head")
            return self.verdict(
                "pass",
                f"Cloud, GCS and autoscaler agree at {record.t_s:.1f} s: {', '.join(workers) or 'no'} workers",
                [record],
                measured=0.0,
                bound=0.0,
                unit="nodes",
            )
        since = [_since(what, facts.samples()) for what in odd]
        first = min(since, key=lambda r: r.t_s)
        lasted_s = record.t_s - first.t_s
        told = f"{'; '.join(odd.values())}; for {lasted_s:.1f} s"
        judgement: Judgement = "fail" if lasted_s >= facts.bounds.slack_s else "inconclusive"
        return self.verdict(judgement, told, [*since, record], measured=float(len(odd)), bound=0.0, unit="nodes")


def _disagreements(sample: ClusterSampled) -> dict[str, str]:
    """What the three do not agree on, by subject."""
    known = {view.node for view in sample.nodes} - {"head"}
    had = set(sample.cloud) - {"head"}
    found = {node: f"the Cloud has {node} ({sample.cloud[node]}), the GCS does not" for node in sorted(had - known)}
    found |= {node: f"the GCS has {node}, the Cloud does not" for node in sorted(known - had)}
    if sample.autoscaler_pending:
        found["pending"] = f"the autoscaler still waits for {sample.autoscaler_pending} launch(es)"
    return found


def _since(what: str, samples: list[tuple[Record, ClusterSampled]]) -> Record:
    """The first of the samples up to the last that all show this disagreement."""
    first = samples[-1][0]
    for record, sample in reversed(samples):
        if what not in _disagreements(sample):
            break
        first = record
    return first
