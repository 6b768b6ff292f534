"""The contract every fault keeps on every cluster that can do it: it bites, it is seen to, it heals, nothing stays."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import pytest_asyncio

import faults
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.events import CleanlinessChecked, FaultHealed, FaultInjected, FaultProbed, WorkloadFinished
from chaos.results import Results
from tests.live.lab import Lab
from tests.live.tours import Guide, Tour

TWO = "max_workers: 2, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2, disk_limit_mb: 64}}"
# Faults that can follow each other in one run; a new fault joins a tour, or ALONE.
# One node more than the job wants: while a node that crashed and came back is in the GCS twice, it counts twice.
THREE = "max_workers: 3, node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 3}}"
TOUR_LIMIT_S = 900
# Bursts of work with pauses in which the cluster shrinks to nothing: each burst asks for launches, which a fault meets.
BURSTS = 13
PAUSE_S = 4.5
MEETING_LAUNCHES = {
    "delay_launch": "delay_s: 3, duration_s: 6",
    "fail_launch": "reason: quota_exceeded, count: 2, duration_s: 6",
    "limit_capacity": "at_most: 1, duration_s: 6",
    "partial_launch": "duration_s: 6",
    "lose_launch_reply": "requests: 1, duration_s: 6",
    "duplicate_launch": "count: 1, duration_s: 6",
    "zombie_launch": "count: 1, duration_s: 12",
    "slow_join": "delay_s: 4, count: 1, duration_s: 6",
    "cloud_outage": "duration_s: 4",
    "fail_rpcs": "request_failure_percent: 5, duration_s: 10",
    "delay_rpcs": "max_delay_ms: 20, duration_s: 10",
}
MEETING_ENDS = {"delay_terminate": "delay_s: 2, duration_s: 8", "fail_terminate": "duration_s: 8"}


def bursting() -> Tour:
    """Launch faults in force at the beginning of each burst, then faults that meet the end of nodes in the pauses."""
    stages = ", ".join(f"{{tasks: 2, batches: 2}}, {{tasks: 0, pause_s: {PAUSE_S:g}}}" for _ in range(BURSTS))
    parameters = {}
    for burst, (name, own) in enumerate(MEETING_LAUNCHES.items()):
        # The pause before the burst is the demand of that number; nodes are gone before it ends.
        begun = f"on: {{event: workload.demand, nth: {2 * burst}}}, after_s: {PAUSE_S - 0.5:g}" if burst else "at_s: 0"
        parameters[name] = f"{own}, {begun}"
    for burst, (name, own) in enumerate(MEETING_ENDS.items(), start=len(MEETING_LAUNCHES)):
        parameters[name] = f"{own}, on: {{event: workload.demand, nth: {2 * burst + 2}}}"
    return Tour(
        job=f"{{name: task_bursts, stages: [{stages}]}}",
        cluster=f"{TWO}, idle_timeout_s: 1",
        parameters=parameters,
        short="{name: task_bursts, stages: [{tasks: 2, batches: 2}, {tasks: 0, pause_s: 5}, {tasks: 2, batches: 2}]}",
    )


TOURS = {
    "launches": bursting(),
    "nodes": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 130}]}",
        cluster=TWO,
        parameters={
            "pause_node": "target: newest, duration_s: 2",
            "pause_process": "role: worker, target: oldest, duration_s: 2",
            "kill_dashboard_agent": "target: oldest",
            "kill_worker_process": "runs: predict_rows, target: oldest",
            "gpu_out_of_memory": "target: oldest, duration_s: 2",
            "gpu_ecc_error": "target: newest, duration_s: 2",
            "gpu_lost": "target: oldest, duration_s: 2",
            "gpu_hang": "target: newest, duration_s: 5",
            "gpu_slow": "factor: 3, target: oldest, duration_s: 6",
            "pause_autoscaler": "duration_s: 3",
            "kill_autoscaler": "duration_s: 3",
            "press_memory": "mb: 200, target: oldest, duration_s: 3",
            "exhaust_file_descriptors": "target: oldest, duration_s: 2",
            "fill_object_store": "percent: 80, target: oldest, duration_s: 8",
            "fill_disk": "target: oldest, duration_s: 3",
            "throttle_disk": "mb_per_s: 2, target: oldest, duration_s: 3",
            "change_idle_timeout": "idle_timeout_s: 2, duration_s: 3",
            "change_node_types": "new_type: big, resources: {CPU: 4, GPU: 2}, duration_s: 4",
        },
    ),
    "networks": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 90}]}",
        cluster=TWO,
        parameters={
            "throttle_network": "rate_mbit: 4, target: random, duration_s: 3",
            "partition_network": "peers: head, target: random, duration_s: 2",
            "delay_network": "delay_ms: 40, jitter_ms: 5, target: random, duration_s: 3",
            "lose_packets": "percent: 5, target: random, duration_s: 3",
            "duplicate_packets": "percent: 5, target: random, duration_s: 3",
            "corrupt_packets": "percent: 5, target: random, duration_s: 3",
            "reorder_packets": "percent: 5, target: random, duration_s: 3",
            "flap_network": "down_s: 0.4, up_s: 0.6, target: random, duration_s: 4",
            "reset_connections": "target: random, duration_s: 1",
        },
    ),
    "losses": Tour(
        job="{name: task_bursts, stages: [{tasks: 2, batches: 110}]}",
        cluster=THREE,
        parameters={
            "kill_node": "target: oldest",
            "kill_raylet": "target: oldest",
            "preempt_node": "target: oldest, duration_s: 3",
            "stop_node": "target: oldest, duration_s: 3",
            "restart_node": "target: oldest",
        },
    ),
}
SEVERAL = [
    pytest.param(kind, tour, name, marks=[pytest.mark.compose] if kind == "compose" else [], id=f"{kind}-{name}")
    for kind in CLUSTERS
    for tour in TOURS
    for name in TOURS[tour].able(kind)
]

WORKLOAD = """
workload: {name: task_bursts, stages: [{tasks: 2, batches: 16}]}
cluster:
  max_workers: 2
  node_types: {gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2, disk_limit_mb: 64}}
schedule:
"""
LATER = "on: {progress_percent: 10}"
# Faults that want a run of their own: Ray does not take them well, or the run must be of another kind.
ALONE = {
    # A node that has just joined is busy importing torch: of a node that wants no CPU time, none can be kept.
    "throttle_cpu": "cores: 0.2, target: oldest, on: {event: node.joined}, after_s: 0.5, duration_s: 4",
    "pause_gcs": f"{LATER}, duration_s: 2",
    "vanish_node": f"target: newest, {LATER}, duration_s: 4",
    "omit_from_listing": f"answers: 2, target: newest, {LATER}, duration_s: 4",
    "stale_listing": "at_s: 0, duration_s: 5",
    "change_limits": "max_workers: 1, on: {event: node.joined, nth: 2}, duration_s: 6",
    "restart_head": LATER,
}
# What some need in place of WORKLOAD: an autoscaler that soon gives up what it takes for a launch that never comes, so
# that the cluster is as it was for the next case; a GCS that remembers, and a driver that does not die with the head.
GIVING_UP = WORKLOAD.replace(
    "schedule:",
    """  ray_environment:
    RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "15"
    RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "15"
schedule:""",
)
REMEMBERING = """
workload: {name: task_bursts, stages: [{tasks: 2, batches: 16}]}
cluster:
  gcs_storage: rocksdb
  driver_on: driver
  max_workers: 3
  node_types:
    gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}
    driver: {resources: {CPU: 1}, min_workers: 1, max_workers: 1}
schedule:
"""
RUNS = {
    "omit_from_listing": GIVING_UP,
    "stale_listing": GIVING_UP,
    "restart_head": REMEMBERING,
}
# The checks that Ray may fail under a fault, by what docs/track-record.md has found; everything else holds.
FINDINGS = {
    "vanish_node": {"no_overshoot"},
    "omit_from_listing": {"no_overshoot"},
    "stale_listing": {"no_overshoot", "no_leaked_nodes", "scale_up_converges"},
}
# What a job cannot outlive: it fails as was expected of it, on a cluster of its own.
ENDS_THE_JOB = {"kill_driver": LATER, "kill_gcs": LATER}


def on_clusters(names: Iterable[str]) -> list[object]:
    """A case for each kind of cluster and each of the faults that it can do."""
    return [
        pytest.param(kind, name, marks=[pytest.mark.compose] if kind == "compose" else [], id=f"{kind}-{name}")
        for kind, cluster in CLUSTERS.items()
        for name in names
        if not faults.ALL[name].missing_capabilities(cluster)
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guide(lab: Lab) -> Guide:
    """Takes the tours, each once."""
    return Guide(lab)


def seen_to(results: Results, injection: str, name: str) -> None:
    """The fault was injected, proven, and healed where it lasts."""
    history = results.history
    assert [e.injection for _, e in history.of(FaultInjected)].count(injection) == 1, results.report
    probed = [event.outcome for _, event in history.of(FaultProbed) if event.injection == injection]
    assert probed == ["took_effect"], results.report
    healed = [event for _, event in history.of(FaultHealed) if event.injection == injection]
    assert len(healed) == int(faults.ALL[name].lasts), results.report
    assert all(event.proven for event in healed), results.report


def nothing_left(results: Results) -> None:
    """The cluster is as it was before."""
    assert [event.leftovers for _, event in results.history.of(CleanlinessChecked)] == [()], results.report


def test_every_fault_has_a_case() -> None:
    named = [name for tour in TOURS.values() for name in tour.parameters] + [*ALONE, *ENDS_THE_JOB]
    assert sorted(named) == sorted(faults.ALL)


@pytest.mark.timeout(TOUR_LIMIT_S)
@pytest.mark.parametrize(("kind", "tour", "name"), SEVERAL)
async def test_a_fault_among_others(guide: Guide, kind: str, tour: str, name: str) -> None:
    results = await guide.take(tour, TOURS[tour], kind)
    seen_to(results, name, name)


@pytest.mark.timeout(TOUR_LIMIT_S)
@pytest.mark.parametrize("tour", TOURS)
@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
async def test_a_tour_passes_and_leaves_nothing(guide: Guide, kind: str, tour: str) -> None:
    if not TOURS[tour].able(kind):
        return
    results = await guide.take(tour, TOURS[tour], kind)
    nothing_left(results)
    assert results.judgement == "pass", results.report


@pytest.mark.parametrize(("kind", "name"), on_clusters(ALONE))
async def test_a_fault_alone(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{RUNS.get(name, WORKLOAD)}  - {{fault: {name}, {ALONE[name]}}}\n", kind)
    results = await lab.run(spec)
    seen_to(results, "i1", name)
    nothing_left(results)
    amiss = {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}
    assert amiss <= FINDINGS.get(name, set()), results.report


@pytest.mark.parametrize(("kind", "name"), on_clusters(ENDS_THE_JOB))
async def test_what_ends_the_job_is_seen_to(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{WORKLOAD}  - {{fault: {name}, {ENDS_THE_JOB[name]}}}\n", kind)
    own = CLUSTERS[kind](f"lab-{kind}-{name.replace('_', '-')}", spec.cluster)
    await own.start()
    try:
        results = await lab.run(spec, on=own)
    finally:
        await own.stop()
    seen_to(results, "i1", name)
    nothing_left(results)
    assert [event.outcome for _, event in results.history.of(WorkloadFinished)] == ["failed"], results.report
    assert results.judgement == "pass", results.report


async def _stopped(cluster: CloudCluster) -> list[bool]:
    return [process.stopped for process in await cluster.processes_of("head") if process.role == "dashboard_agent"]


@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
async def test_a_freeze_of_the_node_and_a_stopped_process_of_it_do_not_undo_each_other(lab: Lab, kind: str) -> None:
    cluster = await lab.cluster(lab.spec(f"{WORKLOAD}  []\n", kind))
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
