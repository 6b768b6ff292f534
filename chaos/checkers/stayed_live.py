"""The job keeps moving."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.facts import Facts
from chaos.checkers.measure import pauses
from chaos.checkers.property import Property
from chaos.events import WorkloadProgressed


class StayedLive(Property):
    """No window without progress is longer than the baseline and the faults explain.

    Assumes that progress is recorded at least every second and counts distinct rows. Windows run from the driver's
    start to its end, so the baseline's longest one includes a scale-up from nothing. Each window's bound is that, times
    the factor, plus the time in this window that faults explain (cost.py), plus slack.
    """

    name = "stayed_live"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when a window is longer than its bound; inconclusive when no progress was recorded."""
        found = pauses(facts)
        progressed = [e for _, e in facts.history.of(WorkloadProgressed) if e.rows_done > 0]
        if not found or facts.history.first(WorkloadProgressed) is None:
            return self.unclear("no progress was recorded")
        spans = explained(facts)
        costs_s = [faults_cost_s(spans, from_s=window.from_s, to_s=window.to_s) for window in found]
        worst, cost_s = max(zip(found, costs_s, strict=True), key=lambda pair: pair[0].duration_s - pair[1])
        evidence = [worst.first, worst.last]
        told = f"longest unexplained pause {worst.duration_s:.1f} s, from {worst.from_s:.1f} s"
        if facts.baseline is None:
            if facts.outcome == "ok" and progressed:
                return self.recorded(told, evidence, measured=worst.duration_s, unit="s")
            return self.unclear(f"{told}; the job did not end well, and there is no baseline to compare with", evidence)
        bound_s = facts.over(facts.baseline.longest_pause_s, faults_cost_s=cost_s)
        if worst.duration_s > bound_s:
            return self.fails(
                f"{told}; {bound_s:.1f} s allowed, of them {cost_s:.1f} s for faults",
                evidence,
                measured=worst.duration_s,
                bound=bound_s,
                unit="s",
            )
        if facts.outcome != "ok" or not progressed:
            return self.unclear(
                f"{told}; within its bound, but the job did not end well",
                evidence,
                measured=worst.duration_s,
                bound=bound_s,
                unit="s",
            )
        return self.passes(
            f"{told}; faults explain {cost_s:.1f} s of it",
            evidence,
            measured=worst.duration_s,
            bound=bound_s,
            unit="s",
        )
