"""What a job is judged by after a fault it was not expected to survive."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chaos.checkers import ALL
from chaos.events import (
    ClusterSampled,
    FaultInjected,
    NodeTerminated,
    RowsVerified,
    SurvivalExpected,
    WorkloadFinished,
)
from tests.checkers.histories import Story, Timed, fault, judged, judgements, one_injection, opened

EXPECTED = SurvivalExpected(survives=False, fatal=("i1",), reason="i1 (toy) ends the head")
STRUCK_S = 20.0


@dataclass
class Beheaded(Story):
    """The good run until its head is killed at 20 s; nothing answers any more, and the driver ends at `failed_s`."""

    failed_s: float = 20.2
    error: str = "the driver ended with status -9\nmore"
    expectation: SurvivalExpected | None = EXPECTED
    struck: list[Timed] = field(default_factory=lambda: fault("i1", STRUCK_S, victims=("head",)))
    answers_again_s: float = float("inf")

    def sample(self, t_s: float) -> ClusterSampled:
        """The cluster at a moment: of the GCS nothing is known once the head has gone."""
        seen = super().sample(t_s)
        if STRUCK_S < t_s < self.answers_again_s and self.struck:
            return ClusterSampled(reachable=False, cloud={k: v for k, v in seen.cloud.items() if k != "head"})
        return seen

    def events(self) -> list[Timed]:
        """With the expectation at its beginning, and the driver's last word."""
        self.finished_s = self.failed_s
        self.without = (RowsVerified,)
        if self.struck:
            self.more = [*self.more, *self.struck, (20.1, NodeTerminated(node="head", cause="killed"))]
        found = [
            (t_s, e.model_copy(update={"error": self.error}) if isinstance(e, WorkloadFinished) else e)
            for t_s, e in super().events()
        ]
        return found if self.expectation is None else [found[0], (0.0, self.expectation), *found[1:]]


def beheaded(**changes: object) -> Beheaded:
    opening = opened(injections=[one_injection()])
    return Beheaded(**{"outcome": "failed", "opening": opening, **changes})  # type: ignore[arg-type]


def test_a_job_that_fails_as_expected_passes_everything_that_is_still_owed() -> None:
    assert set(judgements(beheaded().history()).values()) == {"pass"}
    verdict = judged("job_completes", beheaded())
    told = "the job failed, as expected of i1 (toy), within 0.2 s: the driver ended with status -9"
    assert verdict.summary == told
    assert (verdict.measured, verdict.bound) == (0.2, 90.0)
    for name in ("rows_exactly_once", "scale_down_converges", "no_leaked_nodes"):
        assert judged(name, beheaded()).summary.startswith("not owed: "), name


def test_the_driver_may_end_before_the_injection_returns() -> None:
    at_once = [(t_s + (0.3 if isinstance(e, FaultInjected) else 0.0), e) for t_s, e in beheaded().struck]
    assert judged("job_completes", beheaded(struck=at_once)).verdict == "pass"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failed_s": 115.0, "stopping_s": 120.0}, "the job failed, as expected of i1 (toy), but only after 95.0 s: "),
        ({"error": " "}, "no error was given"),
        ({"outcome": "hung"}, "the job had not ended at the run's deadline"),
    ],
)
def test_failing_late_or_silently_or_hanging_is_a_failure(changes: dict[str, object], says: str) -> None:
    verdict = judged("job_completes", beheaded(**changes))
    assert verdict.verdict == "fail"
    assert says in verdict.summary


def test_a_hung_job_is_still_owed_everything() -> None:
    found = judgements(beheaded(outcome="hung").history())
    assert found["rows_exactly_once"] == found["scale_down_converges"] == "inconclusive"


def test_a_job_that_completes_all_the_same_passes_and_owes_its_rows() -> None:
    verdict = judged("job_completes", beheaded(outcome="ok", failed_s=40.0))
    assert verdict.verdict == "pass"
    assert verdict.summary.endswith("though i1 (toy) was expected to end it")
    assert judged("rows_exactly_once", beheaded(outcome="ok", failed_s=40.0)).verdict == "inconclusive"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"expectation": None}, id="nothing was said of survival"),
        pytest.param({"expectation": SurvivalExpected(survives=True, reason="so")}, id="it was to survive"),
        pytest.param({"struck": []}, id="the fault was not made"),
        pytest.param({"struck": fault("i2", STRUCK_S, victims=("head",))}, id="it was another fault"),
        pytest.param({"struck": fault("i1", STRUCK_S, victims=("head",), outcome="no_effect")}, id="it did not bite"),
        pytest.param({"struck": fault("i1", 25.0, victims=("head",))}, id="it came after the job had failed"),
    ],
)
def test_a_job_that_fails_of_something_else_fails(changes: dict[str, object]) -> None:
    assert judged("job_completes", beheaded(**changes)).verdict == "fail"
    assert judged("rows_exactly_once", beheaded(**changes)).verdict == "inconclusive"


def test_where_the_gcs_answers_scaling_down_is_owed() -> None:
    back = beheaded(answers_again_s=30.0, stopping_s=90.0)
    assert not judged("no_leaked_nodes", back).summary.startswith("not owed")
    assert not judged("scale_down_converges", back).summary.startswith("not owed")


def test_the_time_after_the_blow_is_no_pause() -> None:
    slow = beheaded(failed_s=75.0, stopping_s=80.0, rows_at=lambda t_s: max(0, round((min(t_s, 20.0) - 10.0) * 10)))
    verdict = judged("stayed_live", slow)
    assert (verdict.verdict, verdict.measured) == ("pass", 9.0)
    idle = beheaded(failed_s=75.0, stopping_s=80.0, rows_at=lambda _: 0)
    assert judged("stayed_live", idle).verdict == "inconclusive"


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_no_checker_passes_a_beheaded_run_that_was_cut_short(checker: object) -> None:
    assert callable(checker)
    verdict = checker(beheaded(sealed="interrupted").history())
    assert verdict.verdict == ("pass" if verdict.name == "nothing_left_behind" else "inconclusive")


def test_a_head_that_was_seen_to_end_needs_no_sample_of_the_silence() -> None:
    at_once = beheaded(stopping_s=20.3)
    assert judged("no_leaked_nodes", at_once).summary.startswith("not owed: ")
    assert judged("scale_down_converges", at_once).summary.startswith("not owed: ")
