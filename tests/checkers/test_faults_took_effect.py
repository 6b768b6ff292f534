"""`faults_took_effect`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.events import FaultSkipped
from tests.checkers.histories import Story, Timed, fault, judged, one_injection, opened


def faulted(more: list[Timed], *, may_miss: bool = False, sealed: str = "complete") -> Verdict:
    opening = opened(injections=[one_injection(may_miss=may_miss)])
    return judged("faults_took_effect", Story(opening=opening, more=more, sealed=sealed))  # type: ignore[arg-type]


def test_faults_took_effect() -> None:
    assert faulted(fault("i1", 15.0, victims=("w1",))).verdict == "pass"
    assert faulted(fault("i1", 15.0, victims=("w1",), heal_due_s=18.0)).verdict == "pass"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, healed=False)).verdict == "fail"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, proven=False)).verdict == "fail"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, healed=False), sealed="interrupted").verdict == "inconclusive"


def skipped(reason: str) -> list[Timed]:
    return [(15.0, FaultSkipped(injection="i1", fault="toy", reason=reason))]


def test_a_fault_that_did_not_bite_is_inconclusive_unless_it_may_miss() -> None:
    for more in (
        fault("i1", 15.0, outcome="no_effect"),
        fault("i1", 15.0, outcome=None),
        skipped("no_target"),
        skipped("refused"),
    ):
        assert faulted(more).verdict == "inconclusive"
        assert faulted(more, may_miss=True).verdict == "pass"
    assert faulted([]).verdict == "inconclusive"
    assert faulted([], may_miss=True).verdict == "inconclusive"
    assert faulted(skipped("failed"), may_miss=True).verdict == "inconclusive"


def test_an_injection_the_schedule_does_not_name_is_judged_too() -> None:
    story = Story(more=fault("stray", 15.0, heal_due_s=18.0, healed=False))
    assert judged("faults_took_effect", story).verdict == "fail"


def test_what_the_blast_radius_refused_is_told_with_its_limit() -> None:
    told = "blast_radius.max_nodes_down is 1: 1 worker asked for, 1 already down (w1)"
    verdict = faulted([(15.0, FaultSkipped(injection="i1", fault="toy", reason="refused", detail=told))])
    assert verdict.verdict == "inconclusive"
    assert f"i1 (toy) was not made (refused: {told})" in verdict.summary
