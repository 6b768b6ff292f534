"""The oracle is exact about missing, duplicated, wrong and unexpected rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chaos.events import RowsVerified
from workloads.batch_inference import BatchInference
from workloads.predictor import DEVICES, Device
from workloads.sizes import CLASSES
from workloads.verify import TOLERANCE_FLOAT16, TOLERANCE_FLOAT32, expected_logits, verify

ROWS = 48
WORKLOAD = BatchInference(rows=ROWS, batch_rows=16)
IDS = np.arange(ROWS, dtype=np.int64)
LOGITS: NDArray[np.float32] = expected_logits("tiny", 0, IDS, batch_rows=16)


def write(data: Path, ids: NDArray[np.int64], logits: NDArray[np.float32], *, file: str = "part") -> None:
    """Writes rows as a worker would."""
    (data / "output").mkdir(exist_ok=True)
    values = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), CLASSES)
    predicted = logits.argmax(axis=1).astype(np.int32)
    pyarrow.parquet.write_table(
        pa.table({"row_id": ids, "logits": values, "predicted": predicted}), data / "output" / f"{file}.parquet"
    )


def counts(verdict: RowsVerified) -> tuple[int, int, int, int]:
    """Missing, duplicated, wrong, unexpected."""
    return verdict.missing_count, verdict.duplicated_count, verdict.wrong_count, verdict.unexpected_count


def test_right_output_is_right(tmp_path: Path) -> None:
    write(tmp_path, IDS[:20], LOGITS[:20], file="a")
    write(tmp_path, IDS[20:], LOGITS[20:], file="b")
    verdict = verify(WORKLOAD, tmp_path)
    assert counts(verdict) == (0, 0, 0, 0)
    assert (verdict.rows_expected, verdict.rows_found) == (ROWS, ROWS)
    assert verdict.tolerance == TOLERANCE_FLOAT32
    assert verdict.max_error < verdict.tolerance


def test_no_output_misses_every_row(tmp_path: Path) -> None:
    verdict = verify(WORKLOAD, tmp_path)
    assert counts(verdict) == (ROWS, 0, 0, 0)
    assert verdict.missing == tuple(range(20))


def test_a_torn_file_misses_its_rows(tmp_path: Path) -> None:
    write(tmp_path, IDS[:20], LOGITS[:20], file="a")
    write(tmp_path, IDS[20:], LOGITS[20:], file="b")
    torn = tmp_path / "output" / "b.parquet"
    torn.write_bytes(torn.read_bytes()[:500])
    (tmp_path / "output" / "c.parquet").write_bytes(b"")
    assert counts(verify(WORKLOAD, tmp_path)) == (ROWS - 20, 0, 0, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    copies=st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS),
    wrong=st.sets(st.integers(0, ROWS - 1), max_size=6),
    unexpected=st.lists(st.integers(ROWS, ROWS + 50) | st.integers(-9, -1), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_every_defect_is_counted_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    copies: list[int],
    wrong: set[int],
    unexpected: list[int],
    order: Callable[..., object],
) -> None:
    data = tmp_path_factory.mktemp("run")
    logits = LOGITS.copy()
    for row_id in wrong:
        logits[row_id, row_id % CLASSES] += 3 * TOLERANCE_FLOAT32
    places = [row_id for row_id, count in enumerate(copies) for _ in range(count)]
    order.shuffle(places)  # type: ignore[attr-defined]
    ids = np.array([*places, *unexpected], dtype=np.int64)
    rows = np.concatenate([logits[places], np.zeros((len(unexpected), CLASSES), np.float32)]).astype(np.float32)
    half = len(ids) // 2
    write(data, ids[:half], rows[:half], file="a")
    write(data, ids[half:], rows[half:], file="b")
    verdict = verify(WORKLOAD, data)
    found = {row_id for row_id, count in enumerate(copies) if count}
    assert counts(verdict) == (
        ROWS - len(found),
        sum(count > 1 for count in copies),
        len(wrong & found),
        len(unexpected),
    )
    assert verdict.rows_found == len(ids)
    assert set(verdict.wrong) <= wrong & found
    assert verdict.missing == tuple(sorted(set(range(ROWS)) - found))[:20]


def test_a_row_with_another_rows_answer_is_wrong(tmp_path: Path) -> None:
    logits = LOGITS.copy()
    logits[[3, 4]] = logits[[4, 3]]
    write(tmp_path, IDS, logits)
    assert verify(WORKLOAD, tmp_path).wrong == (3, 4)


def test_nan_is_wrong(tmp_path: Path) -> None:
    logits = LOGITS.copy()
    logits[5] = np.nan
    write(tmp_path, IDS, logits)
    verdict = verify(WORKLOAD, tmp_path)
    assert verdict.wrong == (5,)
    assert verdict.max_error > 1.0


def test_a_wrong_class_is_wrong_though_the_logits_are_right(tmp_path: Path) -> None:
    write(tmp_path, IDS, LOGITS)
    path = tmp_path / "output" / "part.parquet"
    table = pyarrow.parquet.read_table(path)
    predicted = LOGITS.argmin(axis=1).astype(np.int32)
    predicted[1:] = LOGITS[1:].argmax(axis=1)
    predicted[9] = CLASSES + 1
    pyarrow.parquet.write_table(table.set_column(2, "predicted", pa.array(predicted)), path)
    assert verify(WORKLOAD, tmp_path).wrong == (0, 9)


def test_float16_workers_get_a_wider_tolerance(tmp_path: Path) -> None:
    (tmp_path / DEVICES).mkdir()
    for name, precision in (("a", "float32"), ("b", "float16")):
        device = Device.model_validate({"device": "cuda", "precision": precision, "hardware": "a GPU"})
        (tmp_path / DEVICES / f"{name}.json").write_text(device.model_dump_json(), encoding="utf-8")
    write(tmp_path, IDS, LOGITS + np.float32(TOLERANCE_FLOAT16 / 2))
    verdict = verify(WORKLOAD, tmp_path)
    assert verdict.tolerance == TOLERANCE_FLOAT16
    assert counts(verdict) == (0, 0, 0, 0)


def run_oracle(data: Path, workload: str, params: str) -> subprocess.CompletedProcess[str]:
    """Runs the oracle as the engine does."""
    return subprocess.run(
        [sys.executable, "-m", "workloads.verify", "--workload", workload, "--params", params],
        env=os.environ | {"RAYCHAOS_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_prints_one_event(tmp_path: Path) -> None:
    write(tmp_path, IDS[1:], LOGITS[1:])
    done = run_oracle(tmp_path, "batch_inference", WORKLOAD.model_dump_json())
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("@raychaos ")]
    fields = json.loads(line.removeprefix("@raychaos "))
    assert fields.pop("monotonic_s") > 0
    assert RowsVerified.model_validate(fields).missing == (0,)


def test_the_program_refuses_what_it_cannot_verify(tmp_path: Path) -> None:
    done = run_oracle(tmp_path, "batch_inference", '{"rows": -1}')
    assert done.returncode == 1
    assert "--params do not describe a batch_inference workload" in done.stderr
    assert run_oracle(tmp_path, "no_such", "{}").returncode == 2
