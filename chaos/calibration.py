"""Latencies of the twin's model, fitted to what real runs took: robustly, and with what they rest on.

The fit is by the median and the median absolute deviation of the logarithms (Rousseeuw and Croux 1993: times 1.4826 it
estimates the standard deviation of a normal distribution), which a few stretches that took far longer do not move; such
are counted, and told.

How much nodes that start at the same time slow each other is fitted first: the `crowding` that leaves the logarithms
nearest to their medians, by the sum of absolute deviations. What the starts would have taken alone is fitted then.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from chaos.checkers.facts import Facts, facts_of
from chaos.errors import InvalidSpec
from chaos.events import RunOpened
from chaos.history import History
from chaos.samples import Sample, opened, samples_of
from chaos.sim.latency import MOST_CROWDING, Factor, JobCosts, Latencies, LogNormal
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
_CROWDING = "crowding"
_CROWDING_STEP = 0.05


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
    openings = [opened(history) for history in histories]
    _refuse_mixed(openings)
    told = samples_of(facts)
    crowding = _crowding(told)
    samples = _by_name(told, crowding)
    jobs = sorted({name.split(".")[1] for name in samples if name.startswith("jobs.")})
    required = [*_REQUIRED, *(f"jobs.{job}.{name}" for job in jobs for name in _REQUIRED_OF_JOB)]
    missing = [f"{name} has {len(samples.get(name, ()))}" for name in required if len(samples.get(name, ())) < LEAST]
    if missing or not jobs:
        lacks = ", ".join(missing) or "no batch of any workload was recorded"
        raise InvalidSpec(
            f"too few samples to fit from {_runs(len(histories))}: {lacks}, of at least {LEAST}; samples count where "
            "no fault was in force: give more runs, best fault-free ones that start several workers"
        )
    names = [*_CLUSTER, *(f"jobs.{job}.{name}" for job in jobs for name in _JOB)]
    return Calibration(
        machine=machine,
        versions=openings[0].versions,
        cluster=openings[0].cluster,
        runs=tuple(event.run_id for event in openings),
        latencies=_latencies(samples, jobs, crowding),
        fits={
            **{name: _fitted(name, samples.get(name, ())) for name in names},
            _CROWDING: Fitted(samples=sum(map(len, _starts(told).values()))),
        },
    )


def measured(runs: Iterable[Facts]) -> Samples:
    """Every sample of every quantity in these runs, by name: seconds, or for `batch` shares of the nominal cost."""
    return _by_name(samples_of(runs), 0.0)


def _by_name(samples: Iterable[Sample], crowding: float) -> Samples:
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        found[sample.name].append(sample.alone(crowding))
    return found


def _starts(samples: Iterable[Sample]) -> Mapping[str, Sequence[Sample]]:
    """Of the samples the starts, by what is alike: joins, and the warm-ups of each job."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.name == "join" or (sample.name.startswith("jobs.") and sample.name.endswith(".warm_up")):
            found[sample.name].append(sample)
    return {name: alike for name, alike in found.items() if len(alike) >= LEAST}


def _crowding(samples: Sequence[Sample]) -> float:
    """By how much of its own time a start takes longer for each other one; the least of those that fit best."""
    starts = _starts(samples)

    def spread(crowding: float) -> float:
        total = 0.0
        for alike in starts.values():
            logs = [math.log(max(_SHORTEST_S, sample.alone(crowding))) for sample in alike]
            total += sum(abs(log - statistics.median(logs)) for log in logs)
        return round(total, 6)  # where nothing tells them apart, it is 0

    steps = round(MOST_CROWDING / _CROWDING_STEP)
    return min((round(step * _CROWDING_STEP, 2) for step in range(steps + 1)), key=spread)


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


def _latencies(samples: Samples, jobs: Sequence[str], crowding: float) -> Latencies:
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
    return Latencies().model_copy(update={**of_all, "jobs": costs, _CROWDING: crowding})


# -- which runs can serve -------------------------------------------------------------------------------------


def _known(history: History) -> Facts:
    facts = facts_of(history)
    if isinstance(facts, str):
        raise InvalidSpec(f"this run cannot be calibrated from: {facts}")
    return facts


def _refuse_mixed(openings: Sequence[RunOpened]) -> None:
    for what, told in (
        ("kinds of cluster", {event.cluster for event in openings}),
        ("releases of Ray", {event.versions.get("ray", "unknown") for event in openings}),
    ):
        if len(told) > 1:
            raise InvalidSpec(
                f"these runs are of several {what} ({', '.join(sorted(told))}); calibrate from one at a time"
            )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
