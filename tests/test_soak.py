"""Soaks: windows drawn by chance on one cluster, judged one by one, of which only those that failed are kept."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos.campaign import Campaign
from chaos.clock import monotonic_s
from chaos.commands import SpecWish, soak_spec
from chaos.errors import ClusterError
from chaos.history import History
from chaos.report.soaking import SoakLine, line_of
from chaos.sim.loop import run_in_virtual_time
from chaos.soak import Progress, Soaked, soak
from chaos.spec import RunSpec
from chaos.weather import Menu
from tests.conftest import ROOT
from tests.sim.twin import KNOWN, twin_spec

SMALL = """
cluster: {kind: sim, max_workers: 2, idle_timeout_s: 5, node_types: {
  gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 2}}}
workload: {name: task_bursts, device_ms_per_batch: 10000, stages: [{tasks: 2, batches: 4}]}
schedule:
"""
HARMLESS = f"{SMALL}  []\n"
# Of a job that gets no nodes nothing comes.
HOPELESS = f"{SMALL}  - {{fault: limit_capacity, at_most: 0, at_s: 0, duration_s: 100000}}\n"
COMMAND = (sys.executable, "-m", "chaos.cli", "soak", "--cluster", "sim", "--json")


def test_the_weather_of_a_seed_is_the_same_and_of_another_is_not() -> None:
    spec = SpecWish(spec=str(soak_spec())).resolve(KNOWN)
    first, again, other = (Menu(one, window_s=3600.0) for one in (spec, spec, spec.model_copy(update={"seed": 2})))
    windows = [first.window(number) for number in range(40)]
    assert windows == [again.window(number) for number in range(40)]
    assert windows != [other.window(number) for number in range(40)]
    drawn = {injection.fault for window in windows for injection in window.schedule.injections}
    assert drawn <= {injection.fault for injection in spec.schedule.injections}
    assert len(drawn) > 8
    assert len({window.workload.rows_total for window in windows}) > 30


def soaked(
    text: str, store: Path, *, for_s: float, window_s: float = 300.0, shown: io.StringIO | None = None
) -> Soaked:
    spec: RunSpec = twin_spec(text)
    line = SoakLine(shown or io.StringIO())
    return run_in_virtual_time(lambda: soak(spec, Menu(spec, window_s=window_s), for_s=for_s, store=store, view=line))


def test_windows_follow_each_other_and_nothing_is_kept_of_those_that_held(tmp_path: Path) -> None:
    shown = io.StringIO()
    result = soaked(HARMLESS, tmp_path, for_s=900.0, shown=shown)
    assert result.judgement == "pass", result.text
    assert result.progress.virtual_s >= 900.0
    assert result.progress.windows >= 3
    assert result.verdicts["job_completes"]["pass"] == result.progress.windows
    assert not list(tmp_path.rglob("window-*"))
    assert "windows, 0 failed" in shown.getvalue()
    told = json.loads(result.json)
    assert told["windows"] == result.progress.windows
    assert [one["virtual_s"] for one in told["measures"]] == sorted(one["virtual_s"] for one in told["measures"])


def test_a_window_that_fails_is_told_and_kept(tmp_path: Path) -> None:
    result = soaked(HOPELESS, tmp_path, for_s=600.0, window_s=60.0)
    assert result.judgement == "fail"
    number, _, told, where = result.failures[0]
    assert "job_completes" in told
    assert f"window {number}" in result.text
    assert {path.name for path in Path(where).iterdir()} >= {"history.jsonl", "spec.yaml", "report.txt", "verdict.json"}


def test_a_window_that_cannot_be_made_ends_the_soak_with_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Campaign.run

    async def run_a_while(campaign: Campaign, spec: RunSpec, *rest: Any, **more: Any) -> History:
        if monotonic_s() > 400.0:
            raise ClusterError("the model is at its end")
        return await run(campaign, spec, *rest, **more)

    monkeypatch.setattr(Campaign, "run", run_a_while)
    result = soaked(HARMLESS, tmp_path, for_s=900.0)
    assert result.judgement == "inconclusive"
    assert result.verdicts["job_completes"]["pass"] == result.progress.windows > 0
    assert "broke off in window" in result.text
    assert json.loads(result.json)["broke_off"] == "ClusterError: the model is at its end"


def test_the_live_line_tells_time_speed_memory_and_nodes() -> None:
    @dataclass
    class Seen:
        for_s: float = 864000.0
        virtual_s: float = 86400.0
        windows: int = 24
        failed: int = 1
        nodes: int = 5
        times: float = 5123.4
        memory_mib: float = 151.2

    assert line_of(Seen()) == "day 1.00 of 10.00 (10%)  5,123 x  151 MiB  5 workers  24 windows, 1 failed"


def test_a_soak_of_nothing_is_inconclusive() -> None:
    assert Soaked(twin_spec(HARMLESS), Progress(1.0)).judgement == "inconclusive"


def test_an_interrupted_soak_concludes_with_its_verdict(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--for", "3000d", "--store", str(tmp_path)],
        env={**os.environ, "RAYCHAOS_HOME": str(tmp_path / "home")},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "x  " in line and " 0 windows" not in line:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    verdict = json.loads(output)
    assert verdict["interrupted"]
    assert verdict["judgement"] == "pass"
    assert verdict["windows"] >= 1
