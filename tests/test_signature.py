"""Signatures: what is the same failure, and what is another one."""

from __future__ import annotations

from chaos.checker import Judgement, Verdict
from chaos.events import AutoscalerLogged, Event, WorkloadFinished
from chaos.history import History
from chaos.signature import Signature, signature_of


def verdict(name: str, judgement: Judgement) -> Verdict:
    return Verdict(name=name, verdict=judgement, summary="")


FAILED = (verdict("job_completes", "pass"), verdict("no_overshoot", "fail"), verdict("stayed_live", "fail"))


def history(*events: Event) -> History:
    return History.of_events((float(t_s), event) for t_s, event in enumerate(events))


def test_what_did_not_fail_has_none() -> None:
    assert signature_of(history(), (verdict("job_completes", "inconclusive"),)) is None


def test_it_is_the_first_property_that_failed() -> None:
    assert signature_of(history(), FAILED) == Signature(property="no_overshoot")


def test_it_names_the_state_the_autoscaler_is_stuck_in() -> None:
    stuck = AutoscalerLogged(about="stuck", text="Instance 17(i-3) is stuck in REQUESTED for 15 seconds.")
    found = signature_of(history(stuck), FAILED)
    assert found == Signature(property="no_overshoot", autoscaler="REQUESTED")
    assert found is not None
    assert found.text == "no_overshoot (autoscaler stuck in REQUESTED)"


def test_it_names_the_exception_of_the_autoscaler_before_that_of_the_job() -> None:
    logged = AutoscalerLogged(about="error", text="ERROR autoscaler.py -- KeyError: 'gpu'")
    ended = WorkloadFinished(outcome="failed", error="ray.exceptions.RayTaskError: ray.exceptions.ActorDiedError: gone")
    assert signature_of(history(logged, ended), FAILED) == Signature(property="no_overshoot", exception="KeyError")
    assert signature_of(history(ended), FAILED) == Signature(property="no_overshoot", exception="ActorDiedError")


def test_what_differs_from_run_to_run_is_not_in_it() -> None:
    lines = [f"Instance {number}(i-{number}) is stuck in ALLOCATED for {number} seconds." for number in (3, 44)]
    first, second = (signature_of(history(AutoscalerLogged(about="stuck", text=line)), FAILED) for line in lines)
    assert first == second


def test_what_came_after_the_evidence_is_of_something_else() -> None:
    lines = [
        AutoscalerLogged(about="stuck", text=f"Instance 1(i-1) is stuck in {state} for 9 seconds.")
        for state in ("REQUESTED", "ALLOCATED", "TERMINATING")
    ]
    logged = AutoscalerLogged(about="error", text="ERROR autoscaler.py -- KeyError: 'gpu'")
    told = history(lines[0], lines[1], lines[2], logged)

    def found(*evidence: int) -> Signature | None:
        failed = Verdict(name="no_overshoot", verdict="fail", summary="", evidence=evidence)
        return signature_of(told, (failed,))

    assert found(0, 2) == Signature(property="no_overshoot", autoscaler="TERMINATING")
    assert found(1) == Signature(property="no_overshoot", autoscaler="ALLOCATED")
    assert found(0, 3) == Signature(property="no_overshoot", autoscaler="REQUESTED", exception="KeyError")
    assert found() == Signature(property="no_overshoot", autoscaler="TERMINATING", exception="KeyError")


def test_evidence_that_is_none_of_the_log_takes_what_came_before_it() -> None:
    stuck = AutoscalerLogged(about="stuck", text="Instance 1(i-1) is stuck in REQUESTED for 9 seconds.")
    later = AutoscalerLogged(about="stuck", text="Instance 1(i-1) is stuck in TERMINATING for 9 seconds.")
    told = history(stuck, WorkloadFinished(outcome="hung"), later)
    failed = Verdict(name="job_completes", verdict="fail", summary="", evidence=(1,))
    assert signature_of(told, (failed,)) == Signature(property="job_completes", autoscaler="REQUESTED")
