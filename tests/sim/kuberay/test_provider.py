"""What the twin's monitor on KubeRay is given: in fast mode a configuration that is made only when it must be."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from ray.autoscaler._private.kuberay import autoscaling_config

from chaos.sim.kuberay.provider import _FastProducer
from chaos.sim.kuberay.resource import NAMESPACE, ray_cluster
from tests.sim.kuberay.scene import SPEC


def test_a_configuration_is_made_anew_where_the_group_changes_in_more_than_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = 0
    theirs = autoscaling_config._derive_autoscaling_config_from_ray_cr

    def counted(ray_cr: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        return theirs(ray_cr)

    monkeypatch.setattr(autoscaling_config, "_derive_autoscaling_config_from_ray_cr", counted)
    resource = ray_cluster("ray", SPEC)
    produce = _FastProducer("ray", NAMESPACE)
    produce.kubernetes_api_client = SimpleNamespace(get=lambda _: copy.deepcopy(resource))
    group = resource["spec"]["workerGroupSpecs"][0]
    first = produce()
    group |= {"replicas": 3, "scaleStrategy": {"workersToDelete": ["ray-gpu-1"]}}
    assert produce() == first == theirs(resource)
    assert made == 1
    group["maxReplicas"] = 2
    assert produce() == theirs(resource) != first
    assert made == 2
