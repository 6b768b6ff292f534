"""A workload running on a cluster: its driver's events, its workers' operations, its progress, all into the history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, Protocol, runtime_checkable

from pydantic import TypeAdapter

from chaos.clock import Clock, RealClock
from chaos.cluster import Cluster, Process
from chaos.errors import ClusterError
from chaos.events import (
    BatchCompleted,
    BatchFailed,
    BatchInvoked,
    DemandChanged,
    DriverRestarted,
    Event,
    NodeStarted,
    RowsVerified,
    WorkloadFinished,
    WorkloadLogged,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import Recorder
from chaos.rows import decode_rows
from chaos.workload import EVENT_PREFIX, Operation, ResumableWorkload, Workload

POLL_S = 0.2
PROGRESS_EVERY_S = 1.0
# How long a driver that is to be started again waits for a node; and how long the Cloud may take to miss the last one.
HOST_LIMIT_S = 30.0
HOST_NOTICED_S = 0.6
_LOGGED_LINES = 200
_ONCE = (WorkloadStarted, RowsVerified)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@runtime_checkable
class PlaysWorkloads(Protocol):
    """Workloads are played by their models, in place of programs that are executed."""

    def play(self, workload: Workload, part: Literal["driver", "oracle"], *, data: Path) -> Process:
        """Starts a part of a workload's model, with the directory its programs share.

        Raises:
            ClusterError: there is no model of it.
        """
        ...


@runtime_checkable
class TellsOfOperations(Protocol):
    """A program that tells of its operations itself, in place of an operation log."""

    @property
    def operations(self) -> Sequence[Operation]:
        """All of them so far, in the order of their times."""
        ...


class Job:
    """One workload on one cluster, from the driver's start to its end.

    The driver of a `ResumableWorkload` that ends without a word is started again; to whoever reads the history the load
    goes on meanwhile.
    """

    def __init__(self, workload: Workload, cluster: Cluster, recorder: Recorder, *, run_id: str, log: Path) -> None:
        self._workload = workload
        self._cluster = cluster
        self._recorder = recorder
        self._clock: Clock = recorder.clock
        self._log_path = log
        self.data, self._data_on_nodes = cluster.data_directory(run_id)
        self._process: Process | None = None
        self._logged = 0
        self._tail: list[str] = []
        self._operations = _Operations(_Logs(self.data / "ops"), recorder)
        self.finished: WorkloadFinished | None = None

    async def run(self) -> None:
        """Runs the driver to its end; `finished` is set and in the history when this returns."""
        self._operations.learn({node.instance: node.node for node in await self._cluster.nodes()})
        watching = asyncio.create_task(self._watch())
        try:
            await self._attempts()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        self._progress(always=True)

    async def _attempts(self) -> None:
        """Starts the driver until it has said how it ended, or may not be started again."""
        workload = self._workload
        restarts = workload.driver_restarts if isinstance(workload, ResumableWorkload) else 0
        for attempt in range(1, restarts + 2):
            self._tail.clear()
            status = await self._attempt()
            if self.finished is not None:
                return
            said = "\n".join(self._tail[-8:])
            if attempt <= restarts:
                if not await self._host_there():
                    told = f"the driver ended with status {status}, and its node was gone: {said}"
                    self._finish(WorkloadFinished(outcome="failed", error=told))
                    return
                self._recorder.append(DriverRestarted(attempt=attempt + 1, status=status, said=said))
                self._recorder.append(DemandChanged(bundles=()))  # until the next one says what it wants
        self._finish(WorkloadFinished(outcome="failed", error=f"the driver ended with status {status}: {said}"))

    async def _host_there(self) -> bool:
        """Whether a node runs that the driver can be started on, as soon as one does; bounded by HOST_LIMIT_S.

        The one that a driver died with may still be listed: it is given the time in which the Cloud notices.
        """
        await self._clock.sleep(HOST_NOTICED_S)
        limit_s = self._clock.now_s() + HOST_LIMIT_S
        while True:
            try:
                if await self._cluster.hosts_programs():
                    return True
            except ClusterError:
                return False
            if self._clock.now_s() >= limit_s or self.finished is not None:
                return False
            await self._clock.sleep(POLL_S)

    async def _attempt(self) -> int:
        """Runs the driver once; its exit status."""
        process = self._process = await self._start(self._workload.driver_module, (), part="driver")
        if isinstance(process, TellsOfOperations):
            self._operations.follow(_Told(process))
        if self.finished is not None:  # it was to end while it started
            await self._process.stop()
        with self._log_path.open("a", encoding="utf-8") as log:
            async for line in self._process.lines():
                self._take(line, log)
        return await self._process.wait()

    async def stop(self, finished: WorkloadFinished) -> None:
        """Ends the driver because it hangs or the run is interrupted, and records that as its outcome."""
        if self.finished is None:
            self._finish(finished)
        if self._process is not None:
            await self._process.stop()

    async def verify(self) -> None:
        """Runs the oracle; its verdict on the rows enters the history."""
        arguments = ("--workload", type(self._workload).name)
        process = await self._start(self._workload.verify_module, arguments, part="oracle")
        try:
            with self._log_path.with_name("verify.log").open("a", encoding="utf-8") as log:
                async for line in process.lines():
                    self._take(line, log)
            await process.wait()
        except asyncio.CancelledError:
            await process.stop()
            raise

    async def _start(self, module: str, arguments: tuple[str, ...], *, part: Literal["driver", "oracle"]) -> Process:
        if isinstance(self._cluster, PlaysWorkloads):
            return self._cluster.play(self._workload, part, data=self.data)
        return await self._cluster.execute(
            module,
            (*arguments, "--params", self._workload.model_dump_json()),
            environment={"RAYCHAOS_DATA": self._data_on_nodes, **self._workload.environment()},
        )

    def _take(self, line: str, log: IO[str]) -> None:
        log.write(line + "\n")
        log.flush()
        if not line.startswith(EVENT_PREFIX):
            self._tail = [*self._tail[-20:], line]
            if line.strip() and self._logged < _LOGGED_LINES:
                self._logged += 1
                self._recorder.append(WorkloadLogged(text=line[:1000]))
            return
        try:
            at_s, event = _read_event(line, self._clock)
        except (KeyError, TypeError, ValueError) as error:  # two programs wrote at once, or it is none of ours
            self._recorder.append(WorkloadLogged(text=f"not an event: {line[:800]} ({type(error).__name__})"))
            return
        if isinstance(event, WorkloadFinished):
            if self.finished is None:
                self._finish(event, at_s=at_s)
        elif not isinstance(event, _ONCE) or self._recorder.last(type(event)) is None:
            self._recorder.append(event, at_s=at_s)

    def _finish(self, event: WorkloadFinished, *, at_s: float | None = None) -> None:
        self._progress(always=True)
        self.finished = event
        self._recorder.append(event, at_s=at_s)

    async def _watch(self) -> None:
        last_s = float("-inf")
        while True:
            always = self._clock.now_s() - last_s >= PROGRESS_EVERY_S
            if self._progress(always=always):
                last_s = self._clock.now_s()
            await self._clock.pause(POLL_S, of=self._operations.latest)

    def _progress(self, *, always: bool) -> bool:
        grown = self._operations.read()
        if (grown or always) and self.finished is None:
            self._recorder.append(
                WorkloadProgressed(rows_done=self._operations.rows_done, rows_total=self._workload.rows_total)
            )
            return True
        return False


class _Source(Protocol):
    """Where operations are read from."""

    def latest(self) -> object:
        """Another object, where there may be new ones."""
        ...

    def new(self) -> list[Operation]:
        """Those that nobody has read yet."""
        ...


class _Operations:
    """Follows the operations of all workers."""

    def __init__(self, source: _Source, recorder: Recorder) -> None:
        self._source = source
        self._recorder = recorder
        self._names: dict[str, str] = {}
        self._place = 0
        self._began: dict[str, float] = {}
        self._done: set[int] = set()

    @property
    def rows_done(self) -> int:
        """Distinct rows computed so far."""
        return len(self._done)

    def learn(self, names: dict[str, str]) -> None:
        """Node names by instance."""
        self._names |= names

    def follow(self, source: _Source) -> None:
        """Another source from now on, when all is read that the one before it has."""
        self.read()
        self._source = source

    def latest(self) -> object:
        """Another object, where there may be something to read."""
        return self._source.latest()

    def read(self) -> bool:
        """Records what came since; says whether rows were done."""
        while self._place < len(self._recorder):
            event = self._recorder[self._place].event
            if isinstance(event, NodeStarted):
                self._names[event.instance] = event.node
            self._place += 1
        before = len(self._done)
        for operation in sorted(self._source.new(), key=lambda one: one.monotonic_s):
            self._take(operation)
        return len(self._done) > before

    def _take(self, operation: Operation) -> None:
        at_s = _run_time(self._recorder.clock, operation.monotonic_s)
        node = self._names.get(operation.instance, operation.instance)
        op, rows = operation.op, operation.rows
        if operation.phase == "invoked":
            self._began[op] = at_s
            self._recorder.append(BatchInvoked(op=op, node=node, rows=rows, started_s=at_s), at_s=at_s)
            return
        started_s = self._began.pop(op, at_s)
        if operation.phase == "failed":
            failed = BatchFailed(op=op, node=node, rows=rows, started_s=started_s, error=operation.error)
            self._recorder.append(failed, at_s=at_s)
            return
        self._done.update(decode_rows(rows))
        self._recorder.append(BatchCompleted(op=op, node=node, rows=rows, started_s=started_s, ended_s=at_s), at_s=at_s)


class _Told:
    """The operations that a program tells of."""

    def __init__(self, process: TellsOfOperations) -> None:
        self._process = process
        self._read = 0

    def latest(self) -> object:
        """The last operation, in a tuple: of one, each item is looked at."""
        return tuple(self._process.operations[-1:])

    def new(self) -> list[Operation]:
        """Those that nobody has read yet."""
        found = list(self._process.operations[self._read :])
        self._read += len(found)
        return found


class _Logs:
    """The operation logs of all workers, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._positions: dict[str, int] = {}

    def latest(self) -> object:
        """There may always be new ones."""
        return object()

    def new(self) -> list[Operation]:
        """Those that were appended since."""
        return [_operation(line) for path in self._grown() for line in self._new_lines(path)]

    def _grown(self) -> list[str]:
        """The logs that hold more than was read of them."""
        try:
            with os.scandir(self._directory) as entries:
                logs = [(entry.path, entry.stat()) for entry in entries if entry.name.endswith(".jsonl")]
        except FileNotFoundError:  # nothing has been logged yet
            return []
        return sorted(path for path, status in logs if status.st_size > self._positions.get(path, 0))

    def _new_lines(self, path: str) -> list[dict[str, Any]]:
        with Path(path).open("rb") as file:
            file.seek(self._positions.get(path, 0))
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        self._positions[path] = self._positions.get(path, 0) + len(whole) + 1
        found = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                data = json.loads(line)
                if isinstance(data, dict):
                    found.append(data)
        return found


def _operation(line: dict[str, Any]) -> Operation:
    return Operation(
        op=str(line["op"]),
        phase=str(line["phase"]),
        instance=str(line["instance"]),
        rows=str(line["rows"]),
        monotonic_s=float(line["monotonic_s"]),
        error=str(line.get("error", "")),
    )


def _read_event(line: str, clock: Clock) -> tuple[float, Event]:
    data = json.loads(line.removeprefix(EVENT_PREFIX))
    if not isinstance(data, dict):
        raise TypeError(f"an event is a mapping, not {type(data).__name__}")
    at_s = _run_time(clock, float(data.pop("monotonic_s")))
    return at_s, _EVENT.validate_python(data)


def _run_time(clock: Clock, monotonic_s: float) -> float:
    assert isinstance(clock, RealClock)
    return clock.at_monotonic(monotonic_s)
