"""What the autoscaler's log says of its instances, and the properties that are read from it."""

from __future__ import annotations

import pytest

from chaos.checker import Verdict
from chaos.checkers.facts import facts_of
from chaos.checkers.instance_log import Row, rows
from chaos.events import (
    AutoscalerLogged,
    ClusterSampled,
    ConfigChanged,
    NodeJoined,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
    TypeInForce,
)
from chaos.history import History
from tests.checkers.histories import (
    CLUSTER,
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
    waiting,
)

OF_INSTANCES = (
    "no_busy_ends", "ends_have_reasons", "no_double_ends",
    "instances_accounted", "timeouts_kept", "state_stays_bounded",
)  # fmt: skip
each_property = pytest.mark.parametrize("name", OF_INSTANCES)


def rows_of(events: list[Timed]) -> tuple[Row, ...]:
    facts = facts_of(History.of_events([(0.0, opened()), *events]))
    assert not isinstance(facts, str)
    return rows(facts)


def altered(story: Story, *, drop: str = "", late_s: float = 0.0) -> list[Timed]:
    """The story without the lines about w4 that hold `drop`, or with them later."""
    found: list[Timed] = []
    for t_s, event in story.events():
        if drop and isinstance(event, AutoscalerLogged) and drop in event.text and "w4-row" in event.text:
            if late_s:
                found.append((t_s + late_s, event))
        else:
            found.append((t_s, event))
    return sorted(found, key=lambda pair: pair[0])


# -- the log ------------------------------------------------------------------------------------------------


def test_a_row_is_what_its_lines_say() -> None:
    (row,) = rows_of([*SPARE.rise(), *SPARE.fall()])
    assert (row.node_type, row.cloud_instance, row.ray_node_id) == ("gpu", "i-w9", "id-w9")
    assert [step.after for step in row.steps] == [
        "QUEUED", "REQUESTED", "ALLOCATED", "RAY_RUNNING", "RAY_STOP_REQUESTED", "RAY_STOPPED", "TERMINATING",
        "TERMINATED",
    ]  # fmt: skip
    assert row.over_s == SPARE.gone_s + 0.5


def test_a_change_that_was_refused_did_not_happen_nor_did_its_batch() -> None:
    other = Worker("w8", 4.0, 8.0)
    lines = [
        *SPARE.rise()[:2],
        (6.0, logged(SPARE, "REQUESTED", "RAY_STOP_REQUESTED", "draining ray: one too many")),
        (6.0, logged(other, "", "QUEUED", "queuing new instance of gpu from scheduler")),
        (6.1, AutoscalerLogged(about="error", text="ERROR autoscaler.py -- Invalid status transition from A to B")),
    ]
    (row,) = rows_of(lines)
    assert row.status == "REQUESTED"


def test_a_later_line_says_in_which_state_a_row_really_was() -> None:
    lines = [*SPARE.rise()[:2], (6.0, logged(SPARE, "REQUESTED", "RAY_STOP_REQUESTED", "x")), *SPARE.rise()[2:]]
    (row,) = rows_of(lines)
    assert [step.after for step in row.steps] == ["QUEUED", "REQUESTED", "ALLOCATED", "RAY_RUNNING"]


def test_rows_end_with_the_autoscaler_that_kept_them() -> None:
    head = Worker("head", 0.0, 0.0, node_type="head")
    why = "allocated unmanaged cloud instance :{} ({}) from cloud provider"
    again = [
        (20.0, logged(head, "", "ALLOCATED", why.format("head", "HEAD"))),
        (20.0, logged(SPARE, "", "ALLOCATED", why.format("i-w9", "WORKER"), row="w9-2")),
    ]
    first, _, second = rows_of([*SPARE.rise(), *again])
    assert (first.over_s, first.autoscaler) == (20.0, 1)
    assert (second.cloud_instance, second.autoscaler, second.over_s) == ("i-w9", 2, float("inf"))


def test_on_kuberay_the_head_is_of_another_type() -> None:
    head = Worker("head", 0.0, 0.0, node_type="headgroup")
    why = "allocated unmanaged worker cloud instance from ray node: {}"
    again = [
        (20.0, logged(head, "", "ALLOCATED", why.format("00000001"))),
        (20.0, logged(SPARE, "", "ALLOCATED", why.format("0000abcd"), row="w9-2")),
    ]
    assert [row.autoscaler for row in rows_of([*SPARE.rise()[:-1], *again])] == [1, 2, 2]


def test_a_head_that_was_missing_from_a_listing_is_no_sign_of_another_autoscaler() -> None:
    head = Worker("head", 0.0, 0.0, node_type="head")
    why = "allocated unmanaged cloud instance :head (HEAD) from cloud provider"
    gone = [
        (1.0, logged(head, "", "ALLOCATED", why)),
        (20.0, logged(head, "ALLOCATED", "TERMINATED", "cloud instance head no longer found")),
        (21.0, logged(head, "", "ALLOCATED", why, row="head-2")),
    ]
    rows = rows_of([*SPARE.rise(), *gone])
    assert {row.autoscaler for row in rows} == {1}
    crashed = rows_of([*SPARE.rise(), *gone, (30.0, logged(head, "", "ALLOCATED", why, row="head-3"))])
    assert [row.autoscaler for row in crashed] == [1, 1, 1, 2]


def test_an_autoscaler_that_comes_back_with_its_head_begins_once() -> None:
    """Its first row may be any node's; it sees the head of before, then the one in its place."""
    head = Worker("head", 0.0, 0.0, node_type="head")
    why = "allocated unmanaged worker cloud instance from ray node: {}"
    again = [
        (20.0, logged(SPARE, "", "ALLOCATED", why.format("0000abcd"), row="w9-2")),
        (20.0, logged(head, "", "ALLOCATED", why.format("00000001"), row="head-1")),
        (20.0, logged(SPARE, "ALLOCATED", "RAY_RUNNING", "ray node 0000abcd is RUNNING", row="w9-2")),
        (20.0, logged(head, "ALLOCATED", "RAY_RUNNING", "ray node 00000001 is RUNNING", row="head-1")),
        (22.1, logged(head, "", "ALLOCATED", why.format("00000002"), row="head-2")),
    ]
    joined = (8.5, logged(SPARE, "ALLOCATED", "RAY_RUNNING", "ray node 0000abcd is RUNNING"))
    first, second, *heads = rows_of([*SPARE.rise()[:-1], joined, *again])
    assert (first.autoscaler, first.over_s) == (1, 20.0)
    assert (second.cloud_instance, second.autoscaler, second.over_s) == ("i-w9", 2, float("inf"))
    assert [row.autoscaler for row in heads] == [2, 2]


def test_a_head_that_starts_again_has_another_autoscaler_whatever_it_sees_first() -> None:
    began = (18.0, NodeStarted(node="head", node_type="head", instance="head"))
    again = logged(
        SPARE, "", "ALLOCATED", "allocated unmanaged worker cloud instance from ray node: 0000beef", row="w8-1"
    )
    first, second = rows_of([*SPARE.rise(), began, (20.0, again)])
    assert (first.autoscaler, first.over_s, second.autoscaler) == (1, 20.0, 2)


@each_property
def test_the_older_autoscaler_is_not_judged(name: str) -> None:
    verdict = judged(name, Story(opening=opened(cluster=CLUSTER.model_copy(update={"autoscaler": "v1"}))))
    assert verdict.verdict == "pass"
    assert "not applicable" in verdict.summary


@each_property
def test_a_log_that_was_not_read_proves_nothing(name: str) -> None:
    verdict = judged(name, Story(without=(AutoscalerLogged,)))
    assert verdict.verdict == "inconclusive"
    assert "log was not read" in verdict.summary


@each_property
def test_without_launches_there_is_nothing_to_log(name: str) -> None:
    assert judged(name, Story(workers=[])).verdict == "pass"


@pytest.mark.parametrize("name", ["instances_accounted", "state_stays_bounded"])
def test_a_log_without_the_lines_of_new_instances_is_not_judged_by_them(name: str) -> None:
    story = Story().events()
    kept = [(t, e) for t, e in story if not (isinstance(e, AutoscalerLogged) and e.text.startswith("New"))]
    verdict = judged(name, kept)
    assert verdict.verdict == "pass"
    assert "not applicable" in verdict.summary


# -- the properties -----------------------------------------------------------------------------------------


def test_a_healthy_node_ended_without_a_line_that_says_why_fails() -> None:
    story = Story(more=[(20.0, NodeTerminating(node="w4"))])
    verdict = judged("ends_have_reasons", story)
    assert verdict.verdict == "fail"
    assert "does not say why" in verdict.summary
    story.more += fault("i1", 19.0, victims=("w4",), heal_due_s=21.0)
    assert judged("ends_have_reasons", story).verdict == "pass"


@pytest.mark.parametrize(
    ("before", "why", "told"),
    [
        ("ALLOCATION_TIMEOUT", "terminating instance from ALLOCATION_TIMEOUT", "as one that is not"),
        ("ALLOCATED", "terminating ray: Terminating node due to MAX_NUM_NODES: max_num_nodes=4", "4 there, 4 allowed"),
        ("RAY_RUNNING", "terminating ray: idle for 7.0 secs > timeout=6.0 secs", "without a drain"),
    ],
)
def test_a_healthy_node_ended_for_what_is_not_so_fails(before: str, why: str, told: str) -> None:
    w4 = Worker("w4", 4.0, 8.0)
    story = Story(more=[(20.0, NodeTerminating(node="w4"))])
    verdict = judged("ends_have_reasons", instead(story, (19.9, logged(w4, before, "TERMINATING", why))))
    assert verdict.verdict == "fail"
    assert told in verdict.summary


def test_a_termination_that_is_tried_again_has_the_reason_of_the_first() -> None:
    w4 = Worker("w4", 4.0, 8.0)
    lines: list[Timed] = [
        (19.0, logged(w4, "RAY_RUNNING", "RAY_STOPPED", "ray node id-w4 no longer found in GCS")),
        (19.0, logged(w4, "RAY_STOPPED", "TERMINATING", "terminating instance from RAY_STOPPED")),
        (20.0, logged(w4, "TERMINATING", "TERMINATION_FAILED", "termination failed: x")),
        (34.0, logged(w4, "TERMINATION_FAILED", "TERMINATING", "terminating instance from TERMINATION_FAILED")),
    ]

    def verdict(*hit: Timed) -> Verdict:
        story = instead(Story(more=[(34.1, NodeTerminating(node="w4")), *hit]), lines[0])
        return judged("ends_have_reasons", sorted([*story, *lines[1:]], key=lambda pair: pair[0]))

    assert "as one that is not" in verdict().summary
    assert verdict(*fault("i1", 18.5, victims=("w4",), heal_due_s=19.5)).verdict == "pass"
    assert verdict(*fault("i1", 9.0, victims=("w4",), heal_due_s=9.5)).verdict == "fail"


def test_an_end_that_the_cloud_was_slow_to_carry_out_has_the_reason_that_was_logged() -> None:
    w4 = Worker("w4", 4.0, 8.0)
    five = Story(workers=[*four_workers(), Worker("w5", 4.0, 8.0)], more=[(25.0, NodeTerminating(node="w4"))])
    why = "terminating ray: Terminating node due to MAX_NUM_NODES: max_num_nodes=4"
    line = (19.9, logged(w4, "ALLOCATED", "TERMINATING", why))
    assert judged("ends_have_reasons", instead(five, line)).verdict == "pass"
    again: list[Timed] = [
        (25.2, logged(w4, "TERMINATING", "TERMINATED", "no longer found")),
        (25.2, logged(w4, "", "ALLOCATED", "allocated unmanaged cloud instance :i-w4 (WORKER) x", row="b")),
        (25.3, logged(w4, "RAY_STOPPED", "TERMINATING", "terminating instance from RAY_STOPPED", row="b")),
    ]
    events = sorted([*instead(five, line), *again], key=lambda pair: pair[0])
    assert judged("ends_have_reasons", events).verdict == "pass", "another row, in the same moment, ended nothing"


def test_a_drain_as_one_too_many_within_the_limits_fails() -> None:
    why = "draining ray: Terminating node due to MAX_NUM_NODE_PER_TYPE: max_num_nodes_per_type=4"
    line = (20.0, logged(Worker("w4", 4.0, 8.0), "RAY_RUNNING", "RAY_STOP_REQUESTED", why))
    assert judged("ends_have_reasons", instead(Story(), line)).verdict == "fail"
    five = [*four_workers(), Worker("w5", 4.0, 8.0)]
    assert judged("ends_have_reasons", instead(Story(workers=five), line)).verdict == "pass"


def test_an_instance_ended_as_two_fails() -> None:
    w4 = Worker("w4", 4.0, 8.0)
    second: list[Timed] = [
        (20.0, logged(w4, "", "ALLOCATED", "allocated unmanaged cloud instance :i-w4 (WORKER) x", row="w4-again")),
        (30.0, logged(w4, "ALLOCATED", "TERMINATING", "terminating ray: x", row="w4-again")),
    ]
    assert judged("no_double_ends", Story()).verdict == "pass"
    verdict = judged("no_double_ends", Story(more=second))
    assert (verdict.verdict, verdict.measured) == ("fail", 2.0)
    assert "i-w4" in verdict.summary


def test_ends_of_one_update_are_one_and_what_has_ended_is_not_ended_again() -> None:
    w4 = Worker("w4", 4.0, 8.0)
    ended_s = next(t_s for t_s, event in Story().events() if "->TERMINATING (id=w4-row" in getattr(event, "text", ""))
    again = "allocated unmanaged cloud instance :i-w4 (WORKER) x"
    together: list[Timed] = [
        (20.0, logged(w4, "", "ALLOCATED", again, row="w4-again")),
        (ended_s + 0.1, logged(w4, "ALLOCATED", "TERMINATING", "terminating ray: x", row="w4-again")),
    ]
    assert judged("no_double_ends", Story(more=together)).verdict == "pass"
    gone_s = max(t_s for t_s, event in Story().events() if isinstance(event, NodeTerminated) and event.node == "w4")
    afterwards: list[Timed] = [
        (gone_s + 0.2, logged(w4, "", "ALLOCATED", again, row="w4-again")),
        (gone_s + 1.0, logged(w4, "ALLOCATED", "TERMINATING", "terminating ray: x", row="w4-again")),
    ]
    assert judged("no_double_ends", Story(more=afterwards)).verdict == "pass"


def test_an_instance_that_answers_two_requests_fails() -> None:
    w4 = Worker("w4", 4.0, 8.0)
    twice: list[Timed] = [
        (4.0, logged(w4, "", "QUEUED", "queuing new instance", row="other")),
        (4.0, logged(w4, "QUEUED", "REQUESTED", "requested to launch gpu", row="other")),
        (7.0, logged(w4, "REQUESTED", "ALLOCATED", "allocated unassigned cloud instance i-w4", row="other")),
    ]
    verdict = judged("no_double_ends", Story(more=twice))
    assert verdict.verdict == "fail"
    assert "two requests" in verdict.summary


def test_an_instance_without_a_row_fails_after_two_updates_and_the_slack() -> None:
    assert judged("instances_accounted", Story()).verdict == "pass"
    forgotten = altered(Story(), drop="(id=w4-row")
    verdict = judged("instances_accounted", forgotten)
    assert (verdict.verdict, verdict.bound) == ("fail", 10.0)
    assert "w4" in verdict.summary
    late = altered(Story(), drop="REQUESTED->ALLOCATED", late_s=0.4)
    assert judged("instances_accounted", late).verdict == "pass"


@pytest.mark.parametrize(("begun_s", "unknown_s"), [(16.0, 3.0), (37.0, 23.0), (None, 27.0)])
def test_an_instance_that_a_row_was_about_between_two_samples_was_accounted_for_then(
    begun_s: float | None, unknown_s: float
) -> None:
    story = Story()
    w4 = story.workers[3]
    own = [
        (t, e) for t, e in altered(story) if not (t > 14.0 and isinstance(e, AutoscalerLogged) and "w4-row" in e.text)
    ]
    own.append((14.0, logged(w4, "RAY_RUNNING", "TERMINATED", "no longer found")))
    if begun_s is not None:
        own.append((begun_s, logged(w4, "REQUESTED", "ALLOCATED", "allocated unassigned cloud instance i-w4", row="b")))
        own.append((38.0, logged(w4, "ALLOCATED", "TERMINATED", "no longer found", row="b")))
    own.append((41.0, logged(w4, "REQUESTED", "ALLOCATED", "allocated unassigned cloud instance i-w4", row="c")))
    own.append((48.5, logged(w4, "ALLOCATED", "TERMINATED", "no longer found", row="c")))
    thinned = [(t, e) for t, e in own if not (isinstance(e, ClusterSampled) and 15.0 < t < 39.0)]
    found = judged("instances_accounted", sorted(thinned, key=lambda pair: pair[0]))
    assert (found.verdict, found.measured) == ("pass" if unknown_s < 10.0 else "fail", unknown_s)


def test_what_runs_after_the_head_was_hit_is_judged_only_where_the_log_goes_on() -> None:
    late = Worker("w5", 20.0, 24.0, gone_s=60.0)
    story = Story(workers=[*four_workers(), late], more=fault("i1", 15.0, victims=("head",)))
    without = [(t, e) for t, e in story.events() if not (isinstance(e, AutoscalerLogged) and t > 15.0)]
    assert judged("instances_accounted", without).verdict == "pass"
    of_others = [(t, e) for t, e in story.events() if not (isinstance(e, AutoscalerLogged) and "w5-row" in e.text)]
    assert judged("instances_accounted", of_others).verdict == "fail"


def test_a_row_that_outlives_its_instance_fails() -> None:
    story = Story()
    story.workers[3].gone_s = 30.0
    kept = altered(story, drop="TERMINATING->TERMINATED")
    verdict = judged("instances_accounted", kept)
    assert (verdict.verdict, verdict.measured) == ("fail", 21.0)
    assert "still accounted for w4" in verdict.summary


def test_a_state_that_outlasts_its_timeout_fails() -> None:
    assert judged("timeouts_kept", Story()).verdict == "pass"
    short = {"RAY_AUTOSCALER_RECONCILE_TERMINATING_STATUS_TIMEOUT_S": "5"}
    story = Story(opening=opened(cluster=CLUSTER.model_copy(update={"ray_environment": short})))
    story.workers[3].gone_s = 30.0
    kept = altered(story, drop="TERMINATING->TERMINATED")
    verdict = judged("timeouts_kept", kept)
    assert (verdict.verdict, verdict.bound) == ("fail", 15.0)
    assert "TERMINATING" in verdict.summary


def test_a_state_that_is_to_be_left_at_once_has_no_timeout() -> None:
    story = Story()
    story.workers[3].gone_s = 30.0
    kept = [
        (t, e)
        for t, e in story.events()
        if not (isinstance(e, AutoscalerLogged) and "w4-row" in e.text and "TERMINATING" in e.text)
    ]
    verdict = judged("timeouts_kept", kept)
    assert verdict.verdict == "fail"
    assert "RAY_STOPPED" in verdict.summary


def test_rows_that_nothing_explains_fail_beyond_twice_the_workers() -> None:
    def more(count: int) -> list[Timed]:
        why = "queuing new instance of gpu from scheduler"
        return [(10.0 + n, logged(SPARE, "", "QUEUED", why, row=f"more-{n}")) for n in range(count)]

    assert judged("state_stays_bounded", Story(more=more(9))).verdict == "pass"
    verdict = judged("state_stays_bounded", Story(more=more(10)))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 14.0, 13.0)


def test_rows_of_nodes_that_the_gcs_remembers_as_dead_are_not_counted() -> None:
    dead: list[Timed] = []
    for number in range(20):
        row = f"dead-{number}"
        dead += [
            (10.0, logged(SPARE, "", "ALLOCATED", "allocated unmanaged ray node x", row=row)),
            (10.1, logged(SPARE, "ALLOCATED", "RAY_STOPPED", "ray node x is DEAD", row=row)),
        ]
    assert judged("state_stays_bounded", Story(more=dead)).verdict == "pass"


def turns(count: int, *, demand_changes: bool = False) -> Story:
    """A node is ended and one like it is launched, so many times, while eight tasks wait."""
    story = Story()
    for turn in range(count):
        ended_s = 12.0 + 6.0 * turn
        node = f"w{5 + turn}"
        story.more += [
            (ended_s, NodeTerminating(node=f"w{4 + turn}" if turn else "w4")),
            (ended_s + 2.5, NodeLaunching(node=node, node_type="gpu", request="q")),
            (ended_s + 3.0, NodeStarted(node=node, node_type="gpu", instance=f"i-{node}")),
            (ended_s + 4.0, NodeJoined(node=node, node_type="gpu", ray_node_id=f"id-{node}", resources=NODE)),
        ]
    if demand_changes:
        story.demand = lambda t_s: waiting(round(t_s)) if 3.0 <= t_s < 38.0 else ()
    return story


def test_the_second_turn_to_and_fro_under_the_same_demand_fails() -> None:
    assert judged("no_oscillation", turns(1)).verdict == "pass"
    verdict = judged("no_oscillation", turns(2))
    assert (verdict.verdict, verdict.measured) == ("fail", 2.0)


def test_demand_that_comes_right_before_a_launch_explains_it() -> None:
    story = turns(3)
    launched_s = [t_s for t_s, event in story.more if isinstance(event, NodeLaunching)]
    # Between the last sample before each launch and the launch.
    story.demand = lambda t_s: waiting(sum(t_s > launch_s for launch_s in launched_s)) if t_s < 38.0 else ()
    assert judged("no_oscillation", story).verdict == "pass"


def test_turns_that_demand_or_a_fault_or_an_edit_explains_are_none() -> None:
    assert judged("no_oscillation", turns(3, demand_changes=True)).verdict == "pass"
    edited = turns(2)
    kinds = {"gpu": TypeInForce(resources=NODE, min_workers=4, max_workers=4, idle_timeout_s=None)}
    launched_s = [t_s for t_s, event in edited.more if isinstance(event, NodeLaunching)]
    edited.more += [
        (at_s, ConfigChanged(effect="e", undone=False, max_workers=4, idle_timeout_s=6.0, node_types=kinds))
        for at_s in launched_s
    ]
    assert judged("no_oscillation", edited).verdict == "pass"
    faulty = turns(2)
    faulty.more += fault("i1", 11.0, victims=("w1",), heal_due_s=30.0)
    assert judged("no_oscillation", faulty).verdict == "pass"
