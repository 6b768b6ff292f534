"""The operation log: ranges survive the round trip, and torn lines do no harm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.rows import decode_rows, encode_rows
from workloads.oplog import OperationLog, read_operations

ROW_IDS = st.one_of(
    st.lists(st.integers(0, 60), max_size=60),
    st.lists(st.integers(0, 2**62), max_size=20),
    st.builds(lambda first, count: list(range(first, first + count)), st.integers(0, 10**9), st.integers(0, 500)),
)


@given(row_ids=ROW_IDS)
def test_ranges_hold_exactly_the_distinct_ids_in_order(row_ids: list[int]) -> None:
    assert decode_rows(encode_rows(row_ids)) == tuple(sorted(set(row_ids)))


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


def test_operations_are_logged_around_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CLOUD_INSTANCE_ID", "i-7")
    log = OperationLog(tmp_path)
    with log.operation([4, 5, 6]) as op:
        assert [(o.op, o.phase) for o in read_operations(tmp_path)] == [(op, "invoked")]
    log.close()
    began, ended = read_operations(tmp_path)
    assert (began.op, began.phase, began.instance, began.rows) == (op, "invoked", "i-7", "4-6")
    assert (ended.op, ended.phase) == (op, "completed")
    assert began.monotonic_s <= ended.monotonic_s
    assert [path.name.split("-")[:2] for path in (tmp_path / "ops").iterdir()] == [["i", "7"]]


def test_work_that_raises_is_not_completed(tmp_path: Path) -> None:
    log = OperationLog(tmp_path)
    with pytest.raises(RuntimeError, match="boom"), log.operation([1]):
        raise RuntimeError("boom")
    log.close()
    assert [operation.phase for operation in read_operations(tmp_path)] == ["invoked"]


@given(cut=st.integers(1, 60))
def test_a_torn_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    data = tmp_path_factory.mktemp("torn")
    log = OperationLog(data)
    with log.operation([1, 2]):
        pass
    log.close()
    (path,) = (data / "ops").iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    phases = [operation.phase for operation in read_operations(data)]
    assert phases == (["invoked", "completed"] if cut == 1 else ["invoked"])
