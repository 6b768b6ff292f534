"""The command as a user runs it: the demo, warm clusters, interruption, and a runner that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.cloud.containers import DIRECTORY_LABEL
from chaos.cloud.marks import environment_of
from chaos.cloud.ray_start import DIRECTORY_VARIABLE
from chaos.events import ClusterSampled, FaultInjected
from chaos.history import History
from chaos.home import home
from chaos.report.verdict_json import parse_verdict

QUICK = [
    "--set", "workload={name: task_bursts, stages: [{tasks: 2, batches: 12}]}",
    "--set", "cluster.max_workers=2",
]  # fmt: skip
LIMIT_S = 240.0
LEASE_S = 60.0
NETWORK = {"fail_launch", "throttle_network", "partition_network"}


def start(*arguments: str, store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "chaos.cli", *arguments, "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chaos.cli", *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def until(condition: Callable[[], bool], *, limit_s: float, what: str) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {limit_s} s: {what}"
        time.sleep(0.2)


def ours() -> list[str]:
    """Processes and containers of clusters under this session's home, apart from the lab's warm ones."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            directory = environment_of(int(entry.name)).get(DIRECTORY_VARIABLE, "")
            if directory.startswith(str(home())) and "/lab-" not in directory:
                found.append(f"process {entry.name}")
    for what in ("container", "network") if shutil.which("docker") else ():
        listed = subprocess.run(
            ["docker", what, "ls", *(["--all"] if what == "container" else []), "--filter", f"label={DIRECTORY_LABEL}",
             "--format", f'{{{{.Label "{DIRECTORY_LABEL}"}}}}'],
            capture_output=True, text=True, timeout=30, check=False,
        ).stdout  # fmt: skip
        found += [
            f"{what} of {line}" for line in listed.split() if line.startswith(str(home())) and "/lab-" not in line
        ]
    return found


@pytest.fixture
def clean() -> Iterator[None]:
    assert ours() == []
    yield
    until(lambda: ours() == [], limit_s=20, what="all processes ended")


BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])


@BOTH
@pytest.mark.slow
@pytest.mark.usefixtures("clean")
def test_the_demo_passes_on_a_fresh_cluster(tmp_path: Path, kind: str) -> None:
    done = command("run", "--cluster", kind, "--json", "--store", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = parse_verdict(done.stdout)
    assert verdict.verdict == "pass"
    assert verdict.cluster == kind
    run = tmp_path / "latest"
    history = History.load(run / "history.jsonl")
    workers = [len(sample.cloud) - 1 for _, sample in history.of(ClusterSampled)]
    assert workers[0] == 0
    assert max(workers) == 4
    assert workers[-1] == 0
    asked = {event.fault for _, event in history.of(FaultInjected)}
    assert asked >= ({"kill_node", "delay_launch"} | (NETWORK if kind == "compose" else {"pause_node"}))
    for name in (
        "spec.yaml", "schedule.yaml", "history.jsonl", "verdict.json", "report.txt", "junit.xml", "timeline.png",
        "logs/head/monitor.log", "logs/driver.log",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert command("check", str(run)).returncode == 0
    assert "kill_node" in command("report", str(run)).stdout


@pytest.mark.usefixtures("clean")
def test_a_warm_cluster_serves_runs_until_down(tmp_path: Path) -> None:
    try:
        up = command("up", "--name", "warm", *QUICK[2:])
        assert up.returncode == 0, up.stderr
        assert "ray.init" in up.stdout
        listed = json.loads(command("ps", "--json").stdout)
        assert [entry["state"] for entry in listed if entry["name"] == "warm"] == ["up"]
        again = command("up", "--name", "warm")
        assert again.returncode == 4
        assert "warm" in again.stderr
        run = command("run", "--name", "warm", *QUICK, "--set", "schedule=[]", "--store", str(tmp_path))
        assert run.returncode == 0, run.stdout + run.stderr
        assert "using warm cluster" in run.stderr
    finally:
        down = command("down", "warm")
    assert down.returncode == 0, down.stderr


@pytest.mark.usefixtures("clean")
def test_ctrl_c_heals_seals_and_stops(tmp_path: Path) -> None:
    pause = "schedule=[{fault: pause_node, target: random, on: {progress_percent: 5}, duration_s: 60}]"
    runner = start("run", *QUICK, "--set", pause, store=tmp_path)
    try:
        history = injected(tmp_path, runner)
        os.kill(runner.pid, signal.SIGINT)
        output, _ = runner.communicate(timeout=60)
    finally:
        runner.kill()
    assert runner.returncode == 130, output
    kinds = [json.loads(line)["kind"] for line in history.read_text().splitlines()]
    assert "fault.healed" in kinds
    assert json.loads(history.read_text().splitlines()[-1])["reason"] == "interrupted"


HARM = {
    "local": "{fault: pause_node, target: random, on: {progress_percent: 5}, duration_s: 300}",
    "compose": "{fault: throttle_network, rate_mbit: 5, target: random, on: {progress_percent: 5}, duration_s: 300}",
}


@BOTH
@pytest.mark.usefixtures("clean")
def test_a_killed_runner_leaves_nothing_after_the_lease(tmp_path: Path, kind: str) -> None:
    runner = start("run", "--cluster", kind, *QUICK, "--set", f"schedule=[{HARM[kind]}]", store=tmp_path)
    try:
        injected(tmp_path, runner)
    finally:
        runner.kill()
        runner.communicate(timeout=10)
    assert ours()
    until(lambda: ours() == [], limit_s=LEASE_S, what="the cluster ended with its owner's lease")
    assert "removed what was left" in command("heal").stdout
    assert command("heal").stdout.strip() == "nothing was left behind"


def injected(store: Path, runner: subprocess.Popen[str]) -> Path:
    """The history of the run (not its baseline) once a fault is in force."""

    def found() -> list[Path]:
        return [
            path
            for path in store.glob("*/history.jsonl")
            if "baseline" not in path.parent.name and '"kind":"fault.injected"' in path.read_text()
        ]

    def ready() -> bool:
        assert runner.poll() is None, runner.communicate()[0]
        return bool(found())

    until(ready, limit_s=LIMIT_S, what="a fault is in force")
    return found()[0]
