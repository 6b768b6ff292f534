"""`make bench`: each promised number against its bound, one JSON line each. Nothing here gates a test."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from hypothesis import Phase, given, settings
from hypothesis.statistics import collector
from hypothesis.strategies import SearchStrategy, integers, lists

import faults
import workloads
from chaos import strategies
from chaos.campaign import Campaign
from chaos.cluster import Cluster
from chaos.cluster_spec import ClusterSpec
from chaos.cluster_under_test import ClusterUnderTest, ClusterWish, Setting
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.clusters.compose import ComposeCluster
from chaos.commands import CLUSTERS, KINDS, TWIN
from chaos.events import ClusterSampled, FaultHealed, FaultInjected, WorkloadFinished, WorkloadStarted
from chaos.history import History
from chaos.installed import versions
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import create
from chaos.strategies.dice import SeededDice
from chaos.strategies.schedule import draw_schedule
from chaos.workload import EVENT_PREFIX
from tests.bench import bare, shrinking, twin
from tests.bench.telling import tell
from tests.live.lab import Silence
from tests.live.tours import TOURS

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
WORKERS = 4
REPEATS = 3
LATENESS_BOUND_MS = {"local": 50.0, "compose": 250.0}
PAUSES = 40
JOB = "{name: batch_inference, rows: 1280}"
WATCH_REPEATS = 5
GENERATED = 2000
CHOICES = 28  # numbers a schedule is drawn from, on average
SCHEDULES_PER_S = 2000
FIXED_NODES = "{resources: {CPU: 2, GPU: 1}, min_workers: 2, max_workers: 2}"
FIXED_JOB = "{name: batch_inference, rows: 1280, min_actors: 2, max_actors: 2}"


def spec(kind: str, text: str) -> RunSpec:
    """A specification for one kind of cluster."""
    return parse(text, KNOWN, overrides=[f"cluster.kind={kind}"])


async def start_ratio(kind: str, _: Path) -> None:
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
        history = await on_fresh(kind, store, spec(kind, tour.spec_text(kind)))
        late_ms |= {event.fault: event.lateness_s * 1000 for _, event in history.of(FaultInjected)}
        healed_s |= {event.fault: event.healed_s - event.due_s for _, event in history.of(FaultHealed)}
    for name, found, bound, unit in (
        ("catalogue_lateness_p99", late_ms, LATENESS_BOUND_MS[kind], "ms"), ("healing_p99", healed_s, 1.0, "s"),
    ):  # fmt: skip
        p99 = statistics.quantiles(sorted(found.values()), n=100, method="inclusive")[98]
        slowest = sorted(found, key=found.__getitem__)[-5:]
        tell(f"{kind}.{name}", p99, bound, unit, faults=len(found),
             slowest={name: round(found[name], 3) for name in reversed(slowest)})  # fmt: skip


def shrink_quality() -> None:
    """The shrinker on planted flaky bugs: how small, in how many runs, and how true the rate it tells is."""
    for rate in shrinking.RATES:
        seen = shrinking.quality(rate)
        named = f"shrink.at_{rate:g}"
        tell(f"{named}.size", seen.size, shrinking.SIZE_BOUND, "of the optimum", largest=round(seen.largest, 2),
             plain=round(seen.plain_size, 2))  # fmt: skip
        tell(f"{named}.runs", seen.runs / seen.plain_runs, shrinking.RUNS_BOUND, "ours / plain ddmin", runs=seen.runs,
             plain_runs=seen.plain_runs)  # fmt: skip
        tell(f"{named}.wrong_signature", seen.strays, 0, f"of {shrinking.BUGS}")
    tell("shrink.interval_misses", 1.0 - shrinking.coverage(), 1.0 - shrinking.COVERAGE_BOUND,
         f"of {shrinking.TRIALS}")  # fmt: skip


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


async def warm_example(kind: str, store: Path) -> None:
    """What a test's example costs on a warm cluster beside its load and the nodes' end: the median of a few."""
    cluster = ClusterUnderTest(
        KNOWN, store, name="bench-example", view=Silence, on_run=lambda _: None, before_run=lambda: None
    )
    cluster.enter(Setting(wish=ClusterWish(cluster=kind, workers=2), scope="bench", beside=store))
    job = workloads.BatchInference(rows=320, max_actors=2)
    costs = []
    try:
        await asyncio.to_thread(cluster.run, job)  # starts the cluster, and measures the baseline
        for _ in range(REPEATS):
            began_s = time.monotonic()
            run = await asyncio.to_thread(cluster.run, job)
            wall_s = time.monotonic() - began_s
            costs.append(wall_s - _job_s(run.history) - _idle_s(run.history))
    finally:
        cluster.leave(keep_runs=False, keep_cluster=False)
        cluster.close()
    tell(f"{kind}.warm_example", statistics.median(costs), 3.0, "s", each_s=_rounded(costs))


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


def generation() -> None:
    """Schedules drawn from all faults of a cluster, a second of this process: with seeded dice, and through Hypothesis.

    Campaigns use seeded dice. Under Hypothesis most of the time is its own: beside it stands what a list of
    as many whole numbers takes as a schedule is drawn from.
    """
    plan = strategies.plan(cluster=ClusterSpec(kind="compose"), faults=faults.ALL)
    dice, began_s = SeededDice(random.Random(0)), time.process_time()
    for _ in range(GENERATED):
        draw_schedule(dice, plan)
    seeded_per_s = GENERATED / (time.process_time() - began_s)
    drawn_per_s, made, told = _by_hypothesis(
        strategies.schedules(cluster=ClusterSpec(kind="compose"), faults=faults.ALL)
    )
    floor_per_s, _, _ = _by_hypothesis(lists(integers(0, 2**32), min_size=CHOICES, max_size=CHOICES))
    statuses = Counter(case["status"] for case in told[0]["generate-phase"]["test-cases"])
    tell("generation", 1000.0 / seeded_per_s, 1000.0 / SCHEDULES_PER_S, "ms a schedule", per_s=round(seeded_per_s),
         hypothesis_per_s=round(drawn_per_s), hypothesis_lists_per_s=round(floor_per_s))  # fmt: skip
    tell("generation_rejected", statuses["invalid"] / made, 0.01, "of draws", schedules=made)


def _by_hypothesis(strategy: SearchStrategy[object]) -> tuple[float, int, list[dict[str, Any]]]:
    """How many values a second a test is given that does nothing; how many in all; what Hypothesis tells of them."""
    made = 0

    @settings(max_examples=GENERATED, database=None, deadline=None, phases=[Phase.generate])
    @given(strategy)
    def take(_: object) -> None:
        nonlocal made
        made += 1

    told: list[dict[str, Any]] = []
    began_s = time.process_time()
    with collector.with_value(told.append):  # type: ignore[arg-type]  # its own hints say None
        take()
    return made / (time.process_time() - began_s), made, told


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


LIVE: MappingProxyType[str, Callable[[str, Path], Coroutine[Any, Any, None]]] = MappingProxyType(
    {
        "start_ratio": start_ratio,
        "lateness_p99": lateness,
        "catalogue": catalogue,
        "warm": warm_run,
        "example": warm_example,
        "watching_cost": watching_cost,
    }
)
# Of no cluster: how fast schedules are drawn, and how well failures are shrunk.
APART: MappingProxyType[str, Callable[[], None]] = MappingProxyType(
    {"generation": generation, "shrink": shrink_quality}
)


def main() -> None:
    """Measures what was asked for."""
    names = [*twin.PARTS, *APART, *LIVE]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--cluster", action="append", choices=KINDS, help="default: all, and what is of no cluster")
    parser.add_argument(
        "--only", action="append", metavar="WORD", help=f"part of one or more of: {', '.join(names)}; may be repeated"
    )
    options = parser.parse_args()
    wanted = [name for name in names if not options.only or any(word in name for word in options.only)]
    if not wanted:
        parser.error(f"--only {' '.join(options.only)}: part of none of {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="raychaos-bench-") as directory:
        os.environ.update(RAYCHAOS_HOME=f"{directory}/home", RAY_USAGE_STATS_ENABLED="0")
        store = Path(directory) / "runs"
        if TWIN in (options.cluster or (TWIN,)):
            for name in [name for name in twin.PARTS if name in wanted]:
                twin.PARTS[name](store)
        if not options.cluster:
            for name in [name for name in APART if name in wanted]:
                APART[name]()
        for kind in [kind for kind in options.cluster or CLUSTERS if kind != TWIN]:
            for name in [name for name in LIVE if name in wanted]:
                asyncio.run(LIVE[name](kind, store))


if __name__ == "__main__":
    main()
