"""The history: what is written comes back, and what is damaged says so."""

from __future__ import annotations

import asyncio
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from chaos.checker import Judgement, Verdict, merge
from chaos.clock import RealClock
from chaos.errors import InvalidSpec
from chaos.events import (
    Event,
    FaultHealed,
    NodeDied,
    NodeTerminating,
    PhaseBegan,
    RunOpened,
    RunSealed,
    WorkloadLogged,
)
from chaos.history import History, Record, Recorder
from chaos.sim.loop import run_in_virtual_time

KINDS: tuple[type[BaseModel], ...] = typing.get_args(typing.get_args(Event)[0])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
st.register_type_strategy(float, NUMBERS)


def events() -> st.SearchStrategy[Event]:
    """An event of any kind, with all its fields drawn."""
    return st.one_of([_of(kind) for kind in KINDS])


def _of(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {name: _field(name, info.annotation) for name, info in kind.model_fields.items()}
    return st.builds(kind, **fields)


def _field(name: str, annotation: object) -> st.SearchStrategy[object]:
    if name == "spec":
        return st.dictionaries(st.text(max_size=3), JSON, max_size=2)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _of(annotation)
    if origin is tuple:
        return st.lists(_field("", arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), _field("", arguments[1]), max_size=3)
    assert annotation is not None
    return st.from_type(annotation)  # type: ignore[arg-type]


TIMES = st.integers(0, 10**9).map(lambda ticks: ticks / 1e6)


def opened(**changes: Any) -> RunOpened:
    made = RunOpened(run_id="r", seed=1, cluster="local", schedule_hash="0", spec={}, versions={})
    return made.model_copy(update=changes)


def write(path: Path, happened: list[Event]) -> None:
    lines = [Record(seq=n, t_s=float(n), wall_s=float(n), event=event).to_line() for n, event in enumerate(happened)]
    path.write_text("".join(line + "\n" for line in lines))


def test_every_kind_of_event_has_a_name_of_its_own() -> None:
    names = [kind.model_fields["kind"].default for kind in KINDS]
    assert len(set(names)) == len(names) > 20


@settings(max_examples=300)
@given(event=events(), seq=st.integers(0, 10**6), t_s=TIMES, wall_s=TIMES)
def test_a_record_survives_its_line(event: Event, seq: int, t_s: float, wall_s: float) -> None:
    record = Record(seq=seq, t_s=t_s, wall_s=wall_s, event=event)
    line = record.to_line()
    assert "\n" not in line
    assert line.isascii()
    assert Record.from_line(line) == record
    assert Record.from_line(line).to_line() == line


@settings(max_examples=30, deadline=None)
@given(drawn=st.lists(events(), max_size=6), data=st.data())
def test_a_torn_last_line_is_left_out(
    drawn: list[Event], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    happened = [opened(), *drawn, WorkloadLogged(text="the end")]
    write(path, happened)
    whole = path.read_bytes()
    assert [record.event for record in History.load(path)] == happened
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    path.write_bytes(whole[: data.draw(st.integers(last, len(whole) - 2))])
    assert [record.event for record in History.load(path)] == happened[:-1]


def test_bytes_that_are_no_text_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "h"
    write(path, [opened()])
    path.write_bytes(path.read_bytes() + b'{"seq":1,\xff\xfe\x00')
    assert len(History.load(path)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "never began"),
        ('{"seq":0,"t_s', "never began"),
        ("not json\n", "line 1"),
        ('{"t_s":0,"wall_s":0,"kind":"run.opened"}\n', "line 1: not an event of this version: seq: Field required"),
        ('{"seq":"0","t_s":0,"wall_s":0,"kind":"run.opened"}\n', "line 1: not an event of this version: seq"),
        ('{"seq":0,"t_s":NaN,"wall_s":0,"kind":"run.opened"}\n', "line 1: not an event of this version: t_s"),
        ('{"seq":0,"t_s":1e999,"wall_s":0,"kind":"run.opened"}\n', "line 1: not an event of this version: t_s"),
        (f'{{"seq":0,"t_s":0,"wall_s":{"9" * 400},"kind":"run.opened"}}\n', "not an event of this version: wall_s"),
        ("[1]\n", "line 1: not an event of this version: a history line must be a JSON object"),
        ('{"seq":0,"t_s":0,"wall_s":0,"kind":"node.died","node":"w1","ray_node_id":"x"}\n', "run.opened; truncated"),
        ('{"seq":0,"t_s":0,"wall_s":0,"kind":"run.opened","format":9,"colour":"blue"}\n', "history format 9"),
    ],
)
def test_what_is_no_history_says_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "h"
    path.write_text(text)
    with pytest.raises(InvalidSpec, match=re.escape(str(tmp_path))) as caught:
        History.load(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h"
    write(path, [opened(), PhaseBegan(phase="starting"), PhaseBegan(phase="workload"), RunSealed(reason="complete")])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:20] + "\n", *lines[2:]]))
    with pytest.raises(InvalidSpec, match="line 2"):
        History.load(path)
    path.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(InvalidSpec, match="line 2: event 2 stands where 1 belongs"):
        History.load(path)
    path.write_text("".join([*lines, lines[1].replace('"seq":1', '"seq":4').replace("run.phase", "run.wobble")]))
    with pytest.raises(InvalidSpec, match="line 5"):
        History.load(path)


def test_a_history_of_another_format_is_refused_even_where_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "h"
    write(path, [opened(format=2)])
    with pytest.raises(InvalidSpec, match="format 2"):
        History.load(path)


def test_a_missing_history_is_a_bad_spec(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot read"):
        History.load(tmp_path / "none")


def test_reading_a_history() -> None:
    gone = NodeDied(node="w1", ray_node_id="x")
    history = History.of_events([(0.0, opened()), (2.0, gone), (1.0, NodeTerminating(node="w1")), (3.0, gone)])
    assert len(history) == 4
    assert history.end_s == 3.0
    assert [record.seq for record, _ in history.of(NodeDied)] == [1, 3]
    assert [record.seq for record, _ in history.of(NodeDied, since_s=2.5)] == [3]
    first, last = history.first(NodeDied), history.last(NodeDied)
    assert first is not None
    assert last is not None
    assert (first[0].seq, last[0].seq) == (1, 3)
    assert history.first(RunSealed) is None
    assert not history.sealed
    assert History().end_s == 0.0


async def test_a_recorder_writes_wakes_and_seals(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    recorder = Recorder(path, RealClock())
    followed = asyncio.create_task(recorder.follow(start=1))
    until = asyncio.create_task(recorder.until(lambda history: history.sealed))
    await asyncio.sleep(0)
    recorder.append(opened())
    late = recorder.append(PhaseBegan(phase="starting"), at_s=-5.0)
    recorder.append(RunSealed(reason="complete"))
    assert await followed == late
    await until
    assert late.t_s == -5.0
    assert [record.seq for record in History.load(path)] == [0, 1, 2]
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [0, 1, 2]
    with pytest.raises(AssertionError, match="too late"):
        recorder.append(PhaseBegan(phase="idle"))
    recorder.close()
    with pytest.raises(FileExistsError):
        Recorder(path, RealClock())


JUDGEMENTS: st.SearchStrategy[Judgement] = st.sampled_from(("pass", "fail", "inconclusive"))


@given(found=st.lists(JUDGEMENTS))
def test_the_worst_judgement_wins(found: list[Judgement]) -> None:
    merged = merge(found)
    if not found:
        assert merged == "inconclusive"
    elif "fail" in found:
        assert merged == "fail"
    else:
        assert merged == ("inconclusive" if "inconclusive" in found else "pass")
    assert merge(reversed(found)) == merged
    if found:
        assert merge([*found, merged]) == merged


@given(found=st.lists(JUDGEMENTS, min_size=1), split=st.integers(0, 10))
def test_merging_in_parts_is_merging_at_once(found: list[Judgement], split: int) -> None:
    parts = [part for part in (found[:split], found[split:]) if part]
    assert merge(merge(part) for part in parts) == merge(found)


def test_a_verdict_survives_json() -> None:
    verdict = Verdict(name="n", verdict="fail", summary="s", evidence=(1, 2), measured=1.5, bound=1.0, unit="s")
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_in_virtual_time_the_file_holds_all_up_to_the_last_fault_and_in_the_end_all(tmp_path: Path) -> None:
    fault = FaultHealed(injection="i1", fault="x", due_s=0.0, healed_s=0.0, proven=True)

    async def main() -> None:
        path = tmp_path / "history.jsonl"
        recorder = Recorder(path, RealClock())
        for event in (opened(), PhaseBegan(phase="starting"), fault, PhaseBegan(phase="workload")):
            recorder.append(event)
        assert [record.event for record in History.load(path)][-1] == fault
        recorder.append(RunSealed(reason="complete"))
        assert [record.event for record in History.load(path)] == [record.event for record in recorder]

    run_in_virtual_time(main)


async def test_in_real_time_the_file_holds_each_record_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl", RealClock())
    for event in (opened(), PhaseBegan(phase="starting")):
        recorder.append(event)
        assert [record.event for record in History.load(tmp_path / "history.jsonl")][-1] == event
    recorder.close()


async def test_what_is_made_of_a_history_is_made_once_until_it_grows() -> None:
    made: list[int] = []

    def length(history: History) -> object:
        made.append(len(history))
        return object()

    recorder = Recorder(None, RealClock())
    recorder.append(opened())
    first = recorder.derived(length)
    assert recorder.derived(length) is first
    recorder.append(PhaseBegan(phase="starting"))
    assert recorder.derived(length) is not first
    assert made == [1, 2]


def test_records_of_some_classes_come_in_order() -> None:
    events: list[Event] = [
        opened(),
        PhaseBegan(phase="starting"),
        WorkloadLogged(text="a"),
        PhaseBegan(phase="workload"),
    ]
    history = History.of_events((float(-place), event) for place, event in enumerate(events))
    assert [record.seq for record in history.among(WorkloadLogged, PhaseBegan)] == [1, 2, 3]
    assert history.among(RunSealed) == []
