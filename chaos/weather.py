"""What a soak's cluster goes through: for each window of time a specification, drawn by chance."""

from __future__ import annotations

import random
from typing import Protocol

from chaos.schedule import Injection, Schedule
from chaos.spec import RunSpec

_SHARE_OF_WINDOW = (0.3, 0.8)
_MOST_INJECTIONS = 3


class Weather(Protocol):
    """Where a soak's demand and faults come from."""

    def window(self, number: int) -> RunSpec:
        """The specification of a window, from 0; the same each time it is asked for."""
        ...


class Menu:
    """Windows made of one specification: demand like its workload's, and up to three of its injections, at any time.

    An injection keeps its fault and target; it lasts half to one and a half times as long, and may miss.
    """

    def __init__(self, spec: RunSpec, *, window_s: float) -> None:
        self._spec = spec
        self._window_s = window_s

    def window(self, number: int) -> RunSpec:
        """A window's specification."""
        source = random.Random(f"{self._spec.seed}/weather/{number}")
        length_s = self._window_s * source.uniform(*_SHARE_OF_WINDOW)
        menu = self._spec.schedule.injections
        count = source.randint(0, _MOST_INJECTIONS) if menu else 0
        drawn = tuple(_drawn(source.choice(menu), place, source, length_s) for place in range(1, count + 1))
        return self._spec.model_copy(
            update={
                "seed": source.randrange(2**31),
                "workload": self._spec.workload.varied(source, length_s=length_s),
                "schedule": Schedule(injections=drawn),
                "deadline_s": 4 * self._window_s,
            }
        )


def _drawn(injection: Injection, place: int, source: random.Random, length_s: float) -> Injection:
    lasts_s = injection.duration_s
    return injection.model_copy(
        update={
            "id": f"i{place}",
            "at_s": round(source.uniform(0.0, length_s), 3),
            "on": None,
            "or_at_s": None,
            "after_s": 0.0,
            "duration_s": None if lasts_s is None else round(lasts_s * source.uniform(0.5, 1.5), 3),
            "may_miss": True,
        }
    )
