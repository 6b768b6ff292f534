"""How long things take in the model: distributions, drawn from named streams so that nothing depends on the order."""

from __future__ import annotations

import math
import random

from pydantic import Field

from chaos.value import Value


class LogNormal(Value):
    """Seconds: the median, and the standard deviation of their logarithm; 0 is always the median."""

    median_s: float = Field(ge=0.0)
    sigma: float = Field(default=0.0, ge=0.0, le=2.0)

    def draw(self, source: random.Random) -> float:
        """One of them."""
        return self.median_s * math.exp(source.gauss(0.0, self.sigma)) if self.median_s else 0.0


class Latencies(Value):
    """What the model's cluster takes its time for.

    The defaults are about what `compose` runs took on two cores with Ray 2.60; they are fitted to nothing yet.

    - `join`: from when an instance runs until Ray on it has joined.
    - `leave`: from when Ray on a node is told to end until it has.
    - `warm_up`: what a node's first batch takes before it begins.
    """

    join: LogNormal = LogNormal(median_s=2.0, sigma=0.1)
    leave: LogNormal = LogNormal(median_s=0.5, sigma=0.1)
    warm_up: LogNormal = LogNormal(median_s=3.0, sigma=0.1)
