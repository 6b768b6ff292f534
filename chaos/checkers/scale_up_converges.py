"""Demand that fits gets its nodes in time."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.demand import live_workers, wanted
from chaos.checkers.facts import Facts
from chaos.checkers.measure import demand_seen, rises
from chaos.checkers.property import Property


class ScaleUpConverges(Property):
    """Whenever demand that fits an allowed node type waits, it is satisfied, or the maximum reached, within the bound.

    Assumes that samples show the demand the autoscaler sees, at least once a second. The clock starts when demand first
    wants more workers than there are, and anew with every larger size it asks for; time the faults explain (cost.py)
    does not count. Demand that goes away, because existing nodes did its work, has converged too, but a run in which
    no rise was ever met by new nodes proves nothing.
    """

    name = "scale_up_converges"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when a rise takes longer than the baseline's factor, the faults' cost and slack together."""
        seen = demand_seen(facts)
        if not facts.load_samples():
            return self.unclear("no sample of the cluster was taken while there was load")
        if not seen:
            return self.unclear("no demand was ever seen waiting, so there was nothing to scale for")
        found = rises(facts)
        if not found:
            return self._never_short(facts)
        spans = explained(facts)
        costs_s = [faults_cost_s(spans, from_s=rise.from_s, to_s=rise.to_s) for rise in found]
        worst, cost_s = max(zip(found, costs_s, strict=True), key=lambda pair: pair[0].duration_s - pair[1])
        told = f"{worst.size} worker(s) wanted, {worst.present} there after {worst.duration_s:.1f} s"
        evidence = [worst.first, worst.last]
        met = any(rise.grew and not rise.open for rise in found)
        if facts.baseline is None:
            if met:
                return self.recorded(f"slowest of {len(found)}: {told}", evidence, measured=worst.duration_s, unit="s")
            return self.unclear(f"no demand was met by new workers: {told}", evidence)
        bound_s = facts.over(facts.baseline.scale_up_s, faults_cost_s=cost_s)
        if worst.duration_s > bound_s:
            return self.fails(
                f"{told}; {bound_s:.1f} s allowed, of them {cost_s:.1f} s for faults",
                evidence,
                measured=worst.duration_s,
                bound=bound_s,
                unit="s",
            )
        if not met:
            return self.unclear(
                f"no demand was met by new workers, and none waited long enough to fail: {told}",
                evidence,
                measured=worst.duration_s,
                bound=bound_s,
                unit="s",
            )
        return self.passes(
            f"{len(found)} rise(s) of demand met; slowest: {told}",
            evidence,
            measured=worst.duration_s,
            bound=bound_s,
            unit="s",
        )

    def _never_short(self, facts: Facts) -> Verdict:
        samples = facts.load_samples()
        record, sample = next((r, s) for r, s in samples if any(d.count > 0 for d in s.demands))
        unfit = [d for _, s in samples for d in wanted(s, facts.cluster).unfit]
        if unfit and all(len(wanted(s, facts.cluster).unfit) == len(s.demands) for _, s in samples if s.demands):
            return self.unclear("all demand seen fits no node type of this cluster", [record])
        if len(live_workers(sample)) == facts.cluster.worker_limit:
            return self.passes("the cluster had its maximum of workers before demand came, and kept it", [record])
        return self.unclear("demand never wanted more workers than there were, so nothing was scaled", [record])
