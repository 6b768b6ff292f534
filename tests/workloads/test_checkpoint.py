"""The checkpoint of batch_inference: whose rows count when a driver died, and what its tasks may still do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from chaos.errors import ChaosError
from workloads.checkpoint import Checkpoint


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The directory of the output."""
    path = tmp_path / "output"
    path.mkdir()
    return path


def begin(output: Path) -> Checkpoint:
    """A driver begins."""
    return Checkpoint(output.parent / "checkpoint", output)


def write(path: Path, *row_ids: int) -> None:
    """A Parquet file with these ids."""
    pyarrow.parquet.write_table(pa.table({"row_id": list(row_ids)}), path)


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in directory.iterdir())


def test_a_driver_started_again_finds_what_was_committed(output: Path) -> None:
    first = begin(output)
    write(first.path / "u_000000.parquet", 1)
    again = begin(output)
    assert names(again.path) == ["u_000000.parquet"]


def test_a_task_that_outlives_its_driver_can_commit_nothing(output: Path) -> None:
    first = begin(output)
    write(first.path / "u_000000.pending.parquet", 1)
    begin(output)
    with pytest.raises(FileNotFoundError):
        (first.path / "u_000000.pending.parquet").rename(first.path / "u_000000.parquet")
    with pytest.raises(FileNotFoundError):
        write(first.path / "u_000001.pending.parquet", 2)


def test_a_commit_whose_rows_were_being_written_anew_is_taken_back(output: Path) -> None:
    """Else Ray deletes the rows, for they are pending, and skips them, for they are committed."""
    first = begin(output)
    for name in ("u_000000.parquet", "u_000000.pending.parquet", "u_000001.parquet"):
        write(first.path / name, 1)
    assert names(begin(output).path) == ["u_000000.pending.parquet", "u_000001.parquet"]


def test_only_what_was_committed_stays_in_the_output(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = begin(output)
    write(checkpoint.path / "u_000000.parquet", 1)
    write(checkpoint.path / "u_000002.pending.parquet", 3)
    for name in ("u_000000-0.parquet", "u_000000-1.parquet", "u_000001-0.parquet", "u_000002-0.parquet"):
        write(output / name, 1)
    assert checkpoint.drop_uncommitted() == 2
    assert names(output) == ["u_000000-0.parquet", "u_000000-1.parquet"]
    assert "dropped 2 files" in capsys.readouterr().out


def test_two_checkpoints_of_one_run_are_refused(output: Path) -> None:
    begin(output)
    (output.parent / "checkpoint" / "other").mkdir()
    with pytest.raises(ChaosError, match="holds 2 checkpoints; another driver"):
        begin(output)


def test_ray_is_told_to_keep_it_and_to_filter_on_a_small_node(output: Path) -> None:
    checkpoint = begin(output)
    config = checkpoint.config("row_id")
    assert (config.id_column, config.checkpoint_path) == ("row_id", str(checkpoint.path))
    assert not config.delete_checkpoint_on_success
    assert config.checkpoint_actor_memory_bytes <= 64 * 1024**2
