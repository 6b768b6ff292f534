"""Whole runs on KubeRay: Ray's own provider for it, over a model of Kubernetes; the same faults and checkers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import faults
from chaos.checkers import evaluate
from chaos.clusters.kuberay import KubeRayCluster
from chaos.errors import InvalidSpec
from chaos.events import (
    AutoscalerLogged,
    ClusterSampled,
    FaultHealed,
    FaultProbed,
    NodeJoined,
    NodeLaunching,
    NodeTerminated,
    RunOpened,
)
from chaos.results import Results
from tests.conftest import ROOT
from tests.live.rulers import NODES
from tests.sim.decisions import recorded
from tests.sim.schedules import random_text
from tests.sim.test_twin import ALONE, FINDINGS, LATER, REFUSED, SPEC, SPECS
from tests.sim.twin import run_on_twin, twin_spec

ON_KUBERAY = f"{NODES}, twin: {{provider: kuberay}}"
# A scale-down, and demand after it.
STAGES = "[{tasks: 2, batches: 16}, {tasks: 0, pause_s: 25}, {tasks: 1, batches: 8}]"
ENDING = f"cluster: {{{NODES}}}\nworkload: {{name: task_bursts, stages: {STAGES}}}\nschedule:\n"
CASES = {
    **{name: (own, SPECS.get(name, SPEC)) for name, own in ALONE.items()},
    "conflict_patch": ("patches: 1, at_s: 0, duration_s: 6", SPEC),
    "kill_operator": (f"duration_s: 8, {LATER}", SPEC),
    "delay_launch": ("delay_s: 4, at_s: 0, duration_s: 8", SPEC),
    "fail_launch": ("at_s: 0, duration_s: 6", SPEC),
    "limit_capacity": ("at_most: 1, at_s: 0, duration_s: 8", SPEC),
    "partial_launch": ("at_s: 0, duration_s: 8", SPEC),
    "lose_launch_reply": ("at_s: 0, duration_s: 3", SPEC),
    "zombie_launch": ("count: 1, at_s: 0, duration_s: 20", SPEC),
    "slow_join": ("delay_s: 5, at_s: 0, duration_s: 8", SPEC),
    "fail_terminate": ("at_s: 10, duration_s: 18", ENDING),
    "delay_terminate": ("delay_s: 5, at_s: 10, duration_s: 18", ENDING),
    "cloud_outage": ("mode: unreachable, at_s: 3, duration_s: 5", SPEC),
}
# Kubernetes' API lists what there is; a list that does not is the same to Ray as any cloud's.
FOUND = {"vanish_node": {"no_overshoot"}, "stale_listing": FINDINGS["stale_listing"]}


def on_kuberay(text: str, store: Path) -> Results:
    """One run, judged."""
    there = text.replace(NODES, ON_KUBERAY).replace("cluster:\n", "cluster:\n  twin: {provider: kuberay}\n")
    results = run_on_twin(there, store)
    opened = results.history.first(RunOpened)
    assert opened is not None
    assert "'provider': 'kuberay'" in str(opened[1].spec["cluster"])
    return results


def amiss(results: Results) -> set[str]:
    """The checks that did not pass."""
    return {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}


def test_every_fault_that_kuberay_can_have_has_a_case() -> None:
    able = {name for name, fault in faults.ALL.items() if not fault.missing_capabilities(KubeRayCluster)}
    assert able == {*CASES, *REFUSED, "duplicate_launch"}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_takes_effect_and_heals(name: str, tmp_path: Path) -> None:
    own, spec = CASES[name]
    results = on_kuberay(f"{spec}  - {{fault: {name}, {own}}}\n", tmp_path)
    assert [event.outcome for _, event in results.history.of(FaultProbed)] == ["took_effect"], results.report
    healed = [event.proven for _, event in results.history.of(FaultHealed)]
    assert healed == [True] * faults.ALL[name].lasts, results.report
    assert amiss(results) == FOUND.get(name, set()), results.report


@pytest.mark.parametrize(
    ("reason", "logged"),
    [
        ("throttled", "429 Client Error: Too Many Requests"),
        ("internal_error", "500 Server Error"),
        ("quota_exceeded", ""),
    ],
)
def test_a_refusal_is_an_answer_of_the_api_or_leaves_ray_waiting(reason: str, logged: str, tmp_path: Path) -> None:
    results = on_kuberay(f"{SPEC}  - {{fault: fail_launch, reason: {reason}, at_s: 0, duration_s: 6}}\n", tmp_path)
    assert results.judgement == "pass", results.report
    failed = [event.text for _, event in results.history.of(AutoscalerLogged) if "ALLOCATION_FAILED" in event.text]
    assert bool(failed) == bool(logged)
    assert all(logged in text for text in failed)
    assert any(sample.autoscaler_pending for _, sample in results.history.of(ClusterSampled))


def test_the_operator_replaces_a_pod_that_was_killed_and_ray_asks_for_no_other(tmp_path: Path) -> None:
    results = on_kuberay(f"{SPEC}  - {{fault: kill_node, target: oldest, {LATER}}}\n", tmp_path)
    killed = next(record for record, event in results.history.of(NodeTerminated) if event.cause == "killed")
    *_, (again, _) = results.history.of(NodeLaunching)
    assert 0.0 <= again.t_s - killed.t_s <= 0.5
    unmanaged = [e for _, e in results.history.of(AutoscalerLogged) if "allocated unmanaged cloud instance" in e.text]
    assert len(unmanaged) == 1


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_group_of_several_hosts_grows_and_shrinks_in_whole_replicas(mode: str, tmp_path: Path) -> None:
    text = f"""
cluster: {{kind: sim, twin: {{provider: kuberay, mode: {mode}}}, max_workers: 4, node_types: {{
  gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 4, hosts: 2}}}}}}
workload: {{name: task_bursts, stages: [{{tasks: 4, batches: 40}}, {{tasks: 2, batches: 10}}]}}
schedule: [{{fault: kill_node, target: oldest, at_s: 12}}]
"""
    results = run_on_twin(text, tmp_path)
    assert results.judgement == "pass", results.report
    assert len(results.history.of(NodeJoined)) == 6  # with the head, and the replacement


def test_of_a_group_of_two_hosts_ray_never_launches_one(tmp_path: Path) -> None:
    """Ray's `KubeRayProvider` rounds down to whole replicas: docs/track-record.md, 27."""
    text = """
cluster: {kind: sim, twin: {provider: kuberay}, max_workers: 4, node_types: {
  gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 4, hosts: 2}}}
workload: {name: task_bursts, stages: [{tasks: 2, batches: 8}, {tasks: 3, batches: 60}]}
schedule: []
"""
    history = recorded(text, tmp_path)
    assert len(history.of(NodeLaunching)) == 2
    requested = [e for _, e in history.of(AutoscalerLogged) if "QUEUED->REQUESTED" in e.text]
    assert len(requested) == 3


def test_what_is_asked_for_while_pods_are_to_be_deleted_comes_an_update_later(tmp_path: Path) -> None:
    """Ray's `KubeRayProvider` refuses it itself: docs/track-record.md, 28."""
    text = """
cluster: {kind: sim, twin: {provider: kuberay}, update_interval_s: 5, idle_timeout_s: 6, max_workers: 1, node_types: {
  gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 1}}}
workload: {name: task_bursts, device_ms_per_batch: 2000, stages: [
  {tasks: 1, batches: 6}, {tasks: 0, pause_s: 11.5}, {tasks: 1, batches: 6}]}
schedule: []
"""
    history = recorded(text, tmp_path)
    failed = [(r, e) for r, e in history.of(AutoscalerLogged) if "REQUESTED->ALLOCATION_FAILED" in e.text]
    [(refused, event)] = failed
    assert "There are workers to be deleted from: {'gpu'}" in event.text
    *_, (launched, _) = history.of(NodeLaunching)
    assert refused.t_s < launched.t_s < refused.t_s + 1.0
    assert all(verdict.verdict != "fail" for verdict in evaluate(history))


def test_what_cannot_be_meant_is_refused() -> None:
    twice = "  - {fault: duplicate_launch, at_s: 0, duration_s: 5}\n"
    with pytest.raises(InvalidSpec, match="KubeRay's operator creates no pod twice"):
        twin_spec(SPEC.replace(NODES, ON_KUBERAY) + twice)
    hosts = "node_types: {gpu: {resources: {CPU: 1}, max_workers: 4, hosts: 2}}"
    with pytest.raises(InvalidSpec, match="only KubeRay has"):
        twin_spec(f"cluster: {{{hosts}}}\n")
    with pytest.raises(InvalidSpec, match="whole replicas of 3 hosts"):
        twin_spec(f"cluster: {{twin: {{provider: kuberay}}, {hosts.replace('hosts: 2', 'hosts: 3')}}}\n")


# Each with up to five faults at once. What they find in Ray alone is in docs/track-record.md.
@pytest.mark.parametrize("seed", range(20))
def test_random_schedules_find_nothing_unexplained(seed: int, tmp_path: Path) -> None:
    results = run_on_twin(random_text(seed, minutes=0.7, provider="kuberay"), tmp_path)
    failed = {verdict.name for verdict in results.verdicts if verdict.verdict == "fail"}
    assert not failed, results.report


def test_the_same_specification_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    histories = []
    for place, hash_seed in enumerate(("1", "2")):
        store = tmp_path / str(place)
        command = [sys.executable, "-m", "chaos.cli", "run", "--cluster", "sim", "--provider", "kuberay"]
        done = subprocess.run(
            [*command, "--store", str(store)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        histories.append((store / "latest" / "history.jsonl").read_bytes())
    assert all(one == other for one, other in itertools.pairwise(histories))
