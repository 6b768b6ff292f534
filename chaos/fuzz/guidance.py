"""Guided search: the next schedule of a world, from what its earlier runs came to and a stream, so that it repeats.

Most schedules that are drawn at random disturb nothing, for nothing happens that their faults could disturb. So most of
a guided search's are *placed*: a few injections of kinds that take turns, each where its kind has something to disturb.
The others are *drawn*, as without guidance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.fault import ActsOn, Fault
from chaos.fuzz.moments import Moment, faults_felt, moments_of
from chaos.history import History
from chaos.schedule import Injection, Schedule
from chaos.strategies.dice import SeededDice, pick, scale
from chaos.strategies.fields import Options
from chaos.strategies.injection import SHORTEST_S, Kind
from chaos.strategies.schedule import Plan, draw_schedule
from chaos.target import Target

_DRAWN = 0.1
# Fewer let each kind wait longer for its turn; of six, one hides what another shows.
_PLACED = (3, 4)
_LONGEST_LEAD_S = 5.0
# As often the one as the other: nothing says which finds more.
_ANY_TIME = 0.5
_AS_DRAWN = 0.5
_UNLIMITED = 0.5
# When a fault disturbs something: on launches and the Cloud, when the autoscaler asks for that; on how the cluster is
# configured, when the autoscaler decides. What is not here can be felt at any time.
_DISTURBS: Mapping[ActsOn, Sequence[str]] = {
    "launches": ("REQUESTED",),
    "cloud": ("REQUESTED", "TERMINATING"),
    "cluster": ("QUEUED", "RAY_STOP_REQUESTED"),
}


class Guide:
    """Says which schedule is run next, and learns what came of it; a run that could not be made teaches nothing.

    `guides` says whether the last schedule was made from what was learned.
    """

    def __init__(self, plan: Plan, stream: random.Random) -> None:
        self._plan = plan
        self._stream = stream
        self._dice = SeededDice(stream)
        self._horizon_s = plan.scope.horizon_s
        self._turns: list[Kind] = []
        self._moments: Sequence[Moment] = ()
        self._least_felt: int | None = None
        self.guides = False

    def schedule(self) -> Schedule:
        """The next one."""
        self.guides = bool(self._moments and self._plan.kinds) and self._stream.random() >= _DRAWN
        return self._placed() if self.guides else draw_schedule(self._dice, self._plan)

    def learn(self, history: History) -> None:
        """When what happens, from the history of the schedule that was said last: of the runs, the least disturbed."""
        felt = faults_felt(history)
        within = [moment for moment in moments_of(history) if moment.at_s <= self._horizon_s]
        if within and (self._least_felt is None or felt < self._least_felt):
            self._moments, self._least_felt = within, felt

    def _placed(self) -> Schedule:
        count = min(self._plan.max_injections, self._stream.randint(*_PLACED))
        return Schedule(injections=tuple(self._place(self._next_kind(), f"i{number + 1}") for number in range(count)))

    def _next_kind(self) -> Kind:
        """All take turns, in an order that changes, so that none is left out for long."""
        if not self._turns:
            self._turns = list(self._plan.kinds)
            self._stream.shuffle(self._turns)
        return self._turns.pop()

    def _place(self, kind: Kind, name: str) -> Injection:
        from_s, until_s = self._when(kind)
        at_s = math.floor(100 * min(max(0.0, from_s), self._horizon_s - SHORTEST_S)) / 100  # not after the moment
        left_s = max(SHORTEST_S, self._horizon_s - at_s)
        shortest_s = min(left_s, max(SHORTEST_S, round(until_s - at_s + SHORTEST_S, 2)))
        fault, target = self._harm(kind)
        return Injection(
            id=name,
            fault=fault,
            target=target,
            at_s=at_s,
            duration_s=pick(self._dice, scale(shortest_s, left_s)) if kind.kind.lasts else None,
            may_miss=self._plan.scope.may_miss,
        )

    def _when(self, kind: Kind) -> tuple[float, float]:
        """When it begins, and until when it is in force at least: at a moment; or, if it may be, at any time."""
        stream, disturbs = self._stream, _DISTURBS.get(kind.kind.acts_on)
        if disturbs is None and stream.random() < _ANY_TIME:
            at_s = stream.uniform(0.0, self._horizon_s)
            return at_s, next((moment.at_s for moment in self._moments if moment.at_s >= at_s), at_s)
        moment = self._moment(disturbs)
        lead_s = pick(self._dice, (0.0, *scale(0.1, _LONGEST_LEAD_S)))
        if not kind.kind.lasts:
            lead_s *= stream.choice((1.0, -1.0))
        return moment.at_s - lead_s, moment.at_s

    def _moment(self, disturbs: Sequence[str] | None) -> Moment:
        """One at which that happened; of all, where it did not, or where it is all the same. Each sort is as likely."""
        sorts = sorted({moment.what for moment in self._moments})
        what = self._stream.choice([sort for sort in sorts if disturbs is None or sort in disturbs] or sorts)
        return self._stream.choice([moment for moment in self._moments if moment.what == what])

    def _harm(self, kind: Kind) -> tuple[Fault, Target | None]:
        """As it is drawn; or harsher: of two draws of a number the larger, and half of the limits left out."""
        if self._stream.random() < _AS_DRAWN:
            return kind.draw(self._dice)
        drawn = {name: self._harsh(options) for name, options in kind.fields.items()}
        fault = kind.kind.model_validate(kind.kind.agreed(drawn))
        targets = [target for target in kind.targets if not self._plan.scope.refusal(fault, target)]
        return (fault, pick(self._dice, targets)) if targets else (kind.simplest, pick(self._dice, kind.targets))

    def _harsh(self, options: Options) -> Any:
        """Options are sorted from mild to harsh, but for None, which may be either."""
        if options[0] is None and self._stream.random() < _UNLIMITED:
            return None
        return options[max(self._dice.below(len(options)), self._dice.below(len(options)))]
