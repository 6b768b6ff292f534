"""The outcomes of a shrinking's runs, in order, kept on disk so that it can be resumed where it was interrupted.

A shrinking is a function of its outcomes: fed those of before, it comes to where it was.
"""

from __future__ import annotations

from pathlib import Path

from chaos.errors import InvalidSpec
from chaos.kept_lines import KeptLines
from chaos.signature import Signature
from chaos.value import Value

_FORMAT = 1


class Attempt(Value):
    """One run of a schedule: which bug it showed, if any, and how long it took; `fresh` where it decides nothing."""

    schedule: str
    fresh: bool = False
    signature: Signature | None
    seconds: float


class Beginning(Value):
    """What is being shrunk, by which rules: outcomes of another one are of no use."""

    format: int = _FORMAT
    schedule: str
    identity: str


class Outcomes:
    """The outcomes so far. With a `path` they are kept in that file, which nobody else can write until it is closed."""

    def __init__(self, beginning: Beginning, path: Path | None = None, *, anew: bool = False) -> None:
        """Takes the file, or makes it; `anew` without what was in it.

        Raises:
            InvalidSpec: it is of another shrinking, or a line of it cannot be read.
            ClusterError: another process writes it, or it cannot be written.
        """
        self._path = path
        self._kept = None if path is None else KeptLines(path, beginning, Attempt, gaps=False, anew=anew)
        self._known: list[Attempt] = []
        self._fresh: dict[str, list[Attempt]] = {}
        self._taken = 0
        if self._kept is None:
            return
        self._known = [outcome for outcome in self._kept.known if not outcome.fresh]
        for outcome in self._kept.known:
            if outcome.fresh:
                self._fresh.setdefault(outcome.schedule, []).append(outcome)

    def close(self) -> None:
        """Lets another write the file; idempotent."""
        if self._kept is not None:
            self._kept.close()

    @property
    def resumed(self) -> int:
        """How many outcomes are left of before."""
        return len(self._known) - self._taken + sum(len(outcomes) for outcomes in self._fresh.values())

    def next(self, schedule: str, *, fresh: bool) -> Attempt | None:
        """The outcome of the next run as it was before; None where there was none.

        Raises:
            InvalidSpec: another schedule was run then.
        """
        if fresh:
            kept = self._fresh.get(schedule)
            return kept.pop(0) if kept else None
        if self._taken >= len(self._known):
            return None
        outcome = self._known[self._taken]
        if outcome.schedule != schedule:
            raise InvalidSpec(
                f"{self._path}: run {self._taken + 1} was of schedule {outcome.schedule}, now it is of {schedule}: "
                "it is of another version; remove the file to begin anew"
            )
        self._taken += 1
        return outcome

    def append(self, outcome: Attempt) -> None:
        """Keeps a new outcome."""
        if not outcome.fresh:
            self._known.append(outcome)
            self._taken += 1
        if self._kept is not None:
            self._kept.append(outcome)
