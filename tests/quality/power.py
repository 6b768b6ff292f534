"""How many random schedules find each planted bug: `python -m tests.quality.power` writes the table of docs/quality.md.

A schedule finds a bug when a property fails that holds in the same schedule's run of Ray as it is.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.quality.bugs import BUGS, Bug
from tests.quality.runs import failures, found
from tests.quality.schedules import random_schedule

SEEDS = 5
MOST = 100
_PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
_TABLE = re.compile(r"(?<=<!-- power -->\n).*(?=<!-- /power -->)", re.DOTALL)


@dataclass(frozen=True)
class Power:
    """The number of the first schedule that found a bug, for each seed; None where none of `most` did."""

    bug: Bug
    numbers: tuple[int | None, ...]
    properties: tuple[str, ...]

    @property
    def median(self) -> float:
        """Infinite where most seeds found nothing."""
        return statistics.median(float("inf") if number is None else number for number in self.numbers)


class Sequences:
    """The random schedules, with what Ray as it is fails in each; that is run only where it is asked for."""

    def __init__(self) -> None:
        self._without: dict[tuple[int, int], set[str]] = {}

    def first(self, bug: Bug, seed: int, most: int) -> tuple[int | None, set[str]]:
        """The number of the first schedule of a seed that finds a bug, and the properties that do."""
        for place in range(most):
            text = random_schedule(seed, place)
            if not (lacking := found(text, bug, without=set())):
                continue
            if (seed, place) not in self._without:
                self._without[seed, place] = set(failures(text))
            if lacking := lacking - self._without[seed, place]:
                return place + 1, lacking
        return None, set()


def measured(bugs: Sequence[Bug], *, seeds: int, most: int, say: Callable[[str], None]) -> list[Power]:
    """How many schedules each bug takes, for each of so many seeds."""
    sequences = Sequences()
    powers = []
    for bug in bugs:
        began_s = time.monotonic()
        firsts = [sequences.first(bug, seed, most) for seed in range(1, seeds + 1)]
        seen = Counter(name for _, properties in firsts for name in properties)
        power = Power(bug, tuple(number for number, _ in firsts), tuple(name for name, _ in seen.most_common(3)))
        say(f"{_row(power, most)}  ({time.monotonic() - began_s:.0f} s)")
        powers.append(power)
    return powers


def table(powers: Sequence[Power], most: int) -> str:
    """The powers as a table in Markdown."""
    seeds = max((len(power.numbers) for power in powers), default=0)
    head = f"Of {seeds} seeds, at most {most} schedules each:\n\n"
    head += (
        "| planted | what is wrong | schedules, median | per seed | properties that failed |\n|---|---|---|---|---|\n"
    )
    return head + "".join(f"{_row(power, most)}\n" for power in powers)


def _row(power: Power, most: int) -> str:
    def told(number: float | None) -> str:
        return f"> {most}" if number is None or number == float("inf") else f"{number:g}"

    each = ", ".join(told(number) for number in power.numbers)
    names = ", ".join(f"`{name}`" for name in power.properties)
    return f"| `{power.bug.name}` | {power.bug.told} | {told(power.median)} | {each} | {names} |"


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--most", type=int, default=MOST, help="schedules to try for each seed")
    parser.add_argument("--bug", action="append", choices=[bug.name for bug in BUGS], help="only this one; prints only")
    given = parser.parse_args()
    bugs = [bug for bug in BUGS if given.bug is None or bug.name in given.bug]
    powers = measured(bugs, seeds=given.seeds, most=given.most, say=lambda line: print(line, flush=True))
    if given.bug is None:
        _PAGE.write_text(_TABLE.sub(lambda _: table(powers, given.most), _PAGE.read_text()))


if __name__ == "__main__":
    main()
