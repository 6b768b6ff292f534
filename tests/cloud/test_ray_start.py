"""How Ray is started on a node: what the node type's resources become."""

from __future__ import annotations

import json

from chaos.cloud.config import CloudConfig
from chaos.cloud.ray_start import worker_launch
from chaos.cluster_spec import ClusterSpec, NodeType


def argv(**resources: float) -> tuple[str, ...]:
    spec = ClusterSpec(node_types={"some": NodeType(resources=resources)})
    config = CloudConfig(cluster="toy", mark="toy#1", driver="process", spec=spec)
    launch = worker_launch(config, instance="i-00001", node_type="some", gcs_address="127.0.0.1:1", address="127.0.0.2")
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
