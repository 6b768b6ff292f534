"""Guided search: the next schedule of a world, from what its earlier runs came to and a stream, so that it repeats.

Three ways take turns. *Drawn*: as without guidance. *Placed*: faults, those least felt so far, at moments at which
something happened in an earlier run, for most of a random schedule meets nothing it could disturb. *Climbing*: a change
of the schedule that came nearest to failing a property, where some schedules came nearer than others.

Climbing is robustness-guided falsification (Annpureddy, Liu, Fainekos, Sankaranarayanan: S-TaLiRo, TACAS 2011), with an
archive of the best of each property (Mouret, Clune: Illuminating search spaces by mapping elites, 2015).
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from chaos.checker import Verdict
from chaos.fuzz.nearness import Lesson, Moment, Nearness
from chaos.history import History
from chaos.schedule import Injection, Schedule
from chaos.strategies.dice import Dice, SeededDice, T, pick, scale
from chaos.strategies.injection import SHORTEST_S, Kind
from chaos.strategies.schedule import Plan, draw_schedule

_DRAWN = 0.1
_CLIMBING = 0.4
_GO_ON = 0.6
_EXTENDED = 1 / 3
_PLACED = (3, 5)
_LONGEST_LEAD_S = 5.0
_PRUNED = 0.3
_HARSHER = 0.75
_RISE = 0.1
_LONGER = (1.5, 2.0, 4.0)
_CLOSE_S = 1.0


@dataclass(frozen=True)
class _Try:
    """A schedule that was run, and what its history said."""

    schedule: Schedule
    lesson: Lesson


@dataclass(frozen=True)
class _Elite:
    """What came nearest to failing in one way; `near` are the injections that were in force then."""

    made: _Try
    nearness: Nearness

    @property
    def near(self) -> frozenset[str]:
        """The injections that were in force just before or while it came near."""
        from_s, to_s = self.nearness.from_s - _CLOSE_S, self.nearness.to_s
        forces = self.made.lesson.forces
        return frozenset(force.injection for force in forces if force.from_s <= to_s and force.to_s >= from_s)


class _HarsherDice:
    """The larger of two numbers each time: what is drawn from is sorted from mild to harsh."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def below(self, count: int) -> int:
        """A number below."""
        return max(self._dice.below(count), self._dice.below(count))

    def piece(self, make: Callable[[Dice], T]) -> T:
        """What is made."""
        return make(self)


class Guide:
    """Says which schedule is run next, and learns what came of it; a run that could not be made teaches nothing.

    `guides` says whether the last schedule was made from what was learned.
    """

    def __init__(self, plan: Plan, stream: random.Random) -> None:
        self._plan = plan
        self._stream = stream
        self._dice = SeededDice(stream)
        self._kinds = {kind.kind.name: kind for kind in plan.kinds}
        self._horizon_s = plan.scope.horizon_s
        self._measured = 0
        self._calm: _Try | None = None
        self._novel: list[_Try] = []
        self._met: set[tuple[str, str]] = set()
        self._felt: Counter[str] = Counter()
        self._tried: Counter[tuple[str, str]] = Counter()
        self._took: Counter[tuple[str, str]] = Counter()
        self._placed: dict[str, tuple[str, str]] = {}
        self._shares: dict[str, list[float]] = {}
        self._elites: dict[str, _Elite] = {}
        self._vain: Counter[str] = Counter()
        self._climbing: str | None = None
        self._rising: str | None = None
        self._said = Schedule()
        self.guides = False

    def schedule(self) -> Schedule:
        """The next one."""
        self._placed, self._climbing, self.guides = {}, None, True
        self._said = self._next()
        return self._said

    def _next(self) -> Schedule:
        way = self._stream.random()
        calm = () if self._calm is None else self._calm.lesson.moments
        if not calm or way < _DRAWN:
            self.guides = False
            return draw_schedule(self._dice, self._plan)
        if way < _DRAWN + _CLIMBING and (slopes := self._slopes()):
            return self._climb(slopes)
        if self._novel and self._stream.random() < _EXTENDED:
            return self._extended(self._stream.choice(self._novel))
        least, most = _PLACED
        count = min(self._plan.max_injections, self._stream.randint(least, most))
        injections: list[Injection] = []
        for _ in range(count):
            _add(injections, lambda number: self._at_a_moment(calm, number))
        return Schedule(injections=tuple(injections))

    def learn(self, history: History, verdicts: Sequence[Verdict]) -> None:
        """What came of the schedule that was said last."""
        lesson = Lesson.of(history, verdicts)
        within = tuple(moment for moment in lesson.moments if moment.at_s <= self._horizon_s)
        made = _Try(self._said, replace(lesson, moments=within))  # nothing is placed after the horizon
        self._learn_effects(made.lesson)
        self._learn_nearness(made)
        if made.lesson.near or self._calm is None:
            self._calm = min(filter(None, (self._calm, made)), key=_unrest)
        new = made.lesson.meetings - self._met
        if new and made.lesson.near and len(made.schedule.injections) < self._plan.max_injections:
            self._novel.append(made)
        self._met |= new

    def _learn_effects(self, lesson: Lesson) -> None:
        """Of the faults: which were felt, and those placed, at which moments."""
        felt = {force.injection for force in lesson.forces if force.felt}
        for injection, pair in self._placed.items():
            self._took[pair] += injection in felt
        for force in lesson.forces:
            if force.injection not in self._placed or force.felt:
                self._felt[force.fault] += 1

    def _learn_nearness(self, made: _Try) -> None:
        near = made.lesson.near
        shares = {name: nearness.share for name, nearness in (near or {}).items()}
        known = self._elites.get(self._climbing or "")
        rose = known is not None and shares.get(self._climbing or "", 0.0) > known.nearness.share
        self._rising = self._climbing if rose else None
        if self._climbing is not None:
            self._vain[self._climbing] += 1
        if near is None:  # it was near nothing because it failed, which says nothing of what is usual
            return
        for name in shares.keys() | self._shares.keys():
            self._shares.setdefault(name, [0.0] * self._measured).append(shares.get(name, 0.0))
        self._measured += 1
        for name, nearness in near.items():
            if name not in self._elites or nearness.share > self._elites[name].nearness.share:
                self._elites[name] = _Elite(made, nearness)
                self._vain[name] = 0

    def _at_a_moment(self, moments: Sequence[Moment], number: int) -> Injection:
        """An injection of a fault that was felt least, about when something happened at which it was felt."""
        low = min(self._felt[name] for name in self._kinds)
        name = self._stream.choice([name for name in self._kinds if self._felt[name] == low])
        at: dict[str, list[Moment]] = {}
        for moment in moments:
            at.setdefault(moment.what, []).append(moment)
        worth = [self._worth(name, what) for what in at]
        what = self._stream.choices(list(at), worth)[0]
        self._tried[name, what] += 1
        self._felt[name] += 1
        self._placed[f"i{number}"] = name, what
        return self._about(self._kinds[name], self._stream.choice(at[what]))

    def _worth(self, name: str, what: str) -> float:
        """How much it is worth to place a fault where that happens: more where it was felt, less the more often."""
        took, tried = self._took[name, what], self._tried[name, what]
        return (took + 0.5) / ((tried + 1.0) * (took + 1.0))

    def _about(self, kind: Kind, moment: Moment) -> Injection:
        """One that is in force at that moment, or comes shortly before it or after."""
        lead_s = pick(self._dice, (0.0, *scale(0.1, _LONGEST_LEAD_S)))
        if not kind.kind.lasts:
            lead_s *= self._stream.choice((1.0, -1.0))
        at_s = round(min(max(0.0, moment.at_s - lead_s), self._horizon_s - SHORTEST_S), 2)
        left_s = max(SHORTEST_S, self._horizon_s - at_s)
        dice: Dice = self._dice if self._stream.random() < 0.5 else _HarsherDice(self._dice)
        shortest_s = min(left_s, max(SHORTEST_S, round(moment.at_s - at_s + SHORTEST_S, 2)))
        duration_s = pick(dice, scale(shortest_s, left_s))
        fault, target = kind.draw(dice)
        return Injection(
            fault=fault,
            target=target,
            at_s=at_s,
            duration_s=duration_s if kind.kind.lasts else None,
            may_miss=self._plan.scope.may_miss,
        )

    def _extended(self, made: _Try) -> Schedule:
        """A schedule that showed something new, with one or two more injections at moments of its own run."""
        injections = list(made.schedule.injections)
        for _ in range(min(self._stream.randint(1, 2), self._plan.max_injections - len(injections))):
            _add(injections, lambda number: self._at_a_moment(made.lesson.moments, number))
        return Schedule(injections=tuple(injections))

    def _slopes(self) -> dict[str, float]:
        """What some schedules came nearer to failing than most do, and how much it is worth to go on there.

        The more, the nearer and the further from the usual; the less, the more often changes brought it no nearer.
        """
        rises = {
            name: elite.nearness.share - statistics.median(self._shares[name]) for name, elite in self._elites.items()
        }
        return {
            name: rise * self._elites[name].nearness.share / (1.0 + self._vain[name])
            for name, rise in rises.items()
            if rise > _RISE and self._elites[name].near
        }

    def _climb(self, slopes: Mapping[str, float]) -> Schedule:
        """A change of the schedule that came nearest in one way."""
        stream = self._stream
        if self._rising in slopes and stream.random() < _GO_ON:
            self._climbing = self._rising
        else:
            self._climbing = stream.choices(list(slopes), list(slopes.values()))[0]
        assert self._climbing is not None
        elite = self._elites[self._climbing]
        injections = list(elite.made.schedule.injections)
        if stream.random() < _PRUNED:
            injections = _needed(injections, elite.near)
        place = stream.choice([place for place, each in enumerate(injections) if each.id in elite.near])
        match stream.choice(("harsher",) * 5 + ("more", "moved", "spliced")):
            case "more" if len(injections) < self._plan.max_injections:
                _add(injections, lambda number: self._at_a_moment(elite.made.lesson.moments, number))
            case "moved" if moments := elite.made.lesson.moments:
                near_s = elite.nearness.from_s
                moment = min(moments, key=lambda moment: abs(moment.at_s - near_s))
                again = self._about(self._kinds[injections[place].fault.name], moment)
                at = {"at_s": again.at_s, "on": None, "after_s": 0.0, "or_at_s": None}
                injections[place] = injections[place].model_copy(update={**at, "duration_s": again.duration_s})
            case "spliced" if len(injections) < self._plan.max_injections:
                other = self._elites[stream.choice(list(slopes))]
                loose = [each for each in other.made.schedule.injections if each.id in other.near and not _waits(each)]
                if loose:
                    _add(injections, lambda _: stream.choice(loose))
            case _:
                injections[place] = self._harsher(injections[place])
        return Schedule(injections=tuple(injections))

    def _harsher(self, injection: Injection) -> Injection:
        """With one field of its fault further from the mildest, or longer, or both."""
        stream, kind = self._stream, self._kinds[injection.fault.name]
        ways = [name for name, options in kind.fields.items() if len(options) > 1]
        lasts = injection.duration_s is not None
        if ways and (not lasts or stream.random() < _HARSHER):
            name = stream.choice(ways)
            options = list(kind.fields[name])
            given = {each: getattr(injection.fault, each) for each in kind.fields}
            now = options.index(given[name]) if given[name] in options else -1
            choice = stream.choice(options[now + 1 :] or options)
            fault = kind.kind.model_validate(kind.kind.agreed({**given, name: choice}))
            if not self._plan.scope.refusal(fault, injection.target):
                injection = injection.model_copy(update={"fault": fault})
            lasts = lasts and stream.random() < 0.5
        if not lasts:
            return injection
        assert injection.duration_s is not None
        left_s = max(SHORTEST_S, self._horizon_s - (injection.at_s or 0.0))
        longer_s = round(min(left_s, injection.duration_s * stream.choice(_LONGER)), 2)
        return injection.model_copy(update={"duration_s": longer_s})


def _unrest(made: _Try) -> int:
    """How many faults were felt."""
    return sum(force.felt for force in made.lesson.forces)


def _waits(injection: Injection) -> bool:
    """Whether it waits for another."""
    return injection.on is not None and bool(injection.on.waits_for)


def _needed(injections: Sequence[Injection], ids: frozenset[str]) -> list[Injection]:
    """Those, and what they wait for."""
    by_id = {each.id: each for each in injections}
    needed, new = set[str](), set(ids)
    while new:
        needed |= new
        new = {name for each in new if (on := by_id[each].on) for name in on.waits_for} - needed
    return [each for each in injections if each.id in needed]


def _add(injections: list[Injection], make: Callable[[int], Injection]) -> None:
    """One more, of a number that none has."""
    taken = {each.id for each in injections}
    number = next(number for number in itertools.count(1) if f"i{number}" not in taken)
    injections.append(make(number).model_copy(update={"id": f"i{number}"}))
