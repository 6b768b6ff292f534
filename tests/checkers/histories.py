"""Small histories: one good run of a cluster that scales 0 -> 4 -> 0, and ways to change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from chaos.bounds import Bounds
from chaos.checker import Checker, Judgement, Verdict
from chaos.checkers import ALL
from chaos.cluster_spec import ClusterSpec, HealthCheck, NodeType
from chaos.events import (
    AutoscalerLogged,
    BaselineKnown,
    BatchCompleted,
    BatchInvoked,
    CleanlinessChecked,
    ClusterSampled,
    Demand,
    Event,
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    HostSampled,
    NodeDied,
    NodeJoined,
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

Timed = tuple[float, Event]
CloudState = Literal["pending", "running", "paused", "stopping"]

GPU: dict[str, float] = {"GPU": 1.0}
NODE: dict[str, float] = {"CPU": 2.0, "GPU": 1.0}
HEAD = NodeView(node="head", node_type="head", status="running", total={"CPU": 1.0}, available={})
CLUSTER = ClusterSpec(
    node_types={"gpu": NodeType(resources=NODE, max_workers=4)},
    max_workers=4,
    idle_timeout_s=6.0,
    health_check=HealthCheck(initial_delay_ms=0, period_ms=1000, timeout_ms=1000, failure_threshold=3),
)
BASELINE = BaselineKnown(
    run_id="base",
    job_s=30.0,
    rows_per_s=10.0,
    longest_pause_s=8.0,
    scale_up_s=5.0,
    scale_down_s=8.0,
    join_s=4.0,
    peak_nodes=4,
)


def opened(
    *,
    cluster: ClusterSpec = CLUSTER,
    bounds: Bounds | None = None,
    injections: Sequence[dict[str, JsonValue]] = (),
    deadline_s: float = 120.0,
) -> RunOpened:
    """The first event, with the settings a run resolves."""
    return RunOpened(
        run_id="r1",
        seed=1,
        cluster="local",
        schedule_hash="0" * 16,
        spec={
            "cluster": cluster.model_dump(mode="json"),
            "workload": {"name": "toy"},
            "bounds": (bounds or Bounds()).model_dump(mode="json"),
            "deadline_s": deadline_s,
            "schedule": {"injections": list(injections)},
        },
        versions={"ray": "2.60.0"},
    )


@dataclass
class Worker:
    """One worker's life in a made-up run; `kill_s` and `dead_s` are when it is killed, and seen dead by the GCS.

    `holds` are the resources it joins with.
    """

    node: str
    launch_s: float
    join_s: float
    busy_to_s: float = 40.0
    kill_s: float | None = None
    dead_s: float | None = None
    gone_s: float = 48.0
    node_type: str = "gpu"
    holds: dict[str, float] = field(default_factory=lambda: dict(NODE))

    def cloud(self, t_s: float) -> CloudState | None:
        """The instance's state at a moment; None when there is none."""
        if not self.launch_s <= t_s < min(self.gone_s, self.kill_s or self.gone_s):
            return None
        if t_s >= self.gone_s - 1.0:
            return "stopping"
        return "running" if t_s >= self.join_s - 1.0 else "pending"

    def view(self, t_s: float) -> NodeView | None:
        """The node as the GCS sees it at a moment; None when it does not."""
        end_s = self.gone_s - 1.0 if self.kill_s is None else (self.dead_s or self.kill_s)
        if not self.join_s <= t_s < end_s:
            return None
        busy = t_s < self.busy_to_s
        return NodeView(
            node=self.node,
            node_type=self.node_type,
            status="running" if busy else "idle",
            idle_s=0.0 if busy else t_s - self.busy_to_s,
            total=self.holds,
            available={"CPU": 1.0} if busy else self.holds,
        )

    def events(self) -> list[Timed]:
        """What the Cloud and the GCS record of it."""
        found: list[Timed] = [
            (self.launch_s, NodeLaunching(node=self.node, node_type=self.node_type, request="q")),
            (self.join_s - 1.0, NodeStarted(node=self.node, node_type=self.node_type, instance=f"i-{self.node}")),
            (
                self.join_s,
                NodeJoined(
                    node=self.node, node_type=self.node_type, ray_node_id=f"id-{self.node}", resources=self.holds
                ),
            ),
        ]
        found += self.rise()
        if self.kill_s is not None:
            found.append((self.kill_s, NodeTerminated(node=self.node, cause="killed")))
            found.append((self.kill_s + 1.0, logged(self, "RAY_RUNNING", "TERMINATED", "no longer found")))
            if self.dead_s is not None:
                found.append((self.dead_s, NodeDied(node=self.node, ray_node_id=f"id-{self.node}")))
            return found
        found += self.fall()
        return [
            *found,
            (self.gone_s - 1.0, NodeDied(node=self.node, ray_node_id=f"id-{self.node}")),
            (self.gone_s - 0.9, NodeTerminating(node=self.node)),
            (self.gone_s, NodeTerminated(node=self.node, cause="autoscaler")),
        ]

    def rise(self) -> list[Timed]:
        """What the autoscaler logs until the worker runs."""
        return [
            (self.launch_s - 0.1, logged(self, "", "QUEUED", "queuing new instance of gpu from scheduler")),
            (self.launch_s, logged(self, "QUEUED", "REQUESTED", "requested to launch gpu with request id q")),
            (
                self.join_s - 1.0,
                logged(self, "REQUESTED", "ALLOCATED", f"allocated unassigned cloud instance i-{self.node}"),
            ),
            (self.join_s + 0.5, logged(self, "ALLOCATED", "RAY_RUNNING", "ray node is RUNNING")),
        ]

    def fall(self) -> list[Timed]:
        """What the autoscaler logs when it ends the worker as idle."""
        idle = f"draining ray: idle for {self.gone_s - 1.5 - self.busy_to_s} secs > timeout=6.0 secs"
        return [
            (self.gone_s - 1.5, logged(self, "RAY_RUNNING", "RAY_STOP_REQUESTED", idle)),
            (self.gone_s - 0.95, logged(self, "RAY_STOP_REQUESTED", "RAY_STOPPED", "no longer found in GCS")),
            (self.gone_s - 0.9, logged(self, "RAY_STOPPED", "TERMINATING", "terminating instance from RAY_STOPPED")),
            (self.gone_s + 0.5, logged(self, "TERMINATING", "TERMINATED", "no longer found")),
        ]


def logged(worker: Worker, before: str, after: str, why: str, *, row: str = "") -> AutoscalerLogged:
    """A line of the autoscaler's log about a worker's instance; `row` is another one of its rows."""
    what = f"Update instance {before}->{after}" if before else f"New instance {after}"
    cloud = "" if before in ("", "QUEUED", "REQUESTED") else f"i-{worker.node}"
    ray_node = f"id-{worker.node}" if cloud and before != "ALLOCATED" else ""
    ids = f"id={row or worker.node}-row, type={worker.node_type}, cloud_instance_id={cloud}, ray_id={ray_node}"
    return AutoscalerLogged(about="instance", text=f"{what} ({ids}): {why}")


# A worker that no story has by itself.
SPARE = Worker("w9", 4.0, 8.0)


def four_workers() -> list[Worker]:
    """Four workers launched at 4 s that join at 8 s."""
    return [Worker(f"w{place}", 4.0, 8.0) for place in range(1, 5)]


def skimpy_workers() -> list[Worker]:
    """Workers without the GPU that their type promises: four at a time, never at work, retired as idle and replaced."""
    return [
        Worker(f"w{4 * turn + place}", begin_s, begin_s + 4.0, begin_s + 4.0, gone_s=begin_s + 12.0, holds={"CPU": 2.0})
        for turn, begin_s in enumerate((4.0, 17.0, 30.0))
        for place in range(1, 5)
    ]


def waiting(count: int, *, shape: dict[str, float] | None = None) -> tuple[Demand, ...]:
    """So many waiting tasks of one shape."""
    return (Demand(shape=shape or GPU, count=count),) if count else ()


@dataclass
class Story:
    """A run second by second; the default is a good one: demand at 3 s, 4 nodes at 8 s, done at 40 s, empty at 48 s."""

    workers: list[Worker] = field(default_factory=four_workers)
    demand: Callable[[float], tuple[Demand, ...]] = lambda t_s: waiting(8) if 3.0 <= t_s < 38.0 else ()
    rows_at: Callable[[float], int] = lambda t_s: max(0, min(300, round((t_s - 10.0) * 10)))
    started_s: float = 2.0
    finished_s: float = 40.0
    outcome: Literal["ok", "failed", "hung", "interrupted"] = "ok"
    stopping_s: float = 52.0
    sealed: Literal["complete", "deadline", "interrupted", "error", "aborted"] | None = "complete"
    baseline: BaselineKnown | None = BASELINE
    opening: RunOpened = field(default_factory=opened)
    more: list[Timed] = field(default_factory=list)
    without: tuple[type[object], ...] = ()

    def sample(self, t_s: float) -> ClusterSampled:
        """The cluster at a moment."""
        cloud: dict[str, CloudState] = {"head": "running"}
        cloud |= {worker.node: state for worker in self.workers if (state := worker.cloud(t_s)) is not None}
        views = tuple(view for worker in self.workers if (view := worker.view(t_s)) is not None)
        return ClusterSampled(reachable=True, nodes=(HEAD, *views), demands=self.demand(t_s), cloud=cloud)

    def events(self) -> list[Timed]:
        """Everything the run records, by time."""
        found: list[Timed] = [(0.0, self.opening)]
        if self.baseline is not None:
            found.append((0.0, self.baseline))
        found += [
            (0.1, PhaseBegan(phase="starting")),
            (1.0, PhaseBegan(phase="workload")),
            (self.started_s, WorkloadStarted(workload="toy", rows_total=300)),
        ]
        for tick in range(1, int(self.stopping_s)):
            found.append((float(tick), self.sample(float(tick))))
            found.append((float(tick), HostSampled(cpu_busy=0.5, memory_free_mb=8000.0, disk_free_mb=50000.0)))
            if self.started_s <= tick < self.finished_s:
                progressed = WorkloadProgressed(rows_done=self.rows_at(float(tick)), rows_total=300)
                found.append((float(tick), progressed))
        found += [
            (self.finished_s, WorkloadFinished(outcome=self.outcome)),
            (self.finished_s, PhaseBegan(phase="liveness")),
            (self.finished_s + 1.0, verified()),
            (self.finished_s + 1.5, PhaseBegan(phase="idle")),
            (self.stopping_s, PhaseBegan(phase="stopping")),
            (self.stopping_s + 0.5, CleanlinessChecked(leftovers=())),
        ]
        for worker in self.workers:
            found += worker.events()
            if worker.kill_s is None and worker.busy_to_s > worker.join_s:
                found += batches(worker)
        found += self.more
        if self.sealed is not None:
            found.append((self.stopping_s + 1.0, RunSealed(reason=self.sealed)))
        return sorted((pair for pair in found if not isinstance(pair[1], self.without)), key=lambda pair: pair[0])

    def history(self) -> History:
        """The run as a history."""
        return History.of_events(self.events())


def batches(worker: Worker) -> list[Timed]:
    """One finished batch on a worker."""
    begin_s, end_s = worker.join_s + 1.0, worker.join_s + 3.0
    what = {"op": f"op-{worker.node}", "node": worker.node, "rows": "0-3"}
    return [
        (begin_s, BatchInvoked(**what, started_s=begin_s)),
        (end_s, BatchCompleted(**what, started_s=begin_s, ended_s=end_s)),
    ]


def verified(*, missing: int = 0, duplicated: int = 0, wrong: int = 0, expected: int = 300) -> RowsVerified:
    """The oracle's word on the output."""
    return RowsVerified(
        rows_expected=expected,
        rows_found=expected - missing,
        missing_count=missing,
        duplicated_count=duplicated,
        wrong_count=wrong,
        missing=tuple(range(missing)),
        tolerance=1e-3,
    )


def fault(
    injection: str,
    applied_s: float,
    *,
    victims: tuple[str, ...] = (),
    heal_due_s: float | None = None,
    outcome: Literal["took_effect", "no_effect", "unknown"] | None = "took_effect",
    healed: bool = True,
    proven: bool = True,
    asked_s: float | None = None,
) -> list[Timed]:
    """One injection's events, of a fault whose name no checker knows."""
    found: list[Timed] = [
        (applied_s, FaultDue(injection=injection, fault="toy", due_s=applied_s)),
        (
            applied_s,
            FaultInjected(
                injection=injection,
                fault="toy",
                victims=victims,
                due_s=applied_s,
                applied_s=applied_s,
                lateness_s=0.0,
                effect_id=f"e-{injection}",
                heal_due_s=heal_due_s,
            ),
        ),
    ]
    if outcome is not None:
        probed = FaultProbed(
            injection=injection, fault="toy", outcome=outcome, detail="", asked=asked_s, unit="s" if asked_s else ""
        )
        found.append((applied_s + 0.5, probed))
    if heal_due_s is not None and healed:
        what = FaultHealed(injection=injection, fault="toy", due_s=heal_due_s, healed_s=heal_due_s + 0.1, proven=proven)
        found.append((heal_due_s + 0.2, what))
    return found


def one_injection(*, may_miss: bool = False) -> dict[str, JsonValue]:
    """An injection as the resolved spec holds it."""
    found: dict[str, JsonValue] = {"fault": "toy", "id": "i1", "at_s": 5.0}
    return {**found, "may_miss": True} if may_miss else found


def checker(name: str) -> Checker:
    """The checker of that name."""
    return next(one for one in ALL if one.name == name)


def instead(story: Story, line: Timed) -> list[Timed]:
    """The story with this line about a row in place of all that follow about it."""
    of_row = f"(id={row_in(line)},"
    return sorted(
        [*((t, e) for t, e in story.events() if t <= line[0] or of_row not in getattr(e, "text", "")), line],
        key=lambda pair: pair[0],
    )


def row_in(line: Timed) -> str:
    assert isinstance(line[1], AutoscalerLogged)
    return line[1].text.split("(id=")[1].split(",")[0]


def judged(name: str, events: Story | History | Iterable[Timed]) -> Verdict:
    """That checker's verdict on a story."""
    if isinstance(events, Story):
        events = events.history()
    return checker(name)(events if isinstance(events, History) else History.of_events(events))


def judgements(history: History) -> dict[str, Judgement]:
    """Every checker's judgement."""
    return {one.name: one(history).verdict for one in ALL}
