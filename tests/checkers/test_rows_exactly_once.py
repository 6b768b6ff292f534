"""`rows_exactly_once`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.events import RowsVerified
from tests.checkers.histories import Story, judged, verified


def rows(event: RowsVerified | None, *, outcome: str = "ok") -> Verdict:
    story = Story(outcome=outcome, without=(RowsVerified,))  # type: ignore[arg-type]
    events = story.events()
    if event is not None:
        events.insert(-2, (41.0, event))
    return judged("rows_exactly_once", events)


def test_rows_exactly_once() -> None:
    assert rows(verified()).verdict == "pass"
    assert rows(verified(missing=1)).verdict == "fail"
    assert rows(verified(duplicated=1)).verdict == "fail"
    assert rows(verified(wrong=2)).measured == 2.0
    assert rows(verified().model_copy(update={"unexpected_count": 1})).verdict == "fail"
    assert rows(verified().model_copy(update={"rows_found": 299})).verdict == "fail"


def test_rows_exactly_once_cannot_judge_what_was_not_compared() -> None:
    assert rows(None).verdict == "inconclusive"
    assert rows(verified(expected=0)).verdict == "inconclusive"
    assert rows(verified(expected=299)).verdict == "inconclusive"
    assert rows(verified(missing=7), outcome="hung").verdict == "inconclusive"
    assert rows(verified(wrong=7), outcome="hung").verdict == "fail"
