"""The pytest plugin on real clusters: a short campaign on each kind, and an interruption."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.home import cluster_names

LIMIT_S = 240
STEP_S = 0.1
CAMPAIGN = """
import faults
import pytest
from chaos.schedule import Schedule
from hypothesis import given, settings, strategies as st
from workloads import BatchInference

@pytest.mark.raychaos(workers=2, set=["cluster.idle_timeout_s=3"])
@given(percent=st.sampled_from([20, 60]))
@settings(max_examples=2)
def test_inference_survives(ray_cluster, percent):
    at = {"on": {"progress_percent": percent}}
    schedule = Schedule.from_data([{"fault": "kill_node", "target": "oldest", **at}], faults.ALL)
    run = ray_cluster.run(BatchInference(rows=200, max_actors=2), schedule)
    assert run.passed, run.explain()
"""


def pytest_of_a_user(directory: Path, kind: str, *options: str) -> subprocess.Popen[str]:
    (directory / "test_campaign.py").write_text(CAMPAIGN)
    command = [sys.executable, "-m", "pytest", "-v", f"--raychaos-cluster={kind}", "-p", "no:asyncio", *options]
    return subprocess.Popen(command, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
def test_a_campaign(kind: str, tmp_path: Path) -> None:
    before = cluster_names()
    with pytest_of_a_user(tmp_path, kind, "--raychaos-require") as running:
        text, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, text
    assert f"raychaos: cluster {kind}; profile dev" in text
    assert len(re.findall(r"raychaos: run \d+: kill_node: pass", text)) >= 2
    assert cluster_names() == before


def test_ctrl_c_heals_and_ends_the_cluster(tmp_path: Path) -> None:
    before = cluster_names()
    with pytest_of_a_user(tmp_path, "local") as running:
        limit_s = time.monotonic() + LIMIT_S
        while not any((tmp_path / ".raychaos").glob("*/history.jsonl")):
            assert time.monotonic() < limit_s, "no run began"
            assert running.poll() is None
            time.sleep(STEP_S)
        assert set(cluster_names()) > set(before)
        running.send_signal(signal.SIGINT)
        text, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, text
    assert cluster_names() == before
