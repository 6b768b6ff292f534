"""The harm a Cloud can do and hold in force: one frozen class per kind.

Harm on a node is enforced where the node runs; harm on the Cloud changes how it answers Ray's autoscaler. Either is
applied under an effect id and a lease, and is gone once that id is undone or the lease has ended.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from chaos.value import Value


class FrozenNode(Value):
    """No process of the node is scheduled."""

    kind: Literal["frozen_node"] = "frozen_node"


class NetworkShape(Value):
    """A node's network has a rate limit both ways, or no packets to and from the nodes `cut_from`."""

    kind: Literal["network_shape"] = "network_shape"
    rate_mbit: float | None = Field(default=None, gt=0.0)
    cut_from: tuple[str, ...] = ()


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


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


NodeHarm: TypeAlias = FrozenNode | NetworkShape | StoppedProcesses | EndedProcess | EndingNode
CloudHarm: TypeAlias = LaunchFault
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
