"""The operation log: what each worker began and finished, in files that a SIGKILL can tear only at their end.

A process appends JSON lines to `<data>/ops/<instance>-<pid>.jsonl`, one `write` a line. Whoever reads them skips a torn
line.
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

from pydantic import Field, ValidationError

from chaos.rows import encode_rows
from chaos.value import Value

DIRECTORY = "ops"


class Operation(Value):
    """One line: a batch was `invoked` or `completed`, by a node's instance, at a reading of `time.monotonic()`."""

    op: str
    phase: Literal["invoked", "completed"]
    instance: str
    rows: str
    monotonic_s: float = Field(ge=0.0)


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

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _append(self, op: str, phase: Literal["invoked", "completed"], rows: str) -> None:
        line = {"op": op, "phase": phase, "instance": self.instance, "rows": rows, "monotonic_s": time.monotonic()}
        os.write(self._file, (json.dumps(line, separators=(",", ":")) + "\n").encode())


def read_operations(data: Path) -> list[Operation]:
    """All whole lines of a run's operation log, in order of time."""
    operations: list[Operation] = []
    for path in sorted((data / DIRECTORY).glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                operations.append(Operation.model_validate_json(line))
            except ValidationError:
                continue  # torn by a SIGKILL between two parts of a write
    return sorted(operations, key=lambda operation: operation.monotonic_s)
