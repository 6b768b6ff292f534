"""The configuration Ray's autoscaler reads: the cluster's own, with every change in force applied in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from chaos.cloud.config import write_durably
from chaos.cloud.journal import Journal
from chaos.cloud.ledger import Ledger
from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.events import ConfigChanged, TypeInForce
from chaos.harm import CloudHarm, ConfigChange
from chaos.value import Value


class ConfigurationFile:
    """The file the head was started with, which Ray's autoscaler reads again at every update."""

    def __init__(self, path: Path, text_of: Callable[[ClusterSpec], str]) -> None:
        self._path = path
        self._text_of = text_of

    def write(self, spec: ClusterSpec) -> None:
        """Replaces the file at once; where the head is yet to be started, it will be with what is in force then."""
        if not self._path.exists():
            return
        owner = self._path.stat()
        write_durably(self._path, self._text_of(spec))
        os.chown(self._path, owner.st_uid, owner.st_gid)
        # At a time of access before that of the edit the kernel notes the next one, also where it notes few (relatime).
        os.utime(self._path, ns=(0, self._path.stat().st_mtime_ns))

    def was_read(self) -> bool:
        """Whether anybody has read the file since it was last written, by its time of access."""
        return self._path.exists() and self._path.stat().st_atime_ns > 0


class Configuring:
    """Makes the autoscaler's configuration obey exactly the changes in force."""

    kinds: tuple[type[Value], ...] = (ConfigChange,)

    def __init__(self, spec: ClusterSpec, ledger: Ledger, journal: Journal, file: ConfigurationFile) -> None:
        self._spec = spec
        self._ledger = ledger
        self._journal = journal
        self._file = file

    @property
    def spec(self) -> ClusterSpec:
        """The cluster as the changes in force make it."""
        return in_force(self._spec, _changes(effect.harm for effect in self._ledger.effects()))

    def was_read(self) -> bool:
        """Whether the configuration has been read since it was last edited."""
        return self._file.was_read()

    def refuses(self, harm: CloudHarm) -> str:
        """Why the change is not possible beside those in force; empty where it is."""
        if not isinstance(harm, ConfigChange):
            return ""
        now = self.spec
        if harm.node_type is not None and harm.node_type not in now.node_types and harm.resources is None:
            return f"node type {harm.node_type!r} is none of this cluster's: {', '.join(now.node_types)}"
        edited = _applied(now, harm)
        if not edited.node_types:
            return f"{harm.node_type!r} is the only node type; add another before it is removed"
        try:
            ClusterSpec.model_validate(edited.model_dump())
        except ValidationError as error:
            return error.errors()[0]["msg"].removeprefix("Value error, ")
        return ""

    def obey(self, effect_id: str, harms: Sequence[CloudHarm], *, undone: bool) -> None:
        """Writes the configuration that these changes make, and tells what is in force now, and by which effect."""
        spec = in_force(self._spec, _changes(harms))
        self._file.write(spec)
        self._journal.append(
            ConfigChanged(
                effect=effect_id,
                undone=undone,
                max_workers=spec.max_workers,
                idle_timeout_s=spec.idle_timeout_s,
                node_types={
                    name: TypeInForce(
                        resources=kind.resources,
                        min_workers=kind.min_workers,
                        max_workers=kind.max_workers,
                        idle_timeout_s=kind.idle_timeout_s,
                    )
                    for name, kind in spec.node_types.items()
                },
            )
        )


def in_force(spec: ClusterSpec, changes: Iterable[ConfigChange]) -> ClusterSpec:
    """The cluster with the changes applied in order.

    Each was possible when it was made; where one before it has been undone since, a minimum that no longer fits under
    its maximum, or under the cluster's, counts as much as fits.
    """
    for change in changes:
        spec = _applied(spec, change)
    left, types = spec.max_workers, {}
    for name, kind in spec.node_types.items():
        minimum = min(kind.min_workers, kind.max_workers, left)
        left -= minimum
        types[name] = kind.model_copy(update={"min_workers": minimum})
    return spec.model_copy(update={"node_types": types})


def _applied(spec: ClusterSpec, change: ConfigChange) -> ClusterSpec:
    given = change.model_dump(exclude={"kind", "node_type", "removed"}, exclude_none=True)
    if change.node_type is None:
        return spec.model_copy(update=given)
    types = dict(spec.node_types)
    known = types.pop(change.node_type, None)
    if known is None and change.resources is not None:
        known = NodeType(resources=change.resources)
    if known is not None and not change.removed:
        types[change.node_type] = known.model_copy(update=given)
    return spec.model_copy(update={"node_types": types})


def _changes(harms: Iterable[object]) -> list[ConfigChange]:
    return [harm for harm in harms if isinstance(harm, ConfigChange)]
