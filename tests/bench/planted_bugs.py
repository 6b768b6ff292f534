"""Planted flaky bugs with a known optimum, and plain delta debugging with fixed repeats as the control."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from chaos.rate import CONFIDENCE
from chaos.schedule import Injection, Schedule
from chaos.signature import Signature
from chaos.target import Target
from faults.delay_launch import DelayLaunch
from faults.kill_node import KillNode
from faults.pause_node import PauseNode

BUG = Signature(property="job_completes", autoscaler="REQUESTED")
OTHER = Signature(property="no_overshoot")
_OTHER_RATE = 0.1


def many_injections(rng: random.Random, count: int) -> Schedule:
    """A schedule of so many injections of different faults at different times."""
    return Schedule(injections=tuple(_injection(rng) for _ in range(count)))


def _injection(rng: random.Random) -> Injection:
    at_s = round(rng.uniform(1.0, 60.0), 2)
    lasts_s = round(rng.uniform(2.0, 20.0), 2)
    kind = rng.randrange(3)
    if kind == 0:
        return Injection(fault=KillNode(), target=Target(select="random"), at_s=at_s)
    if kind == 1:
        return Injection(fault=PauseNode(), target=Target(select="oldest"), at_s=at_s, duration_s=lasts_s)
    return Injection(fault=DelayLaunch(delay_s=round(rng.uniform(1.0, 30.0), 2)), at_s=at_s, duration_s=lasts_s)


class FlakyBug:
    """Fails with probability `rate` when every needed injection is there; sometimes with another signature.

    What needs a duration needs at least `least_s` of it, where given.
    """

    def __init__(self, needed: frozenset[str], rate: float, rng: random.Random, *, least_s: float = 0.0) -> None:
        self.needed = needed
        self.rate = rate
        self.runs = 0
        self._rng = rng
        self._least_s = least_s

    def true_rate(self, schedule: Schedule) -> float:
        """How often a schedule shows the bug."""
        there = {
            injection.id
            for injection in schedule.injections
            if injection.duration_s is None or injection.duration_s >= self._least_s
        }
        return self.rate if self.needed <= there else 0.0

    def show(self, schedule: Schedule) -> Signature | None:
        """One run."""
        self.runs += 1
        if self._rng.random() < self.true_rate(schedule):
            return BUG
        # The bug being looked for hides the other one: what always fails always fails alike.
        return OTHER if self._rng.random() < _OTHER_RATE * len(schedule.injections) / 10 else None

    async def run(self, schedule: Schedule) -> Signature | None:
        """One run, as the shrinker wants it."""
        return self.show(schedule)


def planted(seed: int, *, injections: int, needed: int, rate: float) -> tuple[Schedule, FlakyBug]:
    """A schedule, and the bug that so many of its injections show together."""
    rng = random.Random(seed)
    schedule = many_injections(rng, injections)
    ids = rng.sample([injection.id for injection in schedule.injections], needed)
    return schedule, FlakyBug(frozenset(ids), rate, rng)


def fixed_repeats(rate: float) -> int:
    """How often a schedule must be repeated for a failure of this rate to show, with 95 % confidence."""
    return 1 if rate >= 1.0 else math.ceil(math.log(1.0 - CONFIDENCE) / math.log(1.0 - rate))


def plain_ddmin(schedule: Schedule, bug: FlakyBug, *, repeats: int) -> Schedule:
    """Zeller and Hildebrandt's ddmin (TSE 2002), each test repeated until it fails, `repeats` times at most."""
    known: dict[frozenset[str], bool] = {}
    whole = {injection.id: injection for injection in schedule.injections}

    def fails(names: list[str]) -> bool:
        key = frozenset(names)
        if key not in known:
            smaller = Schedule(injections=tuple(whole[name] for name in names))
            known[key] = any(bug.show(smaller) == BUG for _ in range(repeats))
        return known[key]

    return Schedule(injections=tuple(whole[name] for name in _ddmin(list(whole), fails)))


def _ddmin(names: list[str], fails: Callable[[list[str]], bool]) -> list[str]:
    parts = 2
    while len(names) >= 2:
        size = math.ceil(len(names) / parts)
        chunks = [names[start : start + size] for start in range(0, len(names), size)]
        if (found := next((chunk for chunk in chunks if fails(chunk)), None)) is not None:
            names, parts = found, 2
            continue
        rests = [[name for name in names if name not in chunk] for chunk in chunks]
        if (found := next((rest for rest in rests if parts > 2 and fails(rest)), None)) is not None:
            names, parts = found, max(parts - 1, 2)
        elif parts >= len(names):
            break
        else:
            parts = min(len(names), parts * 2)
    return names
