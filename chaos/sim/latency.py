"""How long things take in the model: distributions, drawn from named streams so that nothing depends on the order."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from pydantic import Field

from chaos.value import Value


class LogNormal(Value):
    """Seconds: the median, and the standard deviation of their logarithm; 0 is always the median."""

    median_s: float = Field(ge=0.0)
    sigma: float = Field(default=0.0, ge=0.0, le=2.0)

    def draw(self, source: Callable[[], random.Random]) -> float:
        """One of them."""
        return self.median_s * _spread(self.sigma, source) if self.median_s else 0.0


class Factor(Value):
    """What a nominal cost is multiplied by: the median, and the standard deviation of the logarithm."""

    median: float = Field(default=1.0, gt=0.0)
    sigma: float = Field(default=0.0, ge=0.0, le=2.0)

    def draw(self, source: Callable[[], random.Random]) -> float:
        """One of them."""
        return self.median * _spread(self.sigma, source)


def _spread(sigma: float, source: Callable[[], random.Random]) -> float:
    """What the median is multiplied by; the source is asked for only where there is something to draw."""
    return math.exp(source().gauss(0.0, sigma)) if sigma else 1.0


MOST_CROWDING = 4.0
NOTHING = LogNormal(median_s=0.0)


class JobCosts(Value):
    """What one workload takes its time for, beside its batches' nominal cost.

    - `begin`: from when its driver says that it begins until its demand is there.
    - `warm_up`: from when a node has room for its first batch until that begins.
    - `between`: from when a batch ends on a node until the next one begins there, where one waits.
    - `batch`: a batch's duration through its nominal one.
    - `end`: from the end of the last batch until the driver says that it has finished.
    """

    begin: LogNormal = NOTHING
    warm_up: LogNormal = LogNormal(median_s=3.0, sigma=0.1)
    between: LogNormal = NOTHING
    batch: Factor = Factor()
    end: LogNormal = NOTHING


class Latencies(Value):
    """What the model's cluster takes its time for.

    The defaults are about what `compose` runs took on two cores with Ray 2.60; `raychaos calibrate` fits others.

    - `launch`: from when the Cloud is asked for an instance until it runs.
    - `join`: from when an instance runs until Ray on it has joined.
    - `leave`: from when Ray on a node is told to end until the GCS knows that it has.
    - `stop`: from when the Cloud is asked to end an instance until it is gone.
    - `notice`: from when a node ends without a word until the GCS declares it dead; None where only missed health
      checks tell it.
    - `look`: how late the observer is with each look, beyond its interval.
    - `warm_up`: what a node's first batch takes before it begins, of workloads that `jobs` says nothing of.
    - `jobs`: the costs of workloads, by name.
    - `crowding`: for each other node that joins or has its first batch prepared at the same time, `join` and `warm_up`
      take so much of their own time longer: nodes share the cores of a machine.
    """

    launch: LogNormal = NOTHING
    join: LogNormal = LogNormal(median_s=2.0, sigma=0.1)
    leave: LogNormal = LogNormal(median_s=0.5, sigma=0.1)
    stop: LogNormal = NOTHING
    notice: LogNormal | None = None
    look: LogNormal = NOTHING
    warm_up: LogNormal = LogNormal(median_s=3.0, sigma=0.1)
    jobs: dict[str, JobCosts] = Field(default_factory=dict)
    crowding: float = Field(default=0.0, ge=0.0, le=MOST_CROWDING)

    def job(self, workload: str) -> JobCosts:
        """The costs of a workload by name."""
        return self.jobs.get(workload, JobCosts(warm_up=self.warm_up))
