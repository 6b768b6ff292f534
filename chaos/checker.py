"""A checker judges one property of a history; a verdict says what it found, with its evidence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, TypeAlias

from chaos.history import History
from chaos.value import Value

Judgement: TypeAlias = Literal["pass", "fail", "inconclusive"]
_WORST_FIRST: tuple[Judgement, ...] = ("fail", "inconclusive", "pass")


class Verdict(Value):
    """One property's judgement. `evidence` are history sequence numbers; `measured` and `bound` share `unit`."""

    name: str
    verdict: Judgement
    summary: str
    evidence: tuple[int, ...] = ()
    measured: float | None = None
    bound: float | None = None
    unit: str = ""


class Checker(Protocol):
    """A pure function from a history to a verdict, without I/O."""

    name: str

    def __call__(self, history: History) -> Verdict:
        """Judges the history; never raises for what a history holds."""
        ...


def merge(judgements: Iterable[Judgement]) -> Judgement:
    """The worst judgement: fail > inconclusive > pass; of none, inconclusive (Jepsen's `valid?` merge)."""
    found = set(judgements)
    return next((j for j in _WORST_FIRST if j in found), "inconclusive")
