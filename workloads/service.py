"""What runs in an actor of `actor_service`: the predictor, a count of what it served, and the store of responses."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from workloads.images import halve, make_images
from workloads.parquet import write_once
from workloads.predictor import Predictor
from workloads.sizes import SHAPES

if TYPE_CHECKING:
    import pyarrow as pa

RESPONSES = "responses"


class State(NamedTuple):
    """An actor's state as of now: which life of it this is, and how many requests it has answered in it."""

    life: str
    served: int


class Answer(NamedTuple):
    """The response to a request; `stored` when an earlier attempt had computed it."""

    state: State
    table: pa.Table
    stored: bool


class Service:
    """Answers requests by number; a request is `batch_rows` rows, from `number * batch_rows` on."""

    def __init__(
        self,
        predictor: type[Predictor],
        arguments: dict[str, Any],
        *,
        batch_rows: int,
        delivery: Literal["at_least_once", "idempotent"],
    ) -> None:
        self._predictor = predictor(**arguments)
        self._side_px = SHAPES[arguments["size"]].source_side_px
        self._batch_rows = batch_rows
        self._responses = Responses(self._predictor.data / RESPONSES) if delivery == "idempotent" else None
        self._life = uuid.uuid4().hex
        self._served = 0

    def state(self) -> State:
        """Which life this is, and how much it has served."""
        return State(self._life, self._served)

    def answer(self, request: int) -> Answer:
        """The response; where delivery is `idempotent`, the one on disk, and it is there before anybody gets it."""
        kept = self._responses.get(request) if self._responses else None
        table = kept if kept is not None else self._compute(request)
        if kept is None and self._responses:
            table = self._responses.keep(request, table)
        self._served += 1
        return Answer(self.state(), table, kept is not None)

    def _compute(self, request: int) -> pa.Table:
        first = request * self._batch_rows
        row_ids = np.arange(first, first + self._batch_rows, dtype=np.int64)
        return self._predictor({"row_id": row_ids, "image": halve(make_images(row_ids, side_px=self._side_px))})


class Responses:
    """Responses by request, in a directory all nodes share; the first one kept stays."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, request: int) -> pa.Table | None:
        """The response kept for a request."""
        import pyarrow.parquet

        path = self._path(request)
        return pyarrow.parquet.read_table(path, partitioning=None) if path.exists() else None

    def keep(self, request: int, table: pa.Table) -> pa.Table:
        """Keeps a response and returns it; or returns the one that another attempt has kept meanwhile."""
        if write_once(table, self._path(request)):
            return table
        kept = self.get(request)
        assert kept is not None
        return kept

    def _path(self, request: int) -> Path:
        return self._directory / f"request-{request:06d}.parquet"
