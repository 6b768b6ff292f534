"""Each checker: a minimal history that passes, one that fails, and those it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.bounds import Bounds
from chaos.checker import Verdict, merge
from chaos.checkers import ALL, evaluate
from chaos.checkers.scale_down_converges import watch_at_least_s
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.events import (
    CleanlinessChecked,
    ClusterSampled,
    Event,
    FaultSkipped,
    HostSampled,
    NodeLaunching,
    RowsVerified,
    RunOpened,
    RunSealed,
    WorkloadFinished,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import History
from tests.checkers.histories import (
    CLUSTER,
    GPU,
    NODE,
    Story,
    Timed,
    Worker,
    fault,
    four_workers,
    judged,
    judgements,
    one_injection,
    opened,
    verified,
    waiting,
)


def test_the_good_run_passes_every_checker() -> None:
    assert set(judgements(Story().history()).values()) == {"pass"}


def test_a_run_without_a_baseline_is_measured_and_has_no_time_bound() -> None:
    history = Story(baseline=None).history()
    assert set(judgements(history).values()) == {"pass"}
    for name in ("scale_up_converges", "scale_down_converges", "stayed_live"):
        verdict = judged(name, history)
        assert verdict.bound is None
        assert verdict.measured is not None
        assert "no baseline" in verdict.summary


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_an_empty_history_is_inconclusive(checker: object) -> None:
    assert callable(checker)
    assert checker(History()).verdict == "inconclusive"


@pytest.mark.parametrize("checker", ALL, ids=lambda one: one.name)
def test_a_run_that_only_opened_and_sealed_is_inconclusive_where_there_was_something_to_prove(checker: object) -> None:
    assert callable(checker)
    history = History.of_events([(0.0, opened()), (1.0, RunSealed(reason="complete"))])
    verdict = checker(history)
    assert verdict.verdict == ("pass" if verdict.name == "faults_took_effect" else "inconclusive")


@pytest.mark.parametrize("reason", [None, "interrupted", "error", "aborted"])
def test_a_run_that_was_cut_short_never_passes(reason: str | None) -> None:
    history = Story(sealed=reason).history()  # type: ignore[arg-type]
    found = judgements(history)
    clean = "inconclusive" if reason is None else "pass"
    assert found.pop("nothing_left_behind") == clean
    assert set(found.values()) == {"inconclusive"}
    assert (reason or "not sealed") in judged("job_completes", history).summary


def test_a_violation_seen_before_an_interruption_still_fails() -> None:
    workers = [*four_workers(), Worker("w5", 20.0, 24.0)]
    assert judged("no_overshoot", Story(workers=workers, sealed="interrupted")).verdict == "fail"


def test_a_spec_of_another_version_is_inconclusive_and_named() -> None:
    events = Story().events()
    opening = opened()
    spec = {**opening.spec, "cluster": {"wheels": 4}}
    events[0] = (0.0, opening.model_copy(update={"spec": spec}))
    verdict = judged("no_overshoot", events)
    assert verdict.verdict == "inconclusive"
    assert "wheels" in verdict.summary


def test_a_crashing_checker_is_inconclusive_and_names_its_exception() -> None:
    class Broken:
        name = "broken"

        def __call__(self, history: History) -> Verdict:
            raise KeyError("nothing here")

    (verdict,) = evaluate(History(), [Broken()])
    assert (verdict.name, verdict.verdict) == ("broken", "inconclusive")
    assert "KeyError" in verdict.summary


def test_evaluate_gives_one_verdict_a_checker_in_order_with_evidence_in_the_history() -> None:
    history = Story().history()
    verdicts = evaluate(history)
    assert [v.name for v in verdicts] == [c.name for c in ALL]
    assert len({c.name for c in ALL}) == len(ALL) == 10
    assert merge(v.verdict for v in verdicts) == "pass"
    assert all(0 <= seq < len(history) for v in verdicts for seq in v.evidence)


# -- job_completes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "sealed", "expected"),
    [
        ("ok", "complete", "pass"),
        ("failed", "complete", "fail"),
        ("hung", "deadline", "fail"),
        ("interrupted", "interrupted", "inconclusive"),
        ("interrupted", "complete", "inconclusive"),
        ("failed", "error", "inconclusive"),
    ],
)
def test_job_completes(outcome: str, sealed: str, expected: str) -> None:
    story = Story(outcome=outcome, sealed=sealed)  # type: ignore[arg-type]
    assert judged("job_completes", story).verdict == expected


def test_job_completes_minimal_histories() -> None:
    begin: list[Timed] = [(0.0, opened()), (1.0, WorkloadStarted(workload="toy", rows_total=3))]
    ended: Timed = (5.0, WorkloadFinished(outcome="ok"))
    assert judged("job_completes", [*begin, ended, (6.0, RunSealed(reason="complete"))]).verdict == "pass"
    late = judged("job_completes", [*begin, (121.0, RunSealed(reason="deadline"))])
    assert (late.verdict, late.measured, late.bound) == ("fail", 120.0, 120.0)
    assert judged("job_completes", [*begin, (6.0, RunSealed(reason="complete"))]).verdict == "inconclusive"


def test_a_job_without_rows_proves_nothing() -> None:
    events: list[Timed] = [
        (0.0, opened()),
        (1.0, WorkloadStarted(workload="toy", rows_total=0)),
        (5.0, WorkloadFinished(outcome="ok")),
        (6.0, RunSealed(reason="complete")),
    ]
    assert judged("job_completes", events).verdict == "inconclusive"


# -- rows_exactly_once --------------------------------------------------------------------------------------


def rows(event: RowsVerified | None, *, outcome: str = "ok") -> Verdict:
    story = Story(outcome=outcome, without=(RowsVerified,))  # type: ignore[arg-type]
    events = story.events()
    if event is not None:
        events.insert(-2, (41.0, event))
    return judged("rows_exactly_once", events)


def test_rows_exactly_once() -> None:
    assert rows(verified()).verdict == "pass"
    assert rows(verified(missing=1)).verdict == "fail"
    assert rows(verified(duplicated=1)).verdict == "fail"
    assert rows(verified(wrong=2)).measured == 2.0
    assert rows(verified().model_copy(update={"unexpected_count": 1})).verdict == "fail"
    assert rows(verified().model_copy(update={"rows_found": 299})).verdict == "fail"


def test_rows_exactly_once_cannot_judge_what_was_not_compared() -> None:
    assert rows(None).verdict == "inconclusive"
    assert rows(verified(expected=0)).verdict == "inconclusive"
    assert rows(verified(expected=299)).verdict == "inconclusive"
    assert rows(verified(missing=7), outcome="hung").verdict == "inconclusive"
    assert rows(verified(wrong=7), outcome="hung").verdict == "fail"


# -- scale_up_converges -------------------------------------------------------------------------------------


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


# -- scale_down_converges -----------------------------------------------------------------------------------


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


# -- no_overshoot -------------------------------------------------------------------------------------------


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
    for worker in idling:
        worker.gone_s = 14.0
    assert judged("no_overshoot", two).verdict == "pass"
    for worker in idling:
        worker.busy_to_s, worker.gone_s = 40.0, 48.0
    assert judged("no_overshoot", two).verdict == "pass", "what is in use is explained"


def test_demand_that_goes_away_while_a_launch_is_under_way_explains_it() -> None:
    workers = [Worker("w1", 4.0, 35.0), *(Worker(f"w{n}", 4.0, 8.0) for n in (2, 3, 4))]
    story = Story(workers=workers, demand=lambda t_s: waiting(4) if 3.0 <= t_s < 9.0 else ())
    assert judged("no_overshoot", story).verdict == "pass"


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


def test_no_overshoot_cannot_judge_a_cluster_without_workers_or_samples() -> None:
    assert judged("no_overshoot", Story(workers=[])).verdict == "inconclusive"
    assert judged("no_overshoot", Story(without=(ClusterSampled,))).verdict == "inconclusive"


# -- no_leaked_nodes ----------------------------------------------------------------------------------------


def with_samples(story: Story, *, from_s: float, **changes: object) -> list[Timed]:
    return [
        (t_s, event.model_copy(update=changes) if isinstance(event, ClusterSampled) and t_s >= from_s else event)
        for t_s, event in story.events()
    ]


def test_an_instance_the_gcs_does_not_know_is_a_leak() -> None:
    leak = with_samples(Story(stopping_s=70.0), from_s=48.0, cloud={"head": "running", "w3": "running"})
    verdict = judged("no_leaked_nodes", leak)
    assert verdict.verdict == "fail"
    assert "the Cloud has w3 (running)" in verdict.summary
    ghost = with_samples(Story(stopping_s=70.0), from_s=20.0, cloud={"head": "running"})
    assert judged("no_leaked_nodes", [pair for pair in ghost if pair[0] < 46.0 or pair[0] > 69.9]).verdict == "fail"


def test_a_launch_pending_for_ever_is_a_leak() -> None:
    assert judged("no_leaked_nodes", with_samples(Story(), from_s=41.0, autoscaler_pending=1)).verdict == "fail"


def test_a_disagreement_that_may_pass_is_inconclusive() -> None:
    leaving = with_samples(Story(), from_s=49.0, cloud={"head": "running", "w3": "stopping"})
    assert judged("no_leaked_nodes", leaving).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(stopping_s=40.0)).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(workers=[])).verdict == "inconclusive"
    assert judged("no_leaked_nodes", Story(without=(WorkloadFinished,))).verdict == "inconclusive"


# -- faults_took_effect -------------------------------------------------------------------------------------


def faulted(more: list[Timed], *, may_miss: bool = False, sealed: str = "complete") -> Verdict:
    opening = opened(injections=[one_injection(may_miss=may_miss)])
    return judged("faults_took_effect", Story(opening=opening, more=more, sealed=sealed))  # type: ignore[arg-type]


def test_faults_took_effect() -> None:
    assert faulted(fault("i1", 15.0, victims=("w1",))).verdict == "pass"
    assert faulted(fault("i1", 15.0, victims=("w1",), heal_due_s=18.0)).verdict == "pass"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, healed=False)).verdict == "fail"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, proven=False)).verdict == "fail"
    assert faulted(fault("i1", 15.0, heal_due_s=18.0, healed=False), sealed="interrupted").verdict == "inconclusive"


def skipped(reason: str) -> list[Timed]:
    return [(15.0, FaultSkipped(injection="i1", fault="toy", reason=reason))]


def test_a_fault_that_did_not_bite_is_inconclusive_unless_it_may_miss() -> None:
    for more in (fault("i1", 15.0, outcome="no_effect"), fault("i1", 15.0, outcome=None), skipped("no_target")):
        assert faulted(more).verdict == "inconclusive"
        assert faulted(more, may_miss=True).verdict == "pass"
    assert faulted([]).verdict == "inconclusive"
    assert faulted([], may_miss=True).verdict == "inconclusive"
    assert faulted(skipped("failed"), may_miss=True).verdict == "inconclusive"


def test_an_injection_the_schedule_does_not_name_is_judged_too() -> None:
    story = Story(more=fault("stray", 15.0, heal_due_s=18.0, healed=False))
    assert judged("faults_took_effect", story).verdict == "fail"


# -- stayed_live --------------------------------------------------------------------------------------------


def stalls(from_s: float, to_s: float) -> Story:
    before = round((from_s - 10.0) * 10)

    def rows_at(t_s: float) -> int:
        return round(max(0.0, t_s - 10.0) * 10) if t_s <= from_s else before if t_s < to_s else 300

    return Story(rows_at=rows_at, finished_s=max(40.0, to_s + 1.0), stopping_s=90.0)


def test_a_window_without_progress_is_bounded() -> None:
    assert judged("stayed_live", stalls(12.0, 35.0)).verdict == "pass"
    verdict = judged("stayed_live", stalls(12.0, 50.0))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 38.0, 24.0)


def test_a_fault_excuses_the_time_it_explains_and_no_more() -> None:
    story = stalls(12.0, 50.0)
    story.more = fault("i1", 13.0, victims=("w1",), heal_due_s=25.0)
    verdict = judged("stayed_live", story)
    assert verdict.bound == pytest.approx(24.0 + 12.1 + 1.0 + 4.0)
    assert verdict.verdict == "pass"
    story = stalls(12.0, 58.0)
    story.more = fault("i1", 13.0, victims=("w1",), heal_due_s=25.0)
    assert judged("stayed_live", story).verdict == "fail"


def test_a_hang_that_the_deadline_ended_too_early_to_tell_is_inconclusive() -> None:
    story = replace(stalls(30.0, 99.0), finished_s=45.0, outcome="hung", sealed="deadline")
    assert judged("stayed_live", story).verdict == "inconclusive"
    assert judged("stayed_live", replace(story, finished_s=80.0)).verdict == "fail"
    assert judged("stayed_live", replace(story, baseline=None)).verdict == "inconclusive"


def test_stayed_live_cannot_judge_a_run_without_progress() -> None:
    assert judged("stayed_live", Story(without=(WorkloadProgressed,))).verdict == "inconclusive"
    assert judged("stayed_live", Story(rows_at=lambda _: 0, finished_s=20.0)).verdict == "inconclusive"


# -- host_not_starved ---------------------------------------------------------------------------------------


def host(**changes: float) -> Verdict:
    events: list[tuple[float, Event]] = [
        (t_s, event.model_copy(update=changes) if isinstance(event, HostSampled) else event)
        for t_s, event in Story().events()
    ]
    return judged("host_not_starved", events)


def test_host_not_starved_is_never_a_failure() -> None:
    assert host(cpu_busy=0.97).verdict == "pass"
    assert host(cpu_busy=1.0).verdict == "inconclusive"
    assert host(memory_free_mb=100.0).verdict == "inconclusive"
    assert host(disk_free_mb=100.0).verdict == "inconclusive"
    assert judged("host_not_starved", Story(without=(HostSampled,))).verdict == "inconclusive"
    assert judged("host_not_starved", Story(without=(WorkloadStarted,))).verdict == "inconclusive"


# -- nothing_left_behind ------------------------------------------------------------------------------------


def test_nothing_left_behind() -> None:
    begin: Timed = (0.0, opened())
    end: Timed = (9.0, RunSealed(reason="complete"))
    assert judged("nothing_left_behind", [begin, (8.0, CleanlinessChecked(leftovers=())), end]).verdict == "pass"
    dirty = judged("nothing_left_behind", [begin, (8.0, CleanlinessChecked(leftovers=("tbf on w1",))), end])
    assert dirty.verdict == "fail"
    assert "tbf on w1" in dirty.summary
    assert judged("nothing_left_behind", [begin, end]).verdict == "inconclusive"
    early = [begin, (1.0, CleanlinessChecked(leftovers=())), *fault("i1", 2.0), end]
    assert judged("nothing_left_behind", early).verdict == "inconclusive"


def test_bounds_are_those_of_the_spec() -> None:
    story = slow_join(24.0)
    story.opening = opened(bounds=Bounds(factor=3.0))
    assert judged("scale_up_converges", story).verdict == "pass"


def test_the_builders_speak_of_this_cluster() -> None:
    opening = Story().history()[0].event
    assert isinstance(opening, RunOpened)
    assert ClusterSpec.model_validate(opening.spec["cluster"]) == CLUSTER
    assert CLUSTER.node_types["gpu"].holds(GPU) == 1
    assert len(Story().history().of(NodeLaunching)) == 4
