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


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


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


NodeHarm: TypeAlias = FrozenNode | NetworkShape
CloudHarm: TypeAlias = LaunchFault | ConfigChange | RpcFault
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
