"""Every fault bit, and is gone: without this, the other verdicts mean nothing."""

from __future__ import annotations

from chaos.checker import Judgement, Verdict, merge
from chaos.checkers.facts import Asked, Facts
from chaos.checkers.property import Property
from chaos.events import FaultHealed, FaultInjected, FaultProbed, FaultSkipped
from chaos.history import Record


class FaultsTookEffect(Property):
    """Each injection of the schedule was made, was seen to take effect, and, where it lasts, was seen to be gone.

    Assumes that probes are independent of what the injection returned. An injection marked `may_miss` may find no
    target or show no effect; that it could not be made for an error, or was not healed, is not excused. A schedule
    without injections has nothing to prove.
    """

    name = "faults_took_effect"

    def judge(self, facts: Facts) -> Verdict:
        """Fails on harm that was not undone; inconclusive on harm that was not made or did not show."""
        asked = {one.injection: one for one in facts.asked}
        for _, event in facts.history.of(FaultInjected):
            asked.setdefault(event.injection, Asked(event.injection, event.fault, may_miss=False))
        if not asked:
            return self.verdict("pass", "no faults were asked for")
        found = [(one, *_judge_one(facts, one)) for one in asked.values()]
        verdict = merge(judgement for _, judgement, _, _ in found)
        evidence = [record for _, _, _, records in found for record in records]
        bit = sum(1 for _, _, told, _ in found if not told)
        told = "; ".join(f"{one.injection} ({one.fault}) {told}" for one, _, told, _ in found if told)
        summary = f"{bit} of {len(found)} injections took effect and are gone{f': {told}' if told else ''}"
        return self.verdict(verdict, summary, evidence, measured=float(bit), bound=float(len(found)), unit="injections")


def _judge_one(facts: Facts, asked: Asked) -> tuple[Judgement, str, list[Record]]:
    """One injection: its judgement, what is amiss (empty when nothing), and the records that show it."""
    history, name = facts.history, asked.injection
    missed: Judgement = "pass" if asked.may_miss else "inconclusive"
    injected = next(((r, e) for r, e in history.of(FaultInjected) if e.injection == name), None)
    if injected is None:
        skipped = next(((r, e) for r, e in history.of(FaultSkipped) if e.injection == name), None)
        if skipped is None:
            return "inconclusive", "was neither made nor skipped", []
        reason = skipped[1].reason
        detail = f": {skipped[1].detail}" if skipped[1].detail else ""
        return "inconclusive" if reason == "failed" else missed, f"was not made ({reason}{detail})", [skipped[0]]
    records, tells = [injected[0]], []
    judgement: Judgement = "pass"
    probes = [(r, e) for r, e in history.of(FaultProbed) if e.injection == name]
    records += [r for r, _ in probes[-1:]]
    if not any(e.outcome == "took_effect" for _, e in probes):
        judgement = missed
        outcome = probes[-1][1].outcome if probes else "unknown"
        detail = f": {probes[-1][1].detail}" if probes and probes[-1][1].detail else ""
        tells.append("was not seen to take effect" if outcome == "unknown" else f"had no effect{detail}")
    if injected[1].heal_due_s is not None:
        healed = [(r, e) for r, e in history.of(FaultHealed) if e.injection == name]
        records += [r for r, _ in healed]
        if not any(e.proven for _, e in healed):
            tells.append("was healed, but still showed" if healed else "was not healed")
            judgement = "inconclusive" if facts.cut else "fail"
    return judgement, " and ".join(tells), records
