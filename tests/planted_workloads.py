"""Workloads with one planted defect each: what the tool must find, and the proof that it looks.

They are `batch_inference` with another predictor. `ALL` is a catalogue like `workloads.ALL`; this module is also their
driver and their oracle. The cluster's nodes must find it: the repository's root belongs on their PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from chaos.rows import decode_rows
from chaos.workload import Workload
from workloads import verify
from workloads.batch_inference import BatchInference
from workloads.batch_inference_driver import BatchInferenceDriver
from workloads.driver import main
from workloads.images import Bytes, RowIds
from workloads.oplog import DIRECTORY
from workloads.predictor import Columns, Predictor

Defect: TypeAlias = Literal["drops_row", "duplicates_row", "wrong_row", "hangs", "raises"]


class PlantedBatchInference(BatchInference):
    """Batch inference that goes wrong at one row: at `row`, or at the first row of each batch that is retried."""

    driver_module: ClassVar[str] = "tests.planted_workloads"
    verify_module: ClassVar[str] = "tests.planted_workloads"

    defect: Defect
    only_on_retry: bool = False
    row: int = Field(default=100, ge=0)


class DropsRow(PlantedBatchInference):
    """Loses one row, always."""

    name: ClassVar[str] = "planted_drops_row"
    summary: ClassVar[str] = "planted: one row is lost"
    defect: Defect = "drops_row"


class DuplicatesRow(PlantedBatchInference):
    """Writes one row twice, always."""

    name: ClassVar[str] = "planted_duplicates_row"
    summary: ClassVar[str] = "planted: one row is written twice"
    defect: Defect = "duplicates_row"


class WrongRow(PlantedBatchInference):
    """Computes one row wrong, always."""

    name: ClassVar[str] = "planted_wrong_row"
    summary: ClassVar[str] = "planted: one row is computed wrong"
    defect: Defect = "wrong_row"


class Hangs(PlantedBatchInference):
    """Never finishes the batch of one row."""

    name: ClassVar[str] = "planted_hangs"
    summary: ClassVar[str] = "planted: one batch never ends"
    defect: Defect = "hangs"


class Raises(PlantedBatchInference):
    """Raises in the batch of one row."""

    name: ClassVar[str] = "planted_raises"
    summary: ClassVar[str] = "planted: one batch raises"
    defect: Defect = "raises"


class DropsRowOnRetry(PlantedBatchInference):
    """Loses the first row of each batch that a node's death made Ray run again: right without faults."""

    name: ClassVar[str] = "planted_drops_row_on_retry"
    summary: ClassVar[str] = "planted: a batch that is retried loses a row"
    defect: Defect = "drops_row"
    only_on_retry: bool = True


class HangsOnRetry(PlantedBatchInference):
    """Never finishes a batch that a node's death made Ray run again: right without faults."""

    name: ClassVar[str] = "planted_hangs_on_retry"
    summary: ClassVar[str] = "planted: a batch that is retried never ends"
    defect: Defect = "hangs"
    only_on_retry: bool = True


class RaisesOnRetry(PlantedBatchInference):
    """Raises in a batch that a node's death made Ray run again: right without faults."""

    name: ClassVar[str] = "planted_raises_on_retry"
    summary: ClassVar[str] = "planted: a batch that is retried raises"
    defect: Defect = "raises"
    only_on_retry: bool = True


KINDS: Mapping[tuple[Defect, bool], type[PlantedBatchInference]] = MappingProxyType(
    {
        ("drops_row", False): DropsRow,
        ("duplicates_row", False): DuplicatesRow,
        ("wrong_row", False): WrongRow,
        ("hangs", False): Hangs,
        ("raises", False): Raises,
        ("drops_row", True): DropsRowOnRetry,
        ("hangs", True): HangsOnRetry,
        ("raises", True): RaisesOnRetry,
    }
)
ALL: Mapping[str, type[Workload]] = MappingProxyType({kind.name: kind for kind in KINDS.values()})


class PlantedPredictor(Predictor):
    """A predictor with a defect."""

    def __init__(self, *, defect: Defect, only_on_retry: bool, row: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._defect = defect
        self._only_on_retry = only_on_retry
        self._row = row

    def compute(self, row_ids: RowIds, images: Bytes) -> Columns:
        """The right results, then spoiled."""
        results = super().compute(row_ids, images)
        place = self._place(row_ids)
        if place is None:
            return results
        if self._defect == "hangs":
            threading.Event().wait()
        if self._defect == "raises":
            raise RuntimeError(f"planted: row {row_ids[place]} cannot be computed")
        return spoil(results, place, self._defect)

    def _place(self, row_ids: RowIds) -> int | None:
        """Where in the batch to go wrong; None for nowhere."""
        if self._only_on_retry:
            return 0 if was_begun_before(self.data, int(row_ids[0])) else None
        places = np.flatnonzero(row_ids == self._row)
        return int(places[0]) if len(places) else None


def spoil(results: Columns, place: int, defect: Defect) -> Columns:
    """The results with the row at `place` lost, doubled or changed."""
    if defect == "drops_row":
        return {name: np.delete(values, place, axis=0) for name, values in results.items()}
    if defect == "duplicates_row":
        return {name: np.concatenate([values, values[place : place + 1]]) for name, values in results.items()}
    logits = np.array(results["logits"], dtype=np.float32)
    logits[place] += 1.0
    return results | {"logits": logits}


def was_begun_before(data: Path, row_id: int) -> bool:
    """Whether the log holds an attempt at this row besides the one now under way."""
    begun = 0
    for path in (data / DIRECTORY).glob("*.jsonl"):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # torn by a SIGKILL
                operation = json.loads(line)
                begun += operation["phase"] == "invoked" and row_id in decode_rows(operation["rows"])
    return begun > 1


class PlantedDriver(BatchInferenceDriver):
    """Runs a planted workload."""

    predictor: ClassVar[type[Predictor]] = PlantedPredictor

    def __init__(self, workload: PlantedBatchInference, data: Path) -> None:
        kind = KINDS[workload.defect, workload.only_on_retry]
        super().__init__(kind.model_validate(workload.model_dump()), data)

    def predictor_arguments(self) -> dict[str, Any]:
        """The arguments, and the defect."""
        workload = self.workload
        assert isinstance(workload, PlantedBatchInference)
        return super().predictor_arguments() | workload.model_dump(include={"defect", "only_on_retry", "row"})


class AnyPlanted(PlantedBatchInference):
    """What the driver parses: the parameters say which defect it is."""

    name: ClassVar[str] = "planted"
    summary: ClassVar[str] = "planted"


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from tests.planted_workloads import AnyPlanted as Kind
    from tests.planted_workloads import PlantedDriver as Importable

    sys.exit(verify.main(ALL) if "--workload" in sys.argv else main(Importable, Kind))
