"""The frame of all drivers: what it reports, and that it always ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def start(tmp_path: Path, behaviour: str, **environment: str) -> subprocess.Popen[str]:
    """Starts the stub driver as the engine does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.workloads.stub_driver", "--params", json.dumps({"behaviour": behaviour})],
        env=os.environ | {"RAYCHAOS_DATA": str(tmp_path)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(driver: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Its exit status, events and other lines."""
    assert driver.stdout is not None
    lines = driver.stdout.read().splitlines()
    events = [json.loads(line.removeprefix("@raychaos ")) for line in lines if line.startswith("@raychaos ")]
    status = driver.wait(timeout=20)
    driver.stdout.close()
    if driver.stdin and not driver.stdin.closed:
        driver.stdin.close()
    return status, events, "\n".join(line for line in lines if not line.startswith("@raychaos "))


def until_it_waits(driver: subprocess.Popen[str], *, sign: str = "workload.demand") -> None:
    """Returns once the job runs."""
    assert driver.stdout is not None
    while sign not in driver.stdout.readline():
        assert driver.poll() is None


def test_a_job_that_ends_is_ok(tmp_path: Path) -> None:
    status, events, rest = finish(start(tmp_path, "ends"))
    assert status == 0
    kinds = [event["kind"] for event in events]
    assert kinds == ["workload.started", "workload.demand", "workload.demand", "workload.finished"]
    assert events[0]["workload"] == "stub"
    assert events[1]["bundles"] == [{"shape": {"CPU": 1.0}, "count": 2, "source": "task", "apart": False, "not_on": []}]
    assert events[2]["bundles"] == []
    assert events[3]["outcome"] == "ok"
    assert [event["monotonic_s"] for event in events] == sorted(event["monotonic_s"] for event in events)
    assert rest == "connected\ndisconnected"


def test_a_job_that_raises_has_failed_and_says_why(tmp_path: Path) -> None:
    status, events, rest = finish(start(tmp_path, "raises"))
    assert status == 1
    assert events[-1]["outcome"] == "failed"
    assert events[-1]["error"].endswith("the cause'")
    assert len(events[-1]["error"]) < 2100
    assert "\x1b" not in events[-1]["error"]
    assert "Traceback" in rest
    assert rest.endswith("disconnected")


def test_an_error_of_ours_is_reported_without_a_traceback(tmp_path: Path) -> None:
    status, events, rest = finish(start(tmp_path, "refuses"))
    assert (status, events[-1]["error"]) == (1, "no room")
    assert "Traceback" not in rest


def test_wrong_parameters_fail_before_anything_is_connected(tmp_path: Path) -> None:
    status, events, rest = finish(start(tmp_path, "no such behaviour"))
    assert status == 1
    assert [event["kind"] for event in events] == ["workload.finished"]
    assert "stub workload" in events[0]["error"]
    assert "connected" not in rest


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    status, events, _ = finish(start(tmp_path, "ends", RAYCHAOS_DATA=str(tmp_path / "nowhere")))
    assert status == 1
    assert "nowhere" in events[0]["error"]


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_a_driver_that_is_told_to_ends_and_disconnects(tmp_path: Path, how: str) -> None:
    driver = start(tmp_path, "waits")
    until_it_waits(driver)
    began_s = time.monotonic()
    if how == "SIGTERM":
        driver.terminate()
    else:
        assert driver.stdin is not None
        driver.stdin.close()
    status, events, rest = finish(driver)
    assert time.monotonic() - began_s < 2.0
    assert status == 1
    assert [event["outcome"] for event in events] == ["interrupted"]
    assert rest == "disconnected"


def test_a_driver_whose_runner_died_ends_though_nobody_reads_it(tmp_path: Path) -> None:
    driver = start(tmp_path, "waits")
    until_it_waits(driver)
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdout.close()
    driver.stdin.close()
    assert driver.wait(timeout=8) != 0


def test_a_job_that_clings_to_life_is_ended(tmp_path: Path) -> None:
    driver = start(tmp_path, "waits_stubbornly")
    until_it_waits(driver, sign="clinging")
    driver.terminate()
    status, _, rest = finish(driver)
    assert status == 1
    assert rest == "ignored\nclinging"
