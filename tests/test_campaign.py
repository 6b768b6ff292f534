"""A campaign: what is prepared while the cluster comes to rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chaos import campaign
from chaos.campaign import Preparation
from chaos.events import PhaseBegan
from chaos.history import History


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
