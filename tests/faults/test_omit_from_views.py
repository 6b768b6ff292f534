"""`omit_from_views`: proven by states of the cluster without each victim."""

from __future__ import annotations

from chaos.events import GcsAnsweredWrong
from chaos.harm import OmittedView
from faults.omit_from_views import OmitFromViews
from tests.doubles import FakeCluster, site_of

FIRST = (12.0, GcsAnsweredWrong(effect="run.i1.w1", how="left_out", count=2))
SECOND = (12.0, GcsAnsweredWrong(effect="run.i1.w2", how="left_out"))


async def test_the_gcs_is_told_whom_to_leave_out() -> None:
    cluster = FakeCluster()
    await OmitFromViews(answers=3).inject(site_of(cluster, "w1"))
    assert cluster.effects["run.i1.w1"] == ("w1", False, None, OmittedView(answers=3))


async def test_each_victim_must_have_been_left_out() -> None:
    fault, cluster = OmitFromViews(), FakeCluster()
    assert (await fault.probe(site_of(cluster, "w1"))).outcome == "unknown"
    assert (await fault.probe(site_of(cluster, "w1", "w2", events=[FIRST]))).outcome == "unknown"
    seen = await fault.probe(site_of(cluster, "w1", "w2", events=[FIRST, SECOND]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.0)
