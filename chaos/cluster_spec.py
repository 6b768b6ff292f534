"""What cluster a run wants: node types, limits, timings. The defaults make a run short on two cores."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from chaos.events import ConfigChanged, Resources
from chaos.sim.latency import Latencies
from chaos.value import Value


def _whole(amount: float) -> float:
    if amount != math.floor(amount):
        raise ValueError(
            f"`ray start` gives a node whole numbers of a resource, not {amount:g}; allowed: 0, 1, 2, …; "
            "round it: tasks may still ask for parts of one"
        )
    return amount


def _settable(name: str) -> str:
    if name == "object_store_memory" or name.startswith("node:"):
        raise ValueError(
            f"a node's {name} cannot be given as a resource: Ray sets node:… itself, and object_store_memory is "
            "cluster.object_store_mb; leave it out"
        )
    return name


Amount = Annotated[float, Field(ge=0.0, json_schema_extra={"multipleOf": 1}), AfterValidator(_whole)]
ResourceName = Annotated[str, AfterValidator(_settable)]


class NodeType(Value):
    """One kind of worker: logical resources, how many, and the limits of its container (compose only).

    Resources are whole numbers, custom ones too: `ray start` takes no others (Ray 2.60, `ResourceAndLabelSpec`).
    On KubeRay workers come and go in replicas of so many `hosts`; the limits are of workers all the same.
    """

    resources: dict[ResourceName, Amount] = Field(min_length=1)
    min_workers: int = Field(default=0, ge=0)
    max_workers: int = Field(default=4, ge=0)
    idle_timeout_s: float | None = Field(default=None, gt=0.0)
    memory_limit_mb: int = Field(default=2048, ge=512)
    cpu_limit: float | None = Field(default=None, gt=0.0)
    shm_mb: int = Field(default=256, ge=64)
    disk_limit_mb: int | None = Field(default=None, ge=16)
    own_clock: bool = False
    hosts: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> NodeType:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is above max_workers {self.max_workers}")
        if self.min_workers % self.hosts or self.max_workers % self.hosts:
            raise ValueError(
                f"min_workers {self.min_workers} and max_workers {self.max_workers} must be whole replicas of "
                f"{self.hosts} hosts each"
            )
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


Provider: TypeAlias = Literal["cloud", "kuberay"]
"""What the twin launches nodes from."""


class TwinSpec(Value):
    """How the twin is run: `exact`, Ray's code untouched; or `fast`, with short cuts that take the same decisions.

    Nodes are launched from a `cloud` of machines, or as pods by `kuberay`: Ray's own provider for it, over a model of
    Kubernetes.
    """

    mode: Literal["exact", "fast"] = "exact"
    provider: Provider = "cloud"


class ClusterSpec(Value):
    """The cluster under test.

    `autoscaler` is Ray's: v2, or the older v1. `update_interval_s` is whole seconds, as Ray takes it. The workload's
    driver runs on the head, or on a node of the type `driver_on`, which has a minimum. `latencies` are those of the
    twin's model; without them it has its own.
    """

    kind: Literal["local", "compose", "sim"] = "local"
    autoscaler: Literal["v1", "v2"] = "v2"
    head_resources: dict[ResourceName, Amount] = Field(default_factory=lambda: {"CPU": 1.0})
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
    gcs_storage: Literal["memory", "rocksdb", "redis"] = "memory"
    driver_on: str = "head"
    ray_version: str | None = None
    base_image: str = "debian:bookworm-slim"
    ray_environment: dict[str, str] = Field(default_factory=dict)
    latencies: Latencies | None = None
    twin: TwinSpec = TwinSpec()

    @property
    def min_workers(self) -> int:
        """How many workers an idle cluster keeps."""
        return sum(node_type.min_workers for node_type in self.node_types.values())

    @property
    def worker_limit(self) -> int:
        """The most workers the cluster may have, of all types together."""
        return min(self.max_workers, sum(node_type.max_workers for node_type in self.node_types.values()))

    def room_for(self, bundle: Resources, *, apart: bool) -> int:
        """The most bundles of this shape that all the workers it may have hold at once; `apart`: one on each."""
        holding = {name: kind.holds(bundle) for name, kind in self.node_types.items()}
        kept = sum(kind.min_workers for name, kind in self.node_types.items() if not holding[name])
        rooms = [
            min(1, holding[name]) if apart else holding[name]
            for name, kind in self.node_types.items()
            for _ in range(kind.max_workers)
        ]
        return sum(sorted(rooms, reverse=True)[: max(0, self.max_workers - kept)])

    def room_kept_for(self, bundle: Resources, *, apart: bool) -> int:
        """The bundles of this shape that the workers that are always there hold at once; `apart`: one on each."""
        rooms = ((kind.holds(bundle), kind.min_workers) for kind in self.node_types.values())
        return sum((min(1, holds) if apart else holds) * count for holds, count in rooms)

    @property
    def on_kuberay(self) -> bool:
        """Whether its nodes are pods of a RayCluster."""
        return self.kind == "sim" and self.twin.provider == "kuberay"

    def as_groups(self) -> ClusterSpec:
        """The cluster as worker groups of a RayCluster have it; on KubeRay, else as it is.

        Each group has limits of its own, at most the cluster's, in whole replicas; all together have none.
        """
        if not self.on_kuberay:
            return self
        types = {}
        for name, kind in self.node_types.items():
            most = min(kind.max_workers, self.max_workers) // kind.hosts * kind.hosts
            least = min(math.ceil(kind.min_workers / kind.hosts) * kind.hosts, most)
            types[name] = kind.model_copy(update={"min_workers": least, "max_workers": most})
        total = sum(kind.max_workers for kind in types.values())
        return self.model_copy(update={"node_types": types, "max_workers": total})

    def edited(self, edit: ConfigChanged) -> ClusterSpec:
        """The cluster with what an edit of the autoscaler's configuration has put in force."""
        types = {
            name: self.node_types.get(name, NodeType(resources=kind.resources)).model_copy(update=dict(kind))
            for name, kind in edit.node_types.items()
        }
        totals = {"max_workers": edit.max_workers, "idle_timeout_s": edit.idle_timeout_s}
        return self.model_copy(update={**totals, "node_types": types})

    def idle_timeout_of(self, node_type: str) -> float:
        """How many seconds a worker of this type stays idle before the autoscaler ends it."""
        kind = self.node_types.get(node_type)
        own_s = kind.idle_timeout_s if kind else None
        return self.idle_timeout_s if own_s is None else own_s

    @model_validator(mode="after")
    def _possible(self) -> ClusterSpec:
        if self.kind == "sim" and self.autoscaler == "v1":
            raise ValueError("the twin steps Ray's autoscaler v2, which v1 has nothing of: use kind local or compose")
        if self.latencies is not None and self.kind != "sim":
            raise ValueError(
                f"latencies are of the twin's model, and a {self.kind} cluster takes its own time: use sim"
            )
        if self.gcs_storage == "redis" and self.kind == "local":
            raise ValueError("gcs_storage: redis is a server in a container: use kind compose, or rocksdb")
        for name in ("head", "headgroup") if self.on_kuberay else ("head",):
            if name in self.node_types:
                raise ValueError(f"a node type cannot be called {name!r}")
        if not self.on_kuberay and (many := [name for name, kind in self.node_types.items() if kind.hosts > 1]):
            raise ValueError(
                f"node type {many[0]!r} has several hosts a replica, which only KubeRay has: use kind sim with "
                "twin.provider kuberay"
            )
        if self.driver_on != "head":
            kind = self.node_types.get(self.driver_on)
            # The driver holds no resources: of more nodes than the minimum, Ray may take its node for an idle one.
            if kind is None or not 1 <= kind.min_workers == kind.max_workers:
                raise ValueError(
                    f"driver_on {self.driver_on!r} must be 'head', or a node type whose min_workers is its max_workers"
                    " and not 0"
                )
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"the node types' min_workers add up to {self.min_workers}, above max_workers {self.max_workers}"
            )
        return self
