"""The diagnosis: each of the four causes is found where it was planted, and not where it was not."""

from __future__ import annotations

from chaos.checkers import evaluate
from chaos.diagnosis import Diagnosis, diagnose
from chaos.events import AutoscalerLogged, ClusterSampled, HostSampled, NodeLaunchFailed
from chaos.history import History
from tests.checkers.histories import Story, Worker, fault, four_workers, opened, skimpy_workers, waiting


def causes(story: Story | History) -> tuple[tuple[str, str], ...]:
    history = story.history() if isinstance(story, Story) else story
    diagnoses = diagnose(history, evaluate(history))
    assert all(0 <= seq < len(history) for one in diagnoses for seq in one.evidence)
    assert all(one.evidence for one in diagnoses)
    return tuple((one.cause, one.confidence) for one in diagnoses)


def found_causes(story: Story) -> set[str]:
    return {cause for cause, _ in causes(story)}


def the(cause: str, story: Story) -> Diagnosis:
    history = story.history()
    return next(one for one in diagnose(history, evaluate(history)) if one.cause == cause)


def test_a_run_that_passed_needs_no_diagnosis() -> None:
    assert causes(Story()) == ()
    assert diagnose(History(), evaluate(History())) == ()


def test_demand_that_fits_no_node_type_is_a_matter_of_resources() -> None:
    story = Story(
        workers=[],
        demand=lambda t_s: waiting(2, shape={"GPU": 2.0}) if t_s > 3 else (),
        rows_at=lambda _: 0,
        outcome="hung",
        sealed="deadline",
    )
    one = the("resources", story)
    assert one.confidence == "likely"
    assert "{GPU: 2} fits no node type" in one.summary
    assert "requested and waiting: 2 x {GPU: 2}; allocated: 0 of 4 workers (gpu 0/4)" in one.summary
    assert one.text.startswith("likely: too few or misconfigured resources: ")


def test_a_maximum_that_is_too_low_is_a_matter_of_resources() -> None:
    story = Story(
        rows_at=lambda t_s: max(0, round((t_s - 10.0) * 2)),
        outcome="hung",
        sealed="deadline",
        opening=opened(deadline_s=40.0),
    )
    assert ("resources", "likely") in causes(story)
    assert "allocated: 4 of 4 workers" in the("resources", story).summary


def test_nodes_without_what_their_type_promises_are_a_matter_of_resources() -> None:
    story = Story(workers=skimpy_workers(), rows_at=lambda _: 0, outcome="hung", sealed="deadline")
    one = the("resources", story)
    assert one.confidence == "likely"
    assert "w1 has {CPU: 2, GPU: 0}, its type gpu promises {CPU: 2, GPU: 1}" in one.summary
    assert "(and 11 more like it); requested and waiting: 8 x {GPU: 1}; allocated:" in one.summary
    assert "at the maximum of workers" not in one.summary
    assert "autoscaler" not in found_causes(story)


def test_an_autoscaler_that_does_not_ask_for_nodes() -> None:
    story = Story(workers=four_workers()[:2])
    assert ("autoscaler", "likely") in causes(story)
    late = Story(workers=[*four_workers()[:3], Worker("w4", 20.0, 24.0)])
    one = the("autoscaler", late)
    assert one.confidence == "likely"
    assert "spread over 16.0 s" in one.summary
    assert "resources" not in found_causes(late)
    never = Story(workers=[], rows_at=lambda _: 0)
    assert "asked for no launch, though 4 workers were wanted" in the("autoscaler", never).summary


def test_the_autoscalers_log_speaks() -> None:
    story = Story(workers=[], more=[(9.0, AutoscalerLogged(about="stuck", text="instance x is stuck in REQUESTED"))])
    one = the("autoscaler", story)
    assert "1 x stuck" in one.summary


def test_a_slow_join_is_told_apart_from_a_slow_decision() -> None:
    slow = Story(workers=[*four_workers()[:3], Worker("w4", 4.0, 30.0)])
    one = the("autoscaler", slow)
    assert one.confidence == "possible"
    assert "1.0 s passed from demand to the first launch" in one.summary
    assert "26.0 s from a launch" in one.summary


def test_a_node_that_died_unasked_is_the_infrastructure() -> None:
    workers = [*four_workers()[:3], Worker("w4", 4.0, 8.0, kill_s=12.0, dead_s=12.5)]
    one = the("infrastructure", Story(workers=workers))
    assert one.confidence == "likely"
    assert "w4 at 12.0 s" in one.summary


def test_launches_that_failed_unasked_are_the_infrastructure() -> None:
    failure = NodeLaunchFailed(node_type="gpu", count=2, reason="quota exceeded", request="q")
    story = Story(workers=four_workers()[:2], more=[(5.0, failure)])
    assert "2 launch(es) failed that no fault was to fail: quota exceeded" in the("infrastructure", story).summary


def test_a_starved_host_is_the_infrastructure() -> None:
    events = [
        (t_s, event.model_copy(update={"cpu_busy": 1.0}) if isinstance(event, HostSampled) else event)
        for t_s, event in Story().events()
    ]
    assert causes(History.of_events(events)) == (("infrastructure", "likely"),)


def test_a_silent_gcs_is_the_infrastructure() -> None:
    events = [
        (t_s, ClusterSampled(reachable=False) if isinstance(event, ClusterSampled) and 10 < t_s < 38 else event)
        for t_s, event in Story(outcome="hung", sealed="deadline").events()
    ]
    assert ("infrastructure", "likely") in causes(History.of_events(events))


def test_injected_faults_near_the_failure_are_named_as_possible() -> None:
    workers = [*four_workers()[:3], Worker("w4", 4.0, 38.0)]
    story = Story(workers=workers, more=fault("i1", 5.0, victims=("w1",), heal_due_s=6.0))
    assert "i1 (toy, 5.0-11.1 s)" in the("infrastructure", story).summary
    assert ("infrastructure", "possible") in causes(story)


def test_a_failure_within_the_noise_is_a_threshold() -> None:
    near = Story(workers=[*four_workers()[:3], Worker("w4", 4.0, 24.0)])
    one = the("threshold", near)
    assert one.confidence == "likely"
    assert "21.0 s is 17% over its bound of 18.0 s" in one.summary
    far = Story(workers=[*four_workers()[:3], Worker("w4", 4.0, 36.0)])
    assert "threshold" not in found_causes(far)


def test_a_deadline_no_run_can_keep_is_a_threshold() -> None:
    story = Story(
        rows_at=lambda t_s: max(0, round((t_s - 10.0) * 5)),
        outcome="hung",
        sealed="deadline",
        opening=opened(deadline_s=38.0),
    )
    one = the("threshold", story)
    assert one.confidence == "likely"
    assert "deadline_s is 38" in one.summary


def test_the_likeliest_cause_stands_first_and_each_once() -> None:
    workers = [*four_workers()[:2], Worker("w4", 4.0, 8.0, kill_s=12.0, dead_s=12.5)]
    story = Story(workers=workers, more=fault("i1", 5.0, victims=("w1",), heal_due_s=6.0))
    told = causes(story)
    assert len({cause for cause, _ in told}) == len(told) > 1
    assert [confidence for _, confidence in told] == sorted(
        (confidence for _, confidence in told), key=("likely", "possible").index
    )
