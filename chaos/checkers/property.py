"""The base of every checker here: reads the facts, and never lets a run that was cut short pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from chaos.checker import Judgement, Verdict
from chaos.checkers.facts import Facts, facts_of
from chaos.history import History, Record

EVIDENCE_LIMIT = 40
_NO_BASELINE = "no baseline: recorded as the baseline"


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
            return self.unclear(facts)
        verdict = self.judge(facts)
        cut = facts.cut if not (self.judges_cut_runs and history.sealed) else ""
        if cut and verdict.verdict != "fail":
            reason = cut if verdict.verdict == "pass" else f"{cut}; {verdict.summary}"
            return verdict.model_copy(update={"verdict": "inconclusive", "summary": reason})
        return verdict

    @abstractmethod
    def judge(self, facts: Facts) -> Verdict:
        """The verdict on a history whose spec is known."""

    def passes(
        self,
        summary: str,
        evidence: Iterable[Record] = (),
        *,
        measured: float | None = None,
        bound: float | None = None,
        unit: str = "",
    ) -> Verdict:
        """A verdict `pass`."""
        return self._verdict("pass", summary, evidence, measured, bound, unit)

    def fails(
        self,
        summary: str,
        evidence: Iterable[Record] = (),
        *,
        measured: float | None = None,
        bound: float | None = None,
        unit: str = "",
    ) -> Verdict:
        """A verdict `fail`."""
        return self._verdict("fail", summary, evidence, measured, bound, unit)

    def unclear(
        self,
        summary: str,
        evidence: Iterable[Record] = (),
        *,
        measured: float | None = None,
        bound: float | None = None,
        unit: str = "",
    ) -> Verdict:
        """A verdict `inconclusive`."""
        return self._verdict("inconclusive", summary, evidence, measured, bound, unit)

    def recorded(self, summary: str, evidence: Iterable[Record] = (), *, measured: float, unit: str) -> Verdict:
        """A verdict `pass` of a run that has no baseline because it is to be one: measured, without a bound."""
        return self._verdict("pass", f"{summary} ({_NO_BASELINE})", evidence, measured, None, unit)

    def _verdict(
        self,
        judgement: Judgement,
        summary: str,
        evidence: Iterable[Record],
        measured: float | None,
        bound: float | None,
        unit: str,
    ) -> Verdict:
        return Verdict(
            name=self.name,
            verdict=judgement,
            summary=summary,
            evidence=tuple(sorted({record.seq for record in evidence}))[:EVIDENCE_LIMIT],
            measured=None if measured is None else round(measured, 3),
            bound=None if bound is None else round(bound, 3),
            unit=unit,
        )
