"""What cluster a run wants: node types, limits, timings. The defaults make a run short on two cores."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from chaos.events import Resources
from chaos.value import Value

Amount = Annotated[float, Field(ge=0.0)]


class NodeType(Value):
    """One kind of worker: logical resources, how many, and the limits of its container (compose only)."""

    resources: dict[str, Amount] = Field(min_length=1)
    min_workers: int = Field(default=0, ge=0)
    max_workers: int = Field(default=4, ge=0)
    idle_timeout_s: float | None = Field(default=None, gt=0.0)
    memory_limit_mb: int = Field(default=2048, ge=512)
    cpu_limit: float | None = Field(default=None, gt=0.0)
    shm_mb: int = Field(default=256, ge=64)
    disk_limit_mb: int | None = Field(default=None, ge=16)

    @model_validator(mode="after")
    def _ordered(self) -> NodeType:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is above max_workers {self.max_workers}")
        return self

    def holds(self, bundle: Resources) -> int:
        """How many bundles of this shape one node holds."""
        asked = {name: amount for name, amount in bundle.items() if amount > 0}
        if not asked:
            return 1
        return int(min(math.floor(self.resources.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items()))


class HealthCheck(Value):
    """How the GCS finds dead nodes; Ray's own defaults are 5000, 3000, 10000 and 5."""

    initial_delay_ms: int = Field(default=2000, ge=0)
    period_ms: int = Field(default=1000, ge=100)
    timeout_ms: int = Field(default=2000, ge=100)
    failure_threshold: int = Field(default=5, ge=1)

    @property
    def detection_s(self) -> float:
        """The longest a silent node stays undetected, in seconds."""
        return (self.initial_delay_ms + (self.period_ms + self.timeout_ms) * self.failure_threshold) / 1000.0


class ClusterSpec(Value):
    """The cluster under test.

    `autoscaler` is Ray's: v2, or the older v1. `update_interval_s` is whole seconds, as Ray takes it.
    """

    kind: Literal["local", "compose"] = "local"
    autoscaler: Literal["v1", "v2"] = "v2"
    head_resources: dict[str, Amount] = Field(default_factory=lambda: {"CPU": 1.0})
    node_types: dict[str, NodeType] = Field(
        default_factory=lambda: {"gpu": NodeType(resources={"CPU": 2.0, "GPU": 1.0})}, min_length=1
    )
    max_workers: int = Field(default=4, ge=0)
    idle_timeout_s: float = Field(default=6.0, gt=0.0)
    upscaling_speed: float = Field(default=10.0, ge=0.0)
    update_interval_s: int = Field(default=1, ge=1)
    health_check: HealthCheck = HealthCheck()
    object_store_mb: int = Field(default=100, ge=80)
    start_limit_s: float = Field(default=90.0, gt=0.0)
    dashboard: bool = False
    ray_version: str | None = None
    base_image: str = "debian:bookworm-slim"
    ray_environment: dict[str, str] = Field(default_factory=dict)

    @property
    def min_workers(self) -> int:
        """How many workers an idle cluster keeps."""
        return sum(node_type.min_workers for node_type in self.node_types.values())

    @property
    def worker_limit(self) -> int:
        """The most workers the cluster may have, of all types together."""
        return min(self.max_workers, sum(node_type.max_workers for node_type in self.node_types.values()))

    def idle_timeout_of(self, node_type: str) -> float:
        """How many seconds a worker of this type stays idle before the autoscaler ends it."""
        kind = self.node_types.get(node_type)
        own_s = kind.idle_timeout_s if kind else None
        return self.idle_timeout_s if own_s is None else own_s

    @model_validator(mode="after")
    def _possible(self) -> ClusterSpec:
        if "head" in self.node_types:
            raise ValueError("a node type cannot be called 'head'")
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"the node types' min_workers add up to {self.min_workers}, above max_workers {self.max_workers}"
            )
        return self
