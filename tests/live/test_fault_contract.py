"""The contract every fault keeps on every cluster that can do it: it bites, it is seen to, it heals, nothing stays."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

import faults
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.events import CleanlinessChecked, FaultHealed, FaultInjected, FaultProbed, WorkloadFinished
from chaos.results import Results
from tests.live.lab import Lab
from tests.live.rulers import BURST, PAIR, ruler
from tests.live.tours import TOURS, Guide

TOUR_LIMIT_S = 900


def marks_of(kind: str, name: str) -> list[pytest.MarkDecorator]:
    """What a case of a fault, or of a tour, needs; on compose, what the Cloud alone does is `wide`.

    It is the same program on every kind of cluster, and it is tested on local each time.
    """
    if kind != "compose":
        return []
    return [pytest.mark.compose, *([pytest.mark.wide] if name in OF_THE_CLOUD else [])]


OF_THE_CLOUD = {"launches", "vanish_node", "omit_from_listing", "stale_listing", "change_limits"}
SEVERAL = [
    pytest.param(kind, tour, name, marks=marks_of(kind, tour), id=f"{kind}-{name}")
    for kind in CLUSTERS
    for tour in TOURS
    for name in TOURS[tour].able(kind)
]

WORKLOAD = f"cluster: {{{PAIR}}}\nworkload: {BURST}\nschedule:\n"
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
# What a GCS that remembers keeps its knowledge in.
STORAGE = {"local": "rocksdb", "compose": "redis"}
# What some need in place of WORKLOAD: an autoscaler that soon gives up what it takes for a launch that never comes, so
# that the cluster is as it was for the next case; a GCS that remembers, and a driver that does not die with the head.
GIVING_UP = WORKLOAD.replace(
    PAIR,
    f"""{PAIR}, ray_environment: {{
  RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S: "15",
  RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: "15"}}""",
)
REMEMBERING = f"""
workload: {BURST}
cluster:
  gcs_storage: STORAGE
  driver_on: driver
  max_workers: 3
  node_types:
    gpu: {{resources: {{CPU: 2, GPU: 1}}, max_workers: 2}}
    driver: {{resources: {{CPU: 1}}, min_workers: 1, max_workers: 1}}
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
    "stale_listing": {
        "no_overshoot",
        "no_leaked_nodes",
        "scale_up_converges",
        "updates_succeed",
        "ends_have_reasons",
    },
}
# What a job cannot outlive: it fails as was expected of it. Nor can the cluster, unless it is the driver's end.
ENDS_THE_JOB = {"kill_driver": LATER, "kill_gcs": LATER}


def on_clusters(names: Iterable[str]) -> list[object]:
    """A case for each kind of cluster and each of the faults that it can do."""
    return [
        pytest.param(kind, name, marks=marks_of(kind, name), id=f"{kind}-{name}")
        for kind, cluster in CLUSTERS.items()
        for name in names
        if not faults.ALL[name].missing_capabilities(cluster)
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guide(lab: Lab, request: pytest.FixtureRequest) -> AsyncIterator[Guide]:
    """Takes the tours, each once."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    cases = [item.callspec.params for item in items if not item.get_closest_marker("skip")]
    guide = Guide(lab, {(str(case["tour"]), str(case["kind"])) for case in cases if {"tour", "kind"} <= case.keys()})
    yield guide
    await guide.go_home()


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
    named = [name for tour in TOURS.values() for name in tour.names] + [*ALONE, *ENDS_THE_JOB]
    kinds = CLUSTERS.values()
    able = [name for name, fault in faults.ALL.items() if not all(fault.missing_capabilities(kind) for kind in kinds)]
    assert sorted(named) == sorted(able)


@pytest.mark.timeout(TOUR_LIMIT_S)
@pytest.mark.parametrize(("kind", "tour", "name"), SEVERAL)
async def test_a_fault_among_others(guide: Guide, kind: str, tour: str, name: str) -> None:
    results = await guide.take(tour, kind)
    seen_to(results, name, name)


@pytest.mark.timeout(TOUR_LIMIT_S)
@pytest.mark.parametrize(
    ("kind", "tour"),
    [
        pytest.param(kind, tour, marks=marks_of(kind, tour), id=f"{kind}-{tour}")
        for kind in CLUSTERS
        for tour in TOURS
        if TOURS[tour].able(kind)
    ],
)
async def test_a_tour_passes_and_leaves_nothing(guide: Guide, kind: str, tour: str) -> None:
    results = await guide.take(tour, kind)
    nothing_left(results)
    assert results.judgement == "pass", results.report


@pytest.mark.parametrize(("kind", "name"), on_clusters(ALONE))
async def test_a_fault_alone(lab: Lab, kind: str, name: str) -> None:
    run = RUNS.get(name, WORKLOAD).replace("STORAGE", STORAGE[kind])
    spec = lab.spec(f"{run}  - {{fault: {name}, {ALONE[name]}}}\n", kind)
    results = await lab.run(spec, baseline_of=ruler(lab, kind, BURST))
    seen_to(results, "i1", name)
    nothing_left(results)
    amiss = {verdict.name for verdict in results.verdicts if verdict.verdict != "pass"}
    assert amiss <= FINDINGS.get(name, set()), results.report


@pytest.mark.parametrize(("kind", "name"), on_clusters(ENDS_THE_JOB))
async def test_what_ends_the_job_is_seen_to(lab: Lab, kind: str, name: str) -> None:
    spec = lab.spec(f"{WORKLOAD}  - {{fault: {name}, {ENDS_THE_JOB[name]}}}\n", kind)
    async with contextlib.AsyncExitStack() as ending:
        own = None
        if faults.ALL[name].acts_on != "driver":
            own = CLUSTERS[kind](f"lab-{kind}-{name.replace('_', '-')}", spec.cluster)
            ending.push_async_callback(own.stop)
            await own.start()
        results = await lab.run(spec, on=own, baseline_of=ruler(lab, kind, BURST))
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
