"""The containers of a Compose project as seen from the Cloud's own: which it is, and what a worker's is to be like."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.errors import NotFound
from docker.types import DeviceRequest, Mount

from chaos.cloud.bootstrap import node_user
from chaos.cloud.config import CONTAINER_ROOT, SPILL_DIRECTORY
from chaos.cloud.containers import (
    CLUSTER_LABEL,
    DIRECTORY_LABEL,
    HASH_LABEL,
    INSTANCE_LABEL,
    MARK_LABEL,
    NUMBER_LABEL,
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
)
from chaos.cloud.cpu_limit import PERIOD_US, quota_us
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import Instance
from chaos.errors import ClusterError

WORKER = "worker"
NODE_TYPE_LABEL = "raychaos.node_type"

_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
# Ray's directory lies in the cluster's, behind a path short enough for its sockets.
_ENTRY = (
    'mkdir -p "$0/ray" && ln -sfn "$0/ray" /tmp/ray && '
    'exec python -m chaos.cloud.node_process - 0 0 - "$@" --node-ip-address="$(hostname -i)"'
)


class OwnContainer:
    """The container this process runs in, as the engine describes it.

    Raises:
        ClusterError: it runs in none that the engine knows.
    """

    def __init__(self, engine: Any) -> None:
        try:
            self._found: dict[str, Any] = engine.api.inspect_container(socket.gethostname())
        except NotFound:
            raise ClusterError(
                "the Cloud of a compose cluster must itself run in a container of the project, with its id as host name"
            ) from None
        self.image = self._image(engine)

    @property
    def id(self) -> str:
        """The container's id."""
        return str(self._found["Id"])

    @property
    def project(self) -> str:
        """The Compose project's name."""
        return str(self.labels[PROJECT_LABEL])

    @property
    def labels(self) -> dict[str, str]:
        """The container's labels."""
        return dict(self._found["Config"]["Labels"])

    @property
    def network(self) -> str:
        """The name of the project's network."""
        return str(next(iter(self._found["NetworkSettings"]["Networks"])))

    @property
    def address(self) -> str:
        """The container's address in that network."""
        return self.address_of(self._found)

    def address_of(self, found: Mapping[str, Any]) -> str:
        """Another container's address in that network, from what the engine says of it."""
        return str(found["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def state_mount(self) -> Mount:
        """What is mounted here at the cluster's directory."""
        for mount in self._found["Mounts"]:
            if mount["Destination"] == CONTAINER_ROOT:
                bound = mount["Type"] == "bind"
                return Mount(CONTAINER_ROOT, mount["Source"] if bound else mount["Name"], type=mount["Type"])
        raise ClusterError(f"the Cloud's container has nothing mounted at {CONTAINER_ROOT}")

    def _image(self, engine: Any) -> str:
        """The image this container was made from: by name, for people, where the name still means it."""
        name, exact = str(self._found["Config"]["Image"]), str(self._found["Image"])
        try:
            return name if engine.images.get(name).id == exact else exact
        except NotFound:
            return exact


class WorkerContainers:
    """What the engine is told of each worker: what compose.yaml says of one, with the node type's limits."""

    def __init__(self, own: OwnContainer, engine: Any, *, cluster: str, mark: str) -> None:
        self._own = own
        self._engine = engine
        self._cluster = cluster
        self._mark = mark
        self._gpus: dict[str, tuple[str, ...]] = {}

    def describe(self, instance: Instance, launch: NodeLaunch, *, environment: Mapping[str, str]) -> dict[str, Any]:
        """The arguments with which the instance's container is made; `environment` is beside the launch's own."""
        node_type = instance.shape
        assert node_type is not None
        number = int(instance.instance.removeprefix("i-"))
        uid, gid = node_user()
        disk_mb = node_type.disk_limit_mb
        memory = f"{node_type.memory_limit_mb}m"
        return {
            "image": self._own.image,
            "name": f"{self._own.project}-{WORKER}-{number}",
            "hostname": instance.instance,
            "command": ["sh", "-c", _ENTRY, f"{CONTAINER_ROOT}/nodes/{instance.instance}", *launch.argv],
            "environment": {**environment, **launch.environment},
            "labels": self._labels(instance, number),
            "network": self._own.network,
            "mounts": [self._own.state_mount()],
            "user": f"{uid}:{gid}",
            "init": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "shm_size": f"{node_type.shm_mb}m",
            "tmpfs": {SPILL_DIRECTORY: f"size={disk_mb}m,mode=1777"} if disk_mb is not None else None,
            "mem_limit": memory,
            "memswap_limit": memory,
            # Not nano_cpus: a container that was made with those takes no quota later.
            "cpu_period": PERIOD_US,
            "cpu_quota": quota_us(node_type.cpu_limit),
            "device_requests": self._device_requests(instance, node_type.resources.get("GPU", 0.0)),
        }

    def ended(self, instance: Instance) -> None:
        """Its GPUs are free."""
        self._gpus.pop(instance.instance, None)

    def _labels(self, instance: Instance, number: int) -> dict[str, str]:
        return {
            PROJECT_LABEL: self._own.project,
            SERVICE_LABEL: WORKER,
            NUMBER_LABEL: str(number),
            ONE_OFF_LABEL: "False",
            # Without one, Compose takes the container for none of its own; the Cloud's serves.
            HASH_LABEL: self._own.labels.get(HASH_LABEL, "raychaos"),
            CLUSTER_LABEL: self._cluster,
            MARK_LABEL: self._mark,
            DIRECTORY_LABEL: self._own.labels.get(DIRECTORY_LABEL, ""),
            NODE_TYPE_LABEL: instance.node_type,
            INSTANCE_LABEL: instance.instance,
        }

    def _device_requests(self, instance: Instance, wanted: float) -> list[DeviceRequest] | None:
        """Real GPUs where the host has them, the least shared first; otherwise a node's GPUs are logical."""
        if wanted < 1 or not _NVIDIA_GPUS.is_dir() or "nvidia" not in self._engine.info().get("Runtimes", {}):
            return None
        devices = [str(number) for number in range(len(list(_NVIDIA_GPUS.iterdir())))]
        taken = [device for held in self._gpus.values() for device in held]
        chosen = tuple(sorted(devices, key=taken.count)[: int(wanted)])
        self._gpus[instance.instance] = chosen
        return [DeviceRequest(device_ids=list(chosen), capabilities=[["gpu"]])]
