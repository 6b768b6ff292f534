"""Demand beyond tasks on the twin: placement groups, standing requests, and what Ray Data asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.events import (
    ClusterSampled,
    DemandChanged,
    DriverRestarted,
    FaultHealed,
    FaultProbed,
    NodeDied,
    NodeLaunching,
    NodeTerminated,
    WorkloadFinished,
)
from chaos.history import History
from tests.sim.decisions import decisions, recorded
from tests.sim.twin import run_on_twin

CLUSTER = (
    "cluster: {{kind: sim, twin: {{mode: {mode}}}, max_workers: 4,"
    " node_types: {{gpu: {{resources: {{CPU: 4, GPU: 2}}, max_workers: 4}}}}}}\n"
)
EXACT = CLUSTER.format(mode="exact")
HOSTED = """cluster:
  kind: sim
  gcs_storage: rocksdb
  driver_on: driver
  twin: {{mode: {mode}}}
  max_workers: 3
  node_types:
    gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}
    driver: {{resources: {{CPU: 1}}, min_workers: 1, max_workers: 1}}
"""
GANG = "workload: {name: gang_bursts, gang_size: 2, strategy: STRICT_SPREAD}\n"
LATER = "on: {progress_percent: 20}"


def standing(history: History) -> list[tuple[float, int]]:
    """When what is requested changed, and how many bundles it was then."""
    found: list[tuple[float, int]] = []
    for record, sample in history.of(ClusterSampled):
        count = sum(demand.count for demand in sample.demands if demand.source == "request_resources")
        if not found or found[-1][1] != count:
            found.append((record.t_s, count))
    return found


@pytest.mark.parametrize(("strategy", "nodes"), [("PACK", 1), ("SPREAD", 1), ("STRICT_PACK", 1), ("STRICT_SPREAD", 2)])
def test_a_group_gets_as_many_nodes_as_its_strategy_takes(strategy: str, nodes: int, tmp_path: Path) -> None:
    job = f"workload: {{name: gang_bursts, waves: 1, strategy: {strategy}}}\n"
    results = run_on_twin(f"{EXACT}{job}schedule: []\n", tmp_path)
    assert results.judgement == "pass", results.report
    assert len(results.history.of(NodeLaunching)) == nodes


def test_a_group_whose_node_dies_gets_another_and_finishes(tmp_path: Path) -> None:
    results = run_on_twin(f"{EXACT}{GANG}schedule: [{{fault: kill_node, target: oldest, {LATER}}}]\n", tmp_path)
    assert results.judgement == "pass", results.report
    assert len(results.history.of(NodeLaunching)) == 3


def test_groups_that_have_not_room_at_once_have_their_turns(tmp_path: Path) -> None:
    job = "workload: {name: gang_bursts, waves: 1, gangs: 2, gang_size: 1, strategy: SPREAD}\n"
    narrow = EXACT.replace("GPU: 2}, max_workers: 4", "GPU: 1}, max_workers: 1")
    assert narrow != EXACT
    results = run_on_twin(f"{narrow}{job}schedule: []\n", tmp_path)
    assert results.judgement == "pass", results.report
    changes = [sum(demand.count for demand in event.bundles) for _, event in results.history.of(DemandChanged)]
    assert changes == [2, 1, 0]


def test_a_group_that_the_limits_cannot_hold_gets_nothing_until_they_do(tmp_path: Path) -> None:
    limit = "schedule: [{fault: change_limits, max_workers: 1, at_s: 0, duration_s: 20}]\n"
    results = run_on_twin(f"{EXACT}{GANG}{limit}", tmp_path)
    ((_, healed),) = results.history.of(FaultHealed)
    launched_s = [record.t_s for record, _ in results.history.of(NodeLaunching)]
    assert len(launched_s) == 2
    assert healed.healed_s <= min(launched_s) < healed.healed_s + 3.0
    assert results.judgement == "pass", results.report


def test_a_standing_request_keeps_nodes_and_they_go_when_it_is_taken_away(tmp_path: Path) -> None:
    stages = "{tasks: 2, batches: 4}, {tasks: 0, pause_s: 25, request: 6}, {tasks: 2, batches: 40}"
    results = run_on_twin(f"{EXACT}workload: {{name: task_bursts, stages: [{stages}]}}\nschedule: []\n", tmp_path)
    history = results.history
    assert results.judgement == "pass", results.report
    asked = standing(history)
    assert [count for _, count in asked] == [0, 6, 0]
    assert len(history.of(NodeLaunching)) == 3
    ends = [record.t_s for record, _ in history.of(NodeTerminated)]
    assert min(ends) > asked[2][0], "idle for far longer than the timeout, and requested"
    assert min(ends) < asked[2][0] + 3.0
    (finished, _) = history.of(WorkloadFinished)[0]
    assert sum(end_s < finished.t_s for end_s in ends) == 2


def test_ray_data_asks_for_its_pool_and_withdraws_when_it_is_done(tmp_path: Path) -> None:
    job = "workload: {name: batch_inference, rows: 1280, max_actors: 2}\n"
    results = run_on_twin(f"{EXACT}{job}schedule: []\n", tmp_path)
    assert results.judgement == "pass", results.report
    (finished, _) = results.history.of(WorkloadFinished)[0]
    asked = standing(results.history)
    assert [count for _, count in asked] == [0, 3, 0]
    assert asked[2][0] == pytest.approx(finished.t_s, abs=0.5)


def test_what_a_killed_driver_asked_for_is_added_to_what_the_next_one_asks_for(tmp_path: Path) -> None:
    """Finding 8 of docs/track-record.md: and it expires."""
    job = "workload: {name: batch_inference, rows: 2560, max_actors: 2, driver_restarts: 1}\n"
    results = run_on_twin(f"{EXACT}{job}schedule: [{{fault: kill_driver, {LATER}}}]\n", tmp_path)
    ((restarted, _),) = results.history.of(DriverRestarted)
    assert results.judgement == "pass", results.report
    asked = standing(results.history)
    assert [count for _, count in asked] == [0, 3, 6, 3, 0]
    assert 12.0 <= asked[3][0] - restarted.t_s <= 35.0, "the expiry, and up to 20 s more"


def test_a_driver_ends_with_the_node_it_runs_on(tmp_path: Path) -> None:
    job = "workload: {name: batch_inference, rows: 1280, max_actors: 2, driver_restarts: 1}\n"
    kill = f"  - {{fault: kill_node, target: {{select: oldest, node_type: driver}}, {LATER}}}\n"
    results = run_on_twin(f"{HOSTED.format(mode='exact')}{job}schedule:\n{kill}", tmp_path)
    assert results.judgement == "pass", results.report
    ((_, restarted),) = results.history.of(DriverRestarted)
    assert restarted.status == -9
    asked = [count for _, count in standing(results.history)]
    assert max(asked) == 3, "with the node ended the actor that knew what the driver had asked for"


def test_an_agents_end_is_known_at_once(tmp_path: Path) -> None:
    kill = f"  - {{fault: kill_dashboard_agent, target: oldest, {LATER}}}\n"
    results = run_on_twin(f"{EXACT}{GANG}schedule:\n{kill}", tmp_path)
    assert results.judgement == "pass", results.report
    ((probed, event),) = results.history.of(FaultProbed)
    died = results.history.of(NodeDied)[0][0]
    assert event.outcome == "took_effect"
    assert event.measured is not None
    assert event.measured < 0.5, "no health check was needed"
    assert died.t_s <= probed.t_s


CASES = {
    "gangs": f"{CLUSTER}{GANG.replace('{', '{{').replace('}', '}}')}schedule:\n"
    "  - {{fault: kill_node, target: oldest, on: {{progress_percent: 20}}}}\n",
    "requests": CLUSTER + "workload: {{name: task_bursts, stages: [{{tasks: 2, batches: 4}},"
    " {{tasks: 0, pause_s: 50, request: 6}}, {{tasks: 2, batches: 40}}]}}\nschedule: []\n",
    "data": CLUSTER + "workload: {{name: batch_inference, rows: 2560, max_actors: 2, driver_restarts: 1}}\n"
    "schedule: [{{fault: kill_driver, on: {{progress_percent: 20}}}}]\n",
    "head": HOSTED + "workload: {{name: task_bursts, stages: [{{tasks: 2, batches: 40}}]}}\n"
    "schedule: [{{fault: restart_head, on: {{progress_percent: 20}}}}]\n",
}


@pytest.mark.parametrize("name", CASES)
def test_fast_mode_decides_as_exact_mode_does(name: str, tmp_path: Path) -> None:
    exact, fast = (recorded(CASES[name].format(mode=mode), tmp_path) for mode in ("exact", "fast"))
    assert decisions(exact)
    assert decisions(fast) == decisions(exact)


@pytest.mark.parametrize("name", CASES)
def test_the_same_specification_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    text = CASES[name].format(mode="exact")
    first, second = (recorded(text, tmp_path) for _ in range(2))
    assert [record.to_line() for record in first] == [record.to_line() for record in second]
