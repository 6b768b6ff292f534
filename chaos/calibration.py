"""Latencies of the twin's model, fitted to what real runs took: robustly, and with what they rest on.

Each quantity is measured where nothing was being done to the cluster: a stretch that an injection in force overlaps, or
a node that one has hit, is left out. The fit is by the median and the median absolute deviation of the logarithms
(Rousseeuw and Croux 1993: times 1.4826 it estimates the standard deviation of a normal distribution), which a few
stretches that took far longer do not move; such are counted, and told.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from chaos.checkers.facts import Facts, facts_of, in_time
from chaos.errors import InvalidSpec
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
from chaos.sim.latency import Factor, JobCosts, Latencies, LogNormal
from chaos.value import Value

FORMAT = 1
LEAST = 3
_ONCE_A_RUN = {"begin": 1, "end": 1}  # of these one sample is nearer than the default, which is no time at all
_SHORTEST_S = 1e-3
_OUTLIER = 4.0
_NARROWEST = 0.05  # of the logarithm: what lies within some percent of the median is no outlier, however alike the rest
_MOST_SIGMA = 2.0
_CLUSTER = ("launch", "join", "leave", "stop", "notice", "look", "warm_up")
_JOB = ("begin", "warm_up", "between", "batch", "end")
_REQUIRED = ("join", "warm_up")
_REQUIRED_OF_JOB = ("batch",)
_STOP_ASKED = re.compile(r"Update instance RAY_RUNNING->RAY_STOP_REQUESTED .*ray_id=([0-9a-f]+)")


class Fitted(Value):
    """What one quantity's fit rests on. `outliers` are the samples, in its unit, that lie far from the rest.

    `too_few` samples are not fitted to: the model's default stays, and a job's warm-up is that of all jobs.
    """

    samples: int
    outliers: tuple[float, ...] = ()
    too_few: bool = False


class Calibration(Value):
    """A calibration file: the latencies, and where they come from.

    `fits` are by name, such as `jobs.task_bursts.batch`. `machine` is where it was fitted; `versions` are of the runs.
    """

    format: int = Field(default=FORMAT, ge=1)
    machine: str
    versions: dict[str, str]
    cluster: str
    runs: tuple[str, ...]
    latencies: Latencies
    fits: dict[str, Fitted]


Samples = Mapping[str, Sequence[float]]


def calibrate(histories: Sequence[History], *, machine: str) -> Calibration:
    """Latencies fitted to real runs, of one kind of cluster and one Ray.

    Raises:
        InvalidSpec: runs that cannot serve together, or too few samples; names what is missing.
    """
    facts = [_known(history) for history in histories]
    opened = [_opened(history) for history in histories]
    _refuse_mixed(opened)
    samples = measured(facts)
    jobs = sorted({name.split(".")[1] for name in samples if name.startswith("jobs.")})
    required = [*_REQUIRED, *(f"jobs.{job}.{name}" for job in jobs for name in _REQUIRED_OF_JOB)]
    missing = [f"{name} has {len(samples.get(name, ()))}" for name in required if len(samples.get(name, ())) < LEAST]
    if missing or not jobs:
        told = ", ".join(missing) or "no batch of any workload was recorded"
        raise InvalidSpec(
            f"too few samples to fit from {_runs(len(histories))}: {told}, of at least {LEAST}; samples count where no "
            "fault was in force: give more runs, best fault-free ones that start several workers"
        )
    names = [*_CLUSTER, *(f"jobs.{job}.{name}" for job in jobs for name in _JOB)]
    return Calibration(
        machine=machine,
        versions=opened[0].versions,
        cluster=opened[0].cluster,
        runs=tuple(event.run_id for event in opened),
        latencies=_latencies(samples, jobs),
        fits={name: _fitted(name, samples.get(name, ())) for name in names},
    )


def measured(runs: Iterable[Facts]) -> Samples:
    """Every sample of every quantity in these runs, by name: seconds, or for `batch` shares of the nominal cost."""
    found: dict[str, list[float]] = defaultdict(list)
    for facts in runs:
        calm = _Calm.of(facts.history)
        for name, value in [*_of_cluster(facts, calm), *_of_job(facts, calm)]:
            found[name].append(value)
    return found


# -- what is measured -----------------------------------------------------------------------------------------


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


def _of_cluster(facts: Facts, calm: _Calm) -> Iterator[tuple[str, float]]:
    history = facts.history
    asked = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeLaunching)))
    started = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeStarted)))
    joined = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeJoined)))
    ending = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeTerminating)))
    gone = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeTerminated)) if e.cause == "autoscaler")
    for name, since, until in (("launch", asked, started), ("join", started, joined), ("stop", ending, gone)):
        for node, from_s in since.items():
            to_s = until.get(node)
            if node != "head" and to_s is not None and to_s >= from_s and calm.was(from_s, to_s, node=node):
                yield name, to_s - from_s
    died = {e.ray_node_id: (r.t_s, e.node) for r, e in history.of(NodeDied)}
    for record, event in history.of(AutoscalerLogged):
        told = _STOP_ASKED.search(event.text)
        if told and told[1] in died and calm.was(record.t_s, died[told[1]][0], node=died[told[1]][1]):
            yield "leave", died[told[1]][0] - record.t_s
    yield from _noticed(history)
    for record, host in history.of(HostSampled):
        if calm.was(record.t_s, record.t_s):
            yield "look", host.lag_s


def _noticed(history: History) -> Iterator[tuple[str, float]]:
    """Deaths without a word, and when the GCS declared them; here a fault is what is measured."""
    deaths = in_time(history.of(NodeDied))
    for record, event in history.of(NodeTerminated):
        if event.cause == "killed":
            noticed_s = next((r.t_s for r, e in deaths if e.node == event.node and r.t_s >= record.t_s), None)
            if noticed_s is not None:
                yield "notice", noticed_s - record.t_s


def _of_job(facts: Facts, calm: _Calm) -> Iterator[tuple[str, float]]:
    """The costs of the run's own workload."""
    history = facts.history
    job, nominal_s = _job_of(history)
    if job is None or facts.load_from_s is None:
        return
    done = sorted((event for _, event in history.of(BatchCompleted)), key=lambda batch: batch.started_s)
    for batch in done:
        if nominal_s and calm.was(batch.started_s, batch.ended_s, node=batch.node):
            yield f"jobs.{job}.batch", (batch.ended_s - batch.started_s) / nominal_s
    yield from _around_batches(facts, calm, job, done)
    waits = next((r.t_s for r, s in facts.load_samples() if s.demands), None)
    if waits is not None and calm.was(facts.load_from_s, waits):
        yield f"jobs.{job}.begin", waits - facts.load_from_s
    if done and facts.load_to_s is not None and facts.outcome == "ok":
        last_s = max(batch.ended_s for batch in done)
        if calm.was(last_s, facts.load_to_s):
            yield f"jobs.{job}.end", max(0.0, facts.load_to_s - last_s)


def _around_batches(facts: Facts, calm: _Calm, job: str, done: Sequence[BatchCompleted]) -> Iterator[tuple[str, float]]:
    """Before a node's first batch, and between two of one node; where work waited all the while."""
    history = facts.history
    joined = _first_times((r.t_s, e.node) for r, e in in_time(history.of(NodeJoined)))
    begun: dict[str, list[float]] = defaultdict(list)
    for _, invoked in history.of(BatchInvoked):
        begun[invoked.node].append(invoked.started_s)
    busy = _Waiting.of(facts)
    for node, starts in begun.items():
        first_s = min(starts)
        since_s = max(joined.get(node, math.inf), facts.load_from_s or 0.0)
        if since_s <= first_s and busy.at(since_s) and calm.was(since_s, first_s, node=node):
            yield f"jobs.{job}.warm_up", first_s - since_s
            yield "warm_up", first_s - since_s
    for batch in done:
        following = min((s for s in begun[batch.node] if s >= batch.ended_s), default=None)
        if following is not None and busy.at(batch.ended_s) and calm.was(batch.ended_s, following, node=batch.node):
            yield f"jobs.{job}.between", following - batch.ended_s


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
    told = _opened(history).spec.get("workload")
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return None, 0.0
    nominal_ms = told.get("device_ms_per_batch")
    return str(told["name"]), float(nominal_ms) / 1000.0 if isinstance(nominal_ms, (int, float)) else 0.0


# -- the fit --------------------------------------------------------------------------------------------------


def fit(samples: Sequence[float]) -> tuple[float, float]:
    """The median, and the standard deviation of the logarithm, of samples that are not negative."""
    logs = [math.log(max(_SHORTEST_S, sample)) for sample in samples]
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median([abs(log - middle) for log in logs])
    # Where there are two kinds of samples, the absolute deviation says more than the standard one.
    return math.exp(middle), min(_MOST_SIGMA, spread, statistics.pstdev(logs))


def least(name: str) -> int:
    """How many samples a quantity is fitted to at least."""
    return _ONCE_A_RUN.get(name.rpartition(".")[2], LEAST)


def _fitted(name: str, samples: Sequence[float]) -> Fitted:
    if len(samples) < least(name):
        return Fitted(samples=len(samples), too_few=True)
    median, sigma = fit(samples)
    far = [s for s in samples if abs(math.log(max(_SHORTEST_S, s) / median)) > _OUTLIER * max(sigma, _NARROWEST)]
    return Fitted(samples=len(samples), outliers=tuple(round(sample, 3) for sample in sorted(far)))


def _latencies(samples: Samples, jobs: Sequence[str]) -> Latencies:
    """What has samples enough is fitted; the rest stays as the model has it, a job's warm-up as that of all jobs."""

    def seconds(prefix: str, names: Iterable[str]) -> dict[str, LogNormal]:
        found = {}
        for name in names:
            if len(samples.get(prefix + name, ())) >= least(name):
                median_s, sigma = fit(samples[prefix + name])
                found[name] = LogNormal(median_s=round(median_s, 4), sigma=round(sigma, 4))
        return found

    of_all, costs = seconds("", _CLUSTER), {}
    for job in jobs:
        median, sigma = fit(samples[f"jobs.{job}.batch"])
        factor = Factor(median=round(median, 4), sigma=round(sigma, 4))
        told = seconds(f"jobs.{job}.", [name for name in _JOB if name != "batch"])
        costs[job] = JobCosts().model_copy(update={"warm_up": of_all["warm_up"], **told, "batch": factor})
    return Latencies().model_copy(update={**of_all, "jobs": costs})


# -- which runs can serve -------------------------------------------------------------------------------------


def _known(history: History) -> Facts:
    facts = facts_of(history)
    if isinstance(facts, str):
        raise InvalidSpec(f"this run cannot be calibrated from: {facts}")
    return facts


def _opened(history: History) -> RunOpened:
    first = history.first(RunOpened)
    assert first is not None
    return first[1]


def _refuse_mixed(opened: Sequence[RunOpened]) -> None:
    for what, told in (
        ("kinds of cluster", {event.cluster for event in opened}),
        ("releases of Ray", {event.versions.get("ray", "unknown") for event in opened}),
    ):
        if len(told) > 1:
            raise InvalidSpec(
                f"these runs are of several {what} ({', '.join(sorted(told))}); calibrate from one at a time"
            )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
