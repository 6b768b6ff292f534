"""A campaign: a fault-free run that cannot be one is not kept as a baseline, and says which it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.campaign import BaselineFailed, Campaign
from chaos.events import RunAborted
from chaos.history import Record
from chaos.spec import Catalogue, parse
from chaos.store import baseline_path
from tests.doubles import FakeCluster


class Silence:
    """A view that shows nothing."""

    def step(self, text: str) -> None: ...

    def show(self, record: Record) -> None: ...

    def tick(self, now_s: float) -> None: ...

    def close(self) -> None: ...


async def test_an_aborted_baseline_is_told_as_such_and_not_kept(tmp_path: Path, catalogue: Catalogue) -> None:
    spec = parse("name: mine\nabort: {command: ['false']}\n", catalogue)
    campaign = Campaign(FakeCluster(), store=tmp_path, versions={}, view=Silence)
    with pytest.raises(BaselineFailed, match="the fault-free run failed or was aborted; see ") as caught:
        await campaign.baseline(spec)
    assert caught.value.results.judgement == "inconclusive"
    assert caught.value.results.history.first(RunAborted) is not None
    assert "-baseline-" in caught.value.directory.path.name
    assert not baseline_path(spec, ray_version="unknown").exists()
