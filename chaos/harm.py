"""The harm a Cloud can do and hold in force: one frozen class per kind.

Harm on a node is enforced where the node runs; harm on the Cloud changes how it answers Ray's autoscaler. Either is
applied under an effect id and a lease, and is gone once that id is undone or the lease has ended.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from chaos.value import Value


class FrozenNode(Value):
    """No process of the node is scheduled."""

    kind: Literal["frozen_node"] = "frozen_node"


Direction: TypeAlias = Literal["both", "in", "out"]


class NetworkShape(Value):
    """What becomes of the packets a node exchanges with `peers`, at `ports`; several shapes on one node add up.

    `peers` are nodes by name, or `cloud`; None: whoever it is. `ports` are of TCP and UDP, at either end; none: every
    packet. Of `direction`, `out` is what the node sends. A rate is of the whole node, both ways.

    Every packet is held `delay_ms`, give or take up to `jitter_ms`, of which `correlation_percent` is that of the
    packet before; their order stays. Of each hundred packets `loss_percent` are lost, `duplicate_percent` come twice,
    `corrupt_percent` with one bit changed, and `reorder_percent` so many `reorder_ms` later than they would have.
    `cut`: none comes; `reset`: TCP connections end. With `down_s` and `up_s` a cut is in force and not, in turn.
    """

    kind: Literal["network_shape"] = "network_shape"
    peers: tuple[str, ...] | None = None
    ports: tuple[int, ...] = ()
    direction: Direction = "both"
    rate_mbit: float | None = Field(default=None, gt=0.0)
    delay_ms: float = Field(default=0.0, ge=0.0)
    jitter_ms: float = Field(default=0.0, ge=0.0)
    correlation_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    loss_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    duplicate_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    corrupt_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    reorder_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    reorder_ms: float = Field(default=0.0, ge=0.0)
    cut: bool = False
    reset: bool = False
    down_s: float = Field(default=0.0, ge=0.0)
    up_s: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _a_rate_is_of_the_whole_node(self) -> NetworkShape:
        if self.rate_mbit is not None and (self.peers is not None or self.ports or self.direction != "both"):
            raise ValueError("a rate is of the whole node: give no peers, ports or direction with rate_mbit")
        return self


DeviceMode: TypeAlias = Literal["out_of_memory", "ecc_error", "lost", "hang", "slow"]


class DeviceFault(Value):
    """Work on the node's GPU fails as torch would say it, never ends, or takes `factor` times as long."""

    kind: Literal["device_fault"] = "device_fault"
    mode: DeviceMode
    factor: float = Field(default=1.0, ge=1.0)


Role: TypeAlias = Literal[
    "raylet",
    "worker",
    "dashboard_agent",
    "runtime_env_agent",
    "gcs_server",
    "monitor",
    "driver",
]
"""What a process of a node is there for: one of Ray's own (`monitor` is the autoscaler), or a job's `driver`."""

MODELLED_ROLES: frozenset[Role] = frozenset(("gcs_server", "monitor"))
"""Those that the twin's model can stop while the rest of the node runs."""


class StoppedProcesses(Value):
    """Those of a node's processes that have this role are not scheduled; one that starts later is."""

    kind: Literal["stopped_processes"] = "stopped_processes"
    role: Role


class EndedProcess(Value):
    """The node's process of this role is dead; where it is to `restart`, it runs again once this is undone."""

    kind: Literal["ended_process"] = "ended_process"
    role: Literal["monitor"]
    restart: bool


class EndingNode(Value):
    """The node has been told that it will end, and is ended by force when this is undone or its lease ends.

    It is told by Ray's drain notice of a preemption `notice_s` ahead, or by SIGTERM.
    """

    kind: Literal["ending_node"] = "ending_node"
    told_by: Literal["drain_notice", "sigterm"]
    notice_s: float = Field(gt=0.0)


class CpuThrottle(Value):
    """All of the node together gets at most so many cores' worth of CPU time."""

    kind: Literal["cpu_throttle"] = "cpu_throttle"
    cores: float = Field(ge=0.01)


class MemoryPressure(Value):
    """A process of the node holds `mb` of memory, or so much that the node's is `until_percent` full at the start."""

    kind: Literal["memory_pressure"] = "memory_pressure"
    mb: int | None = Field(default=None, ge=1)
    until_percent: float | None = Field(default=None, gt=0.0, le=100.0)


class FileLimit(Value):
    """Each of the node's Ray processes may open `spare` files more than it has open now, and no more."""

    kind: Literal["file_limit"] = "file_limit"
    spare: int = Field(ge=0)


class StoreFill(Value):
    """A program on the node holds objects in its object store until that is `percent` full."""

    kind: Literal["store_fill"] = "store_fill"
    percent: float = Field(gt=0.0, le=100.0)


class DiskFill(Value):
    """A file fills the file system the node spills objects to until that is `until_percent` full."""

    kind: Literal["disk_fill"] = "disk_fill"
    until_percent: float = Field(gt=0.0, le=100.0)


class DiskThrottle(Value):
    """The node reads from its disk, and writes to it, at most so many megabytes (10^6) a second."""

    kind: Literal["disk_throttle"] = "disk_throttle"
    mb_per_s: float = Field(gt=0.0)


class ClockSkew(Value):
    """The time of day on the node is `offset_s` ahead of the machine's, or behind it."""

    kind: Literal["clock_skew"] = "clock_skew"
    offset_s: float


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    With `up_to_s` each delay is drawn, evenly between `delay_s` and that, and the same again from the same `stream`.
    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    up_to_s: float | None = Field(default=None, ge=0.0)
    stream: str = ""
    error: str | None = None


class CapacityLimit(Value):
    """There are at most `at_most` instances of each type (or of one `node_type`) at a time; more get `error`."""

    kind: Literal["capacity_limit"] = "capacity_limit"
    node_type: str | None = None
    at_most: int = Field(ge=0)
    error: str


class PartialLaunch(Value):
    """Of each request for several instances a `share`, at most `at_most`, is launched; the rest is answered `error`."""

    kind: Literal["partial_launch"] = "partial_launch"
    node_type: str | None = None
    share: float = Field(gt=0.0, lt=1.0)
    at_most: int | None = Field(default=None, ge=1)
    error: str


class LostReply(Value):
    """A request is carried out, and answered `error`; so are the first `requests`."""

    kind: Literal["lost_reply"] = "lost_reply"
    node_type: str | None = None
    requests: int | None = Field(default=None, ge=1)
    error: str


class DuplicatedLaunch(Value):
    """For each of the first `count` instances asked for, two are launched; the answer names one."""

    kind: Literal["duplicated_launch"] = "duplicated_launch"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)


class LateRay(Value):
    """The first `count` instances asked for run, and Ray starts on them `delay_s` later; without a delay, never.

    Instances on which Ray never starts are ended with the effect.
    """

    kind: Literal["late_ray"] = "late_ray"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float | None = Field(default=None, gt=0.0)


class TerminationFault(Value):
    """Terminations are answered `error`, or accepted and carried out `delay_s` later, at the latest with the effect."""

    kind: Literal["termination_fault"] = "termination_fault"
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


class Omission(Value):
    """An instance is missing from the first `answers` listings, or from all.

    One that is `lost` is also said not to exist when it is asked for, and is ended with the effect.
    """

    kind: Literal["omission"] = "omission"
    answers: int | None = Field(default=None, ge=1)
    lost: bool = False


class StaleListing(Value):
    """Listings show what was `age_s` ago; without an age, what was when the effect came into force."""

    kind: Literal["stale_listing"] = "stale_listing"
    age_s: float | None = Field(default=None, gt=0.0)


class Outage(Value):
    """Calls are not answered, answered `delay_s` late, or `percent` of them with an error, drawn from a `stream`."""

    kind: Literal["outage"] = "outage"
    mode: Literal["unreachable", "slow", "failing"]
    delay_s: float = Field(default=0.0, ge=0.0)
    percent: float = Field(default=100.0, gt=0.0, le=100.0)
    stream: str = ""


class PatchConflict(Value):
    """The first `patches` changes of a RayCluster that Ray asks for are answered with a conflict; without it, all."""

    kind: Literal["patch_conflict"] = "patch_conflict"
    patches: int | None = Field(default=None, ge=1)


class EndedOperator(Value):
    """Nobody keeps a RayCluster's pods as it says; who then does knows only what the API tells."""

    kind: Literal["ended_operator"] = "ended_operator"


class ConfigChange(Value):
    """What the autoscaler's configuration says of one node type or, without one, of the cluster; None: as it was.

    A type that the cluster has not is added; one that is `removed` is no longer there.
    """

    kind: Literal["config_change"] = "config_change"
    node_type: str | None = None
    min_workers: int | None = Field(default=None, ge=0)
    max_workers: int | None = Field(default=None, ge=0)
    idle_timeout_s: float | None = Field(default=None, gt=0.0)
    resources: dict[str, float] | None = Field(default=None, min_length=1)
    removed: bool = False


class RpcFault(Value):
    """On nodes that start while it is in force, calls of these methods of Ray (`*`: of all others) fail or run late."""

    kind: Literal["rpc_fault"] = "rpc_fault"
    methods: tuple[str, ...] = Field(min_length=1)
    request_failure_percent: int = Field(default=0, ge=0, le=100)
    response_failure_percent: int = Field(default=0, ge=0, le=100)
    min_delay_ms: int = Field(default=0, ge=0)
    max_delay_ms: int = Field(default=0, ge=0)


class LaggedViews(Value):
    """Ray's autoscaler is shown what nodes hold, and the tasks that wait, as they were `age_s` ago."""

    kind: Literal["lagged_views"] = "lagged_views"
    age_s: float = Field(gt=0.0)


class OmittedView(Value):
    """A node is missing from the first `answers` states of the cluster that Ray's autoscaler is shown, or from all."""

    kind: Literal["omitted_view"] = "omitted_view"
    answers: int | None = Field(default=None, ge=1)


class RefusedDrains(Value):
    """Nodes that are to end as idle refuse to, be they idle or not: the first `count` times, or always."""

    kind: Literal["refused_drains"] = "refused_drains"
    count: int | None = Field(default=None, ge=1)


ProcessHarm: TypeAlias = StoppedProcesses | EndedProcess | EndingNode
ResourceHarm: TypeAlias = CpuThrottle | MemoryPressure | FileLimit | StoreFill | DiskFill | DiskThrottle | ClockSkew
NodeHarm: TypeAlias = FrozenNode | NetworkShape | DeviceFault | ProcessHarm | ResourceHarm
LaunchHarm: TypeAlias = LaunchFault | CapacityLimit | PartialLaunch | LostReply | DuplicatedLaunch | LateRay
AnswerHarm: TypeAlias = TerminationFault | Omission | StaleListing | Outage
ViewHarm: TypeAlias = LaggedViews | OmittedView | RefusedDrains
KubeRayHarm: TypeAlias = PatchConflict | EndedOperator
CloudHarm: TypeAlias = LaunchHarm | AnswerHarm | ConfigChange | RpcFault | ViewHarm | KubeRayHarm
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
