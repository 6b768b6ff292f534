"""Ray's own RPC chaos: what nodes start with, and what their raylets are seen to carry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.cloud.ray_start import INSTANCE_VARIABLE, MARK_VARIABLE
from chaos.cloud.rpc_faults import DELAY_VARIABLE, FAILURE_VARIABLE, carried, environment_for
from chaos.harm import RpcFault
from tests.cloud.fake_driver import Sky, on_virtual_time
from tests.doubles import VirtualClock, settle

FAILING = RpcFault(methods=("A.b", "*"), request_failure_percent=10)
LATE = RpcFault(methods=("A.b",), min_delay_ms=1, max_delay_ms=3)


def test_none_is_nothing() -> None:
    assert environment_for([]) == {}


def test_the_worst_of_several_on_one_method_counts() -> None:
    worse = RpcFault(methods=("A.b",), request_failure_percent=5, response_failure_percent=50)
    found = environment_for([FAILING, LATE, worse, RpcFault(methods=("A.b", "C"), max_delay_ms=2)])
    assert json.loads(found[FAILURE_VARIABLE]) == {
        "A.b": {"num_failures": -1, "req_failure_prob": 10, "resp_failure_prob": 50},
        "*": {"num_failures": -1, "req_failure_prob": 10, "resp_failure_prob": 0},
    }
    assert found[DELAY_VARIABLE] == "A.b=1000:3000,C=0:2000"


def test_what_a_raylet_carries_is_read_from_the_kernel(tmp_path: Path) -> None:
    raylet = tmp_path / "raylet"
    shutil.copy2(shutil.which("sleep") or "", raylet)
    own = {MARK_VARIABLE: f"toy#{os.getpid()}", INSTANCE_VARIABLE: "i-00001"}
    running = subprocess.Popen([str(raylet), "60"], env={**own, **environment_for([LATE])})
    other = subprocess.Popen(["sleep", "60"], env={**own, INSTANCE_VARIABLE: "i-00002", **environment_for([LATE])})
    try:
        assert carried(own[MARK_VARIABLE]) == {"i-00001": {DELAY_VARIABLE: "A.b=1000:3000"}}
    finally:
        for process in (running, other):
            process.kill()
            process.wait()


@pytest.fixture
async def sky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sky]:
    clock = VirtualClock()
    on_virtual_time(monkeypatch, clock)
    sky = Sky(tmp_path, clock=clock)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    yield sky
    await sky.cloud.tear_down()


async def test_nodes_started_while_in_force_carry_the_faults(sky: Sky) -> None:
    await sky.cloud.launch("gpu", 1, {})
    await settle()
    await sky.cloud.apply("e1", FAILING, lease_s=60.0)
    await sky.cloud.apply("e2", LATE, lease_s=60.0)
    await sky.cloud.launch("gpu", 1, {})
    await settle()
    await sky.cloud.undo("e1")
    await sky.cloud.undo("e2")
    await sky.cloud.launch("gpu", 1, {})
    await settle()
    assert [set(launch.environment) for launch in sky.driver.launches] == [
        set(),
        set(),
        {FAILURE_VARIABLE, DELAY_VARIABLE},
        set(),
    ]
