"""The outcomes of a campaign on disk, line by line, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

from chaos import __version__
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.trial import Wish
from chaos.kept_lines import KeptLines
from chaos.value import Value

_FORMAT = 1


class Line(Value):
    """One outcome, and how many seconds the campaign had taken by then, in all its sittings."""

    after_s: float
    outcome: Outcome


class Opening(Value):
    """Whose outcomes they are."""

    format: int = _FORMAT
    raychaos: str
    wish: Wish


class Log:
    """The log of a wish; another wish, another version of raychaos, or another Ray, has a log of its own.

    From `open` to `close` no other campaign can write it.
    """

    def __init__(self, store: Path, wish: Wish, *, ray: str) -> None:
        digest = hashlib.sha256(f"{__version__}/{ray}/{wish.model_dump_json()}".encode()).hexdigest()[:8]
        self.path = store / f"fuzz-{'-'.join(wish.kinds)}-{wish.seed}-{digest}"
        self._opening = Opening(raychaos=__version__, wish=wish)
        self._lines: KeptLines[Line] | None = None

    def open(self) -> tuple[list[Line], int]:
        """What is known already, and how many lines could not be read, which are lost.

        Raises:
            ClusterError: another campaign writes it, or the store cannot be written.
        """
        self._lines = KeptLines(self.path / "outcomes.jsonl", self._opening, Line, gaps=True)
        return self._lines.known, self._lines.unreadable

    def write(self, line: Line) -> None:
        """One more outcome.

        Raises:
            ClusterError: the store cannot be written.
        """
        assert self._lines is not None
        self._lines.append(line)

    def close(self) -> None:
        """No more; idempotent."""
        if self._lines is not None:
            self._lines.close()
