"""Roles as Ray names its processes, and kills that hit whom they mean."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from chaos.cloud.instances import Instance, StateFile
from chaos.cloud.ledger import Ledger
from chaos.cloud.node_process import start_ticks
from chaos.cloud.node_processes import NodeProcesses, in_namespace_of, look_at, role_of, starts_ray
from chaos.cloud.ray_start import PROGRAM_VARIABLE
from chaos.cluster import NodeProcess
from chaos.errors import InjectionError
from chaos.harm import Role
from tests.cloud.fake_driver import FakeDriver

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
LIMIT_S = 10.0
RAY = "/venv/site-packages/ray"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, env={**os.environ, PROGRAM_VARIABLE: "1"}, start_new_session=True)
    # Popen returns in the middle of the kernel's exec: the program's files are closed before its variables are there.
    limit_s = time.monotonic() + LIMIT_S
    while PROGRAM_VARIABLE.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes():
        assert time.monotonic() < limit_s
    yield process
    process.kill()
    process.wait(LIMIT_S)


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ([f"{RAY}/core/src/ray/raylet/raylet", "--raylet_socket_name=/tmp/ray/gcs_server"], "raylet"),
        ([f"{RAY}/core/src/ray/gcs/gcs_server", "--log_dir=/tmp"], "gcs_server"),
        (["python", "-u", f"{RAY}/autoscaler/v2/monitor.py", "--logs-dir=/tmp"], "monitor"),
        (["python", "-u", f"{RAY}/autoscaler/_private/monitor.py"], "monitor"),
        (["ray::DashboardAgent"], "dashboard_agent"),
        (["python", f"{RAY}/dashboard/agent.py"], "dashboard_agent"),
        (["ray::RuntimeEnvAgent"], "runtime_env_agent"),
        (["ray::IDLE", "", ""], "worker"),
        (["ray::Predictor.predict"], "worker"),
        (["python", f"{RAY}/_private/workers/default_worker.py"], "worker"),
        (["ray-dashboard-NodeHead-0"], ""),
        (["python", "-m", "ray.util.client.server"], ""),
        ([], ""),
    ],
)
def test_roles_are_told_by_program_title_and_script(command: list[str], role: str) -> None:
    assert role_of(command) == role


def test_what_starts_ray_is_told_from_what_wraps_it() -> None:
    start = ["python", "-c", "main()", "start", "--block", "--address=1:2"]
    assert starts_ray(start)
    assert not starts_ray(["python", "-m", "chaos.cloud.node_process", "address.json", *start])
    assert not starts_ray(["docker-init", "--", "sh", "-c", "exec python -m chaos.cloud.node_process - 0 0 -", *start])
    assert not starts_ray(["python", "-c", "main()", "start"])


def test_a_program_beside_the_head_is_the_driver(sleeper: subprocess.Popen[bytes]) -> None:
    (seen,) = look_at([sleeper.pid, 2**22 + 1])
    assert (seen.pid, seen.role, seen.stopped) == (sleeper.pid, "driver", False)
    assert seen.started_ticks == start_ticks(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    assert look_at([sleeper.pid])[0].stopped


def test_processes_of_one_namespace_are_found(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in in_namespace_of(os.getpid())
    assert in_namespace_of(2**22 + 1) == []


class OneProcess(FakeDriver):
    """Each node runs one process, a real one."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        return look_at([self.pid])


async def test_only_the_very_process_is_killed(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    ledger = Ledger(StateFile(tmp_path / "state.json"))
    processes = NodeProcesses(ledger, OneProcess(sleeper.pid))
    with pytest.raises(InjectionError, match="'w1' does not run"):
        await processes.kill("w1", {sleeper.pid: 1})
    assert await processes.look("w1") == ()
    ledger.put(Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1"))
    (seen,) = await processes.look("w1")
    with pytest.raises(InjectionError, match="each had ended by itself"):
        await processes.kill("w1", {seen.pid: seen.started_ticks - 1, 7: 7})
    assert sleeper.poll() is None
    await processes.kill("w1", {seen.pid: seen.started_ticks})
    assert await asyncio.to_thread(sleeper.wait, LIMIT_S) == -signal.SIGKILL


class OneRaylet(OneProcess):
    """The process is a raylet to those who look."""

    raylet = True
    ends_when_kept_up = False

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        role: Role | Literal[""] = "raylet" if self.raylet else ""
        return tuple(seen.model_copy(update={"role": role}) for seen in look_at([self.pid]))

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        await self._called(f"keep_up {wanted}", instance)
        if self.ends_when_kept_up:
            self.pid = 2**22 + 1


async def test_a_raylet_is_killed_once_it_is_known_to_come_back(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ledger, driver = Ledger(StateFile(tmp_path / "state.json")), OneRaylet(sleeper.pid)
    processes = NodeProcesses(ledger, driver)
    ledger.put(Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1"))
    driver.raylet = False
    with pytest.raises(InjectionError, match="'w1' has no raylet"):
        await processes.restart_raylet("w1")
    driver.raylet = True
    driver.failing["keep_up True"] = InjectionError("node w1 is gone")
    with pytest.raises(InjectionError, match="is gone"):
        await processes.restart_raylet("w1")
    assert sleeper.poll() is None
    del driver.failing["keep_up True"]
    await processes.restart_raylet("w1")
    assert await asyncio.to_thread(sleeper.wait, LIMIT_S) == -signal.SIGKILL


async def test_a_raylet_that_ended_by_itself_does_not_come_back(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ledger, driver = Ledger(StateFile(tmp_path / "state.json")), OneRaylet(sleeper.pid)
    ledger.put(Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1"))
    driver.ends_when_kept_up = True
    with pytest.raises(InjectionError, match="each had ended by itself"):
        await NodeProcesses(ledger, driver).restart_raylet("w1")
    assert [method for method, _ in driver.calls] == ["keep_up True", "keep_up False"]
    assert sleeper.poll() is None
