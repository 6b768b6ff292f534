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


DeviceMode: TypeAlias = Literal["out_of_memory", "ecc_error", "lost", "hang", "slow"]


class DeviceFault(Value):
    """Work on the node's GPU fails as torch would say it, never ends, or takes `factor` times as long."""

    kind: Literal["device_fault"] = "device_fault"
    mode: DeviceMode
    factor: float = Field(default=1.0, ge=1.0)


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


NodeHarm: TypeAlias = FrozenNode | NetworkShape | DeviceFault
CloudHarm: TypeAlias = LaunchFault
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
