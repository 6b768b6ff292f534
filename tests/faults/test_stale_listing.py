"""`stale_listing`: proven by listings that differed from what there was."""

from __future__ import annotations

from typing import Literal

import pytest

from chaos.events import CloudAnsweredWrong, Event
from chaos.harm import StaleListing as StaleListings
from faults.stale_listing import StaleListing
from tests.doubles import FakeCluster, site_of


def answered(how: Literal["stale", "omitted"] = "stale", effect: str = "run.i1") -> tuple[float, Event]:
    return 12.0, CloudAnsweredWrong(effect=effect, how=how, count=4)


async def test_the_cloud_is_told_how_old_its_listings_are() -> None:
    cluster = FakeCluster()
    await StaleListing(age_s=7.0).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == StaleListings(age_s=7.0)


async def test_a_listing_that_differed_is_the_proof() -> None:
    seen = await StaleListing().probe(site_of(FakeCluster(), events=[answered()]))
    assert (seen.outcome, seen.measured) == ("took_effect", 4.0)


@pytest.mark.parametrize("events", [[], [answered("omitted")], [answered(effect="run.i2")]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await StaleListing().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
