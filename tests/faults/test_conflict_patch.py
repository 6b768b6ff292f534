"""`conflict_patch`: proven by edits that were refused, and that the autoscaler took for failures."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, CloudAnsweredWrong, Event
from chaos.harm import PatchConflict
from faults.conflict_patch import ConflictPatch
from tests.doubles import FakeCluster, site_of

REFUSED = (12.0, CloudAnsweredWrong(effect="run.i1", how="conflict", count=2))


def said(change: str) -> tuple[float, Event]:
    return 13.0, AutoscalerLogged(about="instance", text=f"Update instance {change} (id=1)")


async def test_the_api_is_told_how_many_edits_conflict() -> None:
    cluster = FakeCluster()
    await ConflictPatch(patches=3).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == PatchConflict(patches=3)


@pytest.mark.parametrize("change", ["REQUESTED->ALLOCATION_FAILED", "TERMINATING->TERMINATION_FAILED"])
async def test_a_refusal_that_the_autoscaler_took_for_a_failure_is_the_proof(change: str) -> None:
    seen = await ConflictPatch().probe(site_of(FakeCluster(), events=[REFUSED, said(change)]))
    assert (seen.outcome, seen.measured) == ("took_effect", 2.0)


@pytest.mark.parametrize("events", [[], [REFUSED], [said("REQUESTED->ALLOCATION_FAILED")]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await ConflictPatch().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
