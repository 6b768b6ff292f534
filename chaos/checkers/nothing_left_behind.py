"""No trace of the run's harm is left on the machine."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.facts import Facts
from chaos.checkers.property import Property
from chaos.events import CleanlinessChecked, FaultHealed, FaultInjected


class NothingLeftBehind(Property):
    """After healing, no effect, network rule or stopped process of the run remains.

    Assumes that the fingerprint was taken after the last healing. It holds for a run that was interrupted or broke off
    just as for a complete one, as long as the history was sealed.
    """

    name = "nothing_left_behind"
    judges_cut_runs = True

    def judge(self, facts: Facts) -> Verdict:
        """Fails on any leftover; inconclusive when nobody looked."""
        found = facts.history.last(CleanlinessChecked)
        if found is None:
            return self.verdict("inconclusive", "nobody looked for leftovers: run `raychaos heal`")
        record, event = found
        if event.leftovers:
            told = "; ".join(event.leftovers[:5])
            more = len(event.leftovers) - 5
            return self.verdict(
                "fail",
                f"left behind: {told}{f'; and {more} more' if more > 0 else ''}. Run `raychaos heal`",
                [record],
                measured=float(len(event.leftovers)),
                bound=0.0,
                unit="leftovers",
            )
        later = [r for kind in (FaultInjected, FaultHealed) for r, _ in facts.history.of(kind) if r.seq > record.seq]
        if later:
            return self.verdict(
                "inconclusive", "faults were at work after the last look for leftovers", [record, *later]
            )
        return self.verdict("pass", "nothing left behind", [record], measured=0.0, bound=0.0, unit="leftovers")
