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
from tests.live.rulers import PAIR, REQUESTS, SERVICE
from tests.live.tours import MEETING_ENDS, MEETING_LAUNCHES, bursting
from tests.sim.twin import run_on_twin

JOB = "{name: task_bursts, stages: [{tasks: 2, batches: 40}]}"
SPEC = f"cluster: {{{PAIR}}}\nworkload: {JOB}\nschedule:\n"
# An autoscaler that soon gives up what it takes for a launch that never comes.
GIVING_UP = SPEC.replace(
    PAIR,
    f"""{PAIR}, ray_environment: {{
  RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "15",
  RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "15"}}""",
)
ABLE = sorted(name for name, fault in faults.ALL.items() if not fault.missing_capabilities(SimCluster))
LATER = "on: {progress_percent: 20}"
# Beside those of the bursts, in a run of each one's own.
ALONE = {
    "kill_node": f"target: oldest, {LATER}",
    "pause_node": f"target: newest, duration_s: 3, {LATER}",
    "stop_node": f"target: oldest, duration_s: 3, {LATER}",
    "preempt_node": f"target: oldest, duration_s: 3, {LATER}",
    "restart_node": f"target: oldest, {LATER}",
    "vanish_node": f"target: newest, duration_s: 4, {LATER}",
    "omit_from_listing": f"answers: 2, target: newest, duration_s: 4, {LATER}",
    "stale_listing": "at_s: 0, duration_s: 5",
    "change_limits": "max_workers: 1, on: {event: node.joined, nth: 2}, duration_s: 6",
    "change_idle_timeout": f"idle_timeout_s: 4, duration_s: 3, {LATER}",
    "change_node_types": f"new_type: big, resources: {{CPU: 4, GPU: 2}}, duration_s: 4, {LATER}",
}
# What Ray does with them on real clusters, too: docs/track-record.md.
FINDINGS = {
    "vanish_node": {"no_overshoot"},
    "omit_from_listing": {"no_overshoot"},
    "stale_listing": {"no_overshoot", "no_leaked_nodes", "scale_up_converges"},
    "restart_node": {"no_overshoot"},
}


def test_every_fault_that_the_twin_can_do_has_a_case() -> None:
    met = [name for name in (*MEETING_LAUNCHES, *MEETING_ENDS) if name in ABLE]
    assert sorted([*ALONE, *met]) == ABLE


@pytest.mark.parametrize("name", ALONE)
def test_a_fault_takes_effect_and_heals(name: str, tmp_path: Path) -> None:
    spec = GIVING_UP if name in ("omit_from_listing", "stale_listing") else SPEC
    results = run_on_twin(f"{spec}  - {{fault: {name}, {ALONE[name]}}}\n", tmp_path)
    history = results.history
    assert [event.outcome for _, event in history.of(FaultProbed)] == ["took_effect"], results.report
    assert [event.proven for _, event in history.of(FaultHealed)] == [True] * faults.ALL[name].lasts, results.report
    amiss = {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}
    assert amiss <= FINDINGS.get(name, set()), results.report


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
    results = run_on_twin(f"cluster: {{{PAIR}}}\nworkload: {job}\nschedule:\n{kill}", tmp_path)
    assert results.judgement == "pass", results.report
    assert len(results.history.of(NodeLaunching)) == 3
    causes = sorted(event.cause for _, event in results.history.of(NodeTerminated))
    assert causes == ["autoscaler", "autoscaler", "killed"]


def test_an_actor_whose_node_dies_is_restarted_and_its_request_repeated(tmp_path: Path) -> None:
    kill = f"  - {{fault: kill_node, target: oldest, {LATER}}}\n"
    results = run_on_twin(f"cluster: {{{PAIR}}}\nworkload: {SERVICE}\nschedule:\n{kill}", tmp_path)
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
