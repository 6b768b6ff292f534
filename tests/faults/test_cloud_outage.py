"""`cloud_outage`: proven by calls of Ray's that went so, and by what its autoscaler said."""

from __future__ import annotations

from typing import Literal

import pytest

from chaos.events import AutoscalerLogged, CloudAnsweredWrong, Event
from chaos.harm import Outage
from faults.cloud_outage import CloudOutage
from tests.doubles import FakeCluster, opened, site_of

SAID = (13.0, AutoscalerLogged(about="no_state", text="No autoscaling state to report."))


def answered(how: Literal["unreachable", "slow", "failed"]) -> tuple[float, Event]:
    return 12.0, CloudAnsweredWrong(effect="run.i1", how=how, count=4)


@pytest.mark.parametrize(
    ("fault", "harm"),
    [
        (CloudOutage(), Outage(mode="unreachable")),
        (CloudOutage(mode="slow", delay_s=4.0), Outage(mode="slow", delay_s=4.0)),
        (CloudOutage(mode="failing", percent=30.0), Outage(mode="failing", percent=30.0, stream="7/i1")),
    ],
)
async def test_the_cloud_is_told_how_it_fails(fault: CloudOutage, harm: Outage) -> None:
    cluster = FakeCluster()
    await fault.inject(site_of(cluster, events=[(0.0, opened(seed=7))]))
    assert cluster.effects["run.i1"][3] == harm


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"mode": "slow"}, "mode slow takes delay_s"),
        ({"delay_s": 3.0}, "no other mode does"),
        ({"percent": 30.0}, "only mode failing takes percent"),
    ],
)
def test_a_mode_takes_its_own_parameters_only(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CloudOutage.model_validate(fields)


async def test_calls_that_failed_and_were_complained_of_are_the_proof() -> None:
    for fault, how in ((CloudOutage(), "unreachable"), (CloudOutage(mode="failing"), "failed")):
        event = CloudAnsweredWrong.model_validate({"effect": "run.i1", "how": how, "count": 4})
        seen = await fault.probe(site_of(FakeCluster(), events=[(12.0, event), SAID]))
        assert (seen.outcome, seen.measured) == ("took_effect", 4.0)
        assert (await fault.probe(site_of(FakeCluster(), events=[(12.0, event)]))).outcome == "unknown"


async def test_late_answers_need_no_complaint() -> None:
    fault = CloudOutage(mode="slow", delay_s=4.0)
    seen = await fault.probe(site_of(FakeCluster(), events=[answered("slow")]))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 4.0, None, "s")


@pytest.mark.parametrize("events", [[], [SAID], [answered("slow"), SAID]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await CloudOutage().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"


async def test_no_answer_is_later_than_the_healing() -> None:
    seen = await CloudOutage(mode="slow", delay_s=600.0).probe(site_of(FakeCluster(), events=[answered("slow")]))
    assert (seen.outcome, seen.asked) == ("took_effect", 5.0)
