"""The job: what the driver says and what the workers log becomes history, however torn and late."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.clock import RealClock
from chaos.events import (
    BatchCompleted,
    BatchInvoked,
    DemandChanged,
    DriverRestarted,
    NodeStarted,
    RowsVerified,
    WorkloadFinished,
    WorkloadLogged,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.history import Recorder
from chaos.job import Job
from chaos.rows import encode_rows
from chaos.workload import EVENT_PREFIX, Operation
from tests.doubles import FakeCluster, FakeProcess
from workloads.batch_inference import BatchInference

LIMIT_S = 10.0
ROWS = 64


class Works:
    """A job on a fake cluster: the driver's lines, the workers' logs, and the history."""

    def __init__(self, directory: Path, *processes: FakeProcess, driver_restarts: int = 0) -> None:
        self.recorder = Recorder(None, RealClock())
        self.cluster = FakeCluster(workers=2)
        self.cluster.data = directory
        self.cluster.processes = list(processes)
        self.directory = directory
        (directory / "ops").mkdir()
        workload = BatchInference(rows=ROWS, batch_rows=8, driver_restarts=driver_restarts)
        self.job = Job(workload, self.cluster, self.recorder, run_id="r1", log=directory / "driver.log")

    async def run(self) -> None:
        """The driver, to its end."""
        await asyncio.wait_for(self.job.run(), LIMIT_S)

    def write(self, name: str, text: str) -> None:
        """Appends to one worker's log."""
        with (self.directory / "ops" / f"{name}.jsonl").open("a") as file:
            file.write(text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on the history."""
        await asyncio.wait_for(self.recorder.until(lambda _: condition()), LIMIT_S)

    def of(self, kind: type[Any]) -> list[Any]:
        """All events of a class."""
        return [event for _, event in self.recorder.of(kind)]


def said(kind: str, *, monotonic_s: float | None = None, **fields: object) -> str:
    """A line by which a driver tells an event."""
    moment = {"monotonic_s": time.monotonic() if monotonic_s is None else monotonic_s}
    return EVENT_PREFIX + json.dumps({"kind": kind, **fields, **moment})


def logged(phase: str, op: str, rows: str, *, instance: str = "i-00001", at_s: float = 0.0) -> str:
    """A line of a worker's log, `at_s` seconds from now."""
    line = {"phase": phase, "op": op, "rows": rows, "instance": instance, "monotonic_s": time.monotonic() + at_s}
    return json.dumps(line) + "\n"


def started(*, monotonic_s: float | None = None) -> str:
    """The line by which a driver says that it begins."""
    return said("workload.started", monotonic_s=monotonic_s, workload="batch_inference", rows_total=ROWS)


OK = said("workload.finished", outcome="ok")


# -- the driver's lines ---------------------------------------------------------------------------------------


async def test_the_drivers_lines_become_events_at_the_time_they_tell(tmp_path: Path) -> None:
    began_s = time.monotonic() - 5.0
    lines = [started(monotonic_s=began_s), "a word of Ray's", "   ", OK]
    works = Works(tmp_path, FakeProcess(lines))
    await works.run()
    [(record, event)] = works.recorder.of(WorkloadStarted)
    assert event.rows_total == ROWS
    assert record.t_s == pytest.approx(works.recorder.clock.now_s() - 5.0, abs=2.0)
    assert [logged.text for logged in works.of(WorkloadLogged)] == ["a word of Ray's"]
    assert works.of(WorkloadFinished) == [works.job.finished] == [WorkloadFinished(outcome="ok")]
    assert (tmp_path / "driver.log").read_text().splitlines() == lines


async def test_the_driver_is_told_its_parameters_and_where_data_lies(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    await works.run()
    [(module, arguments, environment)] = works.cluster.executed
    assert module == "workloads.batch_inference_driver"
    assert arguments[0] == "--params"
    assert BatchInference.model_validate_json(arguments[1]).rows == ROWS
    assert environment["RAYCHAOS_DATA"] == "/on-nodes/r1"
    assert environment["RAY_DATA_DISABLE_PROGRESS_BARS"] == "1"


async def test_a_driver_that_dies_without_a_word_failed_with_its_last_lines(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(30)]
    works = Works(tmp_path, FakeProcess([started(), *lines], status=-9))
    await works.run()
    [finished] = works.of(WorkloadFinished)
    assert finished.outcome == "failed"
    assert finished.error == "the driver ended with status -9: " + "\n".join(lines[-8:])


async def test_a_driver_that_dies_without_a_word_is_started_again_and_the_load_goes_on(tmp_path: Path) -> None:
    demand = said("workload.demand", bundles=[{"shape": {"GPU": 1.0}, "count": 4}])
    dead, next_one = FakeProcess([started(), demand, "dying"], status=-9), FakeProcess([started(), demand, OK])
    works = Works(tmp_path, dead, next_one, driver_restarts=1)
    await works.run()
    assert works.of(DriverRestarted) == [DriverRestarted(attempt=2, status=-9, said="dying")]
    assert len(works.of(WorkloadStarted)) == 1  # at_s counts from the first
    assert [len(event.bundles) for event in works.of(DemandChanged)] == [1, 0, 1]
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome="ok")]
    first, second = works.cluster.executed
    assert first == second


async def test_a_driver_is_started_again_no_more_often_than_asked(tmp_path: Path) -> None:
    drivers = [FakeProcess([started(), f"death {number}"], status=-9) for number in (1, 2, 3)]
    works = Works(tmp_path, *drivers, driver_restarts=2)
    await works.run()
    assert [event.attempt for event in works.of(DriverRestarted)] == [2, 3]
    [finished] = works.of(WorkloadFinished)
    assert (finished.outcome, finished.error) == ("failed", "the driver ended with status -9: death 3")


async def test_a_driver_whose_node_is_gone_for_good_is_a_job_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.job.HOST_LIMIT_S", 0.3)
    works = Works(tmp_path, FakeProcess([started(), "dying"], status=-9), driver_restarts=2)
    del works.cluster.members["head"]
    await works.run()
    assert works.of(DriverRestarted) == []
    [finished] = works.of(WorkloadFinished)
    assert finished.outcome == "failed"
    assert "its node was gone: dying" in finished.error


async def test_a_driver_whose_node_comes_back_is_started_there(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([started()], status=-9), FakeProcess([started(), OK]), driver_restarts=1)
    head = works.cluster.members.pop("head")
    looked = works.cluster.hosts_programs

    async def later() -> bool:
        there = await looked()
        works.cluster.members["head"] = head
        return there

    works.cluster.hosts_programs = later  # type: ignore[method-assign]
    await works.run()
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome="ok")]


@pytest.mark.parametrize("outcome", ["ok", "failed", "interrupted"])
async def test_a_driver_that_said_how_it_ended_is_not_started_again(tmp_path: Path, outcome: str) -> None:
    works = Works(tmp_path, FakeProcess([said("workload.finished", outcome=outcome)], status=1), driver_restarts=3)
    await works.run()
    assert works.of(DriverRestarted) == []
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome=outcome)]


async def test_a_driver_that_is_stopped_is_not_started_again(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([started()], status=-15, hangs=True), driver_restarts=3)
    running = asyncio.create_task(works.run())
    await works.until(lambda: bool(works.of(WorkloadStarted)))
    await works.job.stop(WorkloadFinished(outcome="hung"))
    await running
    assert works.of(DriverRestarted) == []
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome="hung")]


async def test_a_driver_that_starts_while_the_job_is_stopped_ends_at_once(tmp_path: Path) -> None:
    late = FakeProcess([], hangs=True)
    works = Works(tmp_path, FakeProcess([started()], status=-9), late, driver_restarts=1)
    start = works.cluster.execute

    async def execute(*arguments: Any, **settings: Any) -> Any:
        if works.cluster.executed:
            await works.job.stop(WorkloadFinished(outcome="interrupted"))
        return await start(*arguments, **settings)

    works.cluster.execute = execute  # type: ignore[method-assign]
    await works.run()
    assert late.was_stopped


async def test_a_driver_that_says_it_failed_is_believed_once(tmp_path: Path) -> None:
    failed = said("workload.finished", outcome="failed", error="ValueError: no")
    works = Works(tmp_path, FakeProcess([failed, OK], status=1))
    await works.run()
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome="failed", error="ValueError: no")]


@pytest.mark.parametrize(
    "line",
    [
        EVENT_PREFIX,
        EVENT_PREFIX + "{",
        EVENT_PREFIX + "7",
        EVENT_PREFIX + "[]",
        EVENT_PREFIX + '{"kind": "workload.started"}',
        EVENT_PREFIX + '{"kind": "workload.started", "monotonic_s": "noon"}',
        pytest.param(said("workload.begun"), id="unknown kind"),
        pytest.param(said("workload.started", workload="x", rows_total="many"), id="wrong value"),
        pytest.param(said("workload.demand", bundles=[])[:-9] + said("workload.demand", bundles=[]), id="broken off"),
    ],
)
async def test_a_line_that_is_no_event_is_kept_as_text_and_stops_nothing(tmp_path: Path, line: str) -> None:
    works = Works(tmp_path, FakeProcess([line, OK]))
    await works.run()
    [event] = works.of(WorkloadLogged)
    assert event.text.startswith(f"not an event: {line}")
    assert works.job.finished == WorkloadFinished(outcome="ok")


async def test_a_talkative_driver_does_not_fill_the_history(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([*["x" * 5000] * 500, OK]))
    await works.run()
    texts = [event.text for event in works.of(WorkloadLogged)]
    assert len(texts) == 200
    assert max(map(len, texts)) == 1000
    assert (tmp_path / "driver.log").read_text().count("\n") == 501


async def test_a_hung_driver_is_stopped_and_its_end_is_ours(tmp_path: Path) -> None:
    process = FakeProcess([started()], hangs=True)
    works = Works(tmp_path, process)
    running = asyncio.ensure_future(works.run())
    await works.until(lambda: bool(works.of(WorkloadStarted)))
    await works.job.stop(WorkloadFinished(outcome="hung", error="too long"))
    await works.job.stop(WorkloadFinished(outcome="interrupted"))
    await running
    assert process.was_stopped
    assert works.of(WorkloadFinished) == [WorkloadFinished(outcome="hung", error="too long")]


async def test_progress_is_told_from_the_start_and_at_the_end(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.write("a", logged("invoked", "o1", "0-7") + logged("completed", "o1", "0-7", at_s=0.001))
    await works.run()
    progress = works.of(WorkloadProgressed)
    assert (progress[-1].rows_done, progress[-1].rows_total) == (8, ROWS)
    kinds = [record.event.kind for record in works.recorder]
    assert kinds.index("batch.completed") < kinds.index("workload.finished")


# -- the workers' logs ----------------------------------------------------------------------------------------


async def test_operations_of_several_files_are_recorded_in_order_of_time(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.write("b", logged("invoked", "o2", "8-15", instance="i-00002", at_s=-3.0))
    works.write("a", logged("invoked", "o1", "0-7", at_s=-4.0) + logged("completed", "o1", "0-7", at_s=-2.0))
    works.write("b", logged("completed", "o2", "8-15", instance="i-00002", at_s=-1.0))
    await works.run()
    batches = [r.event for r in works.recorder if isinstance(r.event, (BatchInvoked, BatchCompleted))]
    assert [(event.kind, event.op, event.node) for event in batches] == [
        ("batch.invoked", "o1", "w1"),
        ("batch.invoked", "o2", "w2"),
        ("batch.completed", "o1", "w1"),
        ("batch.completed", "o2", "w2"),
    ]
    one, two = works.of(BatchCompleted)
    assert one.ended_s - one.started_s == pytest.approx(2.0, abs=0.1)
    assert two.ended_s - two.started_s == pytest.approx(2.0, abs=0.1)


async def test_a_torn_line_is_taken_once_it_is_whole(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([], hangs=True))
    line = logged("completed", "o1", "0-7")
    works.write("a", logged("invoked", "o1", "0-7") + line[:20])
    running = asyncio.ensure_future(works.run())
    await works.until(lambda: bool(works.of(BatchInvoked)))
    assert not works.of(BatchCompleted)
    works.write("a", line[20:])
    await works.until(lambda: bool(works.of(BatchCompleted)))
    await works.job.stop(WorkloadFinished(outcome="interrupted"))
    await running
    assert len(works.of(BatchInvoked)) == len(works.of(BatchCompleted)) == 1


async def test_a_line_torn_for_ever_by_a_kill_does_not_hide_the_next(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.write("a", logged("invoked", "o1", "0-7")[:25] + "\n" + "7\n" + logged("completed", "o2", "8-15"))
    await works.run()
    assert [event.op for event in works.of(BatchCompleted)] == ["o2"]
    assert works.of(WorkloadProgressed)[-1].rows_done == 8


async def test_a_completion_whose_beginning_is_not_known_has_no_length(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.write("a", logged("completed", "o1", "0-7", at_s=-2.0))
    await works.run()
    [event] = works.of(BatchCompleted)
    assert event.started_s == event.ended_s


async def test_nodes_are_named_by_what_the_cloud_told_and_else_by_their_instance(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.recorder.append(NodeStarted(node="w9", node_type="gpu", instance="i-00077"))
    works.write("a", logged("invoked", "o1", "0-7", instance="i-00077"))
    works.write("b", logged("invoked", "o2", "8-15", instance="i-00088"))
    await works.run()
    assert {event.op: event.node for event in works.of(BatchInvoked)} == {"o1": "w9", "o2": "i-00088"}


async def test_rows_computed_twice_count_once(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]))
    works.write("a", logged("completed", "o1", "0-7,16") + logged("completed", "o2", "4-15"))
    await works.run()
    assert works.of(WorkloadProgressed)[-1].rows_done == 17


class Telling(FakeProcess):
    """A program that tells of its operations itself: at the beginning of the first two, and of the third at its end."""

    def __init__(self, lines: list[str], operations: list[Operation], *, status: int = 0) -> None:
        super().__init__(lines, status=status)
        self.operations = operations[:2]
        self._last = operations[2:]

    async def wait(self) -> int:
        """The given status, and the last operations."""
        self.operations += self._last
        return await super().wait()


async def test_a_program_may_tell_of_its_operations_itself_and_so_may_the_next_one(tmp_path: Path) -> None:
    def told(*rows: str) -> list[Operation]:
        now_s = time.monotonic()
        return [
            Operation(f"op-{place}", "completed", "i-1", row, now_s + place) for place, row in enumerate(rows, start=1)
        ]

    first = Telling([started(), "dying"], told("0-7", "8-15", "16-23"), status=-9)
    second = Telling([started(), OK], told("24-31", "32-39", "40-47"))
    works = Works(tmp_path, first, second, driver_restarts=1)
    await works.run()
    assert [event.rows for event in works.of(BatchCompleted)] == ["0-7", "8-15", "16-23", "24-31", "32-39", "40-47"]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 400), max_size=8), files=st.integers(1, 3), batches=st.integers(1, 6))
def test_however_the_writing_is_cut_up_nothing_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], files: int, batches: int
) -> None:
    works = Works(tmp_path_factory.mktemp("job"))
    operations = works.job._operations
    rows = [encode_rows(range(8 * number, 8 * number + 8)) for number in range(batches)]
    texts = ["" for _ in range(files)]
    for number, span in enumerate(rows):
        text = logged("invoked", f"o{number}", span) + logged("completed", f"o{number}", span, at_s=0.001)
        texts[number % files] += text
    for cut in cuts:
        for place, text in enumerate(texts):
            works.write(str(place), text[:cut])
            texts[place] = text[cut:]
        operations.read()
    for place, text in enumerate(texts):
        works.write(str(place), text)
    operations.read()
    assert not operations.read()
    assert operations.rows_done == 8 * batches
    assert sorted(event.op for event in works.of(BatchInvoked)) == [f"o{number}" for number in range(batches)]
    assert sorted(event.rows for event in works.of(BatchCompleted)) == sorted(rows)


# -- the oracle -----------------------------------------------------------------------------------------------


def verified(rows: int) -> str:
    return said(
        "workload.verified", rows_expected=ROWS, rows_found=rows, missing_count=0, duplicated_count=0, wrong_count=0
    )


async def test_the_oracles_first_word_is_the_verdict_on_the_rows(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]), FakeProcess(["looking", verified(ROWS), verified(1)]))
    await works.run()
    await works.job.verify()
    assert [event.rows_found for event in works.of(RowsVerified)] == [ROWS]
    module, arguments, environment = works.cluster.executed[1]
    assert module == "workloads.verify"
    assert arguments[:3] == ("--workload", "batch_inference", "--params")
    assert environment["RAYCHAOS_DATA"] == "/on-nodes/r1"
    assert (tmp_path / "verify.log").read_text().startswith("looking\n")


async def test_an_oracle_that_dies_leaves_no_verdict(tmp_path: Path) -> None:
    works = Works(tmp_path, FakeProcess([OK]), FakeProcess(["Traceback …"], status=1))
    await works.run()
    await works.job.verify()
    assert works.of(RowsVerified) == []


async def test_an_oracle_that_is_not_waited_for_is_stopped(tmp_path: Path) -> None:
    oracle = FakeProcess([], hangs=True)
    works = Works(tmp_path, FakeProcess([OK]), oracle)
    await works.run()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(works.job.verify(), 0.05)
    assert oracle.was_stopped
