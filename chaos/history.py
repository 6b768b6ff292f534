"""The history: everything that happened in a run, in order, on one clock.

A `Recorder` appends; a `History` is read. On disk it is JSON lines: `seq`, `t_s` (monotonic seconds since the
run began), `wall_s` (Unix time), then the event's own fields.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from chaos.clock import Clock, is_virtual
from chaos.errors import InvalidSpec
from chaos.events import Event, FaultHealed, FaultInjected, RunOpened, RunSealed
from chaos.value import Value

FORMAT = 1
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_SYNCED = (RunOpened, FaultInjected, FaultHealed, RunSealed)
_DIGITS = 6  # microseconds
_ENVELOPE = ("seq", "t_s", "wall_s")

E = TypeVar("E", bound=Value)
T = TypeVar("T")


class _Envelope(Value):
    model_config = ConfigDict(strict=True)

    seq: int
    t_s: float
    wall_s: float


class Record(NamedTuple):
    """One event with its place (`seq`, from 0) and its times."""

    seq: int
    t_s: float
    wall_s: float
    event: Event

    def to_line(self) -> str:
        """The record as one line of JSON, in ASCII, with its times to the microsecond."""
        try:
            event = self.event.model_dump_json()
        except PydanticSerializationError:  # of a text that no UTF-8 can hold
            event = ""
        if not event or not event.isascii():
            event = json.dumps(self.event.model_dump(mode="json"), separators=(",", ":"))
        t_s, wall_s = round(float(self.t_s), _DIGITS), round(float(self.wall_s), _DIGITS)
        return f'{{"seq":{self.seq},"t_s":{t_s},"wall_s":{wall_s},{event[1:]}'

    @staticmethod
    def from_line(line: str) -> Record:
        """The record a line holds.

        Raises:
            ValueError: the line is no JSON object, or no known event.
        """
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError(f"a history line must be a JSON object, not {type(data).__name__}")
        envelope = _Envelope(**{key: data.pop(key) for key in _ENVELOPE if key in data})
        return Record(envelope.seq, envelope.t_s, envelope.wall_s, _EVENT.validate_python(data))


class History:
    """An ordered sequence of records; checkers are functions of it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = list(records)
        self._by_class: dict[type, list[Record]] = {}
        self._sorted = 0
        self._derived: dict[Callable[[History], object], tuple[int, object]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, seq: int) -> Record:
        return self._records[seq]

    def of(self, kind: type[E], *, since_s: float = float("-inf")) -> list[tuple[Record, E]]:
        """All events of one class from `since_s` on, each with its record."""
        return [(r, cast(E, r.event)) for r in self._all(kind) if r.t_s >= since_s]

    def first(self, kind: type[E]) -> tuple[Record, E] | None:
        """The first event of a class, or None."""
        return next(((r, cast(E, r.event)) for r in self._all(kind)), None)

    def last(self, kind: type[E]) -> tuple[Record, E] | None:
        """The last event of a class, or None."""
        found = self._all(kind)
        return (found[-1], cast(E, found[-1].event)) if found else None

    def _all(self, kind: type[E]) -> list[Record]:
        """The records of one class in order, without looking at all of them again each time."""
        for record in self._records[self._sorted :]:
            self._by_class.setdefault(type(record.event), []).append(record)
        self._sorted = len(self._records)
        found = [records for one, records in self._by_class.items() if issubclass(one, kind)]
        return found[0] if len(found) == 1 else sorted(itertools.chain(*found), key=lambda record: record.seq)

    def derived(self, make: Callable[[History], T]) -> T:
        """What a function of a module makes of the history as far as it goes now: made once, for all who ask."""
        length, made = self._derived.get(make, (-1, None))
        if length != len(self._records):
            length, made = self._derived[make] = len(self._records), make(self)
        return cast(T, made)

    def among(self, *kinds: type[Value]) -> list[Record]:
        """The records of some classes, in order."""
        return sorted(itertools.chain(*(self._all(kind) for kind in kinds)), key=lambda record: record.seq)

    @property
    def end_s(self) -> float:
        """The time of the last record; 0 for an empty history."""
        return self._records[-1].t_s if self._records else 0.0

    @property
    def sealed(self) -> bool:
        """Whether the run closed its history in good order."""
        return self.last(RunSealed) is not None

    @staticmethod
    def of_events(events: Iterable[tuple[float, Event]]) -> History:
        """A history made from `(t_s, event)` pairs, for tests and models."""
        return History(Record(seq=seq, t_s=t_s, wall_s=t_s, event=event) for seq, (t_s, event) in enumerate(events))

    @staticmethod
    def load(path: Path) -> History:
        """Reads a recorded history; a torn last line (the writer was killed: no line end) is left out.

        Raises:
            InvalidSpec: the file is missing, damaged before its last line, or of another format.
        """
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InvalidSpec(f"{path}: cannot read the history: {error.strerror}") from error
        *lines, torn = text.split("\n")
        if torn:
            lines.append(torn)
        records: list[Record] = []
        for number, line in enumerate(lines, start=1):
            try:
                record = Record.from_line(line)
            except (ValueError, ValidationError) as error:
                if number == 1:
                    _refuse_other_format(path, line)
                if torn and number == len(lines):
                    break
                raise InvalidSpec(f"{path}, line {number}: not an event of this version: {_reason(error)}") from error
            if record.seq != len(records):
                raise InvalidSpec(f"{path}, line {number}: event {record.seq} stands where {len(records)} belongs")
            if number == 1:
                _refuse_other_format(path, line)
            records.append(record)
        if not records:
            raise InvalidSpec(f"{path}: the history holds no complete event; the run never began")
        opened = records[0].event
        if not isinstance(opened, RunOpened):
            raise InvalidSpec(f"{path}: the first event is {opened.kind}, expected run.opened; truncated at the front?")
        return History(records)


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'event'}: {first['msg']}"


def _refuse_other_format(path: Path, line: str) -> None:
    try:
        data = json.loads(line)
    except ValueError:
        return
    if isinstance(data, dict) and data.get("format", FORMAT) != FORMAT:
        raise InvalidSpec(
            f"{path}: history format {data['format']}, this raychaos reads format {FORMAT}; "
            "check it with the version that wrote it"
        )


class Recorder(History):
    """A history being written: appends to a file, wakes those who wait, and shows each record to `listener`.

    Each is in the file when `append` returns, fault events and the first and last one even if the machine fails then.
    In virtual time, where a run can be had again, all are in the file up to the last of these. One event loop only.
    """

    def __init__(self, path: Path | None, clock: Clock, *, listener: Callable[[Record], None] = lambda _: None) -> None:
        super().__init__()
        self._listener = listener
        self.clock = clock
        self._file: IO[str] | None = path.open("x", encoding="utf-8") if path else None
        self._grown = asyncio.Event()
        self._closed = False
        self._virtual = is_virtual()

    def append(self, event: Event, *, at_s: float | None = None) -> Record:
        """Records an event as happening now, or as having happened at `at_s` (kept in `t_s`)."""
        if self._closed:
            raise AssertionError(f"history is sealed; {event.kind} came too late")
        now_s = self.clock.now_s()
        t_s = now_s if at_s is None else at_s
        wall_s = self.clock.wall_s() - (now_s - t_s)
        record = Record(len(self._records), t_s, wall_s, event)
        self._records.append(record)
        if self._file:
            self._file.write(record.to_line() + "\n")
            synced = isinstance(event, _SYNCED)
            if synced or not self._virtual:
                self._file.flush()
            if synced and not self._virtual:
                os.fsync(self._file.fileno())
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        self._listener(record)
        if isinstance(event, RunSealed):
            self.close()
        return record

    async def until(self, condition: Callable[[History], bool]) -> None:
        """Returns once `condition` holds of the history; looks again at every append. The caller bounds the wait."""
        while not condition(self):
            await self._grown.wait()

    async def follow(self, *, start: int = 0) -> Record:
        """The record at place `start`, as soon as it is there."""
        while len(self._records) <= start:
            await self._grown.wait()
        return self._records[start]

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        self._closed = True
        if self._file:
            self._file.close()
            self._file = None
