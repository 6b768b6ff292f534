"""`no_busy_ends`: a node is ended as idle only when it is."""

from __future__ import annotations

from chaos.bounds import Bounds
from chaos.checker import Verdict
from chaos.events import (
    BatchInvoked,
    CloudAnsweredWrong,
    ClusterSampled,
    ConfigChanged,
    Event,
    FaultInjected,
    GcsAnsweredWrong,
    TypeInForce,
)
from tests.checkers.histories import (
    NODE,
    SPARE,
    Story,
    Timed,
    Worker,
    fault,
    four_workers,
    instead,
    judged,
    logged,
    opened,
)


def with_nothing_in_use(event: Event, node: str) -> Event:
    """The sample in which the node says that it is not idle, though all of it is free."""
    if not isinstance(event, ClusterSampled):
        return event
    nodes = [view.model_copy(update={"available": view.total}) if view.node == node else view for view in event.nodes]
    return event.model_copy(update={"nodes": tuple(nodes)})


def test_a_node_ended_as_idle_before_its_timeout_fails() -> None:
    hasty = [*four_workers()[:3], Worker("w4", 4.0, 8.0, busy_to_s=33.0, gone_s=36.0)]
    verdict = judged("no_busy_ends", Story(workers=hasty))
    assert verdict.verdict == "fail"
    assert "w4" in verdict.summary
    assert "its timeout is 6 s" in verdict.summary
    for node in ("head", "w4"):
        hit = Story(workers=hasty, more=list(fault("i1", 30.0, victims=(node,), heal_due_s=40.0)))
        assert judged("no_busy_ends", hit).verdict == "fail", "no fault explains less than the timeout that is logged"


def test_a_timeout_that_a_hung_autoscaler_still_had_is_one_in_force() -> None:
    kinds = {"gpu": TypeInForce(resources=NODE, min_workers=0, max_workers=4)}
    raised = (
        27.0,
        ConfigChanged(effect="e", undone=False, max_workers=4, idle_timeout_s=60.0, node_types=kinds),
    )
    early = [*four_workers()[:3], Worker("w4", 4.0, 8.0, busy_to_s=33.0, gone_s=42.0)]

    def verdict(*more: Timed) -> Verdict:
        opening = opened(bounds=Bounds(overshoot_s=5.0))
        return judged("no_busy_ends", Story(workers=early, more=[raised, *more], opening=opening))

    assert verdict().verdict == "fail"
    assert verdict(*fault("i1", 26.0, victims=("head",), heal_due_s=40.0)).verdict == "pass"
    assert verdict(*fault("i1", 38.0, victims=("head",), heal_due_s=40.0)).verdict == "fail", "it had read it by then"


def test_a_node_ended_as_idle_that_was_seen_at_work_fails_unless_a_fault_was_on_it() -> None:
    claimed = (
        46.0,
        logged(SPARE, "RAY_RUNNING", "RAY_STOP_REQUESTED", "draining ray: idle for 30.0 secs > timeout=6.0"),
    )
    workers = [*four_workers()[:3], Worker("w9", 4.0, 8.0)]

    def verdict(*more: Timed) -> Verdict:
        return judged("no_busy_ends", instead(Story(workers=list(workers), more=list(more)), claimed))

    assert verdict().verdict == "fail"
    assert "was at work" in verdict().summary
    assert verdict(*fault("i1", 30.0, victims=("w9",))).verdict == "pass"
    assert verdict(*fault("i1", 30.0, victims=("w1",))).verdict == "fail"
    assert verdict(*fault("i1", 17.0, victims=("head",))).verdict == "pass", "what the GCS tells may be old"
    assert verdict(*fault("i1", 30.0, victims=("head",))).verdict == "fail", "but not older than the fault"
    shown = fault("i1", 30.0, heal_due_s=40.0)
    assert verdict(*shown).verdict == "fail"
    (effect,) = [event.effect_id for _, event in shown if isinstance(event, FaultInjected)]
    assert verdict(*shown, (31.0, GcsAnsweredWrong(effect=effect, how="lagged"))).verdict == "pass"
    assert verdict(*shown, (31.0, GcsAnsweredWrong(effect=effect, how="refused"))).verdict == "fail"


def test_what_an_update_knew_is_as_old_as_the_call_that_it_waited_for() -> None:
    claimed = (
        46.0,
        logged(SPARE, "RAY_RUNNING", "RAY_STOP_REQUESTED", "draining ray: idle for 20.0 secs > timeout=6.0"),
    )
    at_work = Worker("w9", 28.0, 32.0)

    def verdict(how: str, told_s: float) -> Verdict:
        late: Timed = (told_s, CloudAnsweredWrong(effect="e1", how=how))
        story = Story(workers=[*four_workers()[:3], at_work], more=[late])
        return judged("no_busy_ends", instead(story, claimed))

    assert verdict("slow", 46.0).verdict == "pass"
    assert verdict("slow", 47.0).verdict == "pass", "of several one is told a little later"
    assert verdict("failed", 46.0).verdict == "fail"
    assert verdict("slow", 44.0).verdict == "fail", "not this update"
    assert verdict("slow", 49.0).verdict == "fail"


def test_a_batch_in_hand_is_no_matter_of_what_an_update_knew() -> None:
    begun = (45.0, BatchInvoked(op="late", node="w4", rows="0-3", started_s=45.0))
    late: Timed = (47.0, CloudAnsweredWrong(effect="e1", how="slow"))
    assert "batch late in hand" in judged("no_busy_ends", Story(more=[begun, late])).summary


def test_a_node_that_only_pulled_arguments_was_idle_all_along() -> None:
    claimed = (
        46.0,
        logged(SPARE, "RAY_RUNNING", "RAY_STOP_REQUESTED", "draining ray: idle for 30.0 secs > timeout=6.0"),
    )
    events = instead(Story(workers=[*four_workers()[:3], Worker("w9", 4.0, 8.0)]), claimed)
    assert judged("no_busy_ends", events).verdict == "fail"
    free = [(t_s, with_nothing_in_use(event, "w9")) for t_s, event in events]
    assert judged("no_busy_ends", free).verdict == "pass"


def test_a_batch_in_hand_of_a_node_ended_as_idle_fails() -> None:
    begun = (45.0, BatchInvoked(op="late", node="w4", rows="0-3", started_s=45.0))
    verdict = judged("no_busy_ends", Story(more=[begun]))
    assert verdict.verdict == "fail"
    assert "batch late in hand" in verdict.summary
