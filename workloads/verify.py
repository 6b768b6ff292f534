"""The oracle: compares a run's output with a fault-free computation made afresh in this process.

`python -m workloads.verify --workload NAME --params JSON`, with `RAYCHAOS_DATA` set, prints one `workload.verified`
event and exits 0 once the comparison is made, whatever it says.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from chaos.errors import ChaosError, InvalidSpec
from chaos.events import RowsVerified
from chaos.workload import Workload
from workloads import ALL
from workloads.contract import OUTPUT, argument_parser, data_directory, parse_workload, report
from workloads.images import RowIds, halve, make_images
from workloads.inference import InferenceWorkload
from workloads.predictor import read_devices
from workloads.sizes import CLASSES, SHAPES, ModelSize

TOLERANCE_FLOAT32 = 1e-4
TOLERANCE_FLOAT16 = 2e-2
_LISTED = 20
_UNCOMPARABLE = 1e30  # stands for the error of a NaN: events hold finite numbers only


def verify(workload: InferenceWorkload, data: Path) -> RowsVerified:
    """The verdict on `<data>/output`.

    A row is wrong when a logit differs from the fault-free one by more than the tolerance, or when the predicted class
    is not one of the largest logits within that tolerance. The tolerance is 1e-4 where all workers computed in float32
    on CPUs and 2e-2 where one used float16 on CUDA; the logits of two different rows differ by far more than either.
    A file that cannot be read as Parquet counts as the absence of its rows.
    """
    row_ids, logits, predicted = read_output(data / OUTPUT)
    expected_ids: RowIds = np.arange(workload.rows_total, dtype=np.int64)
    found_ids, counts = np.unique(row_ids, return_counts=True)
    known = np.isin(row_ids, expected_ids)
    tolerance = _tolerance(data)
    errors, misclassified = _compare(workload, row_ids[known], logits[known], predicted[known], tolerance)
    missing = np.setdiff1d(expected_ids, found_ids)
    duplicated = found_ids[(counts > 1) & np.isin(found_ids, expected_ids)]
    # Not `errors > tolerance`: a NaN is wrong too.
    wrong = np.unique(row_ids[known][~(errors <= tolerance) | misclassified])
    return RowsVerified(
        rows_expected=workload.rows_total,
        rows_found=len(row_ids),
        missing_count=len(missing),
        duplicated_count=len(duplicated),
        wrong_count=len(wrong),
        unexpected_count=int(np.count_nonzero(~known)),
        missing=_listed(missing),
        duplicated=_listed(duplicated),
        wrong=_listed(wrong),
        max_error=float(np.nan_to_num(errors, nan=_UNCOMPARABLE, posinf=_UNCOMPARABLE).max(initial=0.0)),
        tolerance=tolerance,
    )


def expected_logits(size: ModelSize, model_seed: int, row_ids: RowIds, *, batch_rows: int) -> NDArray[np.float32]:
    """The fault-free logits of the rows, in float32, on CUDA if this machine has it."""
    import torch

    from workloads.model import build_model

    torch.backends.cudnn.allow_tf32 = False  # convolutions in full float32, on CUDA too
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if size == "tiny":
        torch.set_num_threads(
            1
        )  # so small a model's threads mostly wait for each other, the longer the busier the host
    model = build_model(size, seed=model_seed).to(device)
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for first in range(0, len(row_ids), batch_rows):
            batch = row_ids[first : first + batch_rows]
            images = halve(make_images(batch, side_px=SHAPES[size].source_side_px))
            parts.append(model(torch.from_numpy(images).to(device)).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, CLASSES), dtype=np.float32)


def read_output(output: Path) -> tuple[RowIds, NDArray[np.float32], NDArray[np.int32]]:
    """The columns `row_id`, `logits` and `predicted` of all readable Parquet files of a directory."""
    tables: list[pa.Table] = []
    for path in sorted(output.glob("*.parquet")):
        try:
            tables.append(pyarrow.parquet.ParquetFile(path).read(columns=["row_id", "logits", "predicted"]))
        except (pa.ArrowInvalid, OSError) as error:
            print(f"{path.name}: not readable, its rows count as absent: {error}")
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return np.zeros(0, np.int64), np.zeros((0, CLASSES), np.float32), np.zeros(0, np.int32)
    table = pa.concat_tables(tables).combine_chunks()
    row_ids: RowIds = table["row_id"].to_numpy()
    predicted: NDArray[np.int32] = table["predicted"].to_numpy()
    logits: NDArray[np.float32] = table["logits"].combine_chunks().flatten().to_numpy().reshape(-1, CLASSES)
    return row_ids, logits, predicted


def main(catalogue: Mapping[str, type[Workload]], arguments: Sequence[str] | None = None) -> int:
    """Verifies the run in `RAYCHAOS_DATA`; the exit status is 0 when the comparison was made."""
    parser = argument_parser(__doc__)
    parser.add_argument("--workload", required=True, choices=sorted(catalogue), metavar="NAME", help="its name")
    chosen = parser.parse_args(arguments)
    try:
        workload = parse_workload(catalogue[chosen.workload], chosen.params)
        if not isinstance(workload, InferenceWorkload):
            raise InvalidSpec(f"{chosen.workload} is no inference workload; this oracle knows no other")
        report(verify(workload, data_directory()))
    except ChaosError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _compare(
    workload: InferenceWorkload,
    row_ids: RowIds,
    logits: NDArray[np.float32],
    predicted: NDArray[np.int32],
    tolerance: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """For each found row its largest error, and whether its class is not among the largest expected logits."""
    distinct, place = np.unique(row_ids, return_inverse=True)
    expected = expected_logits(workload.size, workload.model_seed, distinct, batch_rows=workload.batch_rows)[place]
    errors: NDArray[np.float32] = np.abs(logits - expected).max(axis=1, initial=0.0)
    in_range = (predicted >= 0) & (predicted < CLASSES)
    chosen = expected[np.arange(len(row_ids)), np.where(in_range, predicted, 0)]
    best = expected.max(axis=1, initial=-np.inf)
    return errors, ~in_range | (chosen < best - 2 * tolerance)


def _tolerance(data: Path) -> float:
    return TOLERANCE_FLOAT16 if any(d.precision == "float16" for d in read_devices(data)) else TOLERANCE_FLOAT32


def _listed(row_ids: RowIds) -> tuple[int, ...]:
    return tuple(int(row_id) for row_id in row_ids[:_LISTED])


if __name__ == "__main__":
    sys.exit(main(ALL))
