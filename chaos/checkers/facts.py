"""What a history says about its own run: what was asked for, when there was load, and whether it went to its end."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from chaos.bounds import Bounds
from chaos.cluster_spec import ClusterSpec
from chaos.events import (
    BaselineKnown,
    ClusterSampled,
    ConfigChanged,
    FaultDue,
    FaultInjected,
    FaultProbed,
    NodeTerminated,
    PhaseBegan,
    RunOpened,
    RunSealed,
    SurvivalExpected,
    WorkloadFinished,
    WorkloadStarted,
)
from chaos.history import History, Record
from chaos.value import Value

E = TypeVar("E", bound=Value)


def in_time(events: list[tuple[Record, E]]) -> list[tuple[Record, E]]:
    """The events by time; what was recorded late (batches, the Cloud's events) takes its own place."""
    return sorted(events, key=lambda pair: pair[0].t_s)


@dataclass(frozen=True)
class Asked:
    """One injection of the schedule, as far as a checker must know it; `on_head`: its target is the head's machine."""

    injection: str
    fault: str
    may_miss: bool
    on_head: bool = False


@dataclass(frozen=True)
class Blow:
    """An injection that struck while there was load, and that the system was not expected to survive.

    `due` is the record of when it began to be made: a driver that goes with the head ends before the injection returns.
    """

    due: Record
    injected: FaultInjected

    @property
    def name(self) -> str:
        """The injection and its fault."""
        return f"{self.injected.injection} ({self.injected.fault})"


@dataclass(frozen=True)
class Facts:
    """A history with its own settings read out of it.

    `load_from_s` and `load_to_s` are when the workload's driver started and ended; where it did not end, `load_to_s` is
    None. `blow` is the first injection that the job was not expected to survive, where one struck. `cut` says why the
    run did not go to its end, or is empty. `cluster` is what the run began with; `edits` are what each edit of the
    autoscaler's configuration made of it, from its moment on.
    """

    history: History
    cluster: ClusterSpec
    bounds: Bounds
    asked: tuple[Asked, ...]
    deadline_s: float | None
    baseline: BaselineKnown | None
    load_from_s: float | None
    load_to_s: float | None
    outcome: str
    blow: Blow | None
    cut: str
    edits: tuple[tuple[float, ClusterSpec], ...] = ()

    @functools.cached_property
    def watched_to_s(self) -> float:
        """Until when the cluster was left alone: the phase `stopping`, else the end of the history."""
        stopping = [r.t_s for r, e in self.history.of(PhaseBegan) if e.phase == "stopping"]
        return min(stopping, default=max((r.t_s for r in self.history), default=0.0))

    def cluster_at(self, t_s: float) -> ClusterSpec:
        """The cluster as the autoscaler's configuration had it at a moment."""
        return next((cluster for from_s, cluster in reversed(self.edits) if from_s <= t_s), self.cluster)

    def clusters_since(self, from_s: float, to_s: float) -> list[ClusterSpec]:
        """Each state the configuration had within these times."""
        return [self.cluster_at(from_s), *(cluster for t_s, cluster in self.edits if from_s < t_s <= to_s)]

    def edited_s(self, t_s: float) -> float:
        """When the configuration in force at a moment began to be in force."""
        return max((from_s for from_s, _ in self.edits if from_s <= t_s), default=float("-inf"))

    @property
    def is_faulty(self) -> bool:
        """Whether a fault was injected."""
        return self.history.first(FaultInjected) is not None

    @property
    def felled(self) -> Blow | None:
        """The injection that ended the job as was expected; None where the job did not fail, or was to survive."""
        return self.blow if self.outcome == "failed" else None

    @property
    def headless(self) -> bool:
        """Whether the job was ended as expected by the loss of the head, and no GCS ever answered again."""
        if self.felled is None or "head" not in self.felled.injected.victims:
            return False
        since_s = self.felled.injected.applied_s
        ended_s = [r.t_s for r, e in self.history.of(NodeTerminated, since_s=since_s) if e.node == "head"]
        seen = in_time([(r, e) for r, e in self.history.of(ClusterSampled) if r.t_s <= self.watched_to_s])
        if ended_s:
            return not any(sample.reachable for record, sample in seen if record.t_s > max(ended_s))
        return bool(seen) and not seen[-1][1].reachable

    def samples(
        self, *, from_s: float = float("-inf"), to_s: float = float("inf")
    ) -> list[tuple[Record, ClusterSampled]]:
        """The samples within these times in which the GCS answered; while the cluster is stopped there are none."""
        end_s = min(to_s, self.watched_to_s)
        found = self.history.of(ClusterSampled, since_s=from_s)
        return in_time([(r, e) for r, e in found if e.reachable and r.t_s <= end_s])

    def load_samples(self) -> list[tuple[Record, ClusterSampled]]:
        """The answered samples while there was load."""
        if self.load_from_s is None:
            return []
        return self.samples(from_s=self.load_from_s, to_s=float("inf") if self.load_to_s is None else self.load_to_s)

    def over(self, baseline_s: float, *, faults_cost_s: float = 0.0) -> float:
        """The bound for something that took `baseline_s` without faults."""
        return self.bounds.over(baseline_s, faults_cost_s=faults_cost_s)


def facts_of(history: History) -> Facts | str:
    """The facts of a history, or why it holds none."""
    return history.derived(_facts_of)


def _facts_of(history: History) -> Facts | str:
    opened = history.first(RunOpened)
    if opened is None:
        return "the history does not say what was asked for: no run.opened"
    spec = opened[1].spec
    try:
        cluster = ClusterSpec.model_validate(spec.get("cluster", {}))
        bounds = Bounds.model_validate(spec.get("bounds", {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"the history's spec is not one of this version: {place}: {first['msg']}"
    deadline = spec.get("deadline_s")
    baseline = history.last(BaselineKnown)
    started, finished = history.first(WorkloadStarted), history.last(WorkloadFinished)
    return Facts(
        history=history,
        cluster=cluster.as_groups(),
        bounds=bounds,
        asked=_asked(spec.get("schedule")),
        deadline_s=float(deadline) if isinstance(deadline, (int, float)) else None,
        baseline=baseline[1] if baseline else None,
        load_from_s=started[0].t_s if started else None,
        load_to_s=finished[0].t_s if finished else None,
        outcome=finished[1].outcome if finished else "",
        blow=_blow(history, load_to_s=finished[0].t_s if finished else None),
        cut=_cut(history),
        edits=tuple(
            (record.t_s, cluster.edited(edit).as_groups()) for record, edit in in_time(history.of(ConfigChanged))
        ),
    )


def _blow(history: History, *, load_to_s: float | None) -> Blow | None:
    expectation = history.first(SurvivalExpected)
    fatal = expectation[1].fatal if expectation else ()
    dues = {event.injection: record for record, event in history.of(FaultDue)}
    missed = {event.injection for _, event in history.of(FaultProbed) if event.outcome == "no_effect"}
    blows = [
        Blow(dues.get(event.injection, record), event)
        for record, event in history.of(FaultInjected)
        if event.injection in fatal and event.injection not in missed
    ]
    in_load = [blow for blow in blows if load_to_s is None or blow.due.t_s <= load_to_s]
    return min(in_load, key=lambda blow: blow.due.t_s, default=None)


def _cut(history: History) -> str:
    sealed = history.last(RunSealed)
    if sealed is None:
        return "the history is not sealed: the runner died, or still runs"
    event = sealed[1]
    if event.reason in ("interrupted", "error", "aborted"):
        return f"the run was cut short ({event.reason}{': ' if event.message else ''}{event.message})"
    return ""


def _asked(schedule: JsonValue) -> tuple[Asked, ...]:
    listed = schedule.get("injections") if isinstance(schedule, dict) else schedule
    if not isinstance(listed, list):
        return ()
    asked = []
    for place, item in enumerate(listed, start=1):
        if isinstance(item, dict):
            name = str(item.get("id") or f"i{place}")
            target = item.get("target")
            on_head = "head" in (target, target.get("select") if isinstance(target, dict) else None)
            asked.append(Asked(name, str(item.get("fault", "?")), item.get("may_miss") is True, on_head))
    return tuple(asked)
