"""What is fitted to a history is what made it: known latencies are found again, and too little is refused by name."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.calibration import LEAST, calibrate, fit, measured
from chaos.checkers.facts import Facts, facts_of
from chaos.errors import InvalidSpec
from chaos.events import AutoscalerLogged, NodeDied, NodeStarted, NodeTerminated
from chaos.history import History
from chaos.sim.latency import Factor, JobCosts, Latencies, LogNormal
from tests.checkers.histories import Story, Timed, Worker, fault, opened
from tests.sim.twin import run_on_twin


def facts(history: History) -> Facts:
    """The facts of a history that has them."""
    found = facts_of(history)
    assert not isinstance(found, str)
    return found


def of_toy(**more: object) -> Story:
    """The good run of a job whose batches cost a second each."""
    opening = opened()
    spec = opening.spec | {"workload": {"name": "toy", "device_ms_per_batch": 1000.0}}
    return Story(opening=opening.model_copy(update={"spec": spec, "cluster": "compose"}), **more)  # type: ignore[arg-type]


def test_each_quantity_of_a_made_up_run_is_measured() -> None:
    asked = "Update instance RAY_RUNNING->RAY_STOP_REQUESTED (id=1, ray_id=abc)"
    told = [
        (46.5, AutoscalerLogged(about="instance", text=asked)),
        (46.9, NodeDied(node="w1", ray_node_id="abc")),
    ]  # fmt: skip
    found = measured([facts(of_toy(more=told).history())])
    assert found["launch"] == [3.0] * 4
    assert found["join"] == [1.0] * 4
    assert found["stop"] == pytest.approx([0.9] * 4)
    assert found["leave"] == pytest.approx([0.4])
    assert found["jobs.toy.batch"] == [2.0] * 4
    assert found["jobs.toy.warm_up"] == found["warm_up"] == [1.0] * 4
    assert found["jobs.toy.begin"] == [1.0]
    assert found["jobs.toy.end"] == [29.0]
    assert "notice" not in found


def test_a_death_without_a_word_is_measured_though_it_is_a_fault() -> None:
    workers = [Worker("w1", 4.0, 8.0, kill_s=20.0, dead_s=23.5), Worker("w2", 4.0, 8.0)]
    found = measured([facts(of_toy(workers=workers, more=fault("i1", 20.0, victims=("w1",))).history())])
    assert found["notice"] == [3.5]
    assert len(found["stop"]) == 1


def test_what_a_fault_overlaps_is_left_out() -> None:
    calm, harmed = of_toy(), of_toy(more=fault("i1", 5.0, heal_due_s=7.5))
    assert len(measured([facts(calm.history())])["join"]) == 4
    found = measured([facts(harmed.history())])
    assert "join" not in found
    assert "launch" not in found
    assert len(found["jobs.toy.batch"]) == 4, "the batches came after it"


def test_nothing_of_a_node_counts_once_a_fault_has_hit_it() -> None:
    found = measured([facts(of_toy(more=fault("i1", 8.5, victims=("w2",))).history())])
    assert len(found["jobs.toy.batch"]) == 3


def test_too_few_samples_are_refused_by_name() -> None:
    few = of_toy(workers=[Worker("w1", 4.0, 8.0), Worker("w2", 4.0, 8.0)]).history()
    with pytest.raises(
        InvalidSpec, match=rf"from 1 run: join has 2, warm_up has 2, .*of at least {LEAST}; .*more runs"
    ):
        calibrate([few], machine="here")
    assert calibrate([few, few], machine="here").fits["join"].samples == 4


def test_no_batches_are_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"join has 0, warm_up has 0"):
        calibrate([Story(workers=[]).history()], machine="here")


def test_runs_of_several_kinds_are_refused() -> None:
    one, other = of_toy(), of_toy()
    other.opening = other.opening.model_copy(update={"cluster": "local"})
    with pytest.raises(InvalidSpec, match=r"several kinds of cluster \(compose, local\)"):
        calibrate([one.history(), other.history()], machine="here")


def test_what_is_not_measured_keeps_the_models_default_and_is_told() -> None:
    found = calibrate([of_toy().history()], machine="here")
    assert found.latencies.notice is None
    assert found.latencies.leave == Latencies().leave
    assert found.fits["leave"].too_few
    assert found.latencies.join == LogNormal(median_s=1.0)
    assert found.latencies.job("toy").batch == Factor(median=2.0)
    assert found.latencies.job("another").warm_up == found.latencies.warm_up
    assert found.runs == ("r1",)


@settings(deadline=None)
@given(median_s=st.floats(0.01, 100.0), sigma=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
def test_known_parameters_are_found_again(median_s: float, sigma: float, seed: int) -> None:
    source = random.Random(seed)
    made = LogNormal(median_s=median_s, sigma=sigma)
    found_s, spread = fit([made.draw(lambda: source) for _ in range(400)])
    assert abs(math.log(found_s / median_s)) <= 0.3 * sigma + 1e-6
    assert spread == pytest.approx(sigma, rel=0.35, abs=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), strays=st.integers(1, 20))
def test_some_that_took_far_longer_hardly_move_the_fit(seed: int, strays: int) -> None:
    source = random.Random(seed)
    made = LogNormal(median_s=2.0, sigma=0.1)
    found_s, spread = fit([*(made.draw(lambda: source) for _ in range(100)), *([600.0] * strays)])
    assert found_s == pytest.approx(2.0, rel=0.1)
    assert spread < 0.2


def test_strays_are_told() -> None:
    workers = [Worker(f"w{n}", 4.0, 8.0) for n in range(1, 9)]
    story = of_toy(workers=workers, without=(NodeStarted,))
    starts: list[Timed] = [(7.0, NodeStarted(node=f"w{n}", node_type="gpu", instance=f"i-w{n}")) for n in range(2, 9)]
    early: Timed = (4.1, NodeStarted(node="w1", node_type="gpu", instance="i-w1"))
    history = History.of_events(sorted([*story.events(), *starts, early], key=lambda pair: pair[0]))
    found = calibrate([history], machine="here").fits["join"]
    assert (found.samples, found.outliers) == (8, (3.9,))


def test_the_twin_calibrated_by_itself_is_the_same_twin(tmp_path: Path) -> None:
    """All of the way round: latencies make histories, and the histories give the latencies."""
    costs = JobCosts(warm_up=LogNormal(median_s=1.5, sigma=0.05), batch=Factor(median=1.4, sigma=0.1),
                     between=LogNormal(median_s=0.3, sigma=0.1), end=LogNormal(median_s=2.0))  # fmt: skip
    made = Latencies(launch=LogNormal(median_s=0.8), join=LogNormal(median_s=3.0, sigma=0.1),
                     leave=LogNormal(median_s=1.2), stop=LogNormal(median_s=0.6), notice=LogNormal(median_s=4.0),
                     jobs={"task_bursts": costs})  # fmt: skip
    job = "{name: task_bursts, stages: [{tasks: 4, batches: 60}]}"
    kills = "[{fault: kill_node, target: oldest, at_s: 15}, {fault: kill_node, target: oldest, at_s: 25}]"
    histories = [
        run_on_twin(
            f"cluster: {{latencies: {made.model_dump_json()}}}\nworkload: {job}\nseed: {seed}\nschedule: {schedule}\n",
            tmp_path,
        ).history
        for seed, schedule in ((1, "[]"), (3, kills), (4, kills))
    ]
    found = calibrate(histories, machine="here").latencies
    assert found.launch.median_s == pytest.approx(0.8, abs=0.01)
    assert found.join.median_s == pytest.approx(3.0, abs=0.3), "seen only every quarter of a second"
    assert found.leave.median_s == pytest.approx(1.2, abs=0.3)
    assert found.stop.median_s == pytest.approx(0.6, abs=0.01)
    assert found.notice is not None
    assert found.notice.median_s == pytest.approx(4.0, abs=0.3)
    job_found = found.job("task_bursts")
    assert job_found.warm_up.median_s == pytest.approx(1.5, abs=0.3)
    assert (job_found.batch.median, job_found.batch.sigma) == pytest.approx((1.4, 0.1), rel=0.15)
    assert job_found.between.median_s == pytest.approx(0.3, rel=0.1)
    assert job_found.end.median_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("crowding", [0.0, 0.6])
def test_how_much_nodes_that_start_at_once_slow_each_other_is_found_again(crowding: float, tmp_path: Path) -> None:
    made = Latencies(join=LogNormal(median_s=3.0, sigma=0.05), warm_up=LogNormal(median_s=4.0, sigma=0.05),
                     crowding=crowding)  # fmt: skip
    stages = "{tasks: 1, batches: 4}, {tasks: 2, batches: 8}, {tasks: 6, batches: 40}"
    histories = [
        run_on_twin(
            f"cluster: {{latencies: {made.model_dump_json()}, max_workers: 6, upscaling_speed: 10}}\nseed: {seed}\n"
            f"workload: {{name: task_bursts, stages: [{stages}]}}\nschedule: []\n",
            tmp_path,
        ).history
        for seed in (1, 2, 3)
    ]
    found = calibrate(histories, machine="here")
    assert found.latencies.crowding == pytest.approx(crowding, abs=0.1)
    assert found.latencies.join.median_s == pytest.approx(3.0, abs=0.3)
    assert found.latencies.job("task_bursts").warm_up.median_s == pytest.approx(4.0, abs=0.4)
    starts = found.fits["join"].samples + found.fits["jobs.task_bursts.warm_up"].samples
    assert found.fits["crowding"].samples == starts > 20


def test_an_end_that_the_autoscaler_did_not_ask_for_is_no_stop() -> None:
    story = of_toy(workers=[Worker("w1", 4.0, 8.0, kill_s=20.0, dead_s=21.0)])
    killed = [event for _, event in story.history().of(NodeTerminated)]
    assert [event.cause for event in killed] == ["killed"]
    assert "stop" not in measured([facts(story.history())])
