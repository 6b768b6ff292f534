"""Outcomes on disk: a file of JSON lines, of which the first says what the others are of, held by one writer at a time.

It is written as a whole beside its place and renamed into it, and then grows line by line, each synced before the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import ValidationError

from chaos.errors import ClusterError, InvalidSpec
from chaos.value import Value

LineT = TypeVar("LineT", bound=Value)


class KeptLines(Generic[LineT]):
    """The lines of one file, and its only writer until it is closed. A last line that was cut off is left out.

    `known` are the lines of before, `unreadable` how many others there were: they are dropped, but only where the rest
    is of use with `gaps`.
    """

    def __init__(self, path: Path, beginning: Value, kind: type[LineT], *, gaps: bool, anew: bool = False) -> None:
        """Takes the file, or makes it; `anew` without what was in it.

        Raises:
            InvalidSpec: it is of something else than `beginning`, or a line cannot be read and there may be no gaps.
            ClusterError: another process writes it, or it cannot be written.
        """
        self._path = path
        self._lock: IO[str] | None = None
        self._file: IO[str] | None = None
        self.known: list[LineT] = []
        self.unreadable = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as held:
                self._lock = held.enter_context(path.with_name(f".{path.name}.lock").open("w"))
                self._take(self._lock)
                if path.exists() and not anew:
                    self._read(beginning, kind)
                if self.unreadable and not gaps:
                    raise InvalidSpec(
                        f"{path}: {self.unreadable} of its lines cannot be read, and with gaps the rest is of no use; "
                        "remove it to begin anew"
                    )
                self._write_anew(beginning)
                self._file = held.enter_context(path.open("a", encoding="utf-8"))
                self._held = held.pop_all()
        except OSError as error:
            raise ClusterError(f"{path}: cannot be written: {error.strerror}") from error

    def append(self, line: LineT) -> None:
        """One more line, on disk when this returns.

        Raises:
            ClusterError: it cannot be written.
        """
        assert self._file is not None
        try:
            self._file.write(line.model_dump_json() + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ClusterError(f"{self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Lets another write the file; idempotent."""
        with contextlib.suppress(OSError):  # of what could not be written `append` has told
            self._held.close()

    def _take(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError(f"{self._path}: another process writes it; wait for its end, or end it") from None

    def _read(self, beginning: Value, kind: type[LineT]) -> None:
        first, *lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            known = type(beginning).model_validate_json(first)
        except ValidationError as error:
            told = error.errors()[0]["msg"]
            raise InvalidSpec(f"{self._path}: does not begin as such a file does: {told}; remove it") from error
        if known != beginning:
            raise InvalidSpec(f"{self._path}: of another one, or of another version; remove it to begin anew")
        for line in lines[:-1]:
            try:
                self.known.append(kind.model_validate_json(line))
            except ValidationError:
                self.unreadable += 1

    def _write_anew(self, beginning: Value) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(beginning.model_dump_json() + "\n")
            file.writelines(f"{line.model_dump_json()}\n" for line in self.known)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
