"""What a campaign has found so far: failures by signature, each with its smallest schedule and its rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from chaos.checker import Judgement
from chaos.fuzz.outcome import Outcome
from chaos.rate import Rate, unseen_below
from chaos.signature import Signature

Agreement: TypeAlias = Literal["confirmed", "fails otherwise", "twin only", "not tried"]


@dataclass
class Confirmation:
    """What runs on real clusters came to of what failed on the twin with one signature.

    `alike` are the runs that failed of the same property, `otherwise` those of others, by signature; of a run that is
    `unsure` nothing is concluded.
    """

    expected: Signature
    alike: int = 0
    otherwise: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    unsure: Counter[str] = field(default_factory=Counter)
    kept: str = ""

    def take(self, outcome: Outcome) -> None:
        """One more run."""
        if outcome.judgement == "pass":
            self.passed += 1
        elif outcome.signature is None:
            _count(self.unsure, outcome.summary)
        elif outcome.signature.property == self.expected.property:
            self.alike += 1
            self.kept = self.kept or outcome.kept
        else:
            self.otherwise[outcome.signature.text] += 1

    @property
    def tried(self) -> int:
        """All runs."""
        return self.conclusive + self.unsure.total()

    @property
    def conclusive(self) -> int:
        """The runs that passed or failed."""
        return self.alike + self.otherwise.total() + self.passed

    @property
    def rate(self) -> Rate | None:
        """How many of the conclusive runs failed alike; None of no run."""
        return Rate(failures=self.alike, runs=self.conclusive) if self.conclusive else None

    @property
    def finding(self) -> Agreement:
        """Whether the twin and the real clusters agree; `twin only` is a disagreement."""
        if self.alike:
            return "confirmed"
        if not self.conclusive:
            return "not tried"
        return "fails otherwise" if self.otherwise else "twin only"

    def to_data(self) -> dict[str, object]:
        """The same for machines."""
        rate = self.rate
        return {
            "finding": self.finding,
            "runs": self.conclusive,
            "failed_alike": self.alike,
            "failed_otherwise": dict(self.otherwise),
            "inconclusive": self.unsure.total(),
            "rate": None if rate is None else rate.estimate,
            "interval95": None if rate is None else rate.interval95,
            "run": self.kept or None,
        }


@dataclass
class Failure:
    """One signature: how often it came, since when, and the smallest specification that shows it."""

    signature: Signature
    hits: int
    found_after_runs: int
    found_after_s: float
    first: Outcome
    smallest: Outcome
    trim_runs: int = 0
    confirmation: Confirmation = field(init=False)

    def __post_init__(self) -> None:
        self.confirmation = Confirmation(self.signature)

    @property
    def smallest_spec(self) -> str:
        """The smallest specification so far, trimmed where it was."""
        return self.smallest.trimmed or self.smallest.spec

    @property
    def size(self) -> int:
        """How many injections that has."""
        return self.smallest.trimmed_injections or self.smallest.injections


@dataclass
class Tally:
    """Takes in outcomes, in whatever order they come. What could not be made is no run, and says nothing."""

    runs: int = 0
    unguided: int = 0
    passed: int = 0
    unsure: int = 0
    broken: int = 0
    trim_runs: int = 0
    unsure_for: Counter[str] = field(default_factory=Counter)
    broken_for: Counter[str] = field(default_factory=Counter)
    worlds_lost: Counter[str] = field(default_factory=Counter)
    failures: dict[Signature, Failure] = field(default_factory=dict)

    def take(self, outcome: Outcome, *, after_s: float) -> bool:
        """Takes in an outcome; whether it is of a signature that was not there before."""
        if outcome.broken:
            self.broken += outcome.stands_for
            _count(self.broken_for, outcome.summary, times=outcome.stands_for)
        if outcome.source == "confirmation":
            assert outcome.of is not None
            if (known := self.failures.get(outcome.of)) is not None:
                known.confirmation.take(outcome)
            return False
        if outcome.broken:
            return False
        if outcome.source == "baseline" and outcome.signature is None:
            _count(self.worlds_lost, outcome.summary)
            return False
        if outcome.source == "drawn":
            self.runs += 1
            self.unguided += not outcome.guided
            self.passed += outcome.judgement == "pass"
        self.trim_runs += outcome.trim_runs
        drawn = outcome.source == "drawn"
        if outcome.signature is None:
            if drawn and outcome.judgement == "inconclusive":
                self.unsure += 1
                _count(self.unsure_for, outcome.summary)
            return False
        known = self.failures.get(outcome.signature)
        if known is None:
            self.failures[outcome.signature] = Failure(
                outcome.signature, int(drawn), self.runs, after_s, outcome, outcome, outcome.trim_runs
            )
            return True
        known.hits += drawn
        known.trim_runs += outcome.trim_runs
        size = outcome.trimmed_injections or outcome.injections
        if size < known.size or (size == known.size and outcome.trimmed and not known.smallest.trimmed):
            known.smallest = outcome
        return False

    def rate_of(self, failure: Failure) -> Rate:
        """Of the runs that were drawn, how many failed so; replays of what failed before say nothing of them."""
        return Rate(failures=failure.hits, runs=self.runs)

    @property
    def confidence(self) -> str:
        """What so many runs say of what they did not show."""
        if not self.unguided:
            none = "was drawn at random" if self.runs else "has ended"
            return f"no run {none}, so nothing can be said"
        which = f"these {self.runs} runs" if self.unguided == self.runs else f"the {self.unguided} runs drawn at random"
        return (
            f"with 95 % confidence, a failure not seen in {which} comes in less than "
            f"{100 * self.unseen_below:.2g} % of such runs"
        )

    @property
    def unseen_below(self) -> float:
        """The rate below which comes, with 95 % confidence, what no run showed; guided runs are no sample."""
        return unseen_below(self.unguided)

    @property
    def judgement(self) -> Judgement:
        """Of all runs: of failures that show on the twin only, where real clusters were asked, nothing is concluded."""
        if any(failure.confirmation.finding != "twin only" for failure in self.failures.values()):
            return "fail"
        return "pass" if self.passed and not self.failures else "inconclusive"

    def found(self, finding: Agreement) -> tuple[Failure, ...]:
        """The failures of which real clusters say that."""
        return tuple(failure for failure in self.failures.values() if failure.confirmation.finding == finding)

    def to_data(self, *, ray: str, confirmed_on: str | None) -> list[dict[str, object]]:
        """The failures, for machines; with what real clusters say of them where they were asked."""
        told: list[dict[str, object]] = []
        for failure in self.failures.values():
            rate = self.rate_of(failure)
            told.append(
                {
                    "signature": failure.signature.model_dump(),
                    "summary": failure.first.summary,
                    "schedule": failure.first.spec,
                    "shrunk_schedule": failure.smallest_spec,
                    "injections": failure.size,
                    "hits": failure.hits,
                    "rate": rate.estimate,
                    "interval95": rate.interval95,
                    "runs_to_find": failure.found_after_runs,
                    "seconds_to_find": round(failure.found_after_s, 1),
                    "trim_runs": failure.trim_runs,
                    "run": failure.smallest.kept or None,
                    "ray": ray,
                    **({confirmed_on: failure.confirmation.to_data()} if confirmed_on else {}),
                }
            )
        return told


def _count(counts: Counter[str], what: str, *, times: int = 1) -> None:
    first_line = what.splitlines()[0] if what else "?"
    counts[first_line] += times
