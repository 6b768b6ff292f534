"""What the engine is told of a worker, with an engine that only listens."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError
from requests.exceptions import ReadTimeout

from chaos.cloud import docker_driver
from chaos.cloud.bootstrap import bootstrap, compose_config
from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.containers import INSTANCE_LABEL, MARK_LABEL, SERVICE_LABEL
from chaos.cloud.docker_driver import DockerDriver
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import Instance
from chaos.cloud.worker_container import WORKER
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.errors import ClusterError, InvalidSpec

OWN: dict[str, Any] = {
    "Id": "c" * 64,
    "Image": "sha256:feed",
    "Config": {
        "Image": "raychaos:1",
        "Labels": {"com.docker.compose.project": "demo", "com.docker.compose.config-hash": "abc"},
    },
    "NetworkSettings": {"Networks": {"demo_default": {}}},
    "Mounts": [{"Type": "bind", "Source": "/somewhere/demo", "Destination": "/raychaos"}],
}

SHAPE = NodeType(resources={"CPU": 2.0, "GPU": 1.0}, memory_limit_mb=1024, cpu_limit=1.5, shm_mb=128, disk_limit_mb=64)


class Engine:
    """Answers with what the Cloud's container looks like, and keeps what it is asked to make."""

    def __init__(self, *, runtimes: tuple[str, ...] = ("runc",), there: tuple[dict[str, Any], ...] = ()) -> None:
        self.made: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.there = list(there)
        self.failing: Exception | None = None
        self.api = SimpleNamespace(
            inspect_container=self._inspect, containers=self._list, remove_container=self._remove
        )
        self.images = SimpleNamespace(get=lambda _: SimpleNamespace(id=OWN["Image"]))
        self.containers = SimpleNamespace(create=self._create, get=self._container)
        self._runtimes = runtimes

    def info(self) -> dict[str, Any]:
        return {"Runtimes": dict.fromkeys(self._runtimes)}

    def _list(self, *, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [item for item in self.there if wanted.items() <= item["Labels"].items()]

    def _remove(self, container: str, **_: Any) -> None:
        self.removed.append(container)
        self.there = [item for item in self.there if item["Id"] != container]

    def _inspect(self, container: str) -> dict[str, Any]:
        if container not in ("worker", "earlier"):
            return OWN
        return {
            "Id": container,
            "State": {"Running": True, "Paused": False, "Pid": 1},
            "NetworkSettings": {"Networks": {"demo_default": {"IPAddress": "172.18.0.9"}}},
        }

    def _create(self, **description: Any) -> SimpleNamespace:
        if self.failing is not None:
            raise self.failing
        if any(item["Names"] == [f"/{description['name']}"] for item in self.there):
            raise APIError("Conflict", SimpleNamespace(status_code=409), explanation="the name is already in use")
        self.made.append(description)
        return self._container("worker")

    def _container(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=name, start=lambda: None, remove=lambda **_: self.removed.append(name))


@pytest.fixture
def config() -> CloudConfig:
    spec = ClusterSpec(kind="compose", node_types={"gpu": SHAPE})
    return compose_config(cluster="demo", mark="demo#1", spec=spec)


async def started(engine: Engine, config: CloudConfig, root: Path, patch: pytest.MonkeyPatch) -> Instance:
    patch.setattr(docker_driver, "engine", lambda: engine)
    driver = DockerDriver(config, CloudDirectory(root))
    instance = Instance(instance="i-00007", node="w3", node_type="gpu", state="pending", shape=SHAPE)
    return await driver.start(instance, NodeLaunch(argv=("ray", "start"), environment={"A": "1"}))


async def test_a_worker_belongs_to_the_project(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    instance = await started(engine, config, tmp_path, monkeypatch)
    assert (instance.handle, instance.address) == ("worker", "172.18.0.9")
    (made,) = engine.made
    assert made["name"] == "demo-worker-7"
    assert made["image"] == "raychaos:1"
    assert made["network"] == "demo_default"
    labels = made["labels"]
    assert labels["com.docker.compose.project"] == "demo"
    assert labels["com.docker.compose.service"] == "worker"
    assert labels["com.docker.compose.oneoff"] == "False"
    assert labels["com.docker.compose.container-number"] == "7"
    assert labels["com.docker.compose.config-hash"] == "abc"
    assert labels[MARK_LABEL] == "demo#1"
    assert (made["mounts"][0]["Source"], made["mounts"][0]["Target"]) == ("/somewhere/demo", "/raychaos")


async def test_a_worker_has_its_types_limits_and_no_rights(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    await started(engine, config, tmp_path, monkeypatch)
    (made,) = engine.made
    assert (made["mem_limit"], made["memswap_limit"], made["shm_size"]) == ("1024m", "1024m", "128m")
    assert made["tmpfs"] == {"/raychaos-spill": "size=64m,mode=1777"}
    assert (made["cpu_quota"], made["cpu_period"]) == (150_000, 100_000)
    assert made["cap_drop"] == ["ALL"]
    assert "/var/run/docker.sock" not in str(made)
    assert made["init"]
    assert made["device_requests"] is None, "no GPU of NVIDIA here, so a node's GPUs are logical"


def earlier(state: str, **labels: str) -> dict[str, Any]:
    """A container with the name that instance i-00007 gets, as the engine lists it."""
    project = {"com.docker.compose.project": "demo", MARK_LABEL: "demo#1", INSTANCE_LABEL: "i-00007"}
    return {"Id": "earlier", "Names": ["/demo-worker-7"], "State": state, "Labels": {**project, **labels}}


@pytest.mark.parametrize("state", ["created", "running"])
async def test_a_container_that_a_crashed_cloud_made_for_the_instance_is_adopted(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    engine = Engine(there=(earlier(state),))
    instance = await started(engine, config, tmp_path, monkeypatch)
    assert (instance.handle, instance.address) == ("earlier", "172.18.0.9")
    assert (engine.made, engine.removed) == ([], [])


async def test_a_container_of_the_instance_that_has_ended_gives_way_to_a_new_one(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(there=(earlier("exited"),))
    assert (await started(engine, config, tmp_path, monkeypatch)).handle == "worker"
    assert engine.removed == ["earlier"]
    assert [made["name"] for made in engine.made] == ["demo-worker-7"]


async def test_a_name_that_somebody_else_has_taken_is_told_and_left_alone(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(there=(earlier("running", **{MARK_LABEL: "another"}),))
    with pytest.raises(ClusterError, match="the Docker engine refused: the name is already in use"):
        await started(engine, config, tmp_path, monkeypatch)
    assert (engine.made, engine.removed) == ([], [])


async def test_an_engine_that_falls_silent_is_a_cluster_error(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    engine.failing = ReadTimeout("no answer in 60 s")
    with pytest.raises(ClusterError, match=r"does not answer \(no answer in 60 s\): look whether it runs"):
        await started(engine, config, tmp_path, monkeypatch)


async def test_workers_and_programs_that_nobody_knows_are_seen(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(there=(earlier("running", **{SERVICE_LABEL: WORKER}),))
    monkeypatch.setattr(docker_driver, "engine", lambda: engine)
    monkeypatch.setattr(docker_driver, "programs", lambda mark: [4711] if mark == "demo#1" else [])
    driver = DockerDriver(config, CloudDirectory(tmp_path))
    seen = await driver.harm_seen(list)
    assert seen == ("container demo-worker-7 of a node that ended", "program still running: process 4711")
    booting = Instance(instance="i-00007", node="w3", node_type="gpu", state="pending", shape=SHAPE)
    assert await driver.harm_seen(lambda: [booting]) == ("program still running: process 4711",)


async def test_real_gpus_are_shared_out(config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = tmp_path / "gpus"
    for number in range(2):
        (gpus / f"0000:0{number}:00.0").mkdir(parents=True)
    monkeypatch.setattr("chaos.cloud.worker_container._NVIDIA_GPUS", gpus)
    engine = Engine(runtimes=("runc", "nvidia"))
    monkeypatch.setattr(docker_driver, "engine", lambda: engine)
    driver = DockerDriver(config, CloudDirectory(tmp_path))
    for number in (1, 2, 3):
        instance = Instance(
            instance=f"i-{number:05d}", node=f"w{number}", node_type="gpu", state="pending", shape=SHAPE
        )
        await driver.start(instance, NodeLaunch(argv=("ray",), environment={}))
    assert [made["device_requests"][0]["DeviceIDs"] for made in engine.made] == [["0"], ["1"], ["0"]]


async def test_a_restarted_worker_is_the_same_container(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    monkeypatch.setattr(docker_driver, "engine", lambda: engine)
    monkeypatch.setattr(docker_driver, "start_again", lambda _, container: engine.api.inspect_container(container))
    monkeypatch.setattr("chaos.cloud.docker_driver.os.kill", lambda pid, number: killed.append((pid, number)))
    killed: list[tuple[int, int]] = []
    driver = DockerDriver(config, CloudDirectory(tmp_path))
    instance = Instance(instance="i-00007", node="w3", node_type="gpu", state="running", handle="worker", address="old")
    again = await driver.restart(instance, NodeLaunch(argv=(), environment={}))
    assert (again.handle, again.address) == ("worker", "172.18.0.9")
    assert killed == [(1, signal.SIGKILL)]
    assert engine.made == []


def test_plain_compose_configures_itself(tmp_path: Path) -> None:
    directory = CloudDirectory(tmp_path / "state")
    given = {
        "RAYCHAOS_PROJECT": "mine",
        "RAYCHAOS_CLUSTER_SPEC": '{"max_workers": 2}',
        "RAYCHAOS_UID": str(tmp_path.stat().st_uid),
        "RAYCHAOS_GID": str(tmp_path.stat().st_gid),
    }
    bootstrap(directory, given)
    config = directory.load_config()
    assert (config.cluster, config.mark, config.driver) == ("mine", "mine", "docker")
    assert config.spec.max_workers == 2
    assert config.spec.dashboard
    assert config.first_lease_s is None, "kept until `docker compose down`"
    assert directory.token.stat().st_mode & 0o077 == 0


def test_a_spec_that_is_none_is_refused(tmp_path: Path) -> None:
    given = {"RAYCHAOS_PROJECT": "mine", "RAYCHAOS_CLUSTER_SPEC": '{"max_wrokers": 2}'}
    with pytest.raises(InvalidSpec, match="max_wrokers"):
        bootstrap(CloudDirectory(tmp_path), given)


async def test_a_head_is_started_again_once_it_has_ended_and_must_keep_its_address(
    config: CloudConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked = Engine(), list[tuple[str, str]]()
    engine.api.wait = lambda container, **_: asked.append(("wait", container))
    engine.api.start = lambda container: asked.append(("start", container))
    monkeypatch.setattr(docker_driver, "engine", lambda: engine)
    driver = DockerDriver(config, CloudDirectory(tmp_path))
    head = Instance(instance="head", node="head", node_type="head", state="running", handle="worker")
    launch = NodeLaunch(argv=("ray", "start"), environment={})
    again = await driver.restart_head(head.model_copy(update={"address": "172.18.0.9"}), launch)
    assert (again.handle, again.address) == ("worker", "172.18.0.9")
    assert asked == [("wait", "worker"), ("start", "worker")]
    with pytest.raises(ClusterError, match=r"came back at 172\.18\.0\.9, its nodes know it at 172\.18\.0\.2"):
        await driver.restart_head(head.model_copy(update={"address": "172.18.0.2"}), launch)
