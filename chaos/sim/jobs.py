"""A workload's driver and its oracle in the twin: programs of which lines are read; batches go to the operation log."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from chaos.clock import monotonic_s
from chaos.errors import ChaosError
from chaos.events import Resources, RowsVerified, WorkloadFinished, WorkloadStarted
from chaos.rows import decode_rows, encode_rows
from chaos.sim.ray import NodeLost, RayModel, Task
from chaos.value import Value
from chaos.workload import EVENT_PREFIX, Workload

_LOG = "model.jsonl"


class ModelProcess:
    """A program of the twin: lines it says, and the status it ends with."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._status = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        """What it does; it ends when that does."""
        self._task = task
        task.add_done_callback(self._end)

    def say(self, event: Value) -> None:
        """Prints an event, as programs of workloads do."""
        data = {**event.model_dump(mode="json"), "monotonic_s": monotonic_s()}
        self._lines.put_nowait(EVENT_PREFIX + json.dumps(data))

    async def lines(self) -> AsyncIterator[str]:
        """What it says, until it ends."""
        while (line := await self._lines.get()) is not None:
            yield line

    async def wait(self) -> int:
        """Its status, once it ends."""
        assert self._task is not None
        await asyncio.wait({self._task})
        return self._status

    async def stop(self) -> None:
        """Ends it."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._status = 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lines.put_nowait("".join(traceback.format_exception(error)))
        self._lines.put_nowait(None)


def drive(workload: Workload, model: RayModel, data: Path) -> ModelProcess:
    """Starts a workload's driver."""
    process = ModelProcess()

    async def main() -> None:
        log = data / "ops" / _LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as ops:
            process.say(WorkloadStarted(workload=workload.name, rows_total=workload.rows_total, device="model"))
            try:
                await workload.play(_Site(process, model, ops))
            except ChaosError as error:
                process.say(WorkloadFinished(outcome="failed", error=str(error)))
            else:
                process.say(WorkloadFinished(outcome="ok"))

    process.begin(asyncio.create_task(main()))
    return process


def verify(workload: Workload, data: Path) -> ModelProcess:
    """Starts a workload's oracle: what was computed last of each batch is its output."""
    process = ModelProcess()

    async def main() -> None:
        done: Counter[int] = Counter()
        for line in (data / "ops" / _LOG).read_text(encoding="utf-8").splitlines():
            operation = json.loads(line)
            if operation["phase"] == "completed":
                done.update(set(decode_rows(operation["rows"])))
        missing = [row for row in range(workload.rows_total) if not done[row]]
        process.say(
            RowsVerified(
                rows_expected=workload.rows_total,
                rows_found=workload.rows_total - len(missing),
                missing_count=len(missing),
                missing=tuple(missing[:20]),
                duplicated_count=0,
                wrong_count=0,
            )
        )

    process.begin(asyncio.create_task(main()))
    return process


class _Site:
    """What a workload's model is given."""

    def __init__(self, process: ModelProcess, model: RayModel, ops: IO[str]) -> None:
        self._process = process
        self._model = model
        self._ops = ops
        self._number = 0

    def report(self, event: Value) -> None:
        """Said by the driver."""
        self._process.say(event)

    async def sleep(self, seconds: float) -> None:
        """In virtual time."""
        await asyncio.sleep(seconds)

    async def hold(self, bundle: Resources) -> _Place:
        """Waits as a task of Ray's does; whoever is cancelled meanwhile wants it no more."""
        task = self._model.submit(bundle)
        try:
            await task.placed
        except asyncio.CancelledError:
            self._model.release(task)
            raise
        return _Place(self, self._model, task)

    def log(self, phase: str, op: str, instance: str, rows: range) -> None:
        """One line of the operation log."""
        line = {
            "op": op,
            "phase": phase,
            "instance": instance,
            "rows": encode_rows(rows),
            "monotonic_s": monotonic_s(),
        }
        self._ops.write(json.dumps(line) + "\n")
        self._ops.flush()

    def next_op(self) -> str:
        """The id of an operation."""
        self._number += 1
        return f"op-{self._number}"


class _Place:
    """Room on a node."""

    def __init__(self, site: _Site, model: RayModel, task: Task) -> None:
        self._site = site
        self._model = model
        self._task = task

    async def compute(self, rows: range, seconds: float) -> bool:
        """One batch; the first on a node waits until that is warm."""
        node = self._task.placed.result()
        try:
            if not node.warm:
                await self._model.work(self._task, self._model.latencies.warm_up.draw(self._model.stream("warm")))
                node.warm = True
            op = self._site.next_op()
            self._site.log("invoked", op, node.instance, rows)
            await self._model.work(self._task, seconds)
        except NodeLost:
            return False
        self._site.log("completed", op, node.instance, rows)
        return True

    def let_go(self) -> None:
        """The room is there for others."""
        self._model.release(self._task)
