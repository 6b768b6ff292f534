"""What simulated time costs, in CPU time of this process: other things may run on the machine meanwhile."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ray.autoscaler.v2.instance_manager.reconciler import Reconciler

import faults
import workloads
from chaos.fuzz.command import Ask, settled
from chaos.fuzz.runner import TwinRunner
from chaos.fuzz.worker import Numbers, Worker, settle_in
from chaos.history import History
from chaos.results import prepare
from chaos.sim.loop import run_in_virtual_time
from chaos.spec import Catalogue
from tests.bench.telling import tell
from tests.sim.decisions import decisions, recorded, written
from tests.sim.schedules import random_text

WORKERS = 8
UPDATE_S = 5
TIMES = {"exact": 700, "fast": 5000}
SCHEDULES = 200
SCHEDULE_MINUTES = 10.0
SCHEDULES_LIMIT_S = 60.0
COMPARED = 1000
NODES = (32, 125, 500)
HOURS = (1, 4, 16)
WORLDS = 8
ELSEWHERE = 0.2


@contextmanager
def ray_cpu_s() -> Iterator[list[float]]:
    """The CPU seconds of each of Ray's own updates."""
    spent: list[float] = []
    theirs = Reconciler.__dict__["reconcile"]

    def timed(**given: Any) -> Any:
        began_s = time.process_time()
        try:
            return theirs.__func__(**given)
        finally:
            spent.append(time.process_time() - began_s)

    Reconciler.reconcile = staticmethod(timed)
    try:
        yield spent
    finally:
        Reconciler.reconcile = theirs


@contextmanager
def runs_cpu_s() -> Iterator[list[float]]:
    """The CPU seconds of each run of a twin, from the start of its cluster to its end."""
    spent: list[float] = []

    def timed(main: Any) -> Any:
        began_s = time.process_time()
        try:
            return run_in_virtual_time(main)
        finally:
            spent.append(time.process_time() - began_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chaos.twin_runs.run_in_virtual_time", timed)
        yield spent


def steady(mode: str, *, workers: int, hours: float, batch_s: float = 60.0) -> str:
    """A job that keeps so many workers busy for so long."""
    node = f"{{resources: {{CPU: 2, GPU: 1}}, min_workers: {workers}, max_workers: {workers}}}"
    # Ray asks its cloud for one node after the other.
    up = f"start_limit_s: {90 + workers}"
    limits = f"update_interval_s: {UPDATE_S}, max_workers: {workers}, {up}, node_types: {{gpu: {node}}}"
    batches = workers * round(hours * 3600.0 / batch_s)
    stage = f"{{tasks: {workers}, batches: {batches}}}"
    job = f"{{name: task_bursts, device_ms_per_batch: {batch_s * 1000:g}, stages: [{stage}]}}"
    deadline_s = 2 * hours * 3600.0
    return f"cluster: {{kind: sim, {limits}, twin: {{mode: {mode}}}}}\nworkload: {job}\ndeadline_s: {deadline_s:g}\n"


def spent_on(text: str, store: Path) -> tuple[float, float]:
    """CPU seconds and virtual seconds of one run."""
    began_s = time.process_time()
    history = recorded(text, store)
    return time.process_time() - began_s, history.end_s


def speed(mode: str, store: Path) -> None:
    """What a second of the twin's time costs with 8 workers and an update each 5 s, through hours of load."""
    prepare()
    recorded(steady(mode, workers=2, hours=0.05), store)
    with ray_cpu_s() as updates:
        cpu_s, virtual_s = spent_on(steady(mode, workers=WORKERS, hours=1.0 if mode == "exact" else 8.0), store)
    cost = cpu_s / virtual_s
    tell(f"sim.{mode}_cost", cost, 1 / TIMES[mode], "CPU s / virtual s",
         virtual_s=round(virtual_s), times=round(1 / cost), updates=len(updates),
         ray_alone_times=round(virtual_s / sum(updates)),
         ray_update_ms=round(1000 * sum(updates) / len(updates), 2))  # fmt: skip


def schedules(store: Path) -> None:
    """200 random schedules of 10 simulated minutes with up to 8 workers, in fast mode, on one core.

    Schedules that are drawn for 10 minutes last 12 on average; what counts is what so much time costs.
    """
    virtual_s = cpu_s = 0.0
    prepare()
    settle_in()
    for seed in range(SCHEDULES):
        began_s = time.process_time()
        path = written(random_text(seed, mode="fast", minutes=SCHEDULE_MINUTES), store)
        cpu_s += time.process_time() - began_s
        virtual_s += History.load(path).end_s
    asked_s = SCHEDULES * SCHEDULE_MINUTES * 60.0
    tell("sim.schedules", cpu_s * asked_s / virtual_s, SCHEDULES_LIMIT_S, "CPU s", schedules=SCHEDULES,
         virtual_s=round(virtual_s), cpu_s=round(cpu_s, 1), times=round(virtual_s / cpu_s))  # fmt: skip


def campaign(store: Path) -> None:
    """Of the CPU time of a campaign's worker, the part that is outside the runs: drawing, files, judging, keeping."""
    prepare()
    catalogue = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
    wish, _, _ = settled(Ask(seed=1), catalogue)
    places = [store / name for name in ("scratch", "kept")]
    for place in places:
        place.mkdir(parents=True)
    worker = Worker(wish, catalogue, TwinRunner(places[0]), keep=places[1])

    def made(world: int) -> int:
        return len(list(worker.outcomes(Numbers(tuple(wish.world_of(world * wish.world_runs))))))

    made(WORLDS)  # what is imported late is imported
    settle_in()
    began_s = time.process_time()
    with runs_cpu_s() as runs, ray_cpu_s() as updates:
        outcomes = sum(made(world) for world in range(WORLDS))
    cpu_s = time.process_time() - began_s
    tell("sim.campaign_elsewhere", 1.0 - sum(runs) / cpu_s, ELSEWHERE, "share of CPU time", outcomes=outcomes,
         runs=len(runs), s_a_run=round(cpu_s / len(runs), 3), ray_share=round(sum(updates) / cpu_s, 3))  # fmt: skip


def same_decisions(store: Path) -> None:
    """On 1,000 random schedules, fast mode decides what exact mode does, at the same moments."""
    other = [
        seed
        for seed in range(COMPARED)
        if len({tuple(decisions(recorded(random_text(seed, mode=mode), store))) for mode in TIMES}) > 1
    ]
    tell("sim.decisions_differ", len(other), 0, "schedules", compared=COMPARED, seeds=other[:20])


def growth_with_nodes(store: Path) -> None:
    """Cost of a virtual second in fast mode, per node: from 32 to 500 nodes no more than at 32."""
    costs = {}
    for nodes in NODES:
        cpu_s, virtual_s = spent_on(steady("fast", workers=nodes, hours=0.5), store)
        costs[nodes] = cpu_s / virtual_s / nodes
    tell("sim.growth_with_nodes", costs[NODES[-1]] / costs[NODES[0]], 1.0, "cost per node, most / fewest",
         us_per_node_and_virtual_s={nodes: round(1e6 * cost, 1) for nodes, cost in costs.items()})  # fmt: skip


def growth_with_time(store: Path) -> None:
    """Cost of a virtual second in fast mode after 16 hours, against that of one hour."""
    costs = {}
    for hours in HOURS:
        cpu_s, virtual_s = spent_on(steady("fast", workers=WORKERS, hours=hours), store)
        costs[hours] = cpu_s / virtual_s
    tell("sim.growth_with_time", costs[HOURS[-1]] / costs[HOURS[0]], 1.1, "cost per virtual s, longest / shortest",
         us_per_virtual_s={hours: round(1e6 * cost, 1) for hours, cost in costs.items()})  # fmt: skip


PARTS: MappingProxyType[str, Callable[[Path], None]] = MappingProxyType(
    {
        "exact_speed": functools.partial(speed, "exact"),
        "fast_speed": functools.partial(speed, "fast"),
        "twin_schedules": schedules,
        "campaign": campaign,
        "twin_nodes": growth_with_nodes,
        "twin_time": growth_with_time,
        "same_decisions": same_decisions,
    }
)
