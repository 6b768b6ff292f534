"""`kill_gcs`: gone from the kernel, and missed by those who ask it."""

from __future__ import annotations

import pytest

from chaos.events import ClusterSampled, Event, NodeTerminated
from faults.kill_gcs import KillGcs
from tests.doubles import FakeCluster, injected, site_of

SILENT = (13.0, ClusterSampled(reachable=False))
ENDED = (11.0, NodeTerminated(node="head", cause="exited"))


@pytest.mark.parametrize(
    ("events", "outcome", "measured"),
    [
        ([], "unknown", None),
        ([(9.0, ClusterSampled(reachable=False))], "unknown", None),
        ([(11.0, ClusterSampled(reachable=True))], "unknown", None),
        ([SILENT], "took_effect", 3.0),
        ([ENDED, SILENT], "took_effect", 1.0),
    ],
)
async def test_it_must_be_missed(events: list[tuple[float, Event]], outcome: str, measured: float | None) -> None:
    cluster = FakeCluster()
    site = await injected(KillGcs(), site_of(cluster, "head", events=events))
    assert cluster.named("kill_processes") == [("head", "107")]
    seen = await KillGcs().probe(site)
    assert (seen.outcome, seen.measured) == (outcome, measured)
