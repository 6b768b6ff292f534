"""The base of every checker here: reads the facts, and never lets a run that was cut short pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from chaos.checker import Judgement, Verdict
from chaos.checkers.facts import Blow, Facts, facts_of
from chaos.history import History, Record

EVIDENCE_LIMIT = 40


class Property(ABC):
    """One property of a run.

    A subclass judges the facts. What it would pass is inconclusive where the run was cut short, because the evidence
    against it may have been cut off; a violation that was seen stays a failure.
    """

    name: str
    judges_cut_runs = False

    def __call__(self, history: History) -> Verdict:
        """Judges the history."""
        facts = facts_of(history)
        if isinstance(facts, str):
            return self.verdict("inconclusive", facts)
        verdict = self.judge(facts)
        cut = facts.cut if not (self.judges_cut_runs and history.sealed) else ""
        if cut and verdict.verdict != "fail":
            reason = cut if verdict.verdict == "pass" else f"{cut}; {verdict.summary}"
            return verdict.model_copy(update={"verdict": "inconclusive", "summary": reason})
        return verdict

    @abstractmethod
    def judge(self, facts: Facts) -> Verdict:
        """The verdict on a history whose spec is known."""

    def verdict(
        self,
        judgement: Judgement,
        summary: str,
        evidence: Iterable[Record] = (),
        *,
        measured: float | None = None,
        bound: float | None = None,
        unit: str = "",
    ) -> Verdict:
        """This property's verdict, with the records that are its evidence and, in `unit`, what was measured."""
        return Verdict(
            name=self.name,
            verdict=judgement,
            summary=summary,
            evidence=tuple(sorted({record.seq for record in evidence}))[:EVIDENCE_LIMIT],
            measured=None if measured is None else round(measured, 3),
            bound=None if bound is None else round(bound, 3),
            unit=unit,
        )

    def not_owed(self, what: str, blow: Blow) -> Verdict:
        """Passes what nobody promised once the system was hit by what it was not expected to survive."""
        told = f"not owed: {what} promised after {blow.name}, which the job was to fail of"
        return self.verdict("pass", told, [blow.due])

    def timed(
        self,
        told: str,
        evidence: Iterable[Record],
        *,
        took_s: float,
        bound_s: float | None,
        cost_s: float = 0.0,
        unproven: str = "",
    ) -> Verdict:
        """The verdict on a time: fails beyond its bound, of which `cost_s` is what the faults explain.

        A time within it is inconclusive where `unproven` says why it proves nothing. A run that is to be the baseline
        has no bound: it is only measured.
        """
        judgement: Judgement = "pass"
        if bound_s is not None and took_s > bound_s:
            judgement, said = "fail", f"{bound_s:.1f} s allowed, of them {cost_s:.1f} s for faults"
        elif unproven:
            judgement, said = "inconclusive", unproven
        elif bound_s is None:
            said = "no baseline: recorded as the baseline"
        else:
            said = f"faults explain {cost_s:.1f} s of it" if cost_s else ""
        summary = f"{told}; {said}" if said else told
        return self.verdict(judgement, summary, evidence, measured=took_s, bound=bound_s, unit="s")
