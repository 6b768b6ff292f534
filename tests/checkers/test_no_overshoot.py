"""`no_overshoot`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

import pytest

from chaos.cluster_spec import NodeType, TwinSpec
from chaos.events import ClusterSampled, ConfigChanged, NodeDied, NodeJoined, TypeInForce
from tests.checkers.histories import CLUSTER, NODE, Story, Timed, Worker, fault, four_workers, judged, opened, waiting


def test_more_instances_than_the_maximum_fail() -> None:
    verdict = judged("no_overshoot", Story(workers=[*four_workers(), Worker("w5", 20.0, 24.0)]))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 5.0, 4.0)


def test_more_instances_of_a_type_than_its_maximum_fail() -> None:
    kinds = {"gpu": NodeType(resources=NODE, max_workers=3), "cpu": NodeType(resources={"CPU": 2.0}, max_workers=3)}
    cluster = CLUSTER.model_copy(update={"node_types": kinds, "max_workers": 6})
    verdict = judged("no_overshoot", Story(opening=opened(cluster=cluster)))
    assert (verdict.verdict, verdict.bound) == ("fail", 3.0)
    assert "gpu" in verdict.summary


def test_a_replacement_may_overlap_with_the_node_it_replaces() -> None:
    dying = Worker("w4", 4.0, 8.0, kill_s=21.5, dead_s=21.0)
    story = Story(workers=[*four_workers()[:3], dying, Worker("w5", 20.0, 24.0)])
    story.more = fault("i1", 19.0, victims=("w4",))
    assert judged("no_overshoot", story).verdict == "pass"


@pytest.mark.parametrize(("drains_from_s", "verdict"), [(22.0, "pass"), (99.0, "fail")])
def test_what_drained_drains_on_while_nobody_answers(drains_from_s: float, verdict: str) -> None:
    preempted = Worker("w4", 4.0, 8.0, gone_s=40.0)
    story = Story(workers=[*four_workers()[:3], preempted, Worker("w5", 24.0, 28.0)])
    events: list[Timed] = []
    for t_s, event in story.events():
        if isinstance(event, ClusterSampled) and 26.0 <= t_s < 39.0:
            events.append((t_s, ClusterSampled(reachable=False, cloud=event.cloud)))
        elif isinstance(event, ClusterSampled):
            drains = drains_from_s <= t_s
            views = [
                view.model_copy(update={"status": "draining"}) if drains and view.node == "w4" else view
                for view in event.nodes
            ]
            events.append((t_s, event.model_copy(update={"nodes": tuple(views)})))
        else:
            events.append((t_s, event))
    assert judged("no_overshoot", events).verdict == verdict


def restarted(extra: Worker) -> Story:
    """w4 is seen dead at 12 s and is back at 14 s, though its instance was there all the while."""
    story = Story(workers=[*four_workers(), extra])
    story.more = [
        *fault("i1", 11.0, victims=("w4",)),
        (12.0, NodeDied(node="w4", ray_node_id="id-w4")),
        (14.0, NodeJoined(node="w4", node_type="gpu", ray_node_id="again", resources=NODE)),
    ]
    return story


def test_a_node_that_came_back_counts_again_once_its_replacement_could_be_ended() -> None:
    verdict = judged("no_overshoot", restarted(Worker("w5", 13.0, 17.0)))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 5.0, 4.0)
    assert judged("no_overshoot", restarted(Worker("w5", 13.0, 17.0, gone_s=22.0))).verdict == "pass"


def test_an_instance_nobody_asked_for_is_no_overshoot() -> None:
    events: list[Timed] = []
    for t_s, event in Story().events():
        if isinstance(event, ClusterSampled) and 10.0 <= t_s < 14.0:
            events.append((t_s, event.model_copy(update={"cloud": {**event.cloud, "w9": "running"}})))
        else:
            events.append((t_s, event))
    assert judged("no_overshoot", events).verdict == "pass"


def test_nodes_beyond_demand_may_stay_for_a_moment_only() -> None:
    idling = [Worker(f"w{n}", 4.0, 8.0, busy_to_s=8.0, gone_s=18.0) for n in (3, 4)]
    two = Story(workers=[*four_workers()[:2], *idling], demand=lambda t_s: waiting(2) if 3.0 <= t_s < 8.0 else ())
    verdict = judged("no_overshoot", two)
    assert verdict.verdict == "fail"
    assert verdict.unit == "s"
    assert "demand explained 2" in verdict.summary
    two.more = fault("i1", 6.0, victims=("w1",), heal_due_s=14.0)
    assert judged("no_overshoot", two).verdict == "pass", "who is to end them may be kept from it"
    two.more = []
    for worker in idling:
        worker.gone_s = 14.0
    assert judged("no_overshoot", two).verdict == "pass"
    for worker in idling:
        worker.busy_to_s, worker.gone_s = 40.0, 48.0
    assert judged("no_overshoot", two).verdict == "pass", "what is in use is explained"


@pytest.mark.parametrize(("minimum", "verdict"), [(2, "pass"), (0, "fail")])
def test_a_launch_too_many_is_surplus_until_another_worker_ends_that_no_minimum_keeps(
    minimum: int, verdict: str
) -> None:
    ends_s = {"w1": 16.0, "w2": 50.0, "w3": 50.0}
    spare = [Worker(node, 4.0, 8.0, busy_to_s=8.0, gone_s=gone_s, node_type="cpu") for node, gone_s in ends_s.items()]
    spare[2].launch_s, spare[2].join_s, spare[2].busy_to_s = 5.0, 12.0, 12.0
    story = Story(workers=[Worker("w4", 4.0, 8.0), *spare], demand=lambda t_s: waiting(1) if 3.0 <= t_s < 8.0 else ())
    kinds = {
        "gpu": NodeType(resources=NODE, max_workers=4),
        "cpu": NodeType(resources={"CPU": 2.0}, min_workers=minimum, max_workers=4, idle_timeout_s=60.0),
    }
    story.opening = opened(cluster=CLUSTER.model_copy(update={"node_types": kinds}))
    found = judged("no_overshoot", story)
    assert found.verdict == verdict, found.summary


@pytest.mark.parametrize(("minimum", "verdict"), [(1, "pass"), (0, "fail")])
def test_a_minimum_that_was_in_force_between_two_samples_explains_a_launch(minimum: int, verdict: str) -> None:
    spare = Worker("w2", 14.6, 18.0, busy_to_s=18.0, gone_s=40.0, node_type="cpu")
    kinds = {
        "gpu": NodeType(resources=NODE, max_workers=4),
        "cpu": NodeType(resources={"CPU": 2.0}, max_workers=4, idle_timeout_s=30.0),
    }
    edits: list[Timed] = [
        (14.4, in_force(minimum)),
        (14.8, in_force(0)),
    ]
    story = Story(
        workers=[Worker("w1", 4.0, 8.0), spare], demand=lambda t_s: waiting(1) if t_s < 8.0 else (), more=edits
    )
    story.opening = opened(cluster=CLUSTER.model_copy(update={"node_types": kinds}))
    found = judged("no_overshoot", story)
    assert found.verdict == verdict, found.summary


def in_force(minimum: int) -> ConfigChanged:
    """The configuration with this minimum of the other type."""
    types = {
        "gpu": TypeInForce(resources=NODE, min_workers=0, max_workers=4),
        "cpu": TypeInForce(resources={"CPU": 2.0}, min_workers=minimum, max_workers=4, idle_timeout_s=30.0),
    }
    return ConfigChanged(effect="e1", undone=not minimum, max_workers=4, idle_timeout_s=6.0, node_types=types)


def test_demand_that_goes_away_while_a_launch_is_under_way_explains_it() -> None:
    workers = [Worker("w1", 4.0, 35.0), *(Worker(f"w{n}", 4.0, 8.0) for n in (2, 3, 4))]
    story = Story(workers=workers, demand=lambda t_s: waiting(4) if 3.0 <= t_s < 9.0 else ())
    assert judged("no_overshoot", story).verdict == "pass"


@pytest.mark.parametrize(
    ("provider", "victims", "verdict"),
    [("kuberay", (), "pass"), ("kuberay", ("head",), "pass"), ("kuberay", ("w9",), "fail"), ("cloud", (), "fail")],
)
def test_a_pod_that_a_fault_held_back_is_explained_by_the_demand_of_before(
    provider: str, victims: tuple[str, ...], verdict: str
) -> None:
    twin = {"kind": "sim", "twin": TwinSpec.model_validate({"provider": provider})}
    late = Worker("w1", 24.0, 28.0, busy_to_s=28.0, gone_s=50.0)
    story = Story(workers=[late], demand=lambda t_s: waiting(1) if 3.0 <= t_s < 9.0 else ())
    story.opening = opened(cluster=CLUSTER.model_copy(update={**twin, "idle_timeout_s": 20.0}))
    story.more = fault("i1", 4.0, victims=victims, heal_due_s=23.0)
    assert judged("no_overshoot", story).verdict == verdict


def test_what_was_there_before_a_time_without_samples_counts() -> None:
    lost = [Worker(name, 4.0, 8.0, kill_s=30.0, dead_s=34.0) for name in ("w1", "w2")]
    anew = [Worker(name, 30.1, 33.0, busy_to_s=33.0) for name in ("w3", "w4")]
    story = Story(workers=[*lost, *anew], demand=lambda t_s: waiting(2) if 3.0 <= t_s < 8.0 else ())
    story.more = fault("i1", 30.0, victims=("w1", "w2"))
    few = [(t_s, event) for t_s, event in story.events() if not (isinstance(event, ClusterSampled) and 15 < t_s <= 30)]
    assert judged("no_overshoot", few).verdict == "pass"


def test_demand_from_before_the_cluster_could_not_be_asked_explains_nothing() -> None:
    late = Worker("w1", 30.0, 33.0, busy_to_s=33.0)
    story = Story(workers=[late], demand=lambda t_s: waiting(2) if 3.0 <= t_s < 15.0 else ())
    unasked = [
        (t_s, ClusterSampled(reachable=False) if isinstance(event, ClusterSampled) and 12 < t_s < 30 else event)
        for t_s, event in story.events()
    ]
    assert judged("no_overshoot", unasked).verdict == "fail"


def test_a_worker_that_idles_on_fails_unless_a_request_or_minimum_keeps_it() -> None:
    idling = [*four_workers()[:3], Worker("w4", 4.0, 8.0, busy_to_s=10.0, gone_s=40.0)]
    story = Story(workers=idling, demand=lambda t_s: waiting(4) if 3.0 <= t_s < 9.0 else ())
    assert judged("no_overshoot", story).verdict == "fail"
    kept = waiting(4)[0].model_copy(update={"source": "request_resources"})
    story.demand = lambda t_s: (kept,) if 3.0 <= t_s < 39.0 else ()
    assert judged("no_overshoot", story).verdict == "pass"
    kind = NodeType(resources=NODE, min_workers=4, max_workers=4)
    story.demand = lambda _: ()
    story.opening = opened(cluster=CLUSTER.model_copy(update={"node_types": {"gpu": kind}}))
    assert judged("no_overshoot", story).verdict == "pass"


@pytest.mark.parametrize(("gone_s", "verdict"), [(36.0, "pass"), (46.0, "fail")])
def test_a_worker_kept_by_a_task_that_waits_may_go_when_it_waits_no_longer(gone_s: float, verdict: str) -> None:
    # Ray's newer autoscaler keeps it, though Ray's scheduler never gives it the task.
    idling = [*four_workers()[:3], Worker("w4", 4.0, 8.0, busy_to_s=10.0, gone_s=gone_s)]
    story = Story(workers=idling)
    story.demand = lambda t_s: waiting(4) if 3.0 <= t_s < 9.0 else waiting(1) if t_s < 30.0 else ()
    assert judged("no_overshoot", story).verdict == verdict


def test_no_overshoot_cannot_judge_a_cluster_without_workers_or_samples() -> None:
    assert judged("no_overshoot", Story(workers=[])).verdict == "inconclusive"
    assert judged("no_overshoot", Story(without=(ClusterSampled,))).verdict == "inconclusive"
