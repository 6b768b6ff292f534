"""The processes the twin shows: names for what is in the model, so that faults can hit single ones."""

from __future__ import annotations

from collections.abc import Collection

from chaos.cluster import NodeProcess
from chaos.errors import InjectionError
from chaos.harm import Role
from chaos.sim.monitor import Monitor
from chaos.sim.programs import Programs
from chaos.sim.ray import HEAD, RayModel

# Beyond the highest that a kernel gives: whoever took one for a process of this machine would hit none.
_FIRST_PID = 10_000_000


class ModelProcesses:
    """A node's processes and the killing of single ones, with a PID for each, given once it is first seen."""

    def __init__(self, model: RayModel, monitor: Monitor, programs: Programs) -> None:
        self._model = model
        self._programs = programs
        self._monitor = monitor
        self._pids: dict[tuple[str, Role, str], int] = {}
        self._given = 0
        self._there: dict[int, tuple[str, Role, int]] = {}

    def of(self, instance: str) -> tuple[NodeProcess, ...]:
        """The processes on an instance; of the head, its raylet, its GCS server and its monitor; and drivers."""
        found = [
            self._seen(instance, "driver", str(number), number=number, stopped=False)
            for number in self._programs.on(instance)
        ]
        for node in self._model.alive_on(instance):
            found.append(self._seen(instance, "raylet", node.ray_node_id, stopped=node.frozen))
            if instance != HEAD:
                found.append(self._seen(instance, "dashboard_agent", node.ray_node_id, stopped=node.frozen))
            found += [
                self._seen(instance, "worker", str(task.number), number=task.number, stopped=node.frozen)
                for task in node.tasks
            ]
        if instance == HEAD and self._model.head_up:
            found.append(self._seen(HEAD, "gcs_server", "", stopped=self._model.gcs.frozen))
            if self._monitor.alive:
                found.append(self._seen(HEAD, "monitor", str(self._monitor.number), stopped=self._monitor.frozen))
        return tuple(sorted(found, key=lambda process: process.pid))

    def forget(self, instances: Collection[str]) -> None:
        """Of what has ended nobody asks again; of the instances only these are there."""
        there = {process.pid for instance in instances for process in self.of(instance)}
        self._pids = {name: pid for name, pid in self._pids.items() if pid in there}
        self._there = {pid: process for pid, process in self._there.items() if pid in there}

    def kill(self, pid: int) -> tuple[str, Role]:
        """Ends what is in the model a process; says on which instance, and its role.

        Raises:
            InjectionError: the model has no end of it.
        """
        instance, role, number = self._there[pid]
        if role == "worker":
            self._model.fail_task(instance, number)
        elif role == "driver":
            self._programs.on(instance)[number].kill()
        elif instance == HEAD:
            raise InjectionError(f"the twin has no end of the head's {role}")
        return instance, role

    def _seen(self, instance: str, role: Role, which: str, *, number: int = 0, stopped: bool) -> NodeProcess:
        name = (instance, role, which)
        if (pid := self._pids.get(name)) is None:
            pid = self._pids[name] = _FIRST_PID + self._given
            self._given += 1
        self._there[pid] = (instance, role, number)
        title = "ray::work" if role == "worker" else role
        return NodeProcess(pid=pid, started_ticks=1, role=role, title=title, stopped=stopped)
