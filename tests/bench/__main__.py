"""`make bench`: each promised number against its bound, one JSON line each. Nothing here gates a test."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil

import faults
import workloads
from chaos.campaign import Campaign
from chaos.cluster import Cluster
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.clusters.compose import ComposeCluster
from chaos.commands import CLUSTERS, KINDS, TWIN, versions
from chaos.events import ClusterSampled, FaultHealed, FaultInjected, WorkloadFinished, WorkloadStarted
from chaos.history import History
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import create
from chaos.workload import EVENT_PREFIX
from tests.bench import bare
from tests.live.lab import Silence
from tests.live.tours import TOURS

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
WORKERS = 4
REPEATS = 3
LATENESS_BOUND_MS = {"local": 50.0, "compose": 250.0}
PAUSES = 40
JOB = "{name: batch_inference, rows: 1280}"
WATCH_REPEATS = 5
TWIN_WORKERS = 8
TWIN_TIMES = 700
FIXED_NODES = "{resources: {CPU: 2, GPU: 1}, min_workers: 2, max_workers: 2}"
FIXED_JOB = "{name: batch_inference, rows: 1280, min_actors: 2, max_actors: 2}"


def tell(name: str, value: float, bound: float, unit: str, **more: object) -> None:
    """Prints one number."""
    line = {"name": name, "value": round(value, 4), "bound": bound, "unit": unit, "holds": value <= bound, **more}
    print(json.dumps(line), flush=True)


def spec(kind: str, text: str) -> RunSpec:
    """A specification for one kind of cluster."""
    return parse(text, KNOWN, overrides=[f"cluster.kind={kind}"])


async def start_ratio(kind: str) -> None:
    """Cluster start, against the same nodes started bare; in turn, the median of the ratios."""
    wanted = spec(kind, f"cluster: {{node_types: {{gpu: {{resources: {{CPU: 2, GPU: 1}}, min_workers: {WORKERS}}}}}}}")
    ratios, ours, theirs = [], [], []
    for repeat in range(REPEATS):
        cluster = CLUSTERS[kind](f"bench-{os.getpid()}-{repeat}", wanted.cluster)
        began_s = time.monotonic()
        await cluster.start()
        ours.append(time.monotonic() - began_s)
        image = cluster.image if isinstance(cluster, ComposeCluster) else ""
        await cluster.stop()
        with yardstick(kind, image) as took_s:
            theirs.append(took_s)
        ratios.append(ours[-1] / theirs[-1])
    tell(
        f"{kind}.start_ratio",
        statistics.median(ratios),
        1.3,
        "ours / bare",
        ours_s=_rounded(ours),
        bare_s=_rounded(theirs),
    )


def yardstick(kind: str, image: str) -> AbstractContextManager[float]:
    """The same nodes, bare."""
    return bare.processes(WORKERS) if kind == "local" else bare.containers(WORKERS, image)


async def lateness(kind: str, store: Path) -> None:
    """From an injection's due time to when it was applied, under load; 99th percentile."""
    lines = "".join(
        f"  - {{fault: pause_node, target: random, at_s: {20 + 1.1 * number:.1f}, duration_s: 0.3, may_miss: true}}\n"
        for number in range(PAUSES)
    )
    job = "{name: task_bursts, stages: [{tasks: 4, batches: 260}]}"
    history = await on_fresh(kind, store, spec(kind, f"workload: {job}\nschedule:\n{lines}deadline_s: 300\n"))
    late_ms = sorted(event.lateness_s * 1000 for _, event in history.of(FaultInjected))
    p99 = statistics.quantiles(late_ms, n=100, method="inclusive")[98]
    tell(f"{kind}.lateness_p99", p99, LATENESS_BOUND_MS[kind], "ms", injections=len(late_ms),
         median_ms=round(statistics.median(late_ms), 1))  # fmt: skip


async def catalogue(kind: str, store: Path) -> None:
    """Every fault of the tours: from due to applied, and from the end of its duration to healed; 99th percentiles."""
    late_ms: dict[str, float] = {}
    healed_s: dict[str, float] = {}
    for tour in TOURS.values():
        if not tour.able(kind):
            continue
        history = await on_fresh(kind, store, spec(kind, tour.spec_text(job=tour.job, schedule=tour.schedule(kind))))
        late_ms |= {event.fault: event.lateness_s * 1000 for _, event in history.of(FaultInjected)}
        healed_s |= {event.fault: event.healed_s - event.due_s for _, event in history.of(FaultHealed)}
    for name, found, bound, unit in (
        ("catalogue_lateness_p99", late_ms, LATENESS_BOUND_MS[kind], "ms"), ("healing_p99", healed_s, 1.0, "s"),
    ):  # fmt: skip
        p99 = statistics.quantiles(sorted(found.values()), n=100, method="inclusive")[98]
        slowest = sorted(found, key=found.__getitem__)[-5:]
        tell(f"{kind}.{name}", p99, bound, unit, faults=len(found),
             slowest={name: round(found[name], 3) for name in reversed(slowest)})  # fmt: skip


def twin_speed(store: Path) -> None:
    """What a second of the twin's time costs, with 8 workers and an update each 5 s, through an hour of load."""
    from chaos.clusters.sim import SimCluster

    node = f"{{resources: {{CPU: 2, GPU: 1}}, min_workers: {TWIN_WORKERS}, max_workers: {TWIN_WORKERS}}}"
    limits = f"update_interval_s: 5, max_workers: {TWIN_WORKERS}, node_types: {{gpu: {node}}}"
    job = f"{{name: task_bursts, device_ms_per_batch: 60000, stages: [{{tasks: {TWIN_WORKERS}, batches: 480}}]}}"
    wanted = parse(f"cluster: {{kind: sim, {limits}}}\nworkload: {job}\ndeadline_s: 10000\n", KNOWN)

    async def main() -> float:
        cluster = SimCluster("bench", wanted.cluster)
        await cluster.start()
        try:
            return (await on_warm(cluster, store, wanted)).end_s
        finally:
            await cluster.stop()

    began_s = time.process_time()
    virtual_s = run_in_virtual_time(main)
    cost = (time.process_time() - began_s) / virtual_s
    tell("sim.exact_cost", cost, 1 / TWIN_TIMES, "s / virtual s", virtual_s=round(virtual_s), times=round(1 / cost))


async def on_fresh(kind: str, store: Path, wanted: RunSpec) -> History:
    """One run without a baseline on a cluster of its own."""
    cluster = CLUSTERS[kind](f"bench-{os.getpid()}", wanted.cluster)
    await cluster.start()
    try:
        campaign = Campaign(cluster, store=store, versions=versions(), view=Silence)
        return await campaign.run(wanted, create(store, wanted), baseline=None)
    finally:
        await cluster.stop()


async def warm_run(kind: str, store: Path) -> None:
    """A run on a warm cluster by the command: its turn-around, and its peak memory."""
    wanted = spec(kind, f"workload: {JOB}\n")
    cluster = CLUSTERS[kind](f"bench-warm-{os.getpid()}", wanted.cluster)
    await cluster.start()
    try:
        await Campaign(cluster, store=store, versions=versions(), view=Silence).baseline(wanted)
        await cluster.keep()
        wall_s, peak_mib, cpu_s = await asyncio.to_thread(_command, cluster, store)
    finally:
        await cluster.stop()
    history = History.load(store / "latest" / "history.jsonl")
    job_s = _job_s(history)
    tell(
        f"{kind}.warm_turn_around",
        wall_s - job_s - _idle_s(history),
        5.0,
        "s",
        wall_s=round(wall_s, 1),
        job_s=round(job_s, 1),
    )
    tell(f"{kind}.runner_peak_memory", peak_mib, 250.0, "MiB",
         cpu_share=round(cpu_s / (wall_s * (os.cpu_count() or 1)), 4))  # fmt: skip


async def watching_cost(kind: str, store: Path) -> None:
    """What sampling and recording cost a fault-free job: its duration watched, against unwatched; in turn."""
    wanted = spec(kind, f"cluster: {{node_types: {{gpu: {FIXED_NODES}}}}}\nworkload: {FIXED_JOB}\n")
    cluster = CLUSTERS[kind](f"bench-watch-{os.getpid()}", wanted.cluster)
    await cluster.start()
    ratios, watched, unwatched = [], [], []
    try:
        await cluster.keep()
        await on_warm(cluster, store, wanted)  # the first job on a cluster also starts Ray's workers
        for _ in range(WATCH_REPEATS):
            watched.append(_job_s(await on_warm(cluster, store, wanted)))
            await cluster.release()
            unwatched.append(await unwatched_job_s(cluster, wanted))
            await cluster.attach()
            ratios.append(watched[-1] / unwatched[-1])
    finally:
        await cluster.stop()
    tell(
        f"{kind}.watching_cost",
        1.0 - 1.0 / statistics.median(ratios),
        0.02,
        "share of the fault-free throughput",
        spread=[round(1.0 - 1.0 / ratio, 4) for ratio in sorted(ratios)],
        watched_s=_rounded(watched),
        unwatched_s=_rounded(unwatched),
    )


async def on_warm(cluster: Cluster, store: Path, wanted: RunSpec) -> History:
    """One run without a baseline on a cluster that is there."""
    campaign = Campaign(cluster, store=store, versions=versions(), view=Silence)
    return await campaign.run(wanted, create(store, wanted), baseline=None)


async def unwatched_job_s(cluster: CloudCluster, wanted: RunSpec) -> float:
    """The same job by its driver alone, from the start of its load to its end."""
    workload = wanted.workload
    here, on_nodes = cluster.data_directory("unwatched")
    process = await cluster.execute(
        workload.driver_module,
        ("--params", workload.model_dump_json()),
        environment={"RAYCHAOS_DATA": on_nodes, **workload.environment()},
    )
    at_s: dict[str, float] = {}
    async for line in process.lines():
        if line.startswith(EVENT_PREFIX):
            event = json.loads(line.removeprefix(EVENT_PREFIX))
            at_s[event["kind"]] = event["monotonic_s"]
    assert await process.wait() == 0, "the unwatched job failed"
    shutil.rmtree(here)
    return at_s["workload.finished"] - at_s["workload.started"]


def _command(cluster: CloudCluster, store: Path) -> tuple[float, float, float]:
    """`raychaos run` on the warm cluster: wall seconds, peak MiB of the runner, CPU seconds of it and its sampler."""
    began_s = time.monotonic()
    runner = subprocess.Popen(
        [sys.executable, "-m", "chaos.cli", "run", "--name", cluster.name, "--cluster", cluster.kind,
         "--set", f"workload={JOB}", "--set", "schedule=[]", "--store", str(store)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak_kib, cpu_s = 0, {}
    watched = psutil.Process(runner.pid)
    while runner.poll() is None:
        try:
            status = Path(f"/proc/{runner.pid}/status").read_text()
            for process in (watched, *watched.children()):
                if process.pid == runner.pid or "gcs_sampler" in " ".join(process.cmdline()):
                    times = process.cpu_times()
                    cpu_s[process.pid] = times.user + times.system
        except (OSError, psutil.NoSuchProcess):
            continue
        peak_kib = max(peak_kib, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
        time.sleep(0.1)
    assert runner.returncode in (0, 3), f"the run ended with {runner.returncode}"
    return time.monotonic() - began_s, peak_kib / 1024, sum(cpu_s.values())


def _job_s(history: History) -> float:
    began, ended = history.first(WorkloadStarted), history.last(WorkloadFinished)
    assert began is not None
    assert ended is not None
    return ended[0].t_s - began[0].t_s


def _idle_s(history: History) -> float:
    """From the load's end until only the head is left."""
    ended = history.last(WorkloadFinished)
    assert ended is not None
    settled = next(
        (
            record.t_s
            for record, sample in history.of(ClusterSampled, since_s=ended[0].t_s)
            if sample.reachable and not any(node != "head" for node in sample.cloud)
        ),
        history.end_s,
    )
    return settled - ended[0].t_s


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--cluster", action="append", choices=KINDS, help="default: all")
    parser.add_argument("--only", action="append", help="part of a number's name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raychaos-bench-") as directory:
        os.environ.update(RAYCHAOS_HOME=f"{directory}/home", RAY_USAGE_STATS_ENABLED="0")
        store = Path(directory) / "runs"
        if TWIN in (options.cluster or (TWIN,)) and (not options.only or "twin_speed" in options.only):
            twin_speed(store)
        for kind in [kind for kind in options.cluster or CLUSTERS if kind != TWIN]:
            parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
                "start_ratio": functools.partial(start_ratio, kind),
                "lateness_p99": functools.partial(lateness, kind, store),
                "catalogue": functools.partial(catalogue, kind, store),
                "warm": functools.partial(warm_run, kind, store),
                "watching_cost": functools.partial(watching_cost, kind, store),
            }
            for name, measure in parts.items():
                if not options.only or any(word in name for word in options.only):
                    asyncio.run(measure())


if __name__ == "__main__":
    main()
