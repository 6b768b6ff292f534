"""`nothing_left_behind`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from chaos.events import CleanlinessChecked, RunSealed
from tests.checkers.histories import Timed, fault, judged, opened


def test_nothing_left_behind() -> None:
    begin: Timed = (0.0, opened())
    end: Timed = (9.0, RunSealed(reason="complete"))
    assert judged("nothing_left_behind", [begin, (8.0, CleanlinessChecked(leftovers=())), end]).verdict == "pass"
    dirty = judged("nothing_left_behind", [begin, (8.0, CleanlinessChecked(leftovers=("tbf on w1",))), end])
    assert dirty.verdict == "fail"
    assert "tbf on w1" in dirty.summary
    assert judged("nothing_left_behind", [begin, end]).verdict == "inconclusive"
    early = [begin, (1.0, CleanlinessChecked(leftovers=())), *fault("i1", 2.0), end]
    assert judged("nothing_left_behind", early).verdict == "inconclusive"
