"""What an earlier driver left requested is withdrawn before a run on a warm cluster, and only then."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from chaos.clock import RealClock
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import cloud_cluster
from chaos.clusters.local import LocalCluster
from chaos.clusters.observer import Observer
from chaos.clusters.sim import SimCluster
from chaos.clusters.withdrawal import withdraw
from chaos.errors import ClusterError
from chaos.history import Recorder
from chaos.sim.loop import run_in_virtual_time

TASK = {"shape": {"CPU": 1.0}, "count": 1, "source": "task"}
STANDING = {"shape": {"GPU": 1.0}, "count": 2, "source": "request_resources"}


class Gcs:
    """A GCS's client that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def request_cluster_resource_constraint(self, *asked: Any, timeout_s: float) -> None:
        self.asked.append((*asked, timeout_s))

    def internal_kv_put(self, *asked: Any, timeout: float) -> None:
        self.asked.append((*asked, timeout))


def test_each_autoscaler_is_told_where_it_looks() -> None:
    gcs = Gcs()
    withdraw(gcs, "v2")
    withdraw(gcs, "v1")
    assert gcs.asked == [([], [], [], 10.0), (b"autoscaler_resource_request", b"[]", True, None, 10.0)]


class Rested(LocalCluster):
    """A cluster without a Cloud, of which `demands` were seen to wait; None where the GCS did not answer."""

    def __init__(self, spec: ClusterSpec, demands: list[dict[str, Any]] | None) -> None:
        super().__init__("rested", spec)
        self._observer = Watching(demands)

    async def nodes(self) -> tuple[()]:
        return ()

    def gcs_address(self) -> str:
        return "10.0.0.1:6379"


class Watching(Observer):
    """Has seen this, and records nothing."""

    def __init__(self, demands: list[dict[str, Any]] | None) -> None:
        silent = {"reachable": False, "error": "the GCS does not answer"}
        self.sample = silent if demands is None else {"reachable": True, "nodes": [], "demands": demands}

    async def attach(self, *_: Any, **__: Any) -> None:
        """Records nothing."""


def command(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(
        cloud_cluster,
        "withdrawal_command",
        lambda address, autoscaler: (sys.executable, "-c", program, address, autoscaler),
    )


@pytest.mark.parametrize(
    ("autoscaler", "demands", "told"),
    [
        ("v2", [TASK], ""),
        ("v2", [TASK, STANDING], "10.0.0.1:6379 v2"),
        ("v2", None, "10.0.0.1:6379 v2"),  # whether one stands is not known
        ("v1", [], "10.0.0.1:6379 v1"),  # its requests are in no sample
    ],
)
async def test_what_stands_is_withdrawn_before_a_run(
    autoscaler: Any, demands: list[dict[str, Any]] | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path))
    called = tmp_path / "called"
    command(monkeypatch, f"import sys, pathlib; pathlib.Path({str(called)!r}).write_text(' '.join(sys.argv[1:]))")
    cluster = Rested(ClusterSpec(autoscaler=autoscaler), demands)
    await cluster.begin_run(Recorder(None, RealClock()))
    assert (called.read_text() if called.exists() else "") == told


async def test_what_cannot_be_withdrawn_keeps_the_run_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path))
    cluster = Rested(ClusterSpec(), [STANDING])
    command(monkeypatch, "import sys; sys.exit('the GCS is away')")
    with pytest.raises(ClusterError, match=r"still asked for by request_resources.*the GCS is away"):
        await cluster.begin_run(Recorder(None, RealClock()))
    monkeypatch.setattr(cloud_cluster, "_WITHDRAWN_WITHIN_S", 0.2)
    command(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(ClusterError, match=r"no answer in 0\.2 s"):
        await cluster.begin_run(Recorder(None, RealClock()))


def test_on_the_twin_too_nothing_stands_when_a_run_begins() -> None:
    async def main() -> None:
        cluster = SimCluster("twin", ClusterSpec(kind="sim"))
        await cluster.start()
        cluster._model.request([{"CPU": 1.0}])
        await cluster.begin_run(Recorder(None, RealClock()))
        assert cluster._model.requested == ()
        await cluster.stop()

    run_in_virtual_time(main)
