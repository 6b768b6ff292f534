"""A campaign: what is prepared while the cluster comes to rest, and a fault-free run that cannot be a baseline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos import campaign
from chaos.campaign import BaselineFailed, Campaign, Preparation
from chaos.events import PhaseBegan, RunAborted
from chaos.history import History, Record
from chaos.spec import Catalogue, parse
from chaos.store import baseline_path
from tests.doubles import FakeCluster


async def test_results_are_prepared_once_and_only_after_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    monkeypatch.setattr(campaign, "prepare", lambda: prepared.append(len(prepared)))
    phases = ("starting", "workload", "liveness", "idle", "stopping")
    records = list(History.of_events([(float(place), PhaseBegan(phase=phase)) for place, phase in enumerate(phases)]))
    early = Preparation()
    for record in records[:2]:
        early.take(record)
    await early.close()
    assert prepared == []
    whole = Preparation()
    for record in records:
        whole.take(record)
    await whole.close()
    assert prepared == [0]


def test_drawing_imports_nothing_after_it_was_prepared() -> None:
    program = """
import sys, tempfile, pathlib
from chaos.history import History
from chaos.results import judge, prepare
from chaos.report.picture import draw_timeline
assert "matplotlib" not in sys.modules
history = History.load(pathlib.Path("tests/golden/local_pass/history.jsonl"))
verdicts = judge(history).verdicts
prepare()
before = set(sys.modules)
with tempfile.TemporaryDirectory() as directory:
    draw_timeline(history, verdicts, pathlib.Path(directory) / "timeline.png")
print(*sorted(name for name in set(sys.modules) - before if name.startswith("matplotlib")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


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
