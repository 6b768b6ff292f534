"""What a command says, and recorded runs for it to read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


def edited(tmp_path: Path, edit: Callable[[list[str]], list[str]], golden: str = "local_pass") -> Path:
    """A copy of a golden run whose history's lines are edited."""
    run = tmp_path / "edited"
    shutil.copytree(GOLDEN / golden, run)
    history = run / "history.jsonl"
    history.write_text("".join(edit(history.read_text().splitlines(keepends=True))))
    return run
