"""`job_completes`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

import pytest

from chaos.events import RunSealed, WorkloadFinished, WorkloadStarted
from tests.checkers.histories import Story, Timed, judged, opened


@pytest.mark.parametrize(
    ("outcome", "sealed", "expected"),
    [
        ("ok", "complete", "pass"),
        ("failed", "complete", "fail"),
        ("hung", "deadline", "fail"),
        ("interrupted", "interrupted", "inconclusive"),
        ("interrupted", "complete", "inconclusive"),
        ("failed", "error", "inconclusive"),
    ],
)
def test_job_completes(outcome: str, sealed: str, expected: str) -> None:
    story = Story(outcome=outcome, sealed=sealed)  # type: ignore[arg-type]
    assert judged("job_completes", story).verdict == expected


def test_job_completes_minimal_histories() -> None:
    begin: list[Timed] = [(0.0, opened()), (1.0, WorkloadStarted(workload="toy", rows_total=3))]
    ended: Timed = (5.0, WorkloadFinished(outcome="ok"))
    assert judged("job_completes", [*begin, ended, (6.0, RunSealed(reason="complete"))]).verdict == "pass"
    late = judged("job_completes", [*begin, (121.0, RunSealed(reason="deadline"))])
    assert (late.verdict, late.measured, late.bound) == ("fail", 120.0, 120.0)
    assert judged("job_completes", [*begin, (6.0, RunSealed(reason="complete"))]).verdict == "inconclusive"


def test_a_job_without_rows_proves_nothing() -> None:
    events: list[Timed] = [
        (0.0, opened()),
        (1.0, WorkloadStarted(workload="toy", rows_total=0)),
        (5.0, WorkloadFinished(outcome="ok")),
        (6.0, RunSealed(reason="complete")),
    ]
    assert judged("job_completes", events).verdict == "inconclusive"
