"""What all checkers share: a good run passes them, and a run cut short or without facts never does."""

from __future__ import annotations

import pytest

from chaos.checker import Verdict, merge
from chaos.checkers import ALL, evaluate
from chaos.cluster_spec import ClusterSpec
from chaos.events import NodeLaunching, RunOpened, RunSealed
from chaos.history import History
from tests.checkers.histories import CLUSTER, GPU, Story, Worker, four_workers, judged, judgements, opened


def test_the_good_run_passes_every_checker() -> None:
    assert set(judgements(Story().history()).values()) == {"pass"}


def test_a_run_without_a_baseline_is_measured_and_has_no_time_bound() -> None:
    history = Story(baseline=None).history()
    assert set(judgements(history).values()) == {"pass"}
    for name in ("scale_up_converges", "scale_down_converges", "stayed_live"):
        verdict = judged(name, history)
        assert verdict.bound is None
        assert verdict.measured is not None
        assert "no baseline" in verdict.summary


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_an_empty_history_is_inconclusive(checker: object) -> None:
    assert callable(checker)
    assert checker(History()).verdict == "inconclusive"


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_a_run_that_only_opened_and_sealed_is_inconclusive_where_there_was_something_to_prove(checker: object) -> None:
    assert callable(checker)
    history = History.of_events([(0.0, opened()), (1.0, RunSealed(reason="complete"))])
    verdict = checker(history)
    assert verdict.verdict == ("pass" if verdict.name == "faults_took_effect" else "inconclusive")


@pytest.mark.parametrize("reason", [None, "interrupted", "error", "aborted"])
def test_a_run_that_was_cut_short_never_passes(reason: str | None) -> None:
    history = Story(sealed=reason).history()  # type: ignore[arg-type]
    found = judgements(history)
    clean = "inconclusive" if reason is None else "pass"
    assert found.pop("nothing_left_behind") == clean
    assert set(found.values()) == {"inconclusive"}
    assert (reason or "not sealed") in judged("job_completes", history).summary


def test_a_violation_seen_before_an_interruption_still_fails() -> None:
    workers = [*four_workers(), Worker("w5", 20.0, 24.0)]
    assert judged("no_overshoot", Story(workers=workers, sealed="interrupted")).verdict == "fail"


def test_a_spec_of_another_version_is_inconclusive_and_named() -> None:
    events = Story().events()
    opening = opened()
    spec = {**opening.spec, "cluster": {"wheels": 4}}
    events[0] = (0.0, opening.model_copy(update={"spec": spec}))
    verdict = judged("no_overshoot", events)
    assert verdict.verdict == "inconclusive"
    assert "wheels" in verdict.summary


def test_a_crashing_checker_is_inconclusive_and_names_its_exception() -> None:
    class Broken:
        name = "broken"

        def __call__(self, history: History) -> Verdict:
            raise KeyError("nothing here")

    (verdict,) = evaluate(History(), [Broken()])
    assert (verdict.name, verdict.verdict) == ("broken", "inconclusive")
    assert "KeyError" in verdict.summary


def test_evaluate_gives_one_verdict_a_checker_in_order_with_evidence_in_the_history() -> None:
    history = Story().history()
    verdicts = evaluate(history)
    assert [v.name for v in verdicts] == [c.name for c in ALL]
    assert len({c.name for c in ALL}) == len(ALL) == 18
    assert merge(v.verdict for v in verdicts) == "pass"
    assert all(0 <= seq < len(history) for v in verdicts for seq in v.evidence)


def test_the_builders_speak_of_this_cluster() -> None:
    opening = Story().history()[0].event
    assert isinstance(opening, RunOpened)
    assert ClusterSpec.model_validate(opening.spec["cluster"]) == CLUSTER
    assert CLUSTER.node_types["gpu"].holds(GPU) == 1
    assert len(Story().history().of(NodeLaunching)) == 4
