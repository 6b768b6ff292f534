"""The one model of what faults cost: bounded, counted once, and nothing for what no fault explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers.cost import Explained, explained, faults_cost_s, losses, uncovered_since_s
from chaos.checkers.facts import Facts, facts_of
from chaos.cluster_spec import ClusterSpec, TwinSpec
from chaos.events import (
    BatchCompleted,
    BatchFailed,
    BatchInvoked,
    ClusterSampled,
    DriverRestarted,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeStarted,
    NodeTerminated,
)
from chaos.history import History
from tests.checkers.histories import BASELINE, CLUSTER, Story, Timed, Worker, fault, four_workers, opened

RECOVERY_S = CLUSTER.update_interval_s + BASELINE.join_s


def facts(story: Story) -> Facts:
    found = facts_of(story.history())
    assert isinstance(found, Facts)
    return found


def only(story: Story) -> Explained:
    (span,) = explained(facts(story))
    return span


def killed(*, dead_s: float | None) -> Story:
    worker = Worker("w1", 4.0, 8.0, kill_s=20.0, dead_s=dead_s)
    return Story(workers=[worker, *four_workers()[1:]], more=fault("i1", 19.9, victims=("w1",)))


def test_without_faults_nothing_is_explained() -> None:
    assert explained(facts(Story())) == ()
    assert losses(facts(Story())) == ()


def test_a_lasting_fault_explains_its_time_and_one_recovery() -> None:
    span = only(Story(more=fault("i1", 20.0, victims=("w1",), heal_due_s=25.0)))
    assert span.from_s == 20.0
    assert span.to_s == pytest.approx(25.1 + RECOVERY_S)


def test_a_fault_that_was_never_healed_explains_no_more_than_it_was_to_last() -> None:
    span = only(Story(more=fault("i1", 20.0, victims=("w1",), heal_due_s=25.0, healed=False)))
    assert span.to_s == pytest.approx(25.0 + RECOVERY_S)


def test_a_killed_node_costs_its_detection_a_replacement_and_the_batch_it_lost() -> None:
    assert only(killed(dead_s=21.0)).to_s == pytest.approx(21.0 + RECOVERY_S)
    longest_s = 20.0 + CLUSTER.health_check.detection_s
    assert only(killed(dead_s=None)).to_s == pytest.approx(longest_s + RECOVERY_S)
    assert only(killed(dead_s=49.0)).to_s == pytest.approx(longest_s + RECOVERY_S)
    story = killed(dead_s=21.0)
    story.more += [(17.0, BatchInvoked(op="op9", node="w1", rows="4-7", started_s=17.0))]
    assert only(story).to_s == pytest.approx(21.0 + RECOVERY_S + 3.0)


def test_a_victim_that_lives_costs_the_batch_its_process_lost() -> None:
    story = Story(more=fault("i1", 20.0, victims=("w1",)))
    assert only(story).to_s == pytest.approx(20.0 + RECOVERY_S)
    story.more += [(17.0, BatchInvoked(op="op9", node="w1", rows="4-7", started_s=17.0))]
    assert only(story).to_s == pytest.approx(20.0 + RECOVERY_S + 3.0)
    story.more += [(18.0, BatchCompleted(op="op9", node="w1", rows="4-7", started_s=17.0, ended_s=26.0))]
    assert only(story).to_s == pytest.approx(20.0 + RECOVERY_S)


def test_a_batch_that_failed_or_was_begun_anew_is_not_redone_for_a_later_fault() -> None:
    begun = (12.0, BatchInvoked(op="op9", node="w1", rows="4-7", started_s=12.0))
    failed = (13.0, BatchFailed(op="op9", node="w1", rows="4-7", started_s=12.0, error="out of memory"))
    assert only(Story(more=[begun, failed, *fault("i1", 20.0, victims=("w1",))])).to_s == 20.0 + RECOVERY_S
    anew = (14.0, BatchInvoked(op="op10", node="w2", rows="4-7", started_s=14.0))
    assert only(Story(more=[begun, anew, *fault("i1", 20.0, victims=("w1",))])).to_s == 20.0 + RECOVERY_S
    after = (21.0, BatchInvoked(op="op10", node="w2", rows="4-7", started_s=21.0))
    assert only(Story(more=[begun, after, *fault("i1", 20.0, victims=("w1",))])).to_s == 28.0 + RECOVERY_S


def test_a_node_that_dies_unasked_costs_nothing() -> None:
    story = killed(dead_s=21.0)
    story.more = fault("i1", 19.9, victims=("w2",))
    assert only(story).to_s == pytest.approx(19.9 + RECOVERY_S)
    (loss,) = losses(facts(story))
    assert (loss.node, loss.injection) == ("w1", None)


def test_a_node_the_autoscaler_retired_is_no_loss() -> None:
    story = Story(more=[(47.2, NodeTerminated(node="w1", cause="exited"))])
    assert losses(facts(story)) == ()


def joined_again(at_s: float) -> Timed:
    return at_s, NodeJoined(node="w1", node_type="gpu", ray_node_id="again", resources={})


def test_a_node_that_came_back_may_be_lost_again() -> None:
    again = [joined_again(26.0), (35.0, NodeDied(node="w1", ray_node_id="again"))]
    story = killed(dead_s=21.0)
    story.more += [(22.0, NodeStarted(node="w1", node_type="gpu", instance="i")), *again]
    story.more += fault("i2", 34.0, victims=("w1",))
    first, second = losses(facts(story))
    assert (first.lost_s, first.dead_s, first.injection) == (20.0, 21.0, "i1")
    assert (second.lost_s, second.dead_s, second.injection) == (35.0, 35.0, "i2")


def test_a_node_that_was_back_before_its_death_was_seen_is_lost_once() -> None:
    story = killed(dead_s=22.5)
    story.more += [(21.0, NodeStarted(node="w1", node_type="gpu", instance="i")), joined_again(22.0)]
    (loss,) = losses(facts(story))
    assert (loss.lost_s, loss.dead_s) == (20.0, 22.5)


def test_an_instance_killed_before_it_joined_is_no_loss() -> None:
    killed = (20.0, NodeTerminated(node="w9", cause="killed"))
    assert losses(facts(Story(more=[(10.0, NodeStarted(node="w9", node_type="gpu", instance="i-9")), killed]))) == ()
    assert [loss.node for loss in losses(facts(Story(more=[(20.0, NodeTerminated(node="w1", cause="killed"))])))] == [
        "w1"
    ]


def silenced(story: Story, from_s: float, to_s: float) -> Facts:
    """The facts of a story whose GCS does not answer between these times."""
    found = facts_of(
        History.of_events(
            (
                t_s,
                ClusterSampled(reachable=False)
                if isinstance(event, ClusterSampled) and from_s <= t_s < to_s
                else event,
            )
            for t_s, event in story.events()
        )
    )
    assert isinstance(found, Facts)
    return found


def head_restarted(at_s: float) -> list[Timed]:
    return [
        (at_s, NodeTerminated(node="head", cause="killed")),
        (at_s + 0.5, NodeStarted(node="head", node_type="head", instance="head")),
    ]


def test_a_node_lost_while_the_head_suffers_is_explained() -> None:
    story = killed(dead_s=21.0)
    story.more = fault("i1", 18.0, victims=("head",), heal_due_s=22.0)
    story.opening = opened(injections=[{"fault": "toy", "id": "i1", "at_s": 5.0, "target": "head"}])
    assert only(story).to_s == pytest.approx(22.1 + RECOVERY_S)
    assert losses(facts(story))[0].injection == "i1"


def test_a_fault_on_what_runs_on_the_head_explains_a_lost_node_only_once_the_gcs_is_missed() -> None:
    story = killed(dead_s=21.0)
    story.more = fault("i1", 18.0, victims=("head",), heal_due_s=22.0)
    assert losses(facts(story))[0].injection is None
    assert losses(silenced(story, 19.0, 23.0))[0].injection == "i1"
    assert losses(silenced(story, 21.0, 23.0))[0].injection is None
    story.more += head_restarted(19.0)
    assert losses(facts(story))[0].injection == "i1"


def test_a_restart_of_the_head_explains_the_nodes_lost_to_it() -> None:
    story = killed(dead_s=21.0)
    story.more = [*fault("i1", 19.5), *head_restarted(19.6)]
    assert losses(facts(story))[0].injection == "i1"
    story.more = fault("i1", 19.5)
    assert losses(silenced(story, 19.0, 23.0))[0].injection is None


@pytest.mark.parametrize(("join_s", "end_s"), [(8.0, 8.0), (20.0, 20.0), (35.0, 4.0 + 4.0 + 15.0)])
def test_late_launches_are_explained_up_to_what_was_asked_for(join_s: float, end_s: float) -> None:
    workers = [Worker("w1", 4.0, join_s), *four_workers()[1:]]
    span = only(Story(workers=workers, more=fault("i1", 3.0, heal_due_s=5.0, asked_s=15.0)))
    assert span.to_s == pytest.approx(end_s + RECOVERY_S)


KUBERAY = CLUSTER.model_copy(update={"kind": "sim", "twin": TwinSpec(provider="kuberay")})


@dataclass
class Waits(Story):
    """The autoscaler waits for a launch until then."""

    waits_to_s: float = 0.0

    def sample(self, t_s: float) -> ClusterSampled:
        return super().sample(t_s).model_copy(update={"autoscaler_pending": int(t_s < self.waits_to_s)})


def refused(*, at_s: float = 6.0, node_type: str = "gpu", count: int = 1) -> list[Timed]:
    told = NodeLaunchFailed(node_type=node_type, count=count, reason="quota", request="q", node=None)
    return [(at_s, told), *fault("i1", 5.0, heal_due_s=20.0)]


@pytest.mark.parametrize(
    ("launch_s", "waits_to_s", "more", "cluster", "end_s"),
    [
        pytest.param(30.0, 31.0, refused(), KUBERAY, 33.0, id="tried again"),
        pytest.param(36.0, 40.0, refused(), KUBERAY, 20.1, id="later than that may be"),
        pytest.param(30.0, 29.0, refused(), KUBERAY, 20.1, id="another one, after the autoscaler had ceased to wait"),
        pytest.param(30.0, 31.0, refused(node_type="big"), KUBERAY, 20.1, id="of another type"),
        pytest.param(30.0, 31.0, refused(at_s=20.5), KUBERAY, 20.1, id="failed after it"),
        pytest.param(30.0, 31.0, refused(), CLUSTER, 20.1, id="with a cloud, which is asked again by Ray"),
    ],
)
def test_on_kuberay_a_launch_that_failed_is_tried_again_later(
    launch_s: float, waits_to_s: float, more: list[Timed], cluster: ClusterSpec, end_s: float
) -> None:
    workers = [Worker("w1", launch_s, launch_s + 3.0), *(Worker(f"w{place}", 1.0, 2.0) for place in (2, 3))]
    story = Waits(opening=opened(cluster=cluster), workers=workers, more=more, waits_to_s=waits_to_s)
    assert only(story).to_s == end_s + RECOVERY_S


@pytest.mark.parametrize(("failed", "end_s"), [(1, 25.0), (2, 30.0 + BASELINE.join_s)])
def test_as_many_are_tried_again_as_failed_and_have_no_longer_to_join_than_any_node(failed: int, end_s: float) -> None:
    workers = [Worker("w1", 22.0, 25.0), Worker("w2", 30.0, 39.0)]
    story = Waits(opening=opened(cluster=KUBERAY), workers=workers, more=refused(count=failed), waits_to_s=31.0)
    assert only(story).to_s == end_s + RECOVERY_S


def test_launches_do_not_extend_a_fault_on_some_node() -> None:
    workers = [Worker("w1", 4.0, 20.0), *four_workers()[1:]]
    span = only(Story(workers=workers, more=fault("i1", 3.0, victims=("w2",), heal_due_s=5.0, asked_s=15.0)))
    assert span.to_s == pytest.approx(5.1 + RECOVERY_S)


def test_only_a_fault_that_showed_nothing_explains_nothing() -> None:
    assert explained(facts(Story(more=fault("i1", 20.0, heal_due_s=25.0, outcome="no_effect")))) == ()
    assert len(explained(facts(Story(more=fault("i1", 20.0, heal_due_s=25.0, outcome="unknown"))))) == 1
    assert len(explained(facts(Story(more=fault("i1", 20.0, heal_due_s=25.0, outcome=None))))) == 1


SPANS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), max_size=6)


def intervals(spans: Sequence[tuple[float, float]]) -> list[Explained]:
    """What injections explain, each by its begin and how long it is."""
    record = History.of_events(Story().events())[0]
    return [Explained(f"i{n}", "toy", from_s, from_s + length_s, record) for n, (from_s, length_s) in enumerate(spans)]


@given(spans=SPANS, from_s=st.floats(0, 100), length_s=st.floats(0, 100))
def test_the_cost_of_a_window_is_the_union_inside_it(
    spans: list[tuple[float, float]], from_s: float, length_s: float
) -> None:
    made = intervals(spans)
    cost_s = faults_cost_s(made, from_s=from_s, to_s=from_s + length_s)
    assert 0.0 <= cost_s <= length_s + 1e-6
    assert faults_cost_s(made + made, from_s=from_s, to_s=from_s + length_s) == pytest.approx(cost_s)
    half_s = from_s + length_s / 2
    parts_s = faults_cost_s(made, from_s=from_s, to_s=half_s)
    parts_s += faults_cost_s(made, from_s=half_s, to_s=from_s + length_s)
    assert parts_s == pytest.approx(cost_s, abs=1e-6)
    assert cost_s <= sum(d for _, d in spans) + 1e-6


@given(spans=SPANS, to_s=st.floats(0, 150), length_s=st.floats(0, 100))
def test_so_many_seconds_that_nothing_covers_lie_between(
    spans: list[tuple[float, float]], to_s: float, length_s: float
) -> None:
    made = intervals(spans)
    since_s = uncovered_since_s(made, to_s=to_s, length_s=length_s)
    open_s = to_s - since_s - faults_cost_s(made, from_s=since_s, to_s=to_s)
    assert open_s == pytest.approx(length_s, abs=1e-6)


def test_what_is_covered_at_the_way_back_makes_it_longer() -> None:
    made = intervals([(2.0, 3.0), (7.0, 2.0)])
    assert uncovered_since_s(made, to_s=10.0, length_s=0.5) == 9.5
    assert uncovered_since_s(made, to_s=10.0, length_s=1.5) == 6.5
    assert uncovered_since_s(made, to_s=10.0, length_s=4.0) == 1.0
    assert uncovered_since_s(made, to_s=8.0, length_s=1.0) == 6.0


def test_a_gcs_that_fell_silent_is_waited_for_but_not_for_ever() -> None:
    def silent_to(to_s: float, *, victims: tuple[str, ...] = (), more: Sequence[Timed] = ()) -> float:
        return explained(silenced(Story(more=[*fault("i1", 15.0, victims=victims), *more]), 16.0, to_s))[0].to_s

    assert silent_to(25.0, victims=("head",)) == 25.0 + RECOVERY_S
    assert silent_to(25.0, more=head_restarted(15.1)) == 25.0 + RECOVERY_S
    assert silent_to(25.0, victims=("w1",)) == 15.0 + RECOVERY_S
    assert silent_to(1000.0, victims=("head",)) == 15.0 + CLUSTER.start_limit_s + RECOVERY_S


def test_a_fault_on_launches_or_the_cloud_does_not_explain_a_silent_gcs() -> None:
    story = Story(more=fault("i1", 15.0))
    assert explained(silenced(story, 16.0, 25.0))[0].to_s == 15.0 + RECOVERY_S
    story.more += head_restarted(30.0)
    assert explained(silenced(story, 16.0, 25.0))[0].to_s == 15.0 + RECOVERY_S


def restarted_driver(*, first_batch_s: float | None) -> Story:
    more = fault("i1", 20.0, victims=("driver",))
    more.append((21.0, DriverRestarted(attempt=2, status=-9)))
    if first_batch_s is not None:
        done = BatchCompleted(op="b", node="w1", rows="0-3", started_s=first_batch_s - 1.0, ended_s=first_batch_s)
        more.append((first_batch_s, done))
    return Story(more=more)


def test_a_driver_started_again_costs_the_time_until_it_computes_but_no_more_than_a_start() -> None:
    assert only(restarted_driver(first_batch_s=24.0)).to_s == pytest.approx(24.0 + RECOVERY_S)
    most_s = 21.0 + BASELINE.longest_pause_s
    assert only(restarted_driver(first_batch_s=None)).to_s == pytest.approx(most_s + RECOVERY_S)
    assert only(restarted_driver(first_batch_s=most_s + 30.0)).to_s == pytest.approx(most_s + RECOVERY_S)
