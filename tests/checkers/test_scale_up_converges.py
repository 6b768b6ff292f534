"""`scale_up_converges`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from dataclasses import replace

from chaos.bounds import Bounds
from chaos.cluster_spec import NodeType
from chaos.events import ClusterSampled, NodeJoined
from tests.checkers.histories import (
    CLUSTER,
    NODE,
    Story,
    Worker,
    fault,
    four_workers,
    judged,
    judgements,
    opened,
    skimpy_workers,
    waiting,
)


def slow_join(join_s: float) -> Story:
    return Story(workers=[*four_workers()[:3], Worker("w4", 4.0, join_s)])


def test_scale_up_is_bounded_by_the_baseline() -> None:
    verdict = judged("scale_up_converges", slow_join(20.0))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("pass", 17.0, 18.0)
    verdict = judged("scale_up_converges", slow_join(24.0))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 21.0, 18.0)
    assert "4 worker(s) wanted" in verdict.summary


def test_scale_up_allows_for_a_fault_only_what_it_explains() -> None:
    story = slow_join(24.0)
    story.more = fault("i1", 3.5, heal_due_s=6.0, asked_s=15.0)
    assert judged("scale_up_converges", story).verdict == "pass"
    never = Story(workers=four_workers()[:3], more=fault("i1", 3.5, heal_due_s=6.0, asked_s=15.0))
    assert judged("scale_up_converges", never).verdict == "fail"
    other = slow_join(24.0)
    other.more = fault("i1", 3.5, victims=("w1",), heal_due_s=6.0)
    assert judged("scale_up_converges", other).verdict == "pass"
    other.more = fault("i1", 3.5, heal_due_s=6.0, asked_s=15.0, outcome="no_effect")
    assert judged("scale_up_converges", other).verdict == "fail"


def test_scale_up_counts_every_rise_of_demand_anew() -> None:
    workers = [Worker("w1", 4.0, 8.0), Worker("w2", 4.0, 8.0), Worker("w3", 21.0, 25.0), Worker("w4", 21.0, 25.0)]
    story = Story(workers=workers, demand=lambda t_s: waiting(2 if t_s < 8 else 0 if t_s < 20 else 4))
    verdict = judged("scale_up_converges", story)
    assert verdict.verdict == "pass"
    assert verdict.measured is not None
    assert verdict.measured <= 8.0


def test_a_replacement_that_never_comes_fails() -> None:
    workers = [*four_workers()[:3], Worker("w4", 4.0, 8.0, kill_s=15.0, dead_s=15.5)]
    story = Story(workers=workers, more=fault("i1", 15.0, victims=("w4",)))
    assert judged("scale_up_converges", story).verdict == "pass", "23 s, less 5 s the fault explains, are within 18 s"
    story.demand = lambda t_s: waiting(8) if 3.0 <= t_s < 39.5 else ()
    story.finished_s = 46.0
    story.demand = lambda t_s: waiting(8) if 3.0 <= t_s < 46.0 else ()
    for worker in workers:
        worker.busy_to_s, worker.gone_s = 46.0, 51.0
    assert judged("scale_up_converges", story).verdict == "fail"


def test_scale_up_cannot_judge_a_run_without_demand_or_growth() -> None:
    assert judged("scale_up_converges", Story(demand=lambda _: ())).verdict == "inconclusive"
    assert judged("scale_up_converges", Story(without=(ClusterSampled,))).verdict == "inconclusive"
    unfit = Story(workers=[], demand=lambda t_s: waiting(1, shape={"TPU": 1.0}) if t_s > 3 else ())
    assert "no node type" in judged("scale_up_converges", unfit).summary
    brief = Story(workers=[], demand=lambda t_s: waiting(1) if 3 <= t_s < 9 else ())
    assert judged("scale_up_converges", brief).verdict == "inconclusive"


def test_a_cluster_of_fixed_size_has_nothing_to_converge_to() -> None:
    kind = NodeType(resources=NODE, min_workers=2, max_workers=2)
    cluster = CLUSTER.model_copy(update={"node_types": {"gpu": kind}, "max_workers": 2})
    workers = [Worker("w1", 0.0, 0.5, gone_s=99.0), Worker("w2", 0.0, 0.5, gone_s=99.0)]
    found = judgements(Story(workers=workers, opening=opened(cluster=cluster)).history())
    assert set(found.values()) == {"pass"}


def test_bounds_are_those_of_the_spec() -> None:
    story = slow_join(24.0)
    story.opening = opened(bounds=Bounds(factor=3.0))
    assert judged("scale_up_converges", story).verdict == "pass"


def test_nodes_without_what_their_type_promises_fail_though_the_maximum_is_reached() -> None:
    history = Story(workers=skimpy_workers()).history()
    verdict = judged("scale_up_converges", history)
    assert (verdict.verdict, verdict.measured, verdict.unit) == ("fail", 12.0, "workers")
    assert "w1 has {CPU: 2, GPU: 0}, its type gpu promises {CPU: 2, GPU: 1} (and 11 more like it)" in verdict.summary
    assert "correct the node type's resources" in verdict.summary
    seen = [history[seq].event for seq in verdict.evidence]
    assert [event.node for event in seen if isinstance(event, NodeJoined)] == [f"w{place}" for place in range(1, 13)]
    assert any(isinstance(event, ClusterSampled) for event in seen)


def test_a_broken_promise_fails_a_baseline_too_and_a_run_cut_short() -> None:
    assert judged("scale_up_converges", Story(workers=skimpy_workers(), baseline=None)).verdict == "fail"
    assert judged("scale_up_converges", Story(workers=skimpy_workers(), sealed="interrupted")).verdict == "fail"


def test_one_node_that_lacks_what_demand_waits_for_fails_though_others_serve_it() -> None:
    workers = [replace(four_workers()[0], holds={"CPU": 2.0}), *four_workers()[1:]]
    verdict = judged("scale_up_converges", Story(workers=workers))
    assert (verdict.verdict, verdict.measured) == ("fail", 1.0)
    assert "more like it" not in verdict.summary


def test_fewer_of_a_resource_than_promised_is_a_broken_promise() -> None:
    workers = [replace(worker, holds={"CPU": 1.0, "GPU": 1.0}) for worker in four_workers()]
    story = Story(workers=workers, demand=lambda t_s: waiting(8, shape={"CPU": 1.0}) if 3.0 <= t_s < 38.0 else ())
    assert judged("scale_up_converges", story).verdict == "fail"


def test_what_nothing_waits_for_may_be_missing() -> None:
    kind = NodeType(resources={**NODE, "spare": 1.0, "memory": 1e9})
    opening = opened(cluster=CLUSTER.model_copy(update={"node_types": {"gpu": kind}}))
    assert judged("scale_up_converges", Story(opening=opening)).verdict == "pass"
    spare = Story(opening=opening, demand=lambda t_s: waiting(4, shape={"spare": 1.0}) if 3.0 <= t_s < 38.0 else ())
    assert judged("scale_up_converges", spare).verdict == "fail"
    memory = Story(opening=opening, demand=lambda t_s: waiting(4, shape={"memory": 1.0}) if 3.0 <= t_s < 8.0 else ())
    assert judged("scale_up_converges", memory).verdict == "pass", "samples do not tell a node's memory"


def test_a_full_cluster_of_skimpy_nodes_had_no_maximum_to_keep() -> None:
    kind = NodeType(resources=NODE, min_workers=2, max_workers=2)
    cluster = CLUSTER.model_copy(update={"node_types": {"gpu": kind}, "max_workers": 2})
    workers = [Worker(name, 0.0, 0.5, gone_s=99.0, holds={"CPU": 2.0}) for name in ("w1", "w2")]
    assert judged("scale_up_converges", Story(workers=workers, opening=opened(cluster=cluster))).verdict == "fail"
