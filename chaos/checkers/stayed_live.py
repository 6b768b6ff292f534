"""The job keeps moving."""

from __future__ import annotations

from dataclasses import replace

from chaos.checker import Verdict
from chaos.checkers.cost import least_explained
from chaos.checkers.facts import Blow, Facts
from chaos.checkers.measure import Span, pauses
from chaos.checkers.property import Property
from chaos.events import WorkloadProgressed


class StayedLive(Property):
    """No window without progress is longer than the baseline and the faults explain.

    Assumes that progress is recorded within a second of being made and counts distinct rows. Windows run from the
    driver's start to its end, so the baseline's longest one includes a scale-up from nothing. Each window's bound is
    that, times the factor, plus the time in this window that faults explain (cost.py), plus slack.
    """

    name = "stayed_live"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when a window is longer than its bound; inconclusive when no progress was recorded."""
        found = _until(facts.felled, pauses(facts))
        progressed = [e.rows_done for _, e in facts.history.of(WorkloadProgressed)]
        if not found or not progressed:
            return self.verdict("inconclusive", "no progress was recorded")
        worst, cost_s = least_explained(facts, found)
        unproven = "" if any(progressed) else "no row was computed"
        return self.timed(
            f"longest unexplained pause {worst.duration_s:.1f} s, from {worst.from_s:.1f} s",
            [worst.first, worst.last],
            took_s=worst.duration_s,
            bound_s=None
            if facts.baseline is None
            else facts.over(facts.baseline.longest_pause_s, faults_cost_s=cost_s),
            cost_s=cost_s,
            unproven=unproven if facts.outcome == "ok" or facts.felled else "the job did not end well",
        )


def _until(blow: Blow | None, windows: list[Span]) -> list[Span]:
    """The windows up to the blow, the last of them ending there."""
    if blow is None:
        return windows
    begun = [window for window in windows if window.from_s <= blow.due.t_s]
    return [window if window.to_s <= blow.due.t_s else replace(window, last=blow.due) for window in begun]
