"""What a machine can do: the values that `raychaos doctor` fills in and reports."""

from __future__ import annotations

from typing import Literal, TypeAlias

from chaos.value import Value

State: TypeAlias = Literal["ok", "warning", "problem"]


class KernelFeature(Value):
    """One thing the kernel may do; `found_by` says how that was found: `probe`, `config`, `modules`, `proc`.

    `unknown`: it could not be tried, and nothing tells; then it is not `available`, and not known to be lacking.
    """

    name: str
    available: bool
    found_by: str
    detail: str = ""


class Kernel(Value):
    """A kernel's release, its cgroup hierarchy, and the features that faults may need."""

    release: str
    cgroup: Literal["v1", "v2", "hybrid", "none"]
    features: tuple[KernelFeature, ...]

    def has(self, *names: str) -> bool:
        """Whether all of the named features are there; one that was never looked for is not."""
        found = {feature.name for feature in self.features if feature.available}
        return all(name in found for name in names)

    def lacks(self, *names: str) -> tuple[str, ...]:
        """Those of the named features that are known not to be there."""
        missing = {item.name for item in self.features if not item.available and item.found_by != "unknown"}
        return tuple(name for name in names if name in missing)


class Gpu(Value):
    """A GPU as `nvidia-smi` lists it; memory in MiB."""

    name: str
    memory_total_mb: int
    memory_free_mb: int
    driver: str


class Engine(Value):
    """The Docker engine and Compose. Empty versions: not there, or not reachable, and `error` says why."""

    client_version: str = ""
    server_version: str = ""
    compose_version: str = ""
    error: str = ""
    denied: bool = False
    kernel: str = ""
    cgroup_version: str = ""
    gpu_runtime: bool = False

    @property
    def reachable(self) -> bool:
        """Whether the engine answered."""
        return bool(self.server_version)


class Room(Value):
    """What is free on this machine now; cores as this process may use them, sizes in MB (10^6 bytes)."""

    cores: float
    cores_free: float
    memory_total_mb: int
    memory_free_mb: int
    disk_free_mb: int
    disk_path: str
    shm_free_mb: int | None


class Facts(Value):
    """What was found, before anything is concluded from it. A package that is not installed has no version."""

    raychaos: str
    python: str
    packages: dict[str, str | None]
    torch_cuda: str | None
    gpus: tuple[Gpu, ...]
    engine: Engine
    kernel: Kernel
    room: Room
    leftovers: tuple[str, ...]


class Finding(Value):
    """One conclusion: `remedy` says what to do where the state is not `ok`."""

    about: str
    state: State
    detail: str
    remedy: str = ""


class FaultOutlook(Value):
    """Whether a fault can be made on a kind of cluster here: in which form, or why not."""

    fault: str
    summary: str
    available: bool
    form: str = ""
    why_not: str = ""


class ClusterOutlook(Value):
    """Whether a kind of cluster can run here, and which faults it can be given."""

    kind: str
    available: bool
    why_not: str = ""
    faults: tuple[FaultOutlook, ...] = ()


class Examination(Value):
    """Everything `raychaos doctor` says."""

    facts: Facts
    findings: tuple[Finding, ...]
    clusters: tuple[ClusterOutlook, ...]

    @property
    def usable(self) -> bool:
        """Whether at least one kind of cluster can run here."""
        return any(cluster.available for cluster in self.clusters)
