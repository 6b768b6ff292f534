"""`fail_terminate`: proven by a refusal that was answered, and that the autoscaler took for one."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, CloudAnsweredWrong, Event
from chaos.harm import TerminationFault
from faults.fail_terminate import FailTerminate
from tests.doubles import FakeCluster, site_of

REFUSED = (12.0, CloudAnsweredWrong(effect="run.i1", how="not_terminated", count=3))
NOTICED = (13.0, AutoscalerLogged(about="instance", text="Update instance TERMINATING->TERMINATION_FAILED"))


async def test_the_cloud_is_told_the_words_clouds_use() -> None:
    cluster = FakeCluster()
    await FailTerminate(reason="throttled").inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == TerminationFault(error="RequestLimitExceeded: request rate exceeded")


async def test_a_noticed_refusal_is_the_proof() -> None:
    seen = await FailTerminate().probe(site_of(FakeCluster(), events=[REFUSED, NOTICED]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.0)


@pytest.mark.parametrize("events", [[], [REFUSED], [NOTICED]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await FailTerminate().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
