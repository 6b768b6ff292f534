"""How many runs find each planted bug, drawn at random and guided: `python -m tests.quality.search` writes its table.

Both search what `raychaos fuzz` draws: one to six injections, of the faults of `tests/quality/schedules.py`, on the
cluster and job there. A run finds a bug when a property fails that holds in the same schedule's run of Ray as it is.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import faults
from chaos.checker import Verdict
from chaos.checkers import evaluate
from chaos.fuzz.guidance import Guide
from chaos.spec import RunSpec
from chaos.strategies import plan
from chaos.strategies.dice import SeededDice
from chaos.strategies.schedule import Plan, draw_schedule
from tests.quality.bugs import BUGS, Bug
from tests.quality.runs import failed_of, history_of_spec, usual
from tests.quality.schedules import FAULTS, specification
from tests.sim.twin import twin_spec

# The guided search was made while looking at seeds 1 to 4, and one before it was judged by 6 to 10.
SEEDS = range(16, 21)
MOST = 40
# Those that tests/quality/schedules.py finds within three schedules at the median are left out, for there is little to
# gain; and request_id_mixed_up, for whatever finds it finds launch_failure_not_counted.
SOUGHT = (
    "launch_failure_not_counted",
    "termination_not_retried",
    "minimum_never_filled",
    "terminating_timeout_unchecked",
    "request_timeout_unchecked",
    "cluster_maximum_ignored",
    "allocate_timeout_unchecked",
    "unknown_instance_ignored",
    "stale_row_ended",
)
_PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
_TABLE = re.compile(r"(?<=<!-- search -->\n).*(?=<!-- /search -->)", re.DOTALL)
_INFINITE = float("inf")


@dataclass(frozen=True)
class Compared:
    """The number of the first run that found a bug, for each seed; None where none did."""

    bug: str
    drawn: tuple[int | None, ...]
    guided: tuple[int | None, ...]


class Searches:
    """The world that is searched, and both ways to search it."""

    def __init__(self) -> None:
        self._spec: RunSpec = twin_spec(specification(""))
        kinds = {name: faults.ALL[name] for name in FAULTS}
        self._plan: Plan = plan(
            cluster=self._spec.cluster, faults=kinds, min_injections=1, max_injections=6, horizon_s=45.0
        )

    def drawn(self, bug: Bug, seed: int, most: int) -> int | None:
        """The number of the first run, drawn at random, that finds the bug."""
        for number in range(most):
            schedule = draw_schedule(SeededDice(random.Random(f"{seed}/run/{number}")), self._plan)
            spec = self._spec.model_copy(update={"schedule": schedule})
            lacking = failed_of(evaluate(history_of_spec(spec, baseline=usual(), bug=bug)))
            if lacking and self._finds(spec, lacking):
                return number + 1
        return None

    def guided(self, bug: Bug, seed: int, most: int) -> int | None:
        """The number of the first guided run that finds the bug."""
        guide = Guide(self._plan, random.Random(f"{seed}/guide"))
        for number in range(most):
            spec = self._spec.model_copy(update={"schedule": guide.schedule()})
            history = history_of_spec(spec, baseline=usual(), bug=bug)
            lacking = failed_of(evaluate(history))
            if lacking and self._finds(spec, lacking):
                return number + 1
            guide.learn(history)
        return None

    def _finds(self, spec: RunSpec, lacking: Mapping[str, Verdict]) -> bool:
        """Whether Ray as it is has one of those properties."""
        return bool(lacking.keys() - failed_of(evaluate(history_of_spec(spec, baseline=usual()))).keys())


def measured(bugs: Sequence[Bug], *, seeds: Sequence[int], most: int, say: Callable[[str], None]) -> list[Compared]:
    """Both ways, for each bug and seed."""
    searches = Searches()
    found = []
    for bug in bugs:
        drawn = tuple(searches.drawn(bug, seed, most) for seed in seeds)
        guided = tuple(searches.guided(bug, seed, most) for seed in seeds)
        found.append(Compared(bug.name, drawn, guided))
        say(_row(found[-1], most))
    return found


def table(found: Sequence[Compared], most: int) -> str:
    """The numbers as a table in Markdown."""
    seeds = max((len(each.drawn) for each in found), default=0)
    head = f"Of {seeds} seeds, at most {most} runs each:\n\n"
    head += "| planted | drawn at random, median | guided, median | drawn, per seed | guided, per seed |\n"
    head += "|---|---|---|---|---|\n"
    return head + "".join(f"{_row(each, most)}\n" for each in found)


def _row(found: Compared, most: int) -> str:
    def told(number: float | None) -> str:
        return f"> {most}" if number is None or number == _INFINITE else f"{number:g}"

    def middle(numbers: Sequence[int | None]) -> str:
        return told(statistics.median(_INFINITE if number is None else number for number in numbers))

    each = " | ".join(", ".join(told(number) for number in numbers) for numbers in (found.drawn, found.guided))
    return f"| `{found.bug}` | {middle(found.drawn)} | {middle(found.guided)} | {each} |"


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--most", type=int, default=MOST, help="runs to make for each seed")
    parser.add_argument("--bug", action="append", choices=[bug.name for bug in BUGS], help="only this one; prints only")
    given = parser.parse_args()
    names = given.bug or SOUGHT
    bugs = [bug for name in names for bug in BUGS if bug.name == name]
    found = measured(bugs, seeds=given.seeds, most=given.most, say=lambda line: print(line, flush=True))
    if given.bug is None:
        _PAGE.write_text(_TABLE.sub(lambda _: table(found, given.most), _PAGE.read_text()))


if __name__ == "__main__":
    main()
