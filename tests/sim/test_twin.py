"""Whole runs on the twin: the same specifications, faults, checkers and reports as on real clusters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from ray.autoscaler.v2 import scheduler
from ray.autoscaler.v2.instance_manager import common, reconciler

import faults
from chaos.clusters.sim import SimCluster
from chaos.events import ActorRestarted, FaultHealed, FaultProbed, NodeLaunching, NodeTerminated, RequestAnswered
from tests.conftest import ROOT
from tests.live.rulers import NODES, REQUESTS, SERVICE
from tests.live.tours import bursting
from tests.sim.twin import run_on_twin

JOB = "{name: task_bursts, stages: [{tasks: 2, batches: 40}]}"
SPEC = f"cluster: {{{NODES}}}\nworkload: {JOB}\nschedule:\n"
# An autoscaler that soon gives up what it takes for a launch that never comes.
GIVING_UP = SPEC.replace(
    NODES,
    f"""{NODES}, ray_environment: {{
  RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "15",
  RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "15"}}""",
)
# Nodes that idle for a while under a load that goes on.
PAUSING = SPEC.replace(
    JOB, "{name: task_bursts, stages: [{tasks: 2, batches: 10}, {tasks: 0, pause_s: 20}, {tasks: 2, batches: 20}]}"
)
# A GCS that remembers, and a driver that does not die with the head.
REMEMBERING = f"""
cluster:
  gcs_storage: rocksdb
  driver_on: driver
  max_workers: 3
  node_types:
    gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}
    driver: {{resources: {{CPU: 1}}, min_workers: 1, max_workers: 1}}
workload: {JOB}
schedule:
"""
SPECS = {
    "omit_from_listing": GIVING_UP,
    "stale_listing": GIVING_UP,
    "restart_head": REMEMBERING,
    "lag_views": PAUSING,
    "refuse_drains": PAUSING,
}
ABLE = sorted(name for name, fault in faults.ALL.items() if not fault.missing_capabilities(SimCluster))
LATER = "on: {progress_percent: 20}"
# Beside those of the bursts, in a run of each one's own.
ALONE = {
    "kill_node": f"target: oldest, {LATER}",
    "pause_node": f"target: newest, duration_s: 3, {LATER}",
    "stop_node": f"target: oldest, duration_s: 3, {LATER}",
    "preempt_node": f"target: oldest, duration_s: 3, {LATER}",
    "restart_node": f"target: oldest, {LATER}",
    "kill_raylet": f"target: oldest, {LATER}",
    "kill_dashboard_agent": f"target: oldest, {LATER}",
    "restart_raylet": f"target: oldest, {LATER}",
    "kill_worker_process": f"target: oldest, {LATER}",
    "kill_autoscaler": f"duration_s: 4, {LATER}",
    "pause_autoscaler": f"duration_s: 4, {LATER}",
    "pause_gcs": f"duration_s: 4, {LATER}",
    "pause_process": f"role: monitor, target: head, duration_s: 4, {LATER}",
    "vanish_node": f"target: newest, duration_s: 4, {LATER}",
    "omit_from_listing": f"answers: 2, target: newest, duration_s: 4, {LATER}",
    "stale_listing": "at_s: 0, duration_s: 5",
    "lag_views": f"age_s: 4, {LATER}, duration_s: 30",
    "omit_from_views": f"answers: 1, target: newest, {LATER}, duration_s: 4",
    "refuse_drains": "count: 2, at_s: 1, duration_s: 60",
    "restart_head": LATER,
    "kill_driver": LATER,
    "change_limits": "max_workers: 1, on: {event: node.joined, nth: 2}, duration_s: 6",
    "change_idle_timeout": f"idle_timeout_s: 4, duration_s: 3, {LATER}",
    "change_node_types": f"new_type: big, resources: {{CPU: 4, GPU: 2}}, duration_s: 4, {LATER}",
}
# What Ray does with it on real clusters, too: docs/track-record.md.
FINDINGS = {"stale_listing": {"updates_succeed", "ends_have_reasons"}}


# The model has no end of its head but a new beginning: this is refused before a run.
REFUSED = {"kill_gcs"}


def test_every_fault_that_the_twin_can_do_has_a_case() -> None:
    met = [name for name in bursting().names if name in ABLE]
    assert sorted([*ALONE, *met, *REFUSED]) == ABLE


@pytest.mark.parametrize("name", ALONE)
def test_a_fault_takes_effect_and_heals(name: str, tmp_path: Path) -> None:
    results = run_on_twin(f"{SPECS.get(name, SPEC)}  - {{fault: {name}, {ALONE[name]}}}\n", tmp_path)
    history = results.history
    assert [event.outcome for _, event in history.of(FaultProbed)] == ["took_effect"], results.report
    assert [event.proven for _, event in history.of(FaultHealed)] == [True] * faults.ALL[name].lasts, results.report
    amiss = {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}
    assert amiss == FINDINGS.get(name, set()), results.report


def test_an_instance_that_ends_before_it_was_listed_is_waited_for(tmp_path: Path) -> None:
    """Finding 25 of docs/track-record.md."""
    kill = "  - {fault: kill_node, target: w2, on: {event: node.started}, after_s: 0.2, may_miss: true}\n"
    job = "{name: task_bursts, stages: [{tasks: 2, batches: 20}]}"
    results = run_on_twin(f"cluster: {{{NODES}}}\nworkload: {job}\nschedule:\n{kill}", tmp_path)
    amiss = {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}
    assert amiss == {"scale_up_converges", "no_leaked_nodes"}, results.report
    assert len(results.history.of(NodeLaunching)) == 2


def test_a_node_that_ends_while_another_one_is_stopped_is_noticed(tmp_path: Path) -> None:
    job = "{name: task_bursts, stages: [{tasks: 2, batches: 60}]}"
    kills = "".join(f"  - {{fault: kill_raylet, target: w{n}, at_s: {15.0 + n / 2}}}\n" for n in (1, 2))
    results = run_on_twin(
        f"cluster: {{{NODES}, latencies: {{stop: {{median_s: 0.9}}}}}}\nworkload: {job}\nschedule:\n{kills}", tmp_path
    )
    ended = [event.node for _, event in results.history.of(NodeTerminated) if event.cause == "exited"]
    assert ended == ["w1", "w2"], results.report


def test_a_minimum_for_which_there_is_no_room_fails_every_update(tmp_path: Path) -> None:
    """Finding 29 of docs/track-record.md."""
    types = "{gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 4}, big: {resources: {CPU: 4}, max_workers: 4}}"
    job = "{name: task_bursts, stages: [{tasks: 3, batches: 60}]}"
    raised = "  - {fault: change_limits, node_type: big, min_workers: 2, at_s: 8, duration_s: 10}\n"
    results = run_on_twin(
        f"cluster: {{max_workers: 4, node_types: {types}}}\nworkload: {job}\nschedule:\n{raised}", tmp_path
    )
    summary = {verdict.name: verdict.summary for verdict in results.verdicts if verdict.verdict == "fail"}
    assert list(summary) == ["updates_succeed"], results.report
    assert "upsert must be true for creating new instance" in summary["updates_succeed"]


def test_launch_faults_meet_bursts_of_demand_as_on_a_real_cluster(tmp_path: Path) -> None:
    tour = bursting()
    able = {name: own for name, own in tour.lanes[0].items() if name in ABLE}
    lines = "".join(f"  - {{id: {name}, fault: {name}, {own}}}\n" for name, own in able.items())
    results = run_on_twin(f"cluster: {{{tour.cluster}}}\nworkload: {tour.job}\nschedule:\n{lines}", tmp_path)
    assert results.judgement == "pass", results.report
    probed = {event.injection: event.outcome for _, event in results.history.of(FaultProbed)}
    assert probed == dict.fromkeys(able, "took_effect"), results.report


def test_batch_inference_keeps_its_pool_through_a_death(tmp_path: Path) -> None:
    kill = f"  - {{fault: kill_node, target: oldest, {LATER}}}\n"
    job = "{name: batch_inference, rows: 1280, max_actors: 2}"
    results = run_on_twin(f"cluster: {{{NODES}}}\nworkload: {job}\nschedule:\n{kill}", tmp_path)
    assert results.judgement == "pass", results.report
    assert len(results.history.of(NodeLaunching)) == 3
    causes = sorted(event.cause for _, event in results.history.of(NodeTerminated))
    assert causes == ["autoscaler", "autoscaler", "killed"]


def test_an_actor_whose_node_dies_is_restarted_and_its_request_repeated(tmp_path: Path) -> None:
    kill = f"  - {{fault: kill_node, target: oldest, {LATER}}}\n"
    results = run_on_twin(f"cluster: {{{NODES}}}\nworkload: {SERVICE}\nschedule:\n{kill}", tmp_path)
    assert results.judgement == "pass", results.report
    outcomes = Counter(event.outcome for _, event in results.history.of(RequestAnswered))
    assert outcomes == {"ok": REQUESTS - 1, "retried": 1}
    [(_, restarted)] = results.history.of(ActorRestarted)
    assert restarted.served > 0


def test_a_cluster_that_gets_no_nodes_fails_the_run(tmp_path: Path) -> None:
    none_left = "  - {fault: limit_capacity, at_most: 0, at_s: 0, duration_s: 100}\ndeadline_s: 60\n"
    results = run_on_twin(SPEC + none_left, tmp_path)
    verdicts = {verdict.name: verdict.verdict for verdict in results.verdicts}
    assert results.judgement == "fail", results.report
    assert verdicts["job_completes"] == "fail", results.report


def test_rays_modules_are_as_they_were(tmp_path: Path) -> None:
    run_on_twin(f"{SPEC}  []\n", tmp_path)
    assert reconciler.time is common.time is scheduler.time is time
    assert reconciler.uuid is common.uuid is scheduler.uuid is uuid


def test_the_same_specification_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    histories = []
    for place, hash_seed in enumerate(("1", "2")):
        store = tmp_path / str(place)
        command = [sys.executable, "-m", "chaos.cli", "run", "--cluster", "sim", "--store", str(store)]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        histories.append((store / "latest" / "history.jsonl").read_bytes())
    assert histories[0] == histories[1]
