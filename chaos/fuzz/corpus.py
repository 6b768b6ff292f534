"""The corpus: failing specifications kept in a directory, readable YAML, safe for several processes at once.

One file an entry, written beside and renamed into place, so that a reader sees all of it or nothing; its counters
change under a lock of the directory. What another version wrote is refused: verdicts may have changed since.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from chaos import yaml_text
from chaos.errors import ClusterError, InvalidSpec
from chaos.signature import Signature
from chaos.spec import read_text, read_yaml
from chaos.value import Value

FORMAT = 1
CLEAN_RUNS = 9  # so many clean runs in a row and the entry is dropped: 0.7^9 < 0.05, for a failure in three of ten
_LOCK = ".lock"
_DIGITS = 10


class Entry(Value):
    """One failing run to be tried again: its specification, its signature, and how often it passed since."""

    corpus: Literal[1] = 1
    raychaos: str
    ray: str
    signature: Signature
    summary: str = ""
    clean_runs: int = 0
    spec: str

    @property
    def cluster(self) -> str:
        """The kind of cluster it failed on."""
        return str(yaml_text.load(self.spec)["cluster"]["kind"])

    @property
    def name(self) -> str:
        """The same for the same failure of the same specification, however that is written."""
        spec = yaml_text.dump(yaml_text.load(self.spec))
        return f"{_words(self.signature)}-{hashlib.sha256(spec.encode()).hexdigest()[:_DIGITS]}"


class Corpus:
    """A directory of entries; made with its first."""

    def __init__(self, path: Path, *, raychaos: str) -> None:
        self.path = path
        self._raychaos = raychaos

    def entries(self) -> tuple[Entry, ...]:
        """All entries, by name.

        Raises:
            InvalidSpec: a file is none, or another version wrote it.
            ClusterError: the directory cannot be written: each campaign counts what it runs again.
        """
        if not self.path.is_dir():
            return ()
        with self._alone():
            return tuple(self._read(path) for path in sorted(self.path.glob("*.yaml")))

    def keep(self, entry: Entry) -> bool:
        """Writes an entry, unless there is one as small of its signature; drops those that are larger.

        Raises:
            ClusterError: the directory cannot be written.
        """
        with self._alone():
            alike = self.path.glob(f"{_words(entry.signature)}-{'?' * _DIGITS}.yaml")
            others = [known for known in map(self._read, alike) if known.signature == entry.signature]
            if any(_size(known) <= _size(entry) for known in others):
                return False
            self._write(entry)
            for known in others:
                (self.path / f"{known.name}.yaml").unlink(missing_ok=True)
        return True

    def count(self, name: str, *, clean: bool) -> bool:
        """Counts a run of an entry: one more clean run, or none any more; whether the entry is dropped for it.

        Raises:
            ClusterError: the directory cannot be written.
        """
        with self._alone():
            path = self.path / f"{name}.yaml"
            if not path.exists():
                return False
            entry = self._read(path)
            runs = entry.clean_runs + 1 if clean else 0
            if runs >= CLEAN_RUNS:
                path.unlink()
                return True
            self._write(entry.model_copy(update={"clean_runs": runs}), name=name)
            return False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ClusterError(f"{self.path}: the corpus cannot be written: {error.strerror}") from error

    def _read(self, path: Path) -> Entry:
        data, _ = read_yaml(read_text(path), name=str(path))
        found = data.get("corpus") if isinstance(data, dict) else None
        if found is not None and found != FORMAT:
            raise InvalidSpec(f"{path}: corpus format {found}, not {FORMAT}: use the version that wrote it")
        try:
            entry = Entry.model_validate({**data, "spec": yaml_text.dump(data["spec"])})
        except (ValidationError, KeyError, TypeError) as error:
            raise InvalidSpec(f"{path}: no entry of a corpus ({type(error).__name__}); remove the file") from error
        if entry.raychaos != self._raychaos:
            raise InvalidSpec(
                f"{path}: written by raychaos {entry.raychaos}, this is {self._raychaos}, whose verdicts may differ; "
                "give another --corpus, or remove the file to find it anew"
            )
        return entry

    def _write(self, entry: Entry, *, name: str | None = None) -> None:
        data = entry.model_dump(mode="json") | {"spec": yaml_text.load(entry.spec)}
        path = self.path / f"{name or entry.name}.yaml"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(yaml_text.dump(data), encoding="utf-8")
        temporary.replace(path)


def _words(signature: Signature) -> str:
    return re.sub(r"[^a-z0-9]+", "-", signature.text.lower()).strip("-")[:60]


def _size(entry: Entry) -> int:
    spec = yaml_text.load(entry.spec)
    return len(spec["schedule"]["injections"])
