"""`lag_views`: proven by states that differed from what there was."""

from __future__ import annotations

from typing import Literal

import pytest

from chaos.events import Event, GcsAnsweredWrong
from chaos.harm import LaggedViews
from faults.lag_views import LagViews
from tests.doubles import FakeCluster, site_of


def answered(how: Literal["lagged", "left_out"] = "lagged", effect: str = "run.i1") -> tuple[float, Event]:
    return 12.0, GcsAnsweredWrong(effect=effect, how=how, count=4)


async def test_the_gcs_is_told_how_old_its_views_are() -> None:
    cluster = FakeCluster()
    await LagViews(age_s=7.0).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == LaggedViews(age_s=7.0)


async def test_a_state_that_differed_is_the_proof() -> None:
    seen = await LagViews().probe(site_of(FakeCluster(), events=[answered()]))
    assert (seen.outcome, seen.measured) == ("took_effect", 4.0)


@pytest.mark.parametrize("events", [[], [answered("left_out")], [answered(effect="run.i2")]])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await LagViews().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
