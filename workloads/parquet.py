"""Parquet files that are there whole or not at all, whenever their writer dies."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def write_whole(table: pa.Table, path: Path) -> None:
    """Puts the table in place by a rename; what was there is replaced whole."""
    part = _written_beside(table, path)
    part.replace(path)


def write_once(table: pa.Table, path: Path) -> bool:
    """Puts the table in place unless a file is there already; says whether it did."""
    part = _written_beside(table, path)
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _written_beside(table: pa.Table, path: Path) -> Path:
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    pyarrow.parquet.write_table(table, part)
    return part
