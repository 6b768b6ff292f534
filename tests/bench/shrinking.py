"""How well the shrinker does on planted flaky bugs with a known optimum, against plain delta debugging."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass

from chaos.shrink import Shrinker, ShrinkPlan, Shrunk
from tests.bench.planted_bugs import BUG, fixed_repeats, plain_ddmin, planted

RATES = (1.0, 0.5, 0.3)
INJECTIONS = 32
NEEDED = 3
BUGS = 60
TRIALS = 200
SIZE_BOUND = 1.5
RUNS_BOUND = 0.5
COVERAGE_BOUND = 0.93


@dataclass(frozen=True)
class Quality:
    """Medians over many planted bugs of one rate: sizes as multiples of the optimum, and runs spent."""

    size: float
    largest: float
    runs: float
    plain_size: float
    plain_runs: float
    strays: int
    """Results that cannot show the bug, or were reported for another one."""


def quality(rate: float, *, bugs: int = BUGS, injections: int = INJECTIONS, needed: int = NEEDED) -> Quality:
    """Shrinks so many planted bugs, by the shrinker and by plain delta debugging with fixed repeats."""
    sizes, runs, plain_sizes, plain_runs, strays = [], [], [], [], 0
    for seed in range(bugs):
        schedule, bug = planted(seed, injections=injections, needed=needed, rate=rate)
        shrunk = asyncio.run(
            Shrinker(schedule, bug.run, plan=ShrinkPlan(values=False, confirm_runs=0), signature=BUG).run()
        )
        sizes.append(len(shrunk.schedule.injections) / needed)
        runs.append(shrunk.runs)
        strays += shrunk.signature != BUG or not bug.true_rate(shrunk.schedule)
        schedule, bug = planted(seed, injections=injections, needed=needed, rate=rate)
        plain = plain_ddmin(schedule, bug, repeats=fixed_repeats(rate))
        plain_sizes.append(len(plain.injections) / needed)
        plain_runs.append(bug.runs)
    return Quality(
        size=statistics.median(sizes),
        largest=max(sizes),
        runs=statistics.median(runs),
        plain_size=statistics.median(plain_sizes),
        plain_runs=statistics.median(plain_runs),
        strays=strays,
    )


def coverage(*, trials: int = TRIALS) -> float:
    """The share of shrinkings whose 95 % interval, from fresh runs, holds the result's true rate."""
    held = 0
    for seed in range(trials):
        schedule, bug = planted(seed, injections=12, needed=2, rate=0.2 + 0.8 * (seed % 10) / 10)
        shrunk: Shrunk = asyncio.run(Shrinker(schedule, bug.run, plan=ShrinkPlan(values=False), signature=BUG).run())
        low, high = shrunk.after.interval95
        held += low <= bug.true_rate(shrunk.schedule) <= high
    return held / trials
