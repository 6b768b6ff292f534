"""`scale_down_converges`: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from dataclasses import replace

from chaos.checkers.scale_down_converges import watch_at_least_s
from tests.checkers.histories import BASELINE, CLUSTER, Story, Worker, fault, four_workers, judged, opened


def gone_at(gone_s: float, **changes: object) -> Story:
    workers = [*four_workers()[:3], Worker("w4", 4.0, 8.0, gone_s=gone_s)]
    return replace(Story(workers=workers, stopping_s=75.0), **changes)  # type: ignore[arg-type]


def test_scale_down_waits_for_the_idle_timeout_once() -> None:
    verdict = judged("scale_down_converges", gone_at(57.0))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("pass", 17.0, 18.0)
    verdict = judged("scale_down_converges", gone_at(60.0))
    assert (verdict.verdict, verdict.measured) == ("fail", 20.0)
    verdict = judged("scale_down_converges", gone_at(999.0))
    assert (verdict.verdict, verdict.measured) == ("fail", 34.0)


def test_a_baseline_whose_nodes_were_idle_before_its_end_does_not_show_the_whole_way() -> None:
    quick = BASELINE.model_copy(update={"scale_down_s": 1.0})
    slow = opened(cluster=CLUSTER.model_copy(update={"update_interval_s": 3}))
    assert judged("scale_down_converges", gone_at(57.0, baseline=quick)).bound == 6.0 + 2.0 * 2.0 + 8.0
    assert judged("scale_down_converges", gone_at(57.0, baseline=quick, opening=slow)).bound == 6.0 + 2.0 * 6.0 + 8.0


def test_scale_down_cannot_judge_what_was_not_watched() -> None:
    assert judged("scale_down_converges", gone_at(999.0, stopping_s=55.0)).verdict == "inconclusive"
    assert judged("scale_down_converges", gone_at(999.0, outcome="hung")).verdict == "inconclusive"
    assert judged("scale_down_converges", gone_at(999.0, baseline=None)).verdict == "inconclusive"
    assert judged("scale_down_converges", Story(stopping_s=40.0)).verdict == "inconclusive"
    assert judged("scale_down_converges", Story(workers=[])).verdict == "inconclusive"


def test_a_cluster_that_grows_again_without_load_has_not_settled() -> None:
    workers = [*four_workers(), Worker("w5", 60.0, 64.0, gone_s=999.0)]
    assert judged("scale_down_converges", Story(workers=workers, stopping_s=75.0)).verdict == "fail"


def test_how_long_to_watch_covers_the_bound() -> None:
    history = Story(more=fault("i1", 39.0, victims=("w1",), heal_due_s=40.0)).history()
    bound_s = judged("scale_down_converges", history).bound
    assert bound_s is not None
    assert (watch_at_least_s(history) or 0.0) >= bound_s
    assert watch_at_least_s(Story(baseline=None).history()) is None
