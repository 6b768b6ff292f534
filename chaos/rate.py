"""How often something fails, from how often it did: an estimate with its interval, and what runs without it prove.

The interval is Clopper and Pearson's (Biometrika 26, 1934), whose ends are quantiles of Beta distributions.
"""

from __future__ import annotations

import math

from pydantic import Field

from chaos.value import Value

CONFIDENCE = 0.95
_BISECTIONS = 60


class Rate(Value):
    """How many runs there were, and how many of them failed: of whatever it is that is counted."""

    runs: int = Field(default=0, ge=0)
    failures: int = Field(default=0, ge=0)

    def and_one(self, *, failed: bool) -> Rate:
        """With one more run."""
        return Rate(runs=self.runs + 1, failures=self.failures + failed)

    @property
    def estimate(self) -> float:
        """The share that failed; 0 of none."""
        return self.failures / self.runs if self.runs else 0.0

    @property
    def expected(self) -> float:
        """The mean of the rate's posterior: never quite 0 or 1, and near them soon (prior Beta(¼, ¼))."""
        return (self.failures + 0.25) / (self.runs + 0.5)

    @property
    def interval95(self) -> tuple[float, float]:
        """The rate's 95 % interval, low and high; it covers the true rate so often where `runs` was set before."""
        if not self.runs:
            return 0.0, 1.0
        tail = (1.0 - CONFIDENCE) / 2.0
        passes = self.runs - self.failures
        low = 0.0 if self.failures == 0 else 1.0 - _upper(passes, self.runs, tail)
        high = 1.0 if passes == 0 else _upper(self.failures, self.runs, tail)
        return low, high

    @property
    def text(self) -> str:
        """The rate with its interval, for people."""
        low, high = self.interval95
        return f"{self.estimate:.0%} ({self.failures} of {self.runs} runs; 95 % interval {low:.0%} to {high:.0%})"


def _upper(failures: int, runs: int, tail: float) -> float:
    """The rate at which so few failures, or fewer, have just the probability `tail`."""
    low, high = failures / runs, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if _at_most(failures, runs, middle) > tail:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, runs: int, rate: float) -> float:
    if rate <= 0.0 or rate >= 1.0:
        return 1.0 if rate <= 0.0 or failures >= runs else 0.0
    whole, hit, miss = math.lgamma(runs + 1), math.log(rate), math.log1p(-rate)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(runs - k + 1) + k * hit + (runs - k) * miss)
        for k in range(failures + 1)
    )


def unseen_below(runs: int) -> float:
    """The rate below which something lies, with 95 % confidence, that was not seen in so many runs.

    For many runs that is the rule of three, 3 / runs.
    """
    return 1.0 - (1.0 - CONFIDENCE) ** (1.0 / runs) if runs else 1.0


def clean_runs_to_prove_fixed(rate: float) -> int:
    """How many runs without a failure make it unlikely (5 %) that what failed at this rate is still there."""
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log(1.0 - min(rate, 1.0 - 1e-9)))
