"""Bugs planted in Ray's autoscaler are found by a schedule for each, on which Ray as it is fails nothing."""

from __future__ import annotations

import inspect

import pytest
from ray.autoscaler.v2.instance_manager import reconciler

from tests.quality.bugs import BUGS, Bug
from tests.quality.power import Power, table
from tests.quality.runs import failures
from tests.quality.schedules import random_schedule, specification

ON_PAUSE = "on: {event: workload.demand, nth: 2}"
# The faults of a schedule for each, and a property that it then fails.
SCHEDULES: dict[str, tuple[tuple[str, ...], str]] = {
    "request_timeout_unchecked": (
        ("stale_listing, at_s: 0, duration_s: 28", "slow_join, delay_s: 30, count: 3, at_s: 0, duration_s: 30"),
        "timeouts_kept",
    ),
    "allocate_timeout_unchecked": (("zombie_launch, count: 1, at_s: 0, duration_s: 20",), "timeouts_kept"),
    "terminating_timeout_unchecked": ((f"delay_terminate, delay_s: 30, {ON_PAUSE}, duration_s: 20",), "timeouts_kept"),
    "launch_failure_not_counted": (
        ("fail_launch, reason: quota_exceeded, at_s: 0, duration_s: 4",),
        "scale_up_converges",
    ),
    "idle_check_inverted": ((), "no_busy_ends"),
    "idle_timeout_in_milliseconds": ((), "no_busy_ends"),
    "termination_not_retried": ((f"fail_terminate, {ON_PAUSE}, duration_s: 12",), "timeouts_kept"),
    "request_id_mixed_up": (("fail_launch, reason: quota_exceeded, at_s: 0, duration_s: 4",), "scale_up_converges"),
    "type_maximum_ignored": ((), "no_oscillation"),
    "pending_not_counted": ((), "no_overshoot"),
    "wrong_node_ended": (("kill_node, target: oldest, at_s: 6",), "ends_have_reasons"),
    "no_drain": ((), "ends_have_reasons"),
    "minimum_ignored": ((), "no_oscillation"),
    "minimum_never_filled": ((f"kill_node, target: oldest, {ON_PAUSE}",), "scale_up_converges"),
    "vanished_instance_kept": ((), "instances_accounted"),
    "unknown_instance_ignored": (
        ("omit_from_listing, target: newest, answers: 1, at_s: 6, duration_s: 4",),
        "instances_accounted",
    ),
    "dead_node_kept": ((), "scale_down_converges"),
    "stale_row_ended": (("restart_node, target: oldest, at_s: 6",), "ends_have_reasons"),
    "cluster_maximum_ignored": ((f"change_limits, max_workers: 2, {ON_PAUSE}, duration_s: 40",), "no_oscillation"),
    "instance_given_twice": ((), "no_double_ends"),
}
each_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


def schedule_of(bug: Bug) -> str:
    faults, _ = SCHEDULES[bug.name]
    return specification("".join(f"  - {{fault: {fault}}}\n" for fault in faults))


@each_bug
def test_a_planted_bug_is_found_and_ray_as_it_is_is_not_blamed(bug: Bug) -> None:
    text = schedule_of(bug)
    assert failures(text) == {}
    lacking = failures(text, bug=bug)
    assert SCHEDULES[bug.name][1] in lacking, {name: verdict.summary for name, verdict in lacking.items()}


def test_a_bug_is_gone_after_its_run() -> None:
    before = reconciler.Reconciler._terminate_instances
    bug = next(bug for bug in BUGS if bug.name == "termination_not_retried")
    with bug.planted():
        assert reconciler.Reconciler._terminate_instances is not before
    assert reconciler.Reconciler._terminate_instances is before
    assert isinstance(inspect.getattr_static(reconciler.Reconciler, "_terminate_instances"), staticmethod)


def test_a_bug_for_a_line_that_ray_does_not_have_is_refused() -> None:
    bug = Bug("absent", "", reconciler, "Reconciler._terminate_instances", "no such line", "")
    with pytest.raises(ValueError, match="absent"), bug.planted():
        pass


def test_random_schedules_are_those_of_their_seed() -> None:
    assert random_schedule(1, 2) == random_schedule(1, 2)
    assert len({random_schedule(seed, place) for seed in range(3) for place in range(10)}) == 30


def test_the_table_tells_the_median_and_what_was_not_found() -> None:
    told = table([Power(BUGS[0], (3, None, 1), ("timeouts_kept",)), Power(BUGS[1], (None, None, 1), ())], 60)
    rows = told.splitlines()[4:]
    assert "| 3 | 3, > 60, 1 | `timeouts_kept` |" in rows[0]
    assert "| > 60 | > 60, > 60, 1 |" in rows[1]
