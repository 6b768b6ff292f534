"""Simpler schedules: valid, simpler, and what waited for a removed injection still comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faults
from chaos.schedule import Anchor, Injection, Schedule
from chaos.simpler import simplified, with_times, without
from chaos.target import Target
from tests.test_shrink import schedules


def chain() -> Schedule:
    return Schedule.from_data(
        [
            {"id": "a", "fault": "kill_node", "target": "oldest", "at_s": 5},
            {"id": "b", "fault": "pause_node", "target": "newest", "on": {"event": "node.joined", "since": "a"},
             "duration_s": 3},
            {"id": "c", "fault": "kill_node", "target": "w2", "on": {"event": "fault.healed", "injection": "b"}},
        ],
        faults.ALL,
    )  # fmt: skip


def test_what_waited_for_a_removed_injection_comes_when_it_came_before() -> None:
    left = without(chain(), {"a"}, {"b": 7.25})
    assert [(i.id, i.at_s, i.on) for i in left.injections[:1]] == [("b", 7.25, None)]
    assert left.injections[1].on == Anchor(event="fault.healed", injection="b")


def test_without_a_known_time_it_goes_too_and_so_does_what_waited_for_that() -> None:
    assert without(chain(), {"a"}, {}).injections == ()
    assert [injection.id for injection in without(chain(), {"a"}, {"c": 9.0}).injections] == ["c"]


def test_an_injection_keeps_its_id_and_with_it_its_random_choices() -> None:
    plain = Schedule.from_data([{"fault": "kill_node", "target": "random", "at_s": s} for s in (1, 2, 3)], faults.ALL)
    assert [injection.id for injection in without(plain, {"i1"}, {}).injections] == ["i2", "i3"]


def test_time_stands_in_somewhat_after_the_event_came_before() -> None:
    timed = with_times(chain(), {"a": 5.0, "b": 8.0})
    assert [injection.or_at_s for injection in timed.injections] == [None, 14.0, None]
    own = Injection.model_validate({**dict(timed.injections[1]), "or_at_s": 3.0})
    assert with_times(Schedule(injections=(timed.injections[0], own)), {"b": 8.0}).injections[1].or_at_s == 3.0


@settings(max_examples=60, deadline=None)
@given(schedules(), st.data())
def test_every_simpler_schedule_is_valid_and_of_the_same_injections(schedule: Schedule, data: st.DataObject) -> None:
    names = [injection.id for injection in schedule.injections]
    removed = data.draw(st.sets(st.sampled_from(names)))
    left = without(schedule, removed, {name: 2.0 for name in names if data.draw(st.booleans())})
    assert not removed & {injection.id for injection in left.injections}
    for what, simpler in simplified(left):
        assert [injection.id for injection in simpler.injections] == [injection.id for injection in left.injections]
        assert simpler != left, what
        assert Schedule.from_data(simpler.to_data(), faults.ALL) == simpler


def test_simplifying_comes_to_an_end() -> None:
    schedule = Schedule.from_data(
        [
            {"fault": "delay_launch", "delay_s": 12.3, "count": 4, "at_s": 9.87, "duration_s": 33.3},
            {"fault": "pause_node", "target": {"select": "random", "share": 0.5, "node_type": "gpu"},
             "on": {"event": "node.joined", "nth": 5, "node_type": "gpu"}, "after_s": 3.3, "duration_s": 7},
        ],
        faults.ALL,
    )  # fmt: skip
    steps = 0
    while (simpler := next(simplified(schedule), None)) is not None:
        schedule = simpler[1]
        steps += 1
        assert steps < 60
    delayed, paused = schedule.injections
    assert (delayed.at_s, delayed.duration_s, paused.after_s, paused.duration_s) == (0.0, 1.0, 0.0, 1.0)
    assert paused.on == Anchor(event="node.joined")
    assert paused.target == Target(select="oldest")


@pytest.mark.parametrize(
    ("fault", "field", "offered"),
    [
        ({"fault": "partial_launch", "share": 0.8}, "share", set()),  # more launched is milder than the default's half
        ({"fault": "partial_launch", "share": 0.2}, "share", {0.5}),
        ({"fault": "exhaust_file_descriptors", "target": "oldest", "spare": 30}, "spare", set()),
        ({"fault": "exhaust_file_descriptors", "target": "oldest", "spare": 1}, "spare", {4}),
        ({"fault": "fail_launch", "count": 1}, "count", set()),  # without a count all launches fail
    ],
)
def test_no_harsher_default_is_taken_for_simpler(fault: dict[str, Any], field: str, offered: set[float]) -> None:
    schedule = Schedule.from_data([{**fault, "at_s": 0, "duration_s": 1.0}], faults.ALL)
    found = [simpler.injections[0].fault for what, simpler in simplified(schedule) if what == f"i1.{field}"]
    assert {getattr(fault, field) for fault in found} == offered


@pytest.mark.parametrize("seed", range(3))
def test_the_boldest_change_of_a_value_is_first(seed: int) -> None:
    schedule = Schedule.from_data([{"fault": "kill_node", "target": "oldest", "at_s": 10.25 + seed}], faults.ALL)
    times = [simpler.injections[0].at_s or 0.0 for what, simpler in simplified(schedule) if what == "i1.at_s"]
    assert times == sorted(times)
    assert times[0] == 0.0
