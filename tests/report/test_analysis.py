"""The quantities reports show: lanes, counts, work and progress."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.events import (
    BatchCompleted,
    BatchInvoked,
    ClusterSampled,
    ConfigChanged,
    Demand,
    DemandChanged,
    Event,
    FaultHealed,
    FaultInjected,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeView,
    TypeInForce,
    WorkloadFinished,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import History
from chaos.report.injections import injection_stories
from chaos.report.scaling import lanes, phases, steps, worker_counts
from chaos.report.work import account, progress, row_count, row_ranges
from tests.report.sample_history import sample_history


def _life(*events: tuple[float, Event]) -> list[tuple[str, float, float]]:
    lane = next(lane for lane in lanes(History.of_events([*events, (9.0, WorkloadFinished(outcome="ok"))])))
    return [(span.state, span.begin_s, span.end_s) for span in lane.spans]


LAUNCHING = NodeLaunching(node="w1", node_type="gpu", request="r")
STARTED = NodeStarted(node="w1", node_type="gpu", instance="i")
JOINED = NodeJoined(node="w1", node_type="gpu", ray_node_id="1", resources={"GPU": 1.0})


def test_a_killed_node_is_lost_until_the_gcs_knows() -> None:
    assert _life(
        (1, LAUNCHING),
        (2, STARTED),
        (3, JOINED),
        (5, NodeTerminated(node="w1", cause="killed")),
        (7, NodeDied(node="w1", ray_node_id="1")),
    ) == [("pending", 1, 2), ("booting", 2, 3), ("up", 3, 5), ("lost", 5, 7)]


BACK = NodeJoined(node="w1", node_type="gpu", ray_node_id="2", resources={"GPU": 1.0})
UP: tuple[tuple[float, Event], ...] = ((1, LAUNCHING), (2, STARTED), (3, JOINED))
BEFORE = [("pending", 1, 2), ("booting", 2, 3), ("up", 3, 5)]


def test_a_node_that_comes_back_lives_again() -> None:
    killed, dead = NodeTerminated(node="w1", cause="killed"), NodeDied(node="w1", ray_node_id="1")
    assert _life(*UP, (5, killed), (6, STARTED), (7, BACK)) == [*BEFORE, ("booting", 6, 7), ("up", 7, 9)]
    assert _life(*UP, (5, dead), (7, BACK)) == [*BEFORE, ("lost", 5, 7), ("up", 7, 9)]
    again = NodeDied(node="w1", ray_node_id="2")
    assert _life(*UP, (5, dead), (7, BACK), (8, again)) == [*BEFORE, ("lost", 5, 7), ("up", 7, 8), ("lost", 8, 9)]


def test_a_node_seen_dead_after_it_came_back_is_up() -> None:
    dead = NodeDied(node="w1", ray_node_id="1")
    assert _life(*UP, (5, BACK), (5, dead)) == [*BEFORE[:2], ("up", 3, 9)]
    assert _life(*UP, (5, NodeTerminated(node="w1", cause="killed")), (6, STARTED), (6.5, dead), (7, BACK)) == [
        *BEFORE,
        ("lost", 5, 6),
        ("booting", 6, 7),
        ("up", 7, 9),
    ]


def test_a_node_the_gcs_buried_is_lost_until_the_cloud_ends_it() -> None:
    died, gone = NodeDied(node="w1", ray_node_id="1"), NodeTerminated(node="w1", cause="autoscaler")
    assert _life((3, JOINED), (5, died), (6, gone)) == [("up", 3, 5), ("lost", 5, 6)]


def test_a_failed_launch_ends_its_lane() -> None:
    failed = NodeLaunchFailed(node_type="gpu", reason="no room", request="r", node="w1")
    assert _life((1, LAUNCHING), (4, failed)) == [("pending", 1, 4)]


def test_a_node_of_a_warm_cluster_is_known_from_samples() -> None:
    view = NodeView(node="w1", node_type="gpu", status="running", total={"GPU": 1.0}, available={})
    assert _life((2, ClusterSampled(reachable=True, nodes=(view,)))) == [("up", 2, 9)]


def test_worker_counts_of_the_sample() -> None:
    counts = worker_counts(sample_history())
    assert (counts.least, counts.most) == (0, 4)
    assert [counts.up.at(t_s) for t_s in (0, 9, 15, 19, 30, 54)] == [0, 2, 4, 3, 4, 0]
    assert [counts.wanted.at(t_s) for t_s in (3, 5, 40, 50)] == [0, 4, 4, 0]
    assert counts.launching.peak == 4
    assert counts.idle.at(48) == 4


def test_work_counts_repeated_and_given_up_rows() -> None:
    def batch(op: str, node: str, rows: str, begin_s: float, end_s: float | None) -> list[tuple[float, Event]]:
        begun: list[tuple[float, Event]] = [
            (begin_s, BatchInvoked(op=op, node=node, rows=rows, started_s=begin_s)),
        ]
        if end_s is not None:
            done = BatchCompleted(op=op, node=node, rows=rows, started_s=begin_s, ended_s=end_s)
            begun.append((end_s, done))
        return begun

    history = History.of_events(
        [
            *batch("a", "w1", "0-9", 0.0, 1.0),
            *batch("b", "w2", "10-19,30-34", 0.0, None),
            *batch("c", "w10", "10-19,30-34", 2.0, 4.0),
            *batch("d", "w1", "0-9", 5.0, 6.5),
            (2.0, NodeDied(node="w2", ray_node_id="2")),
            (8.0, WorkloadFinished(outcome="ok")),
        ]
    )
    done = account(history)
    assert (done.begun, done.completed, done.given_up) == (4, 3, 1)
    assert (done.rows_computed, done.rows_distinct, done.rows_repeated, done.rows_given_up) == (35, 25, 10, 15)
    assert done.wasted_s == pytest.approx(2.0 + 1.5)
    assert [node.node for node in done.nodes] == ["w1", "w2", "w10"]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=20))
def test_distinct_rows_agree_with_sets(batches: list[tuple[int, int]]) -> None:
    events: list[tuple[float, Event]] = [
        (1.0, BatchCompleted(op=str(n), node="w1", rows=f"{a}-{a + more}", started_s=0.0, ended_s=1.0))
        for n, (a, more) in enumerate(batches)
    ]
    seen = {row for a, more in batches for row in range(a, a + more + 1)}
    assert account(History.of_events(events)).rows_distinct == len(seen)


def test_row_ranges() -> None:
    assert row_ranges("0-31,64-95, 7") == ((0, 31), (64, 95), (7, 7))
    assert row_ranges("") == row_ranges("x,5-2,-3") == ()
    assert row_count("0-31,7") == 33


def test_progress_is_linear_between_records() -> None:
    def told(rows: int) -> WorkloadProgressed:
        return WorkloadProgressed(rows_done=rows, rows_total=100)

    history = History.of_events(
        [
            (1.0, WorkloadStarted(workload="x", rows_total=100)),
            (3.0, told(20)),
            (8.0, told(20)),
            (11.0, told(100)),
            (11.0, WorkloadFinished(outcome="ok")),
        ]
    )
    rows = progress(history)
    assert [rows.done_at(t_s) for t_s in (0.0, 2.0, 5.0, 11.0, 20.0)] == [0, 10, 20, 100, 100]
    assert rows.mean_rows_per_s == 10.0
    assert rows.longest_pause_s == 8.0
    assert rows.peak_rows_per_s(window_s=3.0) == pytest.approx(80 / 3)


def test_steps_keep_their_value() -> None:
    line = steps([(2.0, 1), (1.0, 3), (3.0, 1), (2.0, 2)])
    assert (line.times_s, line.values) == ((1.0, 2.0, 3.0), (3, 2, 1))
    assert [line.at(t_s) for t_s in (0.5, 1.0, 2.5, 9.0)] == [0, 3, 2, 1]


def test_an_injection_is_in_force_until_healed_or_the_end() -> None:
    def made(name: str, heal_due_s: float | None) -> FaultInjected:
        return FaultInjected(
            injection=name,
            fault="f",
            victims=("w1",),
            due_s=1.0,
            applied_s=1.1,
            lateness_s=0.1,
            effect_id=name,
            heal_due_s=heal_due_s,
        )

    healed = FaultHealed(injection="a", fault="f", due_s=4.0, healed_s=4.2, proven=True)
    stories = injection_stories(
        History.of_events([(1.1, made("a", 4.0)), (1.1, made("b", 4.0)), (1.1, made("c", None)), (4.2, healed)])
    )
    assert [story.window(9.0) for story in stories] == [(1.1, 4.2), (1.1, 9.0), (1.1, 1.1)]


def test_phases_follow_each_other() -> None:
    found = phases(sample_history())
    assert [phase for phase, _, _ in found] == ["starting", "workload", "liveness", "idle", "stopping"]
    assert all(a[2] == b[1] for a, b in itertools.pairwise(found))


def test_workers_wanted_follow_the_limits_in_force() -> None:
    def edited(at_s: float, most: int) -> tuple[float, Event]:
        kind = TypeInForce(resources={"GPU": 1.0}, min_workers=0, max_workers=most)
        edit = ConfigChanged(effect="e", undone=False, max_workers=9, idle_timeout_s=6.0, node_types={"gpu": kind})
        return (at_s, edit)

    opened = sample_history()[0].event
    demand = DemandChanged(bundles=(Demand(shape={"GPU": 1.0}, count=8),))
    events = [(0.0, opened), edited(1.0, 3), (2.0, demand), edited(3.0, 6), edited(5.0, 2)]
    counts = worker_counts(History.of_events([*events, (9.0, WorkloadFinished(outcome="ok"))]))
    assert (counts.wanted.times_s, counts.wanted.values) == ((2.0, 3.0, 5.0, 9.0), (3, 6, 2, 0))
    assert (counts.least, counts.most) == (0, 6)
