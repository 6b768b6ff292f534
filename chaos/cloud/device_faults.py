"""Tells the workloads on a node which faults its GPUs have: a file in its directory, there while one is in force.

The nodes' processes know the file's path from DEVICE_FAULTS_VARIABLE. A workload looks into it at its device boundary,
the one place where it hands work to the GPU, and does there what a broken GPU would have done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import Instance
from chaos.errors import InjectionError
from chaos.harm import DeviceFault, NodeHarm
from chaos.value import Value

DEVICE_FAULTS_VARIABLE = "RAYCHAOS_DEVICE_FAULTS"
_FILE = "device-faults.json"


class DeviceFaults:
    """Keeps each node's file. `root_on_nodes` is the cluster's directory as its nodes see it."""

    kinds: tuple[type[Value], ...] = (DeviceFault,)

    def __init__(self, directory: CloudDirectory, *, root_on_nodes: str) -> None:
        self._nodes = directory.nodes
        self._nodes_on_nodes = f"{root_on_nodes}/{directory.nodes.relative_to(directory.root)}"

    def environment(self, instance: Instance) -> dict[str, str]:
        """What tells the node's processes where to look."""
        return {DEVICE_FAULTS_VARIABLE: f"{self._nodes_on_nodes}/{instance.instance}/{_FILE}"}

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a GPU has no peers
        """Writes the faults in force, whole; removes the file when there are none."""
        path = self._path(instance)
        if not harms:
            path.unlink(missing_ok=True)
            return
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps([harm.model_dump(mode="json") for harm in harms]))
            part.replace(path)
        except OSError as error:
            raise InjectionError(f"{path}: {error.strerror}; is node {instance.node} gone?") from error

    def seen(self, instance: Instance) -> list[str]:
        """What shows of a node's device faults."""
        return [f"{instance.node}: device faults in {_FILE}"] if self._path(instance).exists() else []

    def _path(self, instance: Instance) -> Path:
        return self._nodes / instance.instance / _FILE
