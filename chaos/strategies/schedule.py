"""Whole schedules: which kinds of fault take part (a swarm), and how many injections there are of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaos.schedule import Injection, Schedule
from chaos.strategies.dice import Dice, pick
from chaos.strategies.injection import Kind, Scope, draw_injection

_SWARM_SIZE = 4
_GO_ON = 5  # of so many faces of the dice, all but one mean: one more injection


@dataclass(frozen=True)
class Plan:
    """What schedules are drawn from; `unable` says of the kinds of fault that are not among `kinds` why."""

    scope: Scope
    kinds: tuple[Kind, ...]
    min_injections: int
    max_injections: int
    unable: Mapping[str, str] = field(default_factory=dict)


def draw_schedule(dice: Dice, plan: Plan) -> Schedule:
    """A schedule."""
    swarm = _swarm(dice, plan)
    found: list[Injection] = []
    while len(found) < plan.max_injections:
        more = dice.piece(lambda dice: _one_more(dice, plan, swarm, found))
        if more is None:
            break
        found.append(more)
    return Schedule(injections=tuple(found))


def _swarm(dice: Dice, plan: Plan) -> tuple[Kind, ...]:
    """The kinds of fault that take part in one schedule: a few of all (swarm testing).

    Groce, Zhang, Eide, Chen, Regehr: Swarm Testing (ISSTA 2012): leaving most features out of each test finds more than
    allowing all in each, for features hide each other's effects.
    """
    if not plan.kinds:
        return ()
    size = 1 + dice.below(min(_SWARM_SIZE, len(plan.kinds)))
    return tuple(dict.fromkeys(pick(dice, plan.kinds) for _ in range(size)))


def _one_more(dice: Dice, plan: Plan, swarm: tuple[Kind, ...], found: Sequence[Injection]) -> Injection | None:
    """One more injection, with its id; or None when there are enough."""
    if len(found) >= plan.min_injections and not dice.below(_GO_ON):
        return None
    drawn = draw_injection(dice, swarm, plan.scope, earlier=found)
    return drawn.model_copy(update={"id": f"i{len(found) + 1}"})
