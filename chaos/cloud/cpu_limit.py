"""Makes a container obey limits of its CPU time, through the engine, which knows the control groups it made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from chaos.cloud.instances import Instance
from chaos.cluster import Gauges
from chaos.errors import InjectionError
from chaos.harm import CpuThrottle, NodeHarm
from chaos.value import Value

PERIOD_US = 100_000
_NO_QUOTA = -1
# The kernel takes no less than a millisecond.
_LEAST_QUOTA_US = 1000


def quota_us(cores: float | None) -> int:
    """The CPU time a period that this many cores are; without a limit, -1 as the engine writes that."""
    return _NO_QUOTA if cores is None else max(_LEAST_QUOTA_US, round(cores * PERIOD_US))


class CpuLimiter:
    """The least of a node's usual limit and those in force; remembers it, so that nothing to do costs nothing.

    `set_quota` tells the engine, and says whether it knew the container. The usual limit is the node type's.
    """

    kinds: tuple[type[Value], ...] = (CpuThrottle,)

    def __init__(
        self, usual: Callable[[Instance], float | None], set_quota: Callable[[Instance, int], Awaitable[bool]]
    ) -> None:
        self._usual = usual
        self._set_quota = set_quota
        self._applied: dict[str, int] = {}

    def started(self, instance: Instance) -> None:
        """A node that has just been started has its usual limit."""
        self._applied[instance.handle] = quota_us(self._usual(instance))

    def ended(self, handle: str) -> None:
        """The node is gone."""
        self._applied.pop(handle, None)

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a limit has no peers
        """Tells the engine what the node may use now, where that is not what it may use already."""
        usual = self._usual(instance)
        wanted = quota_us(
            min(
                (cores for cores in (usual, *(h.cores for h in harms if isinstance(h, CpuThrottle))) if cores),
                default=None,
            )
        )
        if self._applied.get(instance.handle) == wanted:
            return
        self._applied.pop(instance.handle, None)
        if await self._set_quota(instance, wanted):
            self._applied[instance.handle] = wanted
        elif harms:
            raise InjectionError(f"node {instance.node} is gone")

    def seen(self, instance: Instance, gauges: Gauges) -> list[str]:
        """Whether the kernel gives the node less than it usually has."""
        limit, usual = gauges.cpu_limit_cores, self._usual(instance)
        lowered = limit is not None and (usual is None or quota_us(limit) < quota_us(usual))
        return [f"CPU limited to {limit:g} cores"] if lowered else []
