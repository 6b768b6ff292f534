"""Sequential tests of failure rates: how few runs decide, and how sure that is.

The test is Wald's sequential probability ratio test (Ann. Math. Stat. 16, 1945).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from chaos.rate import Rate, clean_runs_to_prove_fixed

Ruling: TypeAlias = Literal["keeps", "loses", "undecided"]

NO_RATE = 0.05  # a schedule that fails no oftener than this does not show the bug
WRONGLY_KEPT = 0.05
WRONGLY_LOST = 0.10
_RUNS_LIMIT = 60


def decide(counts: Rate, *, parent_rate: float) -> Ruling:
    """Whether a schedule still shows the bug that its parent shows at `parent_rate` (above 0, below 1).

    H1, it fails as often as its parent, is tested against H0, it fails in at most `NO_RATE` of its runs. A schedule
    that is kept also failed at least half as often as its parent. One that cannot be decided on is lost.
    """
    if counts.runs == 0:
        return "undecided"
    likely = max(parent_rate, 2 * NO_RATE)
    weight = counts.failures * math.log(likely / NO_RATE)
    weight += (counts.runs - counts.failures) * math.log((1.0 - likely) / (1.0 - NO_RATE))
    if weight <= math.log(WRONGLY_LOST / (1.0 - WRONGLY_KEPT)):
        return "loses"
    if weight >= math.log((1.0 - WRONGLY_LOST) / WRONGLY_KEPT) and counts.estimate >= parent_rate / 2.0:
        return "keeps"
    return "loses" if counts.runs >= _RUNS_LIMIT else "undecided"


def fails_less(counts: Rate, *, parent_rate: float) -> bool:
    """Whether runs speak for a quarter of the parent's rate (below 1) rather than for all of it: for less than half."""
    weight = counts.failures * math.log(4.0)
    weight += (counts.runs - counts.failures) * math.log((1.0 - parent_rate) / (1.0 - parent_rate / 4.0))
    return weight < 0.0


def confident(counts: Rate) -> bool:
    """Whether more runs would tell little: the interval spans at most 0.3, and of no failure 29 runs are enough."""
    low, high = counts.interval95
    clean = clean_runs_to_prove_fixed(0.1)
    return counts.runs >= clean if counts.failures == 0 else high - low <= 0.3
