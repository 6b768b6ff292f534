"""`refuse_drains`: proven by drains that were refused."""

from __future__ import annotations

from chaos.events import GcsAnsweredWrong
from chaos.harm import RefusedDrains
from faults.refuse_drains import RefuseDrains
from tests.doubles import FakeCluster, site_of


async def test_drains_are_refused() -> None:
    cluster = FakeCluster()
    await RefuseDrains(count=2).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == RefusedDrains(count=2)


async def test_a_drain_that_was_refused_is_the_proof() -> None:
    assert (await RefuseDrains().probe(site_of(FakeCluster()))).outcome == "unknown"
    refused = (12.0, GcsAnsweredWrong(effect="run.i1", how="refused", detail="i-1"))
    seen = await RefuseDrains().probe(site_of(FakeCluster(), events=[refused]))
    assert (seen.outcome, seen.measured) == ("took_effect", 1.0)
