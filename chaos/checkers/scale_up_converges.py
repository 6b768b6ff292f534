"""Demand that fits gets its nodes in time."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.cost import least_explained
from chaos.checkers.facts import Facts
from chaos.checkers.measure import demand_seen, rises
from chaos.checkers.promises import Broken, broken_promises, first_of
from chaos.checkers.property import Property
from chaos.demand import live_workers, wanted


class ScaleUpConverges(Property):
    """Whenever demand that fits an allowed node type waits, it is satisfied, or the maximum reached, within the bound.

    Assumes that samples show the demand the autoscaler sees, at least once a second, and the resources each node holds.
    The clock starts when demand first wants more workers than there are, and anew with every larger size it asks for;
    time the faults explain (cost.py) does not count. Demand that goes away, because existing nodes did its work, has
    converged too, but a run in which no rise was ever met by new nodes proves nothing. A worker satisfies demand, and
    counts towards the maximum, only if it holds what its type promises: one that lacks what demand waits for fails the
    run, however long that waits, for a node's resources never change.
    """

    name = "scale_up_converges"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when a rise takes longer than the baseline's factor, the faults' cost and slack, or a promise broke."""
        if not facts.load_samples():
            return self.verdict("inconclusive", "no sample of the cluster was taken while there was load")
        if not demand_seen(facts):
            return self.verdict("inconclusive", "no demand was ever seen waiting, so there was nothing to scale for")
        if broken := broken_promises(facts):
            return self._promised_more(broken)
        found = rises(facts)
        if not found:
            return self._never_short(facts)
        worst, cost_s = least_explained(facts, found, scaling=True)
        met = any(rise.grew and not rise.open for rise in found)
        return self.timed(
            f"slowest of {len(found)} rise(s) of demand: {worst.size} worker(s) wanted,"
            f" {worst.present} there after {worst.duration_s:.1f} s",
            [worst.first, worst.last],
            took_s=worst.duration_s,
            bound_s=None if facts.baseline is None else facts.over(facts.baseline.scale_up_s, faults_cost_s=cost_s),
            cost_s=cost_s,
            unproven="" if met else "no demand was met by new workers",
        )

    def _promised_more(self, broken: list[Broken]) -> Verdict:
        return self.verdict(
            "fail",
            f"demand waited for what a node was to have and has not: {first_of(broken)};"
            " correct the node type's resources, or the image or configuration its nodes start with",
            [record for one in broken for record in one.evidence],
            measured=float(len(broken)),
            bound=0.0,
            unit="workers",
        )

    def _never_short(self, facts: Facts) -> Verdict:
        samples = facts.load_samples()
        record, sample = next((r, s) for r, s in samples if any(d.count > 0 for d in s.demands))
        unfit = [(s, wanted(s, facts.cluster_at(r.t_s)).unfit) for r, s in samples if s.demands]
        if all(len(left) == len(s.demands) for s, left in unfit):
            return self.verdict("inconclusive", "all demand seen fits no node type of this cluster", [record])
        if len(live_workers(sample)) == facts.cluster_at(record.t_s).worker_limit:
            return self.verdict(
                "pass", "the cluster had its maximum of workers before demand came, and kept it", [record]
            )
        return self.verdict(
            "inconclusive", "demand never wanted more workers than there were, so nothing was scaled", [record]
        )
