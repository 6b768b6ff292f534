"""The operation log: ranges survive the round trip, and each line stands for one thing that happened."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.rows import decode_rows, encode_rows
from workloads.oplog import OperationLog

ROW_IDS = st.one_of(
    st.lists(st.integers(0, 60), max_size=60),
    st.lists(st.integers(0, 2**62), max_size=20),
    st.builds(lambda first, count: list(range(first, first + count)), st.integers(0, 10**9), st.integers(0, 500)),
)


@given(row_ids=ROW_IDS)
def test_ranges_hold_exactly_the_distinct_ids_in_order(row_ids: list[int]) -> None:
    assert decode_rows(encode_rows(row_ids)) == tuple(sorted(set(row_ids)))


@given(first=st.integers(0, 50), count=st.integers(0, 5), step=st.integers(1, 3))
def test_a_range_is_written_as_its_ids_are(first: int, count: int, step: int) -> None:
    row_ids = range(first, first + count, step)
    assert encode_rows(row_ids) == encode_rows(list(row_ids))


@given(row_ids=ROW_IDS)
def test_ranges_are_the_shortest(row_ids: list[int]) -> None:
    """No two neighbouring ranges could be one."""
    spans = [span.split("-") for span in encode_rows(row_ids).split(",") if span]
    assert all(int(left[-1]) + 1 < int(right[0]) for left, right in itertools.pairwise(spans))


def test_ranges_read_well() -> None:
    assert encode_rows([3, 1, 2, 9, 70, 71]) == "1-3,9,70-71"
    assert encode_rows([]) == ""


@pytest.mark.parametrize("text", ["a", "1-", "-1", "5-3", "1,,2", "1;2"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_rows(text)


def logged(data: Path) -> list[dict[str, Any]]:
    """What one process logged."""
    (path,) = (data / "ops").iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_operations_are_logged_around_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CLOUD_INSTANCE_ID", "i-7")
    log = OperationLog(tmp_path)
    with log.operation([4, 5, 6]) as op:
        assert [(line["op"], line["phase"]) for line in logged(tmp_path)] == [(op, "invoked")]
    log.close()
    began, ended = logged(tmp_path)
    began_s, ended_s = began.pop("monotonic_s"), ended.pop("monotonic_s")
    assert began == {"op": op, "phase": "invoked", "instance": "i-7", "rows": "4-6"}
    assert ended == {**began, "phase": "completed"}
    assert began_s <= ended_s
    assert [path.name.split("-")[:2] for path in (tmp_path / "ops").iterdir()] == [["i", "7"]]


def test_work_that_raises_is_not_completed(tmp_path: Path) -> None:
    log = OperationLog(tmp_path)
    with pytest.raises(RuntimeError, match="boom"), log.operation([1]):
        raise RuntimeError("boom")
    log.close()
    assert [line["phase"] for line in logged(tmp_path)] == ["invoked"]
