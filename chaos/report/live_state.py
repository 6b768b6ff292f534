"""What a run looks like at this moment: a pure reduction of its records, for the live view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from chaos.cluster_spec import ClusterSpec
from chaos.demand import workers_for, workers_wanted
from chaos.events import (
    BatchCompleted,
    BatchInvoked,
    ClusterSampled,
    DemandChanged,
    Event,
    FaultHealed,
    FaultInjected,
    HostSampled,
    PhaseBegan,
    RunOpened,
    RunSealed,
    WorkloadFinished,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import Record
from chaos.report.describe import describe, number, on
from chaos.report.lives import Life, LifeState, lives_after
from chaos.report.scaling import idle_workers, spec_of

_RATE_WINDOW_S = 6.0
_LAST_EVENTS = 8


@dataclass(frozen=True)
class ActiveFault:
    """A fault in force."""

    injection: str
    fault: str
    victims: tuple[str, ...]
    since_s: float
    heal_due_s: float

    def left_s(self, now_s: float) -> float:
        """Seconds until its healing is due; 0 when overdue."""
        return max(0.0, self.heal_due_s - now_s)

    def words(self, now_s: float) -> str:
        """The fault, its victims and the time left."""
        return f"{self.fault}{on(self.victims)} ({number(round(self.left_s(now_s)))} s left)"


@dataclass(frozen=True)
class LiveState:
    """A run so far; `wanted` is None while nothing tells how many workers are."""

    now_s: float = 0.0
    title: str = ""
    phase: str = ""
    phase_since_s: float = 0.0
    spec: ClusterSpec | None = None
    lives: Mapping[str, Life] = field(default_factory=lambda: MappingProxyType({}))
    idle: int = 0
    wanted: int | None = None
    demand_known: bool = False
    workload: str = ""
    rows_total: int = 0
    rows_done: int = 0
    recent: tuple[tuple[float, int], ...] = ()
    finished_s: float | None = None
    faults: tuple[ActiveFault, ...] = ()
    faults_made: int = 0
    events: tuple[tuple[float, str], ...] = ()
    ended: str = ""

    def at(self, now_s: float) -> LiveState:
        """The same run at a later moment; time never goes back."""
        return replace(self, now_s=now_s) if now_s > self.now_s else self

    def after(self, record: Record) -> LiveState:
        """The run once this record has happened."""
        event = record.event
        if isinstance(event, (BatchInvoked, BatchCompleted, HostSampled)):
            return self.at(record.t_s)
        words = describe(event)
        events = (*self.events, (record.t_s, words))[-_LAST_EVENTS:] if words else self.events
        lives = lives_after(self.lives, record)
        state = replace(self, now_s=max(self.now_s, record.t_s), events=events, lives=lives)
        return state._run(record.t_s, event)._sampled(event)._work(record.t_s, event)._harm(event)

    def _run(self, t_s: float, event: Event) -> LiveState:
        if isinstance(event, RunOpened):
            title = f"run {event.run_id} on {event.cluster}, seed {event.seed}"
            return replace(self, title=title, spec=spec_of(event))
        if isinstance(event, PhaseBegan):
            return replace(self, phase=event.phase, phase_since_s=t_s)
        if isinstance(event, RunSealed):
            return replace(self, ended=event.reason, faults=())
        return self

    def _sampled(self, event: Event) -> LiveState:
        if not isinstance(event, ClusterSampled) or not event.reachable:
            return self
        wanted = self.wanted
        if not self.demand_known and self.spec is not None and self.finished_s is None:
            wanted = workers_wanted(event, self.spec)
        return replace(self, idle=idle_workers(event), wanted=wanted)

    def _work(self, t_s: float, event: Event) -> LiveState:
        if isinstance(event, WorkloadStarted):
            begun = ((t_s, 0),)
            return replace(self, workload=event.workload, rows_total=event.rows_total, recent=begun)
        if isinstance(event, DemandChanged) and self.spec is not None:
            return replace(self, wanted=workers_for(event.bundles, self.spec), demand_known=True)
        if isinstance(event, WorkloadProgressed):
            points = (*self.recent, (t_s, event.rows_done))
            while len(points) > 2 and points[1][0] <= t_s - _RATE_WINDOW_S:
                points = points[1:]
            return replace(self, rows_done=event.rows_done, rows_total=event.rows_total, recent=points)
        if isinstance(event, WorkloadFinished):
            least = self.spec.min_workers if self.spec else None
            return replace(self, finished_s=t_s, wanted=least)
        return self

    def _harm(self, event: Event) -> LiveState:
        if isinstance(event, FaultInjected):
            faults = self.faults
            if event.heal_due_s is not None:
                active = ActiveFault(event.injection, event.fault, event.victims, event.applied_s, event.heal_due_s)
                faults = (*faults, active)
            return replace(self, faults=faults, faults_made=self.faults_made + 1)
        if isinstance(event, FaultHealed):
            return replace(self, faults=tuple(f for f in self.faults if f.injection != event.injection))
        return self

    @property
    def launching(self) -> int:
        """Workers asked for that have not joined."""
        return self._workers("pending", "booting")

    @property
    def up(self) -> int:
        """Workers the GCS has seen join and that nobody ended."""
        return self._workers("up")

    def _workers(self, *states: LifeState) -> int:
        return sum(life.state_at(self.now_s) in states for node, life in self.lives.items() if node != "head")

    @property
    def rows_per_s(self) -> float:
        """Rows per second over the last seconds; falls while no row comes; 0 once the workload has ended."""
        if len(self.recent) < 2 or self.finished_s is not None:
            return 0.0
        begin_s, before = self.recent[0]
        elapsed_s = max(self.now_s, self.recent[-1][0]) - begin_s
        return max(0, self.recent[-1][1] - before) / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def share_done(self) -> float:
        """Rows done of all, 0 to 1."""
        return min(1.0, self.rows_done / self.rows_total) if self.rows_total else 0.0

    def workers_words(self) -> str:
        """The worker counts in words."""
        wanted = "?" if self.wanted is None else str(self.wanted)
        return f"{wanted} wanted, {self.launching} launching, {self.up} up, {self.idle} idle"

    def progress_line(self) -> str:
        """The moment in one line."""
        parts = [f"{self.phase or 'preparing'}"]
        if self.rows_total:
            share = f"{100 * self.share_done:.0f} %"
            rate = "" if self.finished_s is not None else f", {number(self.rows_per_s)} rows/s"
            parts.append(f"{self.rows_done}/{self.rows_total} rows ({share}){rate}")
        parts.append(f"workers: {self.workers_words()}")
        if self.faults:
            parts.append("faults: " + ", ".join(fault.words(self.now_s) for fault in self.faults))
        return " · ".join(parts)
