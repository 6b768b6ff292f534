"""`change_limits`: proven by the autoscaler having read the edit and the cluster having come within the limits."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from faults.change_limits import ChangeLimits
from tests.doubles import FakeCluster, injected, site_of


async def test_the_configuration_is_edited() -> None:
    cluster = FakeCluster()
    await injected(ChangeLimits(node_type="gpu", min_workers=1, max_workers=2), site_of(cluster))
    change = cluster.changes["run.i1"]
    assert (change.node_type, change.min_workers, change.max_workers) == ("gpu", 1, 2)
    assert (change.idle_timeout_s, change.resources, change.removed) == (None, None, False)


@pytest.mark.parametrize(
    ("fault", "workers", "outcome", "says"),
    [
        (ChangeLimits(max_workers=3), 3, "took_effect", "3 workers are within the limits"),
        (ChangeLimits(max_workers=2), 3, "unknown", "there are still 3"),
        (ChangeLimits(max_workers=0, node_type="tpu"), 3, "took_effect", "0 workers"),
        (ChangeLimits(min_workers=2, node_type="gpu"), 1, "unknown", "there are only 1"),
        (ChangeLimits(min_workers=2, node_type="gpu"), 2, "took_effect", "2 workers"),
    ],
)
async def test_the_proof_is_the_number_of_workers(fault: ChangeLimits, workers: int, outcome: str, says: str) -> None:
    seen = await fault.probe(await injected(fault, site_of(FakeCluster(workers=workers))))
    assert seen.outcome == outcome
    assert says in seen.detail


async def test_an_edit_nobody_has_read_is_no_proof() -> None:
    cluster = FakeCluster()
    cluster.harmless = True
    seen = await ChangeLimits(max_workers=3).probe(await injected(ChangeLimits(max_workers=3), site_of(cluster)))
    assert seen.outcome == "unknown"
    assert "has not read" in seen.detail


@pytest.mark.parametrize(
    ("own", "says"),
    [({}, "give min_workers, max_workers, or both"), ({"min_workers": 1}, "give node_type with min_workers")],
)
def test_what_ray_does_not_know_is_refused(own: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ChangeLimits.model_validate(own)
