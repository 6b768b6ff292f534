"""What real runs took for the things of which the twin's model has latencies, sample by sample.

Each is measured where nothing was being done to the cluster: a stretch that an injection in force overlaps, or a node
that one has hit, is left out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.checkers.facts import Facts, in_time
from chaos.events import (
    AutoscalerLogged,
    BatchCompleted,
    BatchInvoked,
    ClusterSampled,
    FaultHealed,
    FaultInjected,
    HostSampled,
    NodeDied,
    NodeJoined,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
    RunOpened,
)
from chaos.history import History

_STOP_ASKED = re.compile(r"Update instance RAY_RUNNING->RAY_STOP_REQUESTED .*ray_id=([0-9a-f]+)")


@dataclass(frozen=True)
class Sample:
    """What something took, and of a start, how many others there were on average meanwhile."""

    name: str
    value: float
    others: float = 0.0

    def alone(self, crowding: float) -> float:
        """What it would have taken without the others."""
        return self.value / (1.0 + crowding * self.others)


def samples_of(runs: Iterable[Facts]) -> list[Sample]:
    """Every sample of every quantity in these runs."""
    found: list[Sample] = []
    for facts in runs:
        calm, crowd = _Calm.of(facts.history), _Crowd.of(facts)
        found += [*_of_cluster(facts, calm, crowd), *_of_job(facts, calm, crowd)]
    return found


@dataclass(frozen=True)
class _Calm:
    """When and where nothing was being done to the cluster."""

    windows: tuple[tuple[float, float], ...]
    hit: Mapping[str, float]

    @staticmethod
    def of(history: History) -> _Calm:
        healed = {event.injection: event.healed_s for _, event in history.of(FaultHealed)}
        windows = []
        hit: dict[str, float] = {}
        for _, event in history.of(FaultInjected):
            windows.append((event.applied_s, healed.get(event.injection, event.applied_s)))
            for victim in event.victims:
                hit[victim] = min(event.applied_s, hit.get(victim, math.inf))
        return _Calm(tuple(windows), hit)

    def was(self, from_s: float, to_s: float, *, node: str = "") -> bool:
        """Whether a stretch, on a node, was left alone."""
        if self.hit.get(node, math.inf) <= to_s:
            return False
        return not any(from_s <= until_s and since_s <= to_s for since_s, until_s in self.windows)


def _first_times(pairs: Iterable[tuple[float, str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for t_s, name in pairs:
        found.setdefault(name, t_s)
    return found


@dataclass(frozen=True)
class _Crowd:
    """When which nodes were starting: joining, or preparing their first batch."""

    starts: tuple[tuple[str, float, float], ...]

    @staticmethod
    def of(facts: Facts) -> _Crowd:
        return _Crowd((*_joins(facts.history), *_warm_ups(facts)))

    def others(self, node: str, from_s: float, to_s: float) -> float:
        """How many other nodes were starting in a stretch, on average."""
        shared = sum(
            max(0.0, min(to_s, until_s) - max(from_s, since_s))
            for other, since_s, until_s in self.starts
            if other != node
        )
        return shared / (to_s - from_s) if to_s > from_s else 0.0


def _joins(history: History) -> Iterator[tuple[str, float, float]]:
    """Each node's, from when its instance ran until it had joined."""
    started = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeStarted)))
    joined = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeJoined)))
    for node, from_s in started.items():
        if node != "head" and joined.get(node, -math.inf) >= from_s:
            yield node, from_s, joined[node]


def _warm_ups(facts: Facts) -> Iterator[tuple[str, float, float]]:
    """Each node's, from when it had joined and work waited until its first batch."""
    joined = _first_times((r.t_s, e.node) for r, e in in_time(facts.history.of(NodeJoined)))
    busy = _Waiting.of(facts)
    for node, first_s in _first_times((e.started_s, e.node) for e in _begun(facts.history)).items():
        since_s = max(joined.get(node, math.inf), facts.load_from_s or 0.0)
        if since_s <= first_s and busy.at(since_s):
            yield node, since_s, first_s


def _begun(history: History) -> list[BatchInvoked]:
    return sorted((event for _, event in history.of(BatchInvoked)), key=lambda batch: batch.started_s)


def _of_cluster(facts: Facts, calm: _Calm, crowd: _Crowd) -> Iterator[Sample]:
    history = facts.history
    asked = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeLaunching)))
    started = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeStarted)))
    ending = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeTerminating)))
    gone = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeTerminated)) if e.cause == "autoscaler")
    for name, since, until in (("launch", asked, started), ("stop", ending, gone)):
        for node, from_s in since.items():
            to_s = until.get(node)
            if node != "head" and to_s is not None and to_s >= from_s and calm.was(from_s, to_s, node=node):
                yield Sample(name, to_s - from_s)
    for node, from_s, to_s in _joins(history):
        if calm.was(from_s, to_s, node=node):
            yield Sample("join", to_s - from_s, crowd.others(node, from_s, to_s))
    died = {e.ray_node_id: (r.t_s, e.node) for r, e in history.of(NodeDied)}
    for record, event in history.of(AutoscalerLogged):
        told = _STOP_ASKED.search(event.text)
        if told and told[1] in died and calm.was(record.t_s, died[told[1]][0], node=died[told[1]][1]):
            yield Sample("leave", died[told[1]][0] - record.t_s)
    yield from _noticed(history)
    for record, host in history.of(HostSampled):
        if calm.was(record.t_s, record.t_s):
            yield Sample("look", host.lag_s)


def _noticed(history: History) -> Iterator[Sample]:
    """Deaths without a word, and when the GCS declared them; here a fault is what is measured."""
    deaths = in_time(history.of(NodeDied))
    for record, event in history.of(NodeTerminated):
        if event.cause == "killed":
            noticed_s = next((r.t_s for r, e in deaths if e.node == event.node and r.t_s >= record.t_s), None)
            if noticed_s is not None:
                yield Sample("notice", noticed_s - record.t_s)


def _of_job(facts: Facts, calm: _Calm, crowd: _Crowd) -> Iterator[Sample]:
    """The costs of the run's own workload."""
    history = facts.history
    job, nominal_s = _job_of(history)
    if job is None or facts.load_from_s is None:
        return
    done = sorted((event for _, event in history.of(BatchCompleted)), key=lambda batch: batch.started_s)
    for batch in done:
        if nominal_s and calm.was(batch.started_s, batch.ended_s, node=batch.node):
            yield Sample(f"jobs.{job}.batch", (batch.ended_s - batch.started_s) / nominal_s)
    for node, from_s, to_s in _warm_ups(facts):
        if calm.was(from_s, to_s, node=node):
            others = crowd.others(node, from_s, to_s)
            yield Sample(f"jobs.{job}.warm_up", to_s - from_s, others)
            yield Sample("warm_up", to_s - from_s, others)
    yield from _between_batches(facts, calm, job, done)
    waits = next((r.t_s for r, s in facts.load_samples() if s.demands), None)
    if waits is not None and calm.was(facts.load_from_s, waits):
        yield Sample(f"jobs.{job}.begin", waits - facts.load_from_s)
    if done and facts.load_to_s is not None and facts.outcome == "ok":
        last_s = max(batch.ended_s for batch in done)
        if calm.was(last_s, facts.load_to_s):
            yield Sample(f"jobs.{job}.end", max(0.0, facts.load_to_s - last_s))


def _between_batches(facts: Facts, calm: _Calm, job: str, done: Sequence[BatchCompleted]) -> Iterator[Sample]:
    """Between two of one node, where work waited all the while."""
    begun: dict[str, list[float]] = defaultdict(list)
    for invoked in _begun(facts.history):
        begun[invoked.node].append(invoked.started_s)
    busy = _Waiting.of(facts)
    for batch in done:
        following = min((s for s in begun[batch.node] if s >= batch.ended_s), default=None)
        if following is not None and busy.at(batch.ended_s) and calm.was(batch.ended_s, following, node=batch.node):
            yield Sample(f"jobs.{job}.between", following - batch.ended_s)


@dataclass(frozen=True)
class _Waiting:
    """When demand waited, or all workers were busy: when a node with room gets work as soon as it can do it."""

    times_s: tuple[float, ...]
    waited: tuple[bool, ...]

    @staticmethod
    def of(facts: Facts) -> _Waiting:
        seen = [(r.t_s, _wanted(sample)) for r, sample in facts.load_samples()]
        return _Waiting(tuple(t_s for t_s, _ in seen), tuple(waited for _, waited in seen))

    def at(self, t_s: float) -> bool:
        """Whether it was so when last looked at."""
        return next((waited for at_s, waited in zip(reversed(self.times_s), reversed(self.waited), strict=True)
                     if at_s <= t_s), True)  # fmt: skip


def _wanted(sample: ClusterSampled) -> bool:
    workers = [view for view in sample.nodes if view.node != "head"]
    return any(demand.count > 0 for demand in sample.demands) or all(view.status == "running" for view in workers)


def _job_of(history: History) -> tuple[str | None, float]:
    """The workload's name, and what a batch of it takes at least, in seconds."""
    told = opened(history).spec.get("workload")
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return None, 0.0
    nominal_ms = told.get("device_ms_per_batch")
    return str(told["name"]), float(nominal_ms) / 1000.0 if isinstance(nominal_ms, (int, float)) else 0.0


def opened(history: History) -> RunOpened:
    """The first thing a history says."""
    first = history.first(RunOpened)
    assert first is not None
    return first[1]
