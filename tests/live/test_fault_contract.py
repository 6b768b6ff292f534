"""The contract every fault keeps on every cluster that can do it: it bites, it is seen to, it heals, nothing stays."""

from __future__ import annotations

import pytest

import faults
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.events import CleanlinessChecked, FaultHealed, FaultInjected, FaultProbed, WorkloadFinished
from tests.live.lab import Lab

# One node more than the job wants: while a node that crashed and came back is in the GCS twice, it counts twice.
WORKLOAD = """
workload: {name: task_bursts, stages: [{tasks: 2, batches: 16}]}
cluster:
  max_workers: 3
  node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 3}}
schedule:
"""
# One injection of each fault; a new fault adds its own.
LATER = "on: {progress_percent: 10}"
INJECTIONS = {
    "kill_node": f"{{fault: kill_node, target: oldest, {LATER}}}",
    "pause_node": f"{{fault: pause_node, target: newest, {LATER}, duration_s: 2}}",
    "kill_worker_process": f"{{fault: kill_worker_process, runs: predict_rows, target: oldest, {LATER}}}",
    "kill_raylet": f"{{fault: kill_raylet, target: oldest, {LATER}}}",
    "kill_dashboard_agent": f"{{fault: kill_dashboard_agent, target: oldest, {LATER}}}",
    "pause_process": f"{{fault: pause_process, role: worker, target: oldest, {LATER}, duration_s: 2}}",
    "kill_autoscaler": f"{{fault: kill_autoscaler, {LATER}, duration_s: 3}}",
    "pause_autoscaler": f"{{fault: pause_autoscaler, {LATER}, duration_s: 3}}",
    "pause_gcs": f"{{fault: pause_gcs, {LATER}, duration_s: 2}}",
    "kill_gcs": f"{{fault: kill_gcs, {LATER}}}",
    "kill_driver": f"{{fault: kill_driver, {LATER}}}",
    "preempt_node": f"{{fault: preempt_node, target: oldest, {LATER}, duration_s: 3}}",
    "stop_node": f"{{fault: stop_node, target: oldest, {LATER}, duration_s: 3}}",
    "restart_node": f"{{fault: restart_node, target: oldest, {LATER}}}",
    "delay_launch": "{fault: delay_launch, delay_s: 3, at_s: 0, duration_s: 6}",
    "fail_launch": "{fault: fail_launch, reason: quota_exceeded, count: 2, at_s: 0, duration_s: 6}",
    "throttle_network": f"{{fault: throttle_network, rate_mbit: 4, target: random, {LATER}, duration_s: 3}}",
    "partition_network": f"{{fault: partition_network, peers: head, target: random, {LATER}, duration_s: 2}}",
}
# What a job cannot outlive: it is seen to fail, on a cluster of its own.
ENDS_THE_JOB = ("kill_driver", "kill_gcs")
CASES = [
    pytest.param(kind, name, marks=[pytest.mark.compose] if kind == "compose" else [], id=f"{kind}-{name}")
    for kind, cluster in CLUSTERS.items()
    for name, fault in faults.ALL.items()
    if name not in ENDS_THE_JOB and all(issubclass(cluster, need) for need in fault.needs)
]


def test_every_fault_has_a_case() -> None:
    assert set(INJECTIONS) == set(faults.ALL)


@pytest.mark.parametrize(("kind", "name"), CASES)
async def test_contract(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{WORKLOAD}  - {INJECTIONS[name]}\n", kind)
    results = await lab.run(spec)
    history = results.history
    assert len(history.of(FaultInjected)) == 1, results.report
    assert [event.outcome for _, event in history.of(FaultProbed)] == ["took_effect"], results.report
    healed = history.of(FaultHealed)
    assert len(healed) == int(faults.ALL[name].lasts)
    assert all(event.proven for _, event in healed), results.report
    assert [event.leftovers for _, event in history.of(CleanlinessChecked)] == [()]
    assert results.judgement == "pass", results.report


FATAL_CASES = [
    pytest.param(kind, name, marks=[pytest.mark.compose] if kind == "compose" else [], id=f"{kind}-{name}")
    for kind in CLUSTERS
    for name in ENDS_THE_JOB
]


@pytest.mark.parametrize(("kind", "name"), FATAL_CASES)
async def test_what_ends_the_job_is_seen_to(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{WORKLOAD}  - {INJECTIONS[name]}\n", kind)
    own = CLUSTERS[kind](f"lab-{kind}-{name.replace('_', '-')}", spec.cluster)
    await own.start()
    try:
        results = await lab.run(spec, on=own)
    finally:
        await own.stop()
    history = results.history
    assert len(history.of(FaultInjected)) == 1, results.report
    assert [event.outcome for _, event in history.of(FaultProbed)] == ["took_effect"], results.report
    assert [event.outcome for _, event in history.of(WorkloadFinished)] == ["failed"], results.report
    assert [event.leftovers for _, event in history.of(CleanlinessChecked)] == [()]
    assert results.judgement == "fail", results.report


async def _stopped(cluster: CloudCluster) -> list[bool]:
    return [process.stopped for process in await cluster.processes_of("head") if process.role == "dashboard_agent"]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.compose] if kind == "compose" else []) for kind in CLUSTERS]
)
async def test_a_freeze_of_the_node_and_a_stopped_process_of_it_do_not_undo_each_other(lab: Lab, kind: str) -> None:
    cluster = await lab.cluster(lab.spec(f"{WORKLOAD}  - {INJECTIONS['pause_node']}\n", kind))
    await cluster.stop_processes("head", "dashboard_agent", effect_id="stop", lease_s=30.0)
    assert await _stopped(cluster) == [True]
    await cluster.pause_node("head", effect_id="freeze", lease_s=30.0)
    await cluster.undo("freeze")
    assert await _stopped(cluster) == [True]
    await cluster.pause_node("head", effect_id="freeze", lease_s=30.0)
    await cluster.undo("stop")
    vitals = await cluster.vitals("head")
    assert vitals is not None
    assert vitals.stopped == vitals.processes
    await cluster.undo("freeze")
    assert await _stopped(cluster) == [False]
    assert await cluster.leftovers() == ()
