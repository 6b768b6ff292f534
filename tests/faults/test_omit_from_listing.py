"""`omit_from_listing`: proven by listings without an instance that ran."""

from __future__ import annotations

import pytest

from chaos.events import CloudAnsweredWrong, ClusterSampled, Event
from chaos.harm import Omission
from faults.omit_from_listing import OmitFromListing
from tests.doubles import FakeCluster, site_of

OMITTED = (12.0, CloudAnsweredWrong(effect="run.i1.w1", how="omitted", count=2))
RAN = (12.5, ClusterSampled(reachable=True, cloud={"head": "running", "w1": "running"}))


async def test_the_cloud_is_told_whom_to_leave_out() -> None:
    cluster = FakeCluster()
    await OmitFromListing(answers=3).inject(site_of(cluster, "w1"))
    assert cluster.effects["run.i1.w1"] == ("w1", False, None, Omission(answers=3))


async def test_a_listing_without_what_ran_is_the_proof() -> None:
    seen = await OmitFromListing().probe(site_of(FakeCluster(), "w1", events=[OMITTED, RAN]))
    assert (seen.outcome, seen.measured, seen.detail) == ("took_effect", 2.0, "missing from 2 listings, while w1 ran")


@pytest.mark.parametrize("events", [[RAN], [OMITTED], [(9.0, OMITTED[1]), RAN]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await OmitFromListing().probe(site_of(FakeCluster(), "w1", events=events))).outcome == "unknown"


async def test_each_of_several_victims_must_have_been_left_out_while_it_ran() -> None:
    fault, cluster = OmitFromListing(), FakeCluster()
    other = (12.0, CloudAnsweredWrong(effect="run.i1.w2", how="omitted"))
    ran = (13.0, ClusterSampled(reachable=True, cloud={"w1": "running", "w2": "running"}))
    assert (await fault.probe(site_of(cluster, "w1", "w2", events=[OMITTED, ran]))).outcome == "unknown"
    assert (await fault.probe(site_of(cluster, "w1", "w2", events=[OMITTED, other, RAN]))).outcome == "unknown"
    seen = await fault.probe(site_of(cluster, "w1", "w2", events=[OMITTED, other, RAN, ran]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.0)
