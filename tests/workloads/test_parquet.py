"""Parquet files are there whole, once, and leave nothing beside them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from workloads.parquet import write_once, write_whole

ONE, TWO = pa.table({"row_id": [1]}), pa.table({"row_id": [2]})


def test_write_whole_replaces_and_write_once_does_not(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.parquet"
    write_whole(ONE, path)
    write_whole(TWO, path)
    assert not write_once(ONE, path)
    assert pyarrow.parquet.read_table(path).equals(TWO)
    assert write_once(ONE, path.with_name("other.parquet"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["other.parquet", "rows.parquet"]
