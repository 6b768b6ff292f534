"""A realistic history without a cluster: a small model of an autoscaled inference run under five faults."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from chaos.checker import Verdict
from chaos.cluster_spec import ClusterSpec
from chaos.events import (
    AutoscalerLogged,
    BaselineKnown,
    BatchCompleted,
    BatchInvoked,
    CleanlinessChecked,
    ClusterSampled,
    Demand,
    DemandChanged,
    Event,
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
    HostSampled,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
    NodeView,
    PhaseBegan,
    RowsVerified,
    RunOpened,
    RunSealed,
    WorkloadFinished,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import History

ROWS, BATCH = 1280, 16
GPU = {"CPU": 2.0, "GPU": 1.0}
THROTTLED = (27.0, 36.0)
PAUSED = (39.0, 43.0)


@dataclass
class _Worker:
    launching_s: float
    started_s: float
    joined_s: float
    killed_s: float = float("inf")
    detected_s: float = float("inf")
    busy_until_s: float = 0.0
    terminating_s: float = float("inf")
    batch: int | None = None


@dataclass
class _Model:
    events: list[tuple[float, Event]] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    queue: list[int] = field(default_factory=lambda: list(range(ROWS // BATCH)))
    done: set[int] = field(default_factory=set)
    attempts: int = 0
    workers: dict[str, _Worker] = field(default_factory=dict)

    def say(self, t_s: float, *events: Event) -> None:
        self.events += [(t_s, event) for event in events]


def sample_history(*, sealed: bool = True) -> History:
    """A run 0→4→0: two launches late, one node killed, one throttled, one paused, one launch refused."""
    model = _Model()
    _open(model)
    _launch(model)
    _faults(model)
    finish_s = _compute(model)
    _close(model, finish_s)
    _sample(model, finish_s)
    ordered = sorted(model.events, key=lambda pair: pair[0])
    return History.of_events(ordered if sealed else ordered[: len(ordered) * 2 // 3])


def sample_verdicts(*, failing: bool = False) -> tuple[Verdict, ...]:
    """Verdicts that fit the sample; `failing` adds one of each worse kind."""
    good = (
        Verdict(name="job_completes", verdict="pass", summary="the job ended ok", measured=47.6, bound=71.0, unit="s"),
        Verdict(name="rows_exactly_once", verdict="pass", summary="1280 of 1280 rows, each once and right"),
        Verdict(
            name="scale_up_converges",
            verdict="pass",
            summary="4 of 4 workers, 9.1 s after the last heal",
            evidence=(40, 41),
            measured=9.1,
            bound=22.0,
            unit="s",
        ),
        Verdict(
            name="scale_down_converges",
            verdict="pass",
            summary="0 workers after the load ended",
            measured=8.4,
            bound=20.0,
            unit="s",
        ),
        Verdict(
            name="no_overshoot", verdict="pass", summary="never above 4 workers", measured=4, bound=4, unit="nodes"
        ),
        Verdict(name="no_leaked_nodes", verdict="pass", summary="Cloud, GCS and autoscaler agree: none left"),
        Verdict(name="faults_took_effect", verdict="pass", summary="5 of 5 injections were seen to bite"),
        Verdict(name="stayed_live", verdict="pass", summary="rows kept coming", measured=3.0, bound=19.0, unit="s"),
    )
    if not failing:
        return good
    bad = Verdict(
        name="scale_up_converges",
        verdict="fail",
        summary="3 of 4 workers 30 s after the last heal: w5 never joined, and nobody asked for another one in its "
        "place although <demand> & room were there",
        evidence=(40, 41, 977),
        measured=30.0,
        bound=22.0,
        unit="s",
    )
    dim = Verdict(name="faults_took_effect", verdict="inconclusive", summary="i5 fail_launch: no launch came")
    return tuple({"scale_up_converges": bad, "faults_took_effect": dim}.get(check.name, check) for check in good)


def _open(model: _Model) -> None:
    spec = {"cluster": ClusterSpec().model_dump(mode="json"), "workload": {"name": "batch_inference"}}
    versions = {"raychaos": "0.1.0", "ray": "2.60.0", "torch": "2.13.0", "python": "3.11.2", "autoscaler": "v2"}
    model.say(
        0.0,
        RunOpened(
            run_id="20260704-120000-7f3a",
            seed=20260704,
            cluster="local",
            schedule_hash="9c0b6a1e5d2f4837",
            spec=spec,
            versions=versions,
        ),
        PhaseBegan(phase="starting"),
    )
    model.say(3.1, NodeStarted(node="head", node_type="head", instance="i-head"))
    model.say(3.6, NodeJoined(node="head", node_type="head", ray_node_id="00", resources={"CPU": 1.0}))
    model.say(
        3.7,
        BaselineKnown(
            run_id="20260704-115500-base",
            job_s=34.0,
            rows_per_s=46.0,
            longest_pause_s=2.0,
            scale_up_s=5.0,
            scale_down_s=8.2,
            join_s=3.1,
            peak_nodes=4,
        ),
    )
    model.say(
        4.0,
        PhaseBegan(phase="workload"),
        WorkloadStarted(workload="batch_inference", rows_total=ROWS),
        DemandChanged(bundles=(Demand(shape=GPU, count=4),)),
    )


def _launch(model: _Model) -> None:
    model.workers = {
        "w1": _Worker(5.2, 5.9, 8.3),
        "w2": _Worker(5.2, 6.0, 8.6, killed_s=18.0, detected_s=20.4),
        "w3": _Worker(5.2, 11.2, 13.6),
        "w4": _Worker(5.2, 11.3, 13.9),
        "w5": _Worker(21.6, 22.3, 24.9),
    }
    for number, (name, worker) in enumerate(model.workers.items(), start=1):
        model.say(worker.launching_s, NodeLaunching(node=name, node_type="gpu", request=f"r{number}"))
        model.say(worker.started_s, NodeStarted(node=name, node_type="gpu", instance=f"i-{number:02}"))
        model.say(worker.joined_s, NodeJoined(node=name, node_type="gpu", ray_node_id=f"{number:02}", resources=GPU))
    model.say(18.1, NodeTerminated(node="w2", cause="killed"))
    model.say(20.4, NodeDied(node="w2", ray_node_id="02"))
    model.say(20.5, NodeLaunchFailed(node_type="gpu", reason="InsufficientInstanceCapacity", request="r9"))
    model.say(20.6, AutoscalerLogged(about="launch_failed", text="launch of gpu failed: InsufficientInstanceCapacity"))


def _faults(model: _Model) -> None:
    def inject(
        name: str, fault: str, victims: tuple[str, ...], due_s: float, detail: str, heal_s: float | None = None
    ) -> None:
        late = round(model.rng.uniform(0.004, 0.03), 3)
        model.say(due_s, FaultDue(injection=name, fault=fault, due_s=due_s))
        model.say(
            due_s + late,
            FaultInjected(
                injection=name,
                fault=fault,
                victims=victims,
                due_s=due_s,
                applied_s=due_s + late,
                lateness_s=late,
                effect_id=f"e-{name}",
                heal_due_s=heal_s,
            ),
        )
        asked, measured, unit = {
            "delay_launch": (6.0, 6.0, "s"),
            "throttle_network": (2.0, 1.9, "Mbit/s"),
            "fail_launch": (1.0, 1.0, "launches"),
        }.get(fault, (None, None, ""))
        model.say(
            due_s + 1.4,
            FaultProbed(
                injection=name,
                fault=fault,
                outcome="took_effect",
                detail=detail,
                asked=asked,
                measured=measured,
                unit=unit,
            ),
        )
        if heal_s is not None:
            healed = FaultHealed(injection=name, fault=fault, due_s=heal_s, healed_s=heal_s + 0.02, proven=True)
            model.say(heal_s + 0.02, healed)

    inject("i1", "delay_launch", (), 4.0, "w3 and w4 started 6.0 s after the request", 10.0)
    inject("i2", "kill_node", ("w2",), 18.0, "the GCS saw w2 die after 2.4 s")
    inject("i3", "fail_launch", (), 19.0, "1 launch was refused", 21.0)
    inject("i4", "throttle_network", ("w1",), THROTTLED[0], "w1: 1.9 Mbit/s measured", THROTTLED[1])
    inject("i5", "pause_node", ("w3",), PAUSED[0], "w3: 6 of 6 processes stopped", PAUSED[1])
    skipped = FaultSkipped(injection="i6", fault="kill_node", reason="no_target", detail="w9 was never launched")
    model.say(40.0, FaultDue(injection="i6", fault="kill_node", due_s=40.0), skipped)


def _compute(model: _Model) -> float:
    t_s, told_s = 8.3, 4.0
    while len(model.done) < ROWS // BATCH:
        for name, worker in model.workers.items():
            _work(model, name, worker, t_s)
        if t_s - told_s >= 0.5:
            told_s = t_s
            model.say(t_s, WorkloadProgressed(rows_done=len(model.done) * BATCH, rows_total=ROWS))
        t_s = round(t_s + 0.1, 3)
    model.say(t_s, WorkloadProgressed(rows_done=ROWS, rows_total=ROWS))
    return t_s + 0.4


def _work(model: _Model, name: str, worker: _Worker, t_s: float) -> None:
    if t_s < worker.joined_s + 0.8:
        return
    if t_s >= worker.killed_s:
        if worker.batch is not None and t_s >= worker.detected_s:
            model.queue.insert(0, worker.batch)
            worker.batch = None
        return
    if t_s < worker.busy_until_s:
        return
    if worker.batch is not None:
        model.done.add(worker.batch)
        worker.batch = None
    if not model.queue:
        return
    worker.batch = model.queue.pop(0)
    took_s = model.rng.uniform(1.15, 1.4)
    if name == "w1" and THROTTLED[0] <= t_s < THROTTLED[1]:
        took_s *= 2.6
    if name == "w3" and t_s < PAUSED[1] and t_s + took_s > PAUSED[0]:
        took_s += PAUSED[1] - PAUSED[0]
    worker.busy_until_s = t_s + took_s
    model.attempts += 1
    op, rows = f"b{model.attempts}", f"{worker.batch * BATCH}-{worker.batch * BATCH + BATCH - 1}"
    model.say(t_s, BatchInvoked(op=op, node=name, rows=rows, started_s=t_s))
    if worker.busy_until_s < worker.killed_s:
        ended_s = worker.busy_until_s
        model.say(ended_s, BatchCompleted(op=op, node=name, rows=rows, started_s=t_s, ended_s=ended_s))


def _close(model: _Model, finish_s: float) -> None:
    model.say(finish_s, WorkloadFinished(outcome="ok"), DemandChanged(bundles=()), PhaseBegan(phase="liveness"))
    model.say(
        finish_s + 1.0,
        RowsVerified(
            rows_expected=ROWS, rows_found=ROWS, missing_count=0, duplicated_count=0, wrong_count=0, tolerance=1e-3
        ),
        PhaseBegan(phase="idle"),
    )
    for number, name in enumerate(("w1", "w3", "w4", "w5")):
        down_s = finish_s + 6.6 + 0.3 * number
        model.workers[name].terminating_s = down_s
        model.say(down_s, NodeTerminating(node=name))
        model.say(down_s + 0.6, NodeTerminated(node=name, cause="autoscaler"))
        model.say(down_s + 0.7, NodeDied(node=name, ray_node_id=f"0{name[1:]}"))
    end_s = finish_s + 10.0
    model.say(end_s, PhaseBegan(phase="stopping"))
    model.say(end_s + 1.2, CleanlinessChecked(leftovers=()))
    model.say(end_s + 1.5, RunSealed(reason="complete"))


def _sample(model: _Model, finish_s: float) -> None:
    for tick in range(8, int((finish_s + 10.0) * 2)):
        t_s = tick / 2 + 0.05
        views = [NodeView(node="head", node_type="head", status="idle", total={"CPU": 1.0}, available={"CPU": 1.0})]
        cloud: dict[str, str] = {}
        for name, worker in model.workers.items():
            if t_s >= worker.launching_s and t_s < min(worker.killed_s, worker.terminating_s):
                cloud[name] = "pending" if t_s < worker.started_s else "running"
            if worker.joined_s <= t_s < min(worker.detected_s, worker.terminating_s):
                idle = t_s >= finish_s
                views.append(
                    NodeView(
                        node=name,
                        node_type="gpu",
                        status="idle" if idle else "running",
                        idle_s=max(0.0, t_s - finish_s),
                        total=GPU,
                        available=GPU if idle else {"CPU": 1.0, "GPU": 0.0},
                    )
                )
        waiting = max(0, 4 - (len(views) - 1)) if t_s < finish_s else 0
        demands = (Demand(shape=GPU, count=waiting),) if waiting else ()
        sample = {"reachable": True, "nodes": views, "demands": demands, "cloud": cloud}
        model.say(t_s, ClusterSampled.model_validate(sample))
        model.say(t_s, HostSampled(cpu_busy=0.55, cpu_pressure=0.1, memory_free_mb=18000, disk_free_mb=70000))
