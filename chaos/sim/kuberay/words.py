"""What launch faults mean on Kubernetes: a refusal of the API, no quota for a pod, or no room for it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

UNSCHEDULABLE = "0/{nodes} nodes are available: {nodes} Insufficient {resource}."
"""What the scheduler says of a pod for which there is no room."""


@dataclass(frozen=True)
class Meaning:
    """What a refusal is here: with a `status`, an answer of the API to Ray; else it befalls pods.

    `quota`: no pod is created; else one that was created waits for room.
    """

    words: str = ""
    status: HTTPStatus | None = None
    quota: bool = False

    @property
    def is_for_room(self) -> bool:
        """Whether pods wait for room."""
        return self.status is None and not self.quota


_MEANINGS = MappingProxyType(
    {
        "InsufficientInstanceCapacity": Meaning(),
        "VcpuLimitExceeded": Meaning("forbidden: exceeded quota: compute-resources", quota=True),
        "RequestLimitExceeded": Meaning(
            "the server has received too many requests and has asked us to try again later",
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    }
)
_OTHERWISE = Meaning("Internal error occurred: etcdserver: request timed out", HTTPStatus.INTERNAL_SERVER_ERROR)


def meant(error: str) -> Meaning:
    """What a cloud's refusal, in the cloud's words, is on Kubernetes."""
    return _MEANINGS.get(error.partition(":")[0], _OTHERWISE)
