"""`stayed_live`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.events import WorkloadProgressed
from tests.checkers.histories import Story, fault, judged


def stalls(from_s: float, to_s: float) -> Story:
    before = round((from_s - 10.0) * 10)

    def rows_at(t_s: float) -> int:
        return round(max(0.0, t_s - 10.0) * 10) if t_s <= from_s else before if t_s < to_s else 300

    return Story(rows_at=rows_at, finished_s=max(40.0, to_s + 1.0), stopping_s=90.0)


def test_a_window_without_progress_is_bounded() -> None:
    assert judged("stayed_live", stalls(12.0, 35.0)).verdict == "pass"
    verdict = judged("stayed_live", stalls(12.0, 50.0))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 38.0, 24.0)


def test_a_fault_excuses_the_time_it_explains_and_no_more() -> None:
    story = stalls(12.0, 50.0)
    story.more = fault("i1", 13.0, victims=("w1",), heal_due_s=25.0)
    verdict = judged("stayed_live", story)
    assert verdict.bound == pytest.approx(24.0 + 12.1 + 1.0 + 4.0)
    assert verdict.verdict == "pass"
    story = stalls(12.0, 58.0)
    story.more = fault("i1", 13.0, victims=("w1",), heal_due_s=25.0)
    assert judged("stayed_live", story).verdict == "fail"


def test_a_hang_that_the_deadline_ended_too_early_to_tell_is_inconclusive() -> None:
    story = replace(stalls(30.0, 99.0), finished_s=45.0, outcome="hung", sealed="deadline")
    assert judged("stayed_live", story).verdict == "inconclusive"
    assert judged("stayed_live", replace(story, finished_s=80.0)).verdict == "fail"
    assert judged("stayed_live", replace(story, baseline=None)).verdict == "inconclusive"


def test_stayed_live_cannot_judge_a_run_without_progress() -> None:
    assert judged("stayed_live", Story(without=(WorkloadProgressed,))).verdict == "inconclusive"
    assert judged("stayed_live", Story(rows_at=lambda _: 0, finished_s=20.0)).verdict == "inconclusive"
