"""The operation log: what each worker began and finished, in files that a SIGKILL can tear only at their end.

A process appends JSON lines to `<data>/ops/<instance>-<pid>.jsonl`, one `write` a line: a batch (`op`, an id) was
`invoked`, and `completed` or `failed` (`phase`) with an `error`, by a node's `instance`, with these `rows` (a range
list), at `monotonic_s`. Whoever reads them skips a torn line.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from chaos.rows import encode_rows

DIRECTORY = "ops"


class OperationLog:
    """This process's file in the operation log of a run."""

    def __init__(self, data: Path) -> None:
        self.instance = os.environ.get("RAY_CLOUD_INSTANCE_ID") or "unknown"
        directory = data / DIRECTORY
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.instance}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @contextmanager
    def operation(self, row_ids: Iterable[int]) -> Iterator[str]:
        """Logs `invoked` now and `completed` when the block ends without an exception; gives the operation's id."""
        op, rows = uuid.uuid4().hex, encode_rows(row_ids)
        self._append(op, "invoked", rows)
        yield op
        self._append(op, "completed", rows)

    def failed(self, op: str, row_ids: Iterable[int], error: str) -> None:
        """Logs that the device failed an operation."""
        self._append(op, "failed", encode_rows(row_ids), error=error)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _append(self, op: str, phase: Literal["invoked", "completed", "failed"], rows: str, **more: str) -> None:
        line = {"op": op, "phase": phase, "instance": self.instance, "rows": rows, "monotonic_s": time.monotonic()}
        line |= more
        os.write(self._file, (json.dumps(line, separators=(",", ":")) + "\n").encode())
