"""Shrinking: the smallest schedule that still shows a failure, also one that shows only now and then.

Injections go in groups whose size falls from round to round (counter-based delta debugging: Zhang, Xu, Tian, Cheng and
Sun, "Toward a Better Understanding of Probabilistic Delta Debugging", ICSE 2025); whether a smaller schedule still
shows the bug is decided by a sequential test; then values become simpler. Only failures of the same signature count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import Field

from chaos.errors import InvalidSpec
from chaos.outcomes import Attempt, Beginning, Outcomes
from chaos.rate import Rate
from chaos.schedule import Schedule
from chaos.sequential import Ruling, decide, fails_less
from chaos.signature import Signature
from chaos.simpler import simplified, without
from chaos.value import Value

Oracle: TypeAlias = Callable[[Schedule], Awaitable[Signature | None]]
"""Runs a schedule once; the signature of its failure, None where no property failed."""
Phase: TypeAlias = Literal["estimating", "removing", "simplifying", "confirming", "done"]

_FIRST_SHARE = 0.1  # of the injections that are taken for essential at first; ProbDD's and CDD's default
_FAILURES_WANTED = 3
_FIRST_RUNS_LIMIT = 30
_TESTS_TO_STAY = 2
_PARENT_EVERY = 10
_RECENT = 30
_RESERVE = 0.25  # of the budget, for the fresh runs of the result


class ShrinkPlan(Value):
    """How to shrink: until nothing gets smaller, or for so many runs or seconds, whichever is first.

    With `exact`, one run decides, as on the twin. `confirm_runs` fresh runs estimate the result's rate.
    """

    runs: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0.0)
    exact: bool = False
    values: bool = True
    confirm_runs: int = Field(default=20, ge=0)


class Progress(Value):
    """Where a shrinking is: `size` injections are left of `size_before`, `runs` are spent.

    `rate` is how often what it has found fails; None where one run decides.
    """

    phase: Phase
    size: int
    size_before: int
    runs: int
    seconds: float
    rate: float | None
    trying: str = ""


class Shrunk(Value):
    """The smallest schedule found so far, and how often it failed in fresh runs (`after`), beside the given one.

    `finished` where nothing smaller was found to be left; `others` counts failures of other signatures, by their text.
    """

    schedule: Schedule
    signature: Signature | None
    before: Rate
    after: Rate
    runs: int
    seconds: float
    finished: bool
    others: dict[str, int]


class Unseen(InvalidSpec):
    """The schedule did not fail, so there is nothing to shrink."""


@dataclass(frozen=True)
class _Candidate:
    """A schedule with its hash, which takes a while to compute."""

    schedule: Schedule
    hash: str

    @staticmethod
    def of(schedule: Schedule) -> _Candidate:
        return _Candidate(schedule, schedule.hash)


class _Spent(Exception):
    """The budget is spent."""


class Shrinker:
    """Shrinks one schedule against one oracle; `result` is the best so far, at any time.

    `times_s` are the times at which injections came in the run that failed, by id, in seconds after the workload
    started; `possible` says whether a schedule can be run at all. Every choice follows from the outcomes, so one that
    is given the outcomes of an interrupted shrinking goes on where that was.
    """

    def __init__(
        self,
        schedule: Schedule,
        oracle: Oracle,
        *,
        plan: ShrinkPlan = ShrinkPlan(),  # noqa: B008 -- a frozen value
        signature: Signature | None = None,
        outcomes: Outcomes | None = None,
        times_s: Mapping[str, float] | None = None,
        possible: Callable[[Schedule], bool] = lambda _: True,
        on_progress: Callable[[Progress], None] = lambda _: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = _Candidate.of(schedule)
        self._oracle = oracle
        self._plan = plan
        self._signature = signature
        self._outcomes = outcomes or Outcomes(Beginning(schedule=self._given.hash, identity=""))
        self._times_s = times_s or {}
        self._possible = possible
        self._on_progress = on_progress
        self._now_s = now_s
        self._chain = [self._given]
        self._counts: dict[str, Rate] = {}
        self._others: dict[str, int] = {}
        self._recent: list[bool] = []
        self._fresh: dict[str, Rate] = {}
        self._phase: Phase = "estimating"
        self._runs = self._new_runs = self._since_parent = 0
        self._seconds = 0.0
        self._began_s: float | None = None

    @property
    def best(self) -> Schedule:
        """The smallest schedule so far that still shows the bug."""
        return self._chain[-1].schedule

    @property
    def result(self) -> Shrunk:
        """What is known so far."""
        return Shrunk(
            schedule=self.best,
            signature=self._signature,
            before=self._counts.get(self._given.hash, Rate()),
            after=self._fresh.get(self._chain[-1].hash, Rate()),
            runs=self._runs,
            seconds=self._seconds,
            finished=self._phase == "done",
            others=self._others,
        )

    async def run(self) -> Shrunk:
        """Shrinks until nothing gets smaller or the budget is spent; then estimates the result by fresh runs.

        Raises:
            Unseen: the given schedule did not fail, or not with the signature looked for.
        """
        self._began_s = self._now_s()
        complete = True
        try:
            await self._estimate()
            await self._remove()
            if self._plan.values:
                await self._simplify()
        except _Spent:
            complete = False
        self._phase = "confirming"
        try:
            await self._confirm()
        except _Spent:
            complete = False
        if complete:
            self._phase = "done"
        self._tell()
        return self.result

    # -- phases ---------------------------------------------------------------------------------------------

    async def _estimate(self) -> None:
        """Runs the given schedule until its rate is roughly known.

        Raises:
            Unseen: it does not fail.
        """
        counts = Rate()
        wanted = 1 if self._plan.exact else _FAILURES_WANTED
        limit = 1 if self._plan.exact else _FIRST_RUNS_LIMIT
        try:
            while counts.failures < wanted and counts.runs < limit:
                failed = await self._run(self._given)
                counts = counts.and_one(failed=failed)
                self._recent.append(failed)
        except _Spent:
            if not counts.failures:
                raise self._unseen(counts, ", which is all the budget allows: give more") from None
            raise
        if not counts.failures:
            raise self._unseen(counts, "")

    def _unseen(self, counts: Rate, more: str) -> Unseen:
        seen = f"; other failures seen: {', '.join(self._others)}" if self._others else ""
        wanted = f" with {self._signature.text}" if self._signature else ""
        return Unseen(f"schedule {self._given.hash} did not fail{wanted} in {counts.runs} runs{more}{seen}")

    async def _remove(self) -> None:
        """Removes injections in groups; in each round the groups are halves of those that could not go.

        Where one half has gone, what the whole was needed for is in the other, which so needs no run. What stays on the
        word of one test, which may have been wrong, is tried again at the end; and where one run decides, what was
        never tried alone.
        """
        self._phase = "removing"
        lost: list[frozenset[str]] = []
        groups = _cut([injection.id for injection in self.best.injections], _first_size(len(self.best.injections)))
        while groups:
            for group in groups:
                await self._remove_group(group, lost)
            here = {injection.id for injection in self.best.injections}
            left = [[name for name in group if name in here] for group in groups]
            groups = [half for group in left if len(group) > 1 for half in _cut(group, math.ceil(len(group) / 2))]
        for injection in self.best.injections:
            here = {injection.id for injection in self.best.injections}
            tests = sum(known & here == {injection.id} for known in lost)
            sure = frozenset((injection.id,)) in lost if self._plan.exact else tests >= _TESTS_TO_STAY
            if not sure:
                candidate = without(self.best, {injection.id}, self._times_s)
                self._counts.pop(candidate.hash, None)  # or it would be decided by what it was decided by before
                await self._keeps(candidate, f"once more without {injection.id}")

    async def _remove_group(self, group: Sequence[str], lost: list[frozenset[str]]) -> None:
        here = {injection.id for injection in self.best.injections}
        going = here.intersection(group)
        if not going or any(known & here and known & here <= going for known in lost):
            return
        candidate = without(self.best, going, self._times_s)
        if not await self._keeps(candidate, f"without {', '.join(sorted(going))}"):
            lost.append(frozenset(going))

    async def _simplify(self) -> None:
        """Makes one value after another simpler, until none can be."""
        self._phase = "simplifying"
        refused: set[str] = set()
        while True:
            base = self.best
            for what, candidate in simplified(base):
                if (key := f"{what}={_changed(base, candidate)}") in refused:
                    continue
                kept = await self._keeps(candidate, what)
                if self.best is not base:  # simpler now; or what was best gave way to what it came from
                    break
                if not kept:
                    refused.add(key)
            else:
                return

    async def _confirm(self) -> None:
        """Runs the result anew: the luckiest of many is not as good as it looked.

        One that fails less than half as often as the given schedule does now gives way to what it came from.
        """
        usual = self._counts.get(self._given.hash, Rate()).expected
        while len(self._chain) > 1 and fails_less(await self._fresh_runs(self._chain[-1]), parent_rate=usual):
            # Does the given one still fail so often, or has the machine become quieter?
            usual = (await self._fresh_runs(self._given)).expected
            if fails_less(await self._fresh_runs(self._chain[-1]), parent_rate=usual):
                self._chain.pop()
        await self._fresh_runs(self._chain[-1])

    async def _fresh_runs(self, candidate: _Candidate) -> Rate:
        wanted = min(self._plan.confirm_runs, 1) if self._plan.exact else self._plan.confirm_runs
        fresh = self._fresh.setdefault(candidate.hash, Rate())
        while fresh.runs < wanted:
            fresh = fresh.and_one(failed=await self._run(candidate))
            self._fresh[candidate.hash] = fresh
        return fresh

    # -- decisions ------------------------------------------------------------------------------------------

    async def _keeps(self, schedule: Schedule, trying: str) -> bool:
        """Whether a simpler schedule still shows the bug; then it is the best."""
        candidate = _Candidate.of(schedule)
        if candidate.hash in {one.hash for one in self._chain} or not self._possible(schedule):
            return False
        while (decision := self._decision(candidate)) == "undecided":
            self._tell(trying)
            await self._run(candidate)
            await self._look_at_parent()
        if decision == "keeps":
            self._chain.append(candidate)
        return decision == "keeps"

    def _decision(self, candidate: _Candidate) -> Ruling:
        counts = self._counts.get(candidate.hash, Rate())
        if self._plan.exact:
            return "undecided" if not counts.runs else "keeps" if counts.failures else "loses"
        return decide(counts, parent_rate=self._parent_rate())

    def _parent_rate(self) -> float:
        """How often the best fails, going by recent runs: a machine's load changes, and rates with it."""
        recent = self._recent[-_RECENT:]
        return Rate(runs=len(recent), failures=sum(recent)).expected

    async def _look_at_parent(self) -> None:
        """Runs the best again now and then. One that lost the bug after all gives way to what it came from."""
        self._since_parent += 1
        if self._plan.exact or self._since_parent < _PARENT_EVERY:
            return
        self._since_parent = 0
        self._recent.append(await self._run(self._chain[-1]))
        while len(self._chain) > 1 and self._decision(self._chain[-1]) == "loses":
            self._chain.pop()

    # -- runs -----------------------------------------------------------------------------------------------

    async def _run(self, candidate: _Candidate) -> bool:
        """One run, or what is known of it from before; whether it showed the bug.

        Raises:
            _Spent: the budget is spent.
        """
        fresh = self._phase == "confirming"
        outcome = self._outcomes.next(candidate.hash, fresh=fresh)
        if outcome is None:
            self._refuse_to_overspend()
            began_s = self._now_s()
            signature = await self._oracle(candidate.schedule)
            outcome = Attempt(
                schedule=candidate.hash, fresh=fresh, signature=signature, seconds=self._now_s() - began_s
            )
            self._outcomes.append(outcome)
            self._new_runs += 1
        self._runs += 1
        self._seconds += outcome.seconds
        failed = outcome.signature is not None and outcome.signature == (self._signature or outcome.signature)
        if failed:
            self._signature = outcome.signature
        elif outcome.signature is not None:
            self._others[outcome.signature.text] = self._others.get(outcome.signature.text, 0) + 1
        if not fresh:
            self._counts[candidate.hash] = self._counts.get(candidate.hash, Rate()).and_one(failed=failed)
        self._tell()
        return failed

    def _refuse_to_overspend(self) -> None:
        share = 1.0 if self._phase == "confirming" or self._plan.exact else 1.0 - _RESERVE
        assert self._began_s is not None
        runs, seconds = self._plan.runs, self._plan.seconds
        if runs is not None and self._new_runs >= max(1, math.floor(runs * share)):
            raise _Spent
        if seconds is not None and self._now_s() - self._began_s >= seconds * share:
            raise _Spent

    def _tell(self, trying: str = "") -> None:
        self._on_progress(
            Progress(
                phase=self._phase,
                size=len(self.best.injections),
                size_before=len(self._given.schedule.injections),
                runs=self._runs,
                seconds=self._seconds,
                rate=None if self._plan.exact else self._parent_rate(),
                trying=trying,
            )
        )


def _first_size(count: int) -> int:
    """How many injections the first groups have: where a tenth of all is essential, groups of nine gain most."""
    return max(1, min(round(-1.0 / math.log(1.0 - _FIRST_SHARE)), count // 3))


def _cut(names: Sequence[str], size: int) -> list[list[str]]:
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def _changed(before: Schedule, after: Schedule) -> str:
    """What differs between two schedules of the same injections."""
    differing = (
        repr(new.to_data()) for old, new in zip(before.injections, after.injections, strict=True) if old != new
    )
    return "; ".join(differing)
