"""Dice: where all choices of the strategies come from, so that Hypothesis and a seed make the same kind of schedules.

There is one way to choose: a whole number below a count, of which 0 is the simplest. Everything else is a table that
begins with what is simplest, so that a smaller number is always a simpler schedule.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from hypothesis.internal.conjecture.data import ConjectureData
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
_STEPS = 33
_WHOLE_STEPS = 16
_WIDE = 8.0
_FIGURES = 2


class Dice(Protocol):
    """Chooses."""

    def below(self, count: int) -> int:
        """A number from 0, the simplest, to below `count`, which is at least 1."""
        ...

    def piece(self, make: Callable[[Dice], T]) -> T:
        """What is made with these dice, as one piece: it may be left out as a whole."""
        ...


class SeededDice:
    """Each number as likely as any other, from a stream of its own."""

    def __init__(self, stream: random.Random) -> None:
        self._random = stream.random

    def below(self, count: int) -> int:
        """A number below."""
        return int(self._random() * count)

    def piece(self, make: Callable[[Dice], T]) -> T:
        """What is made."""
        return make(self)


class _HypothesisDice:
    """Each number drawn by Hypothesis, which can go back and choose smaller ones."""

    def __init__(self, data: ConjectureData) -> None:
        self._data = data

    def below(self, count: int) -> int:
        """A number below; where there is but one, nothing is drawn."""
        return self._data.draw_integer(0, count - 1) if count > 1 else 0

    def piece(self, make: Callable[[Dice], T]) -> T:
        """What is made, marked as a span of the example."""
        return self._data.draw(Thrown(make))


class Thrown(SearchStrategy[T]):
    """The strategy of what is made with dice.

    It draws from Hypothesis's data itself: a strategy for each number would take most of the time that there is.
    """

    def __init__(self, make: Callable[[Dice], T]) -> None:
        super().__init__()
        self._make = make

    def do_draw(self, data: ConjectureData) -> T:
        """One of them."""
        return self._make(_HypothesisDice(data))

    def __repr__(self) -> str:
        return "drawn by raychaos"


def pick(dice: Dice, options: Sequence[T]) -> T:
    """One of the options, of which the first is the simplest."""
    return options[dice.below(len(options))]


@functools.lru_cache(maxsize=4096)
def scale(least: float, most: float) -> tuple[float, ...]:
    """Numbers from `least` to `most`, both of them in it, the smallest first, each of two figures or so.

    Where the range is wide and above 0 they lie evenly by their logarithm, so that each order of magnitude is as likely
    as any other; else evenly.
    """
    if most <= least:
        return (least,)
    wide = least > 0 and most / least >= _WIDE
    found = dict.fromkeys((least,))
    for step in range(1, _STEPS - 1):
        share = step / (_STEPS - 1)
        value = least * (most / least) ** share if wide else least + (most - least) * share
        found[min(most, max(least, rounded(value)))] = None
    found[most] = None
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def whole_scale(least: int, most: int) -> tuple[int, ...]:
    """The same of whole numbers: each of them where they are few."""
    if most - least < _WHOLE_STEPS:
        return tuple(range(least, most + 1))
    low = max(1, least)
    return tuple(dict.fromkeys([least, *(round(value) for value in scale(float(low), float(most))), most]))


def rounded(value: float) -> float:
    """The number with two significant figures, as people write it."""
    if value == 0:
        return 0.0
    return round(value, _FIGURES - 1 - math.floor(math.log10(abs(value))))
