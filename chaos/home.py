"""Where raychaos keeps clusters, baselines, wheels and releases of Ray between commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

from chaos.errors import InvalidSpec

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def home() -> Path:
    """`$RAYCHAOS_HOME`, else `$XDG_STATE_HOME/raychaos`, else `~/.local/state/raychaos`."""
    given = os.environ.get("RAYCHAOS_HOME")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "raychaos"


def cluster_root(name: str) -> Path:
    """The directory of the cluster with this name.

    Raises:
        InvalidSpec: the name is no lower-case label.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSpec(f"cluster name {name!r}: use lower-case letters, digits and dashes, at most 31")
    return home() / "clusters" / name


def cluster_names() -> tuple[str, ...]:
    """Names of all clusters that have a directory."""
    parent = home() / "clusters"
    if not parent.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in parent.iterdir() if (entry / "cluster.json").is_file()))
