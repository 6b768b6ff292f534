"""A workload's driver and its oracle in the twin: programs of which lines are read, and operations."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from chaos.clock import monotonic_s
from chaos.errors import ChaosError
from chaos.events import Resources, RowsVerified, WorkloadFinished, WorkloadStarted
from chaos.rows import decode_rows, encode_rows
from chaos.sim.gangs import Gang
from chaos.sim.latency import JobCosts
from chaos.sim.node import Task
from chaos.sim.ray import NodeLost, RayModel
from chaos.value import Value
from chaos.workload import EVENT_PREFIX, HasModel, Load, Operation, Strategy, Workload

_COMPUTED = "computed.txt"
_KILLED = -9


class ModelProcess:
    """A program of the twin: lines it says, operations it tells of, and the status it ends with."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._status = 0
        self._task: asyncio.Task[None] | None = None
        self.operations: list[Operation] = []
        self.killed = False

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

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._task is not None and not self._task.done()

    def kill(self) -> None:
        """Ends it without a word, and before it can do anything about it."""
        assert self._task is not None
        self.killed = self.running
        self._task.cancel()

    async def stop(self) -> None:
        """Ends it."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._status = _KILLED if self.killed else 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lines.put_nowait("".join(traceback.format_exception(error)))
        self._lines.put_nowait(None)


def drive(workload: Workload, model: RayModel, data: Path, *, host: str) -> ModelProcess:
    """Starts a workload's driver on this instance."""
    process = ModelProcess()

    async def main() -> None:
        process.say(WorkloadStarted(workload=workload.name, rows_total=workload.rows_total, device="model"))
        costs = model.latencies.job(workload.name)
        site = _Site(process, model, data, costs, host)
        try:
            assert isinstance(workload, HasModel)
            await model.takes(costs.begin, "begin")
            await workload.play(site)
            await model.takes(costs.end, "end")
        except ChaosError as error:
            process.say(WorkloadFinished(outcome="failed", error=str(error)))
        else:
            process.say(WorkloadFinished(outcome="ok"))
        finally:
            if not process.killed:  # every driver does so when it leaves
                model.request(())
            with contextlib.suppress(FileNotFoundError):  # where it ends with its cluster
                (data / _COMPUTED).write_text(encode_rows(site.computed()))

    process.begin(asyncio.create_task(main()))
    return process


def _computed(data: Path) -> frozenset[int]:
    """The rows that drivers had computed when the last of them ended."""
    try:
        return frozenset(decode_rows((data / _COMPUTED).read_text()))
    except FileNotFoundError:  # none has ended yet
        return frozenset()


def verify(workload: Workload, data: Path) -> ModelProcess:
    """Starts a workload's oracle: what was computed last of each batch is its output."""
    process = ModelProcess()

    async def main() -> None:
        done = _computed(data)
        missing = [row for row in range(workload.rows_total) if row not in done]
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

    def __init__(self, process: ModelProcess, model: RayModel, data: Path, costs: JobCosts, host: str) -> None:
        self.costs = costs
        self._host = host
        self._process = process
        self._model = model
        self._data = data
        self._before = _computed(data)
        self._number = 0

    def report(self, event: Value) -> None:
        """Said by the driver."""
        self._process.say(event)

    async def sleep(self, seconds: float) -> None:
        """In virtual time."""
        await asyncio.sleep(seconds)

    def load(self) -> Load:
        """What was told last."""
        return Load.told(self._data)

    def gather(self, bundles: Sequence[Resources], strategy: Strategy) -> _Group:
        """A placement group."""
        return _Group(self, self._model, self._model.gather(bundles, strategy))

    def request(self, bundles: Sequence[Resources]) -> None:
        """As the driver calls `request_resources`."""
        self._model.request(bundles)

    def ask(self, bundles: Sequence[Resources], *, expire_after_s: float) -> None:
        """As Ray Data in the driver asks, through an actor on the driver's node."""
        for home in self._model.alive_on(self._host):
            self._model.coordinator.ask(self, bundles, expire_after_s=expire_after_s, home=home)

    def withdraw(self) -> None:
        """As Ray Data does when its job is over; not so where the driver was killed."""
        if not self._process.killed:
            self._model.coordinator.withdraw(self)

    def computed(self) -> frozenset[int]:
        """The rows that were completed."""
        own = (decode_rows(one.rows) for one in self._process.operations if one.phase == "completed")
        return self._before.union(*own)

    async def hold(self, bundle: Resources) -> _Place:
        """Waits as a task of Ray's does; whoever is cancelled meanwhile wants it no more."""
        task = self._model.submit(bundle)
        try:
            await task.placed
        except asyncio.CancelledError:
            self._model.release(task)
            raise
        return _Place(self, self._model, task)

    async def compute(self, task: Task, rows: range, seconds: float) -> bool:
        """One batch where a task has room; the first on a node waits until that is warm. False: the node was lost."""
        node, model, costs = task.placed.result(), self._model, self.costs
        try:
            if not node.warm:
                await self._warm(task, costs.warm_up.draw(model.next_stream(f"warm/{node.ray_node_id}")))
                node.warm = True
            elif costs.between.median_s:
                await model.work(task, costs.between.draw(model.next_stream("between")))
            else:
                await model.work(task, 0.0)  # a node that is frozen begins nothing
            op = self.next_op()
            self.log("invoked", op, node.instance, rows)
            await model.work(task, seconds * costs.batch.draw(model.next_stream("batch")))
        except NodeLost:
            return False
        self.log("completed", op, node.instance, rows)
        return True

    async def _warm(self, task: Task, alone_s: float) -> None:
        async def work(seconds: float) -> bool:
            await self._model.work(task, seconds)
            return True

        await self._model.crowd.takes(alone_s, work)

    def log(self, phase: str, op: str, instance: str, rows: range) -> None:
        """Told of an operation."""
        self._process.operations.append(Operation(op, phase, instance, encode_rows(rows), monotonic_s()))

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
        """One batch."""
        return await self._site.compute(self._task, rows, seconds)

    def let_go(self) -> None:
        """The room is there for others."""
        self._model.release(self._task)


class _Group:
    """Room for a placement group."""

    def __init__(self, site: _Site, model: RayModel, gang: Gang) -> None:
        self._site = site
        self._model = model
        self._gang = gang

    async def compute(self, bundle: int, rows: range, seconds: float) -> bool:
        """One batch, once the bundle has room."""
        task = self._gang.bundles[bundle]
        await asyncio.wait({task.placed})
        return await self._site.compute(task, rows, seconds)

    def let_go(self) -> None:
        """The room is there for others."""
        self._model.disband(self._gang)
