"""Failure signatures: what tells one bug from another, so that a search for one does not slip to the next."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence

from chaos.checker import Verdict
from chaos.events import AutoscalerLogged, WorkloadFinished
from chaos.history import History
from chaos.value import Value

_STUCK_IN = re.compile(r"is stuck in (\w+)")
_EXCEPTION = re.compile(r"\b(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Exit|Interrupt))\b")
NO_STATE = "NO_STATE"


class Signature(Value):
    """The property that failed, the state the autoscaler was seen stuck in, and the exception; empty where none.

    Two failures are taken for the same bug where all three are equal. Of several failed properties it is the first in
    the order the checkers are listed in, which is from what a user feels to what explains it.
    """

    property: str
    autoscaler: str = ""
    exception: str = ""

    @builtins.property
    def text(self) -> str:
        """One line for people."""
        more = [f"autoscaler stuck in {self.autoscaler}"] * bool(self.autoscaler)
        more += [self.exception] * bool(self.exception)
        return self.property + (f" ({', '.join(more)})" if more else "")


def signature_of(history: History, verdicts: Sequence[Verdict]) -> Signature | None:
    """The signature of a judged run; None where no property failed."""
    failed = next((verdict for verdict in verdicts if verdict.verdict == "fail"), None)
    if failed is None:
        return None
    told = _told_of(history, failed)
    return Signature(property=failed.name, autoscaler=_autoscaler(told), exception=_exception(history, told))


def _told_of(history: History, failed: Verdict) -> Sequence[AutoscalerLogged]:
    """The lines of the autoscaler's log among a verdict's evidence; where there are none, those up to its last piece.

    What came later is of something else.
    """
    lines = list(history.of(AutoscalerLogged))
    if not failed.evidence:
        return [event for _, event in lines]
    own = [event for record, event in lines if record.seq in failed.evidence]
    return own or [event for record, event in lines if record.seq <= max(failed.evidence)]


def _autoscaler(told: Sequence[AutoscalerLogged]) -> str:
    """The state an instance was last said to be stuck in; that there was no state to report, where that was said."""
    state = ""
    for event in told:
        if event.about == "stuck" and (found := _STUCK_IN.search(event.text)):
            state = found[1]
        elif event.about == "no_state":
            state = state or NO_STATE
    return state


def _exception(history: History, lines: Sequence[AutoscalerLogged]) -> str:
    """The class of the last exception the autoscaler logged, or else of the one the job ended with."""
    told = [event.text for event in lines if event.about == "error"]
    finished = history.last(WorkloadFinished)
    told = told or ([finished[1].error] if finished and finished[1].outcome == "failed" else [])
    found = [names[-1] for text in told if (names := _EXCEPTION.findall(text))]
    return found[-1] if found else ""
