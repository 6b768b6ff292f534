"""`kill_worker_process`: single workers of Ray's crash, as by a segmentation fault or the kernel's OOM killer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from chaos.cluster import NodeProcess, SignalsProcesses
from chaos.errors import InjectionError, NothingToHit
from chaos.fault import ActsOn, Effect, Fault, Readings, Site

IDLE = "ray::IDLE"


class KillsProcesses(Fault):
    """SIGKILL to the processes of each victim that the fault means, as long as they are those seen right before.

    Unless the fault `ends_nodes`, processes that went with their node prove nothing.
    """

    needs: ClassVar[tuple[type, ...]] = (SignalsProcesses,)
    lasts: ClassVar[bool] = False
    ends_nodes: ClassVar[bool] = False

    @abstractmethod
    def means(self, process: NodeProcess) -> bool:
        """Whether the fault is about this process."""

    def chosen_of(self, processes: tuple[NodeProcess, ...]) -> tuple[NodeProcess, ...]:
        """Those of the node's processes to kill: all the fault means."""
        return tuple(process for process in processes if self.means(process))

    async def measure_before(self, site: Site) -> Readings:
        """The start of each process to kill, by victim, PID and title."""
        assert isinstance(site.cluster, SignalsProcesses)
        return {
            (victim, str(process.pid), process.title): float(process.started_ticks)
            for victim in site.victims
            for process in self.chosen_of(await site.cluster.processes_of(await _node(site, victim)))
        }

    async def inject(self, site: Site) -> None:
        """Kills them.

        Raises:
            NothingToHit: there was none.
            InjectionError: none could be killed, for instance because each had ended by itself.
        """
        assert isinstance(site.cluster, SignalsProcesses)
        if not site.before:
            raise NothingToHit(f"no such process on {', '.join(site.victims)}")
        refusals = []
        for victim in site.victims:
            wanted = [
                NodeProcess(pid=int(pid), started_ticks=int(ticks), role="", title=title)
                for (owner, pid, title), ticks in site.before.items()
                if owner == victim
            ]
            if not wanted:
                refusals.append(f"no such process on {victim}")
                continue
            try:
                await site.cluster.kill_processes(await _node(site, victim), wanted)
            except InjectionError as error:
                refusals.append(str(error))
        if len(refusals) == len(site.victims):
            raise InjectionError("; ".join(refusals))

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel whether each of them is gone, while its node still runs, or as its node went down."""
        assert isinstance(site.cluster, SignalsProcesses)
        running = {node.node for node in await site.cluster.nodes() if node.state in ("running", "paused")}
        counted, left, others = 0, 0, 0
        for victim in site.victims:
            node = await _node(site, victim)
            if node not in running and not self.ends_nodes:
                continue
            living = await site.cluster.processes_of(node)
            before = {(pid, ticks) for (owner, pid, _), ticks in site.before.items() if owner == victim}
            counted += len(before)
            left += sum((str(process.pid), float(process.started_ticks)) in before for process in living)
            others += len(living)
        hit = counted - left
        if site.before and not counted:
            return self._saw(site, 0, "their nodes have ended with them", gone=False)
        if left or not hit:
            return self._saw(site, hit, f"{left} of {counted} processes are still there", gone=False)
        titles = ", ".join(sorted({_called(title) for _, _, title in site.before}))
        return self._saw(site, hit, f"{titles}: gone; {others} other processes on the node", gone=True)

    def _saw(self, site: Site, hit: int, detail: str, *, gone: bool) -> Effect:
        return Effect(
            outcome="took_effect" if gone else "unknown",
            detail=detail,
            asked=float(len(site.before)),
            measured=float(hit),
            unit="processes",
        )


class KillWorkerProcess(KillsProcesses):
    """SIGKILL to `count` worker processes of each victim, the longest running first; Ray starts new ones.

    `runs` chooses by the class of the actor or the name of the task that the process shows as its title; `state` by
    whether it runs one (`busy`: an actor's process always is) or waits for one (`idle`).
    """

    name: ClassVar[str] = "kill_worker_process"
    summary: ClassVar[str] = "SIGKILL to the process of an actor or a task"
    acts_on: ClassVar[ActsOn] = "nodes"
    effect_within_s: ClassVar[float] = 10.0

    runs: str | None = Field(default=None, min_length=1)
    state: Literal["idle", "busy"] | None = None
    count: int = Field(default=1, ge=1)

    def means(self, process: NodeProcess) -> bool:
        """Whether it is a worker, of the class or task and in the state asked for."""
        title = process.title.split(" ")[0]
        idle = not title.startswith("ray::") or title == IDLE
        if process.role != "worker" or (self.state is not None and idle != (self.state == "idle")):
            return False
        return self.runs is None or (not idle and self.runs in _names_in(title))

    def chosen_of(self, processes: tuple[NodeProcess, ...]) -> tuple[NodeProcess, ...]:
        """The first `count` of those it means."""
        return super().chosen_of(processes)[: self.count]


def _names_in(title: str) -> tuple[str, str]:
    """What a worker's title says it runs: `ray::Class.method` of an actor's process, `ray::function` of a task's."""
    running = title.removeprefix("ray::").removesuffix("()")
    return running, running.partition(".")[0]


def _called(title: str) -> str:
    """A process's program or own title, and the module where it runs one; without paths and arguments."""
    program, *words = title.split() or ["?"]
    name = program.rpartition("/")[2]
    return f"{name} -m {words[1]}" if words[:1] == ["-m"] and len(words) > 1 else name


async def _node(site: Site, victim: str) -> str:
    """The node a victim's processes are on: for the driver, the one that runs it, by default the head."""
    if victim != "driver":
        return victim
    assert isinstance(site.cluster, SignalsProcesses)
    for node in await site.cluster.nodes():
        if any(process.role == "driver" for process in await site.cluster.processes_of(node.node)):
            return node.node
    return "head"
