"""The service in an actor: its state is of one life; a stored response is given again, not computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from tests.workloads.test_oplog import logged
from workloads.actor_service import ActorService
from workloads.predictor import Predictor
from workloads.service import Responses, Service
from workloads.verify import expected_logits

ROWS = 4


def service(data: Path, delivery: Literal["at_least_once", "idempotent"]) -> Service:
    """An actor's life."""
    arguments: dict[str, Any] = {"data": str(data), "size": "tiny", "model_seed": 0, "device_ms_per_batch": 0.0}
    return Service(Predictor, arguments, batch_rows=ROWS, delivery=delivery)


@pytest.mark.parametrize("delivery", ["at_least_once", "idempotent"])
def test_a_request_is_its_rows_through_the_model(tmp_path: Path, delivery: Any) -> None:
    answer = service(tmp_path, delivery).answer(3)
    row_ids = answer.table["row_id"].to_numpy()
    assert row_ids.tolist() == [12, 13, 14, 15]
    logits = np.stack(answer.table["logits"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(logits, expected_logits("tiny", 0, row_ids, batch_rows=ROWS), atol=1e-5)


@pytest.mark.parametrize(("delivery", "executions"), [("at_least_once", 2), ("idempotent", 1)])
def test_a_repeat_is_computed_again_or_not(tmp_path: Path, delivery: Any, executions: int) -> None:
    first = service(tmp_path, delivery).answer(1)
    again = service(tmp_path, delivery).answer(1)
    assert again.table.equals(first.table)
    assert (first.stored, again.stored) == (False, delivery == "idempotent")
    invoked = [line for line in logged(tmp_path) if line["phase"] == "invoked"]
    assert [line["rows"] for line in invoked] == ["4-7"] * executions


def test_a_restarted_actor_is_another_life_that_has_served_nobody(tmp_path: Path) -> None:
    actor = service(tmp_path, "at_least_once")
    assert [actor.answer(number).state.served for number in (0, 1)] == [1, 2]
    restarted = service(tmp_path, "at_least_once").state()
    assert restarted.served == 0
    assert restarted.life != actor.state().life


def test_of_two_attempts_at_a_time_the_first_to_be_kept_stays(tmp_path: Path) -> None:
    first, second = pa.table({"row_id": [1]}), pa.table({"row_id": [2]})
    responses = Responses(tmp_path / "responses")
    assert responses.get(7) is None
    assert responses.keep(7, first).equals(first)
    assert responses.keep(7, second).equals(first)
    assert Responses(tmp_path / "responses").get(7).equals(first)  # type: ignore[union-attr]
    assert len(list((tmp_path / "responses").iterdir())) == 1


def test_the_pool_has_an_actor_for_each_request_in_flight() -> None:
    workload = ActorService(requests=20, clients=3, min_actors=2, max_actors=4)
    assert [workload.actors_wanted(unanswered) for unanswered in (20, 3, 2, 1)] == [3, 3, 2, 2]
    assert workload.nodes_wanted(1) == 3
    assert workload.nodes_wanted(2) == 2
    assert workload.rows_total == 640


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="min_actors 5 is above max_actors 4"):
        ActorService(min_actors=5)
    with pytest.raises(ValueError, match="no request is answered in time"):
        ActorService(request_timeout_s=1.0)
