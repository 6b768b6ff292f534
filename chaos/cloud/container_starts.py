"""Starting what has ended: a container as it was, and a program in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import NotFound

from chaos.cloud.bootstrap import node_user
from chaos.errors import ClusterError

_END_LIMIT_S = 10.0


def start_again(engine: Any, container: str) -> dict[str, Any]:
    """Starts a container that is ending, as soon as it has ended; returns how the engine describes it then.

    Raises:
        ClusterError: it has been removed, or ended once more as it started.
    """
    try:
        engine.api.wait(container, timeout=_END_LIMIT_S)
        engine.api.start(container)
        found: dict[str, Any] = engine.api.inspect_container(container)
    except NotFound as error:
        raise ClusterError(f"container {container[:12]} is gone and cannot be started again") from error
    if not found["State"]["Running"]:
        raise ClusterError(f"container {container[:12]} ended as it was started again")
    return found


def start_in(engine: Any, container: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Starts a program in a running container, as whom the nodes run, and lets it be."""
    uid, gid = node_user()
    made = engine.api.exec_create(
        container, list(argv), stdout=False, stderr=False, environment=dict(environment), user=f"{uid}:{gid}"
    )
    engine.api.exec_start(made["Id"], detach=True)
