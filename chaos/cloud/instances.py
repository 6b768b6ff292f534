"""Instances and effects: the Cloud's state, kept on disk so that it survives the Cloud's own restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from chaos.cloud.config import write_durably
from chaos.cluster_spec import NodeType
from chaos.harm import Harm
from chaos.value import Value

State = Literal["pending", "running", "stopping", "terminated"]


class Fate(Value):
    """What launch faults have in store for one instance.

    It boots `delay_s` late, and, where instances can wait for room, not while the effect `roomless` is in force. Ray
    starts on it `ray_delay_s` after it runs, or never while the effect `rayless` is in force. Nobody has `asked` for a
    duplicate.
    """

    delay_s: float = 0.0
    ray_delay_s: float = 0.0
    rayless: str = ""
    roomless: str = ""
    asked: bool = True


class Instance(Value):
    """One instance. Times are of this machine's monotonic clock; `handle` is the driver's name for what runs.

    The API never knows again of one that is `lost`. Its end waits until `end_at_monotonic_s`, but not longer than the
    effect `end_held_by` is in force. `shape` is what its type was when it was asked for; the head has none.
    """

    instance: str
    node: str
    node_type: str
    state: State
    tags: dict[str, str] = Field(default_factory=dict)
    address: str = ""
    handle: str = ""
    asked_monotonic_s: float = 0.0
    boot_at_monotonic_s: float = 0.0
    fate: Fate = Fate()
    end_at_monotonic_s: float = 0.0
    end_held_by: str = ""
    killed: bool = False
    lost: bool = False
    shape: NodeType | None = None


class ActiveEffect(Value):
    """Lasting harm in force until `expires_monotonic_s`, on one instance or, without one, on the Cloud itself.

    `hits` counts the launches, or answers, it has hit.
    """

    effect_id: str
    applied_monotonic_s: float = 0.0
    expires_monotonic_s: float
    harm: Harm
    instance: str = ""
    hits: int = 0


class CloudState(Value):
    """Everything a restarted Cloud must know."""

    instances: dict[str, Instance] = Field(default_factory=dict)
    effects: dict[str, ActiveEffect] = Field(default_factory=dict)
    next_instance: int = 1
    next_ordinal: int = 1
    kept: bool = False


class StateFile:
    """The state on disk; every change is fsynced before it takes effect anywhere else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> CloudState:
        """The saved state, or a fresh one."""
        if not self._path.exists():
            return CloudState()
        return CloudState.model_validate(json.loads(self._path.read_text()))

    def save(self, state: CloudState) -> None:
        """Replaces the saved state."""
        write_durably(self._path, state.model_dump_json())
