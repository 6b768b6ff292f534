"""How Ray is started: what the head and workers are told."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cloud.ray_start import head_launch, worker_launch
from chaos.cluster_spec import ClusterSpec, NodeType
from tests.cloud.fake_driver import CONFIG, SPEC

DIRECTORY = CloudDirectory(Path("/clusters/toy"))


def test_the_head_gets_the_limits_in_force_and_a_gcs_that_keeps_what_it_knows() -> None:
    spec = SPEC.model_copy(update={"gcs_storage": "rocksdb", "max_workers": 9})
    config = CONFIG.model_copy(update={"spec": spec})
    launch = head_launch(config, DIRECTORY, cloud_url="http://cloud", address="127.0.0.1", port_of=lambda _: 1)
    assert launch.environment["RAY_gcs_storage"] == "rocksdb"
    assert launch.environment["RAY_gcs_storage_path"] == "/clusters/toy/nodes/head/gcs"
    [(path, text)] = launch.files.items()
    assert path == "/clusters/toy/cloud/autoscaling.yaml"
    assert f"--autoscaling-config={path}" in launch.argv
    assert yaml.safe_load(text)["max_workers"] == 9


def test_a_gcs_in_redis_is_told_where_it_is_and_its_password(tmp_path: Path) -> None:
    directory = CloudDirectory(tmp_path)
    config = CONFIG.model_copy(update={"spec": SPEC.model_copy(update={"gcs_storage": "redis"})})
    directory.create(config, token="t", ray_token="secret")
    launch = head_launch(config, directory, cloud_url="http://cloud", address="", port_of=lambda _: 1)
    assert launch.environment["RAY_REDIS_ADDRESS"] == "redis:6379"
    [given] = [word.removeprefix("--redis-password=") for word in launch.argv if word.startswith("--redis-password=")]
    assert f"requirepass {given}" in directory.redis.read_text().splitlines()
    assert "secret" not in given, "an argument is no place for the token"
    assert directory.redis.stat().st_mode & 0o777 == 0o600


def test_a_gcs_in_memory_is_ray_s_own_default() -> None:
    launch = head_launch(CONFIG, DIRECTORY, cloud_url="http://cloud", address="127.0.0.1", port_of=lambda _: 1)
    assert not {"RAY_gcs_storage", "RAY_REDIS_ADDRESS"} & set(launch.environment)


def test_a_worker_has_what_its_type_was_when_it_was_asked_for() -> None:
    shape = NodeType(resources={"CPU": 8.0, "spare": 2.0})
    worker = Instance(instance="i-00001", node="w1", node_type="gone", state="pending", shape=shape)
    launch = worker_launch(CONFIG, worker, gcs_address="head:6379", address="")
    assert {"--num-cpus=8", "--num-gpus=0", '--resources={"spare": 2.0}'} <= set(launch.argv)
    assert launch.environment["RAY_NODE_TYPE_NAME"] == "gone"


def argv(**resources: float) -> tuple[str, ...]:
    spec = ClusterSpec(node_types={"some": NodeType(resources=resources)})
    config = CloudConfig(cluster="toy", mark="toy#1", driver="process", spec=spec)
    shape = spec.node_types["some"]
    worker = Instance(instance="i-00001", node="w1", node_type="some", state="pending", shape=shape)
    launch = worker_launch(config, worker, gcs_address="127.0.0.1:1", address="127.0.0.2")
    return launch.argv


def test_cpus_gpus_and_memory_have_flags_of_their_own_and_the_rest_is_custom() -> None:
    words = argv(CPU=2, GPU=1, memory=1e9, disk=3)
    assert {"--num-cpus=2", "--num-gpus=1", "--memory=1000000000"} <= set(words)
    (custom,) = [json.loads(word.removeprefix("--resources=")) for word in words if word.startswith("--resources=")]
    assert custom == {"disk": 3}


def test_what_is_not_given_is_left_to_ray_but_for_cpus_and_gpus() -> None:
    words = argv(CPU=1)
    assert "--num-gpus=0" in words
    assert not [word for word in words if word.startswith(("--memory", "--resources"))]
