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


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


NodeHarm: TypeAlias = (
    FrozenNode | NetworkShape | CpuThrottle | MemoryPressure | FileLimit | StoreFill | DiskFill | DiskThrottle
)
CloudHarm: TypeAlias = LaunchFault
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
