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


class LaunchFault(Value):
    """What the Cloud does to launches: hold each for `delay_s`, or answer `error`.

    It hits the first `count` instances asked for, and no more, however many one request asks for.
    """

    kind: Literal["launch_fault"] = "launch_fault"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)
    delay_s: float = Field(default=0.0, ge=0.0)
    error: str | None = None


NodeHarm: TypeAlias = FrozenNode | NetworkShape
CloudHarm: TypeAlias = LaunchFault
Harm: TypeAlias = Annotated[NodeHarm | CloudHarm, Field(discriminator="kind")]
