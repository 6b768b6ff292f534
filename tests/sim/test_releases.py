"""The twin with another release of Ray: a whole run of it, in a process of its own, beside one of the installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.autoscaler.v2.instance_manager.cloud_providers.kuberay import cloud_provider
from ray.autoscaler.v2.instance_manager.reconciler import Reconciler

from chaos.errors import ClusterError
from chaos.events import RunOpened
from chaos.history import History
from chaos.installed import ray_version
from chaos.release import obtain
from chaos.sim import releases
from tests.conftest import ROOT

OTHER = "2.54.1"
SPEC = """
cluster: {kind: sim, max_workers: 2}
workload: {name: task_bursts, stages: [{tasks: 2, batches: 8}]}
schedule: [{fault: kill_node, target: oldest, at_s: 3}]
"""


@pytest.fixture(scope="module")
def other() -> str:
    try:
        obtain(OTHER, print)
    except ClusterError as error:
        if "cannot be fetched" not in str(error):
            raise
        pytest.skip(f"needs Ray {OTHER} from a package index: {error}")
    return OTHER


def test_a_run_with_another_release_is_a_run_that_says_so(other: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    command = [sys.executable, "-m", "chaos.cli", "run", str(spec), "--ray", f"{other},{ray_version()}", "--json"]
    done = subprocess.run(
        [*command, "--store", str(tmp_path / "runs")],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "pass"
    assert [(one["ray"], one["verdict"], one["launches"]) for one in told["releases"]] == [
        (other, "pass", 3),
        (ray_version(), "pass", 3),
    ]
    recorded = []
    for one in told["releases"]:
        opened = History.load(Path(one["directory"]) / "history.jsonl").first(RunOpened)
        assert opened is not None
        recorded.append((opened[1].versions["ray"], opened[1].schedule_hash))
    assert [version for version, _ in recorded] == [other, ray_version()]
    assert len({schedule for _, schedule in recorded}) == 1


def test_a_provider_for_kuberay_that_knows_no_gcs_is_not_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier:
        def __init__(self, cluster_name: str, provider_config: dict[str, str], k8s_api_client: object) -> None:
            self.told = (cluster_name, provider_config, k8s_api_client)

    monkeypatch.setattr(cloud_provider, "KubeRayProvider", Earlier)
    made = releases.kuberay_provider("ray", namespace="here", client="client")
    assert made.told == ("ray", {"namespace": "here"}, "client")


@pytest.mark.releases
def test_an_earlier_release_runs_on_kuberay(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    command = [
        sys.executable,
        "-m",
        "chaos.cli",
        "run",
        str(spec),
        "--provider",
        "kuberay",
        "--ray",
        "2.44.1",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--store", str(tmp_path / "runs")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "pass"


def test_launches_are_paced_by_those_that_run_but_were_by_all_that_ever_were(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not releases.paces_by_ended()

    def until_2_47(queued_instances: object, requested_instances: object, allocated_instances: object) -> None: ...

    monkeypatch.setattr(Reconciler, "_compute_to_launch", staticmethod(until_2_47))
    assert releases.paces_by_ended()
