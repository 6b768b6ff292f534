"""Who was there when: node lanes, and node counts as steps in time, read from a history."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from chaos.cluster_spec import ClusterSpec
from chaos.demand import workers_for, workers_wanted
from chaos.events import ClusterSampled, ConfigChanged, DemandChanged, PhaseBegan, RunOpened, WorkloadFinished
from chaos.history import History
from chaos.report.lives import Life, LifeState, lives_after


@dataclass(frozen=True)
class Span:
    """A node in one state for a while."""

    state: LifeState
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Lane:
    """One node's life as a lane of its states; `cause` is why it ended, empty while it lives."""

    node: str
    node_type: str
    spans: tuple[Span, ...]
    launched_s: float | None = None
    joined_s: float | None = None
    ended_s: float | None = None
    cause: str = ""


def ordinal(node: str) -> tuple[int, str]:
    """A sort key: the head first, then workers by launch ordinal, then anything else by name."""
    if node == "head":
        return (0, node)
    number = node.removeprefix("w")
    return (int(number) if number.isdecimal() else 1_000_000, node)


def lanes(history: History) -> tuple[Lane, ...]:
    """Every node the history names, the head first, then by launch ordinal."""
    lives: Mapping[str, Life] = {}
    for record in history:
        lives = lives_after(lives, record)
    end_s = max((record.t_s for record in history), default=0.0)
    return tuple(_lane(node, lives[node], end_s) for node in sorted(lives, key=ordinal))


def _lane(node: str, life: Life, end_s: float) -> Lane:
    moments = life.moments()
    spans: list[Span] = []
    for place, begin_s in enumerate(moments):
        until_s = moments[place + 1] if place + 1 < len(moments) else end_s
        state = life.state_at(begin_s)
        if state is None or until_s <= begin_s:
            continue
        if spans and spans[-1].state == state and spans[-1].end_s == begin_s:
            spans[-1] = Span(state, spans[-1].begin_s, until_s)
        else:
            spans.append(Span(state, begin_s, until_s))
    return Lane(
        node=node,
        node_type=life.node_type,
        spans=tuple(spans),
        launched_s=life.first.launched_s,
        joined_s=life.first.joined_s,
        ended_s=life.terminated_s if life.terminated_s is not None else life.died_s,
        cause=life.cause or ("died" if life.died_s is not None else ""),
    )


@dataclass(frozen=True)
class Steps:
    """A quantity that keeps its value until the next change; 0 before the first."""

    times_s: tuple[float, ...] = ()
    values: tuple[int, ...] = ()

    def at(self, t_s: float) -> int:
        """The value at a moment."""
        place = bisect_right(self.times_s, t_s)
        return self.values[place - 1] if place else 0

    @property
    def peak(self) -> int:
        """The largest value; 0 where there is none."""
        return max(self.values, default=0)


def steps(changes: Iterable[tuple[float, int]]) -> Steps:
    """Steps from `(time, value)` pairs, in any order; the later of two at one time counts."""
    ordered = dict(sorted(changes, key=lambda change: change[0]))
    times: list[float] = []
    values: list[int] = []
    for t_s, value in ordered.items():
        if not values or values[-1] != value:
            times.append(t_s)
            values.append(value)
    return Steps(tuple(times), tuple(values))


@dataclass(frozen=True)
class WorkerCounts:
    """Workers wanted, on their way, up and idle over time, without the head.

    `least` and `most` are the limits of the spec, where known, at their widest under any edit of the run.
    """

    wanted: Steps
    launching: Steps
    up: Steps
    idle: Steps
    least: int | None
    most: int | None


def worker_counts(history: History) -> WorkerCounts:
    """The counts of a history; `wanted` follows the workload's own demand, or else what the samples show waiting."""
    workers = [lane for lane in lanes(history) if lane.node != "head"]
    opened = history.first(RunOpened)
    spec = spec_of(opened[1]) if opened else None
    edits = [(record.t_s, spec.edited(edit)) for record, edit in history.of(ConfigChanged)] if spec else []
    states = [spec, *(edited for _, edited in edits)] if spec else []
    return WorkerCounts(
        wanted=_wanted(history, spec, edits),
        launching=_overlapping(workers, ("pending", "booting")),
        up=_overlapping(workers, ("up",)),
        idle=steps(
            (record.t_s, idle_workers(sample)) for record, sample in history.of(ClusterSampled) if sample.reachable
        ),
        least=min((state.min_workers for state in states), default=None),
        most=max((state.worker_limit for state in states), default=None),
    )


def spec_of(opened: RunOpened) -> ClusterSpec | None:
    """The `cluster` part of the run's spec; None when this version cannot read it."""
    try:
        return ClusterSpec.model_validate(opened.spec.get("cluster"))
    except ValidationError:
        return None


def idle_workers(sample: ClusterSampled) -> int:
    """How many workers the GCS sees idle."""
    return sum(view.node != "head" and view.status == "idle" for view in sample.nodes)


def _wanted(history: History, spec: ClusterSpec | None, edits: Sequence[tuple[float, ClusterSpec]]) -> Steps:
    if spec is None:
        return Steps()

    def cluster_at(t_s: float) -> ClusterSpec:
        return next((edited for from_s, edited in reversed(edits) if from_s <= t_s), spec)

    demands = [(record.t_s, event.bundles) for record, event in history.of(DemandChanged)]
    changes = [(t_s, workers_for(bundles, cluster_at(t_s))) for t_s, bundles in demands]
    for from_s, edited in edits:
        asked = [bundles for t_s, bundles in demands if t_s <= from_s]
        changes += [(from_s, workers_for(bundles, edited)) for bundles in asked[-1:]]
    if not demands:
        changes = [
            (record.t_s, workers_wanted(sample, cluster_at(record.t_s)))
            for record, sample in history.of(ClusterSampled)
            if sample.reachable
        ]
    finished = history.first(WorkloadFinished)
    if finished is not None:
        changes = [change for change in changes if change[0] < finished[0].t_s]
        changes.append((finished[0].t_s, spec.min_workers))
    return steps(changes)


def _overlapping(workers: Sequence[Lane], states: Sequence[LifeState]) -> Steps:
    edges: dict[float, int] = defaultdict(int)
    for lane in workers:
        for span in lane.spans:
            if span.state in states:
                edges[span.begin_s] += 1
                edges[span.end_s] -= 1
    total = 0
    changes: list[tuple[float, int]] = []
    for t_s in sorted(edges):
        total += edges[t_s]
        changes.append((t_s, total))
    return steps(changes)


def phases(history: History) -> tuple[tuple[str, float, float], ...]:
    """Each phase with its begin and end in seconds, in order."""
    begun = [(event.phase, record.t_s) for record, event in history.of(PhaseBegan)]
    ends = [*(t_s for _, t_s in begun[1:]), max((record.t_s for record in history), default=0.0)]
    return tuple((phase, t_s, max(t_s, end_s)) for (phase, t_s), end_s in zip(begun, ends, strict=False))
