"""Makes a node's Ray processes obey limits of how many files they may open, by prlimit(2).

A limit is a process's own, and only its former value says how to undo it: that is on disk before it is lowered. A
process that was born meanwhile has inherited a lowered limit, and gets its node's usual one. Hard limits stay as they
are. Only a process's own user may do this, or CAP_SYS_RESOURCE, which hosts do not always have to give: so another
user's processes are left to prlimit(1), run as that user.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from chaos.cloud.config import write_durably
from chaos.cloud.gauges import RAYLET, file_limit, hard_file_limit, name_of, open_files
from chaos.cloud.instances import Instance
from chaos.cloud.node_process import start_ticks
from chaos.errors import InjectionError
from chaos.harm import FileLimit, NodeHarm
from chaos.value import Value

_WORKER_PREFIX = "ray::"
# A process may fork between being listed and being raised; its child then has the lowered limit.
_PASSES = 3
_COMMAND_LIMIT_S = 5.0


class _Lowered(Value):
    """What was done to one node: usual and lowered limits by process, as PID:TICKS, and the spare that was left.

    `ever` are all values limits were lowered to, which processes that are not listed may have inherited.
    """

    spare: int
    usual: dict[str, int] = Field(default_factory=dict)
    lowered: dict[str, int] = Field(default_factory=dict)
    ever: tuple[int, ...] = ()


class FileLimiter:
    """The least of what harms leave to spare; what was there before is kept in `file`."""

    kinds: tuple[type[Value], ...] = (FileLimit,)

    def __init__(self, file: Path, processes: Callable[[Instance], Awaitable[Collection[int]]]) -> None:
        self._file = file
        self._processes = processes
        raw: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
        self._nodes = {handle: _Lowered.model_validate(item) for handle, item in raw.items()}

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a limit has no peers
        """Lowers the limits of all Ray processes there are, or gives every one its usual limit."""
        spares = [harm.spare for harm in harms if isinstance(harm, FileLimit)]
        known = self._nodes.get(instance.handle)
        if not spares:
            if known is not None:
                for _ in range(_PASSES):
                    await asyncio.to_thread(_restore, await self._processes(instance), known)
                self._keep(instance.handle, None)
        elif known is None or known.spare != min(spares):
            pids = await self._processes(instance)
            plan = await asyncio.to_thread(_plan, pids, min(spares), known)
            if not plan.lowered:
                raise InjectionError(f"node {instance.node} has no Ray processes")
            self._keep(instance.handle, plan)
            await asyncio.to_thread(_apply, plan)

    def ended(self, handle: str) -> None:
        """The node is gone, and all processes on it."""
        if handle in self._nodes:
            self._keep(handle, None)

    def _keep(self, handle: str, lowered: _Lowered | None) -> None:
        nodes = {key: item for key, item in self._nodes.items() if key != handle}
        self._nodes = nodes if lowered is None else {**nodes, handle: lowered}
        write_durably(self._file, json.dumps({key: item.model_dump() for key, item in self._nodes.items()}))


def limits_seen(pids: Collection[int], *, first: int) -> list[str]:
    """Ray processes that may open fewer files than the node's first process, which all of them come from."""
    try:
        usual = file_limit(first)
    except (OSError, ValueError):
        return []
    found = []
    for pid in pids:
        if _is_ray(pid) and (soft := _soft(pid)) is not None and soft < usual:
            found.append(f"process {pid} may open {soft} files only")
    return found


def _plan(pids: Collection[int], spare: int, known: _Lowered | None) -> _Lowered:
    """Usual and lowered limits of the Ray processes there are; nothing is raised above what it is usually."""
    usual, lowered = dict(known.usual) if known else {}, {}
    ever = set(known.ever) if known else set()
    for pid in pids:
        soft, ticks = _soft(pid), start_ticks(pid)
        if not _is_ray(pid) or soft is None or ticks is None:
            continue
        name = f"{pid}:{ticks}"
        if name not in usual:
            usual[name] = max(usual.values()) if usual and soft in ever else soft
        try:
            lowered[name] = min(usual[name], open_files(pid) + spare)
        except OSError:
            continue
    return _Lowered(spare=spare, usual=usual, lowered=lowered, ever=tuple(sorted(ever | set(lowered.values()))))


def _apply(plan: _Lowered) -> None:
    for name, limit in plan.lowered.items():
        pid, _, ticks = name.partition(":")
        if start_ticks(int(pid)) == int(ticks):
            _set_soft(int(pid), limit)


def _restore(pids: Collection[int], known: _Lowered) -> None:
    """The raylet first: what it starts from then on has the usual limit."""
    for pid in sorted(pids, key=lambda pid: name_of(pid) != RAYLET):
        usual = known.usual.get(f"{pid}:{start_ticks(pid)}")
        soft = _soft(pid)
        if soft is not None and soft in known.ever:
            _set_soft(pid, max(known.usual.values()) if usual is None else usual)


def _set_soft(pid: int, limit: int) -> None:
    hard = hard_file_limit(pid)
    if hard is None:
        return
    soft = min(limit, hard)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    except ProcessLookupError:
        return
    except PermissionError:
        _set_as_its_user(pid, soft, hard)


def _set_as_its_user(pid: int, soft: int, hard: int) -> None:
    try:
        owner = Path(f"/proc/{pid}").stat()
        done = subprocess.run(
            ["prlimit", f"--pid={pid}", f"--nofile={soft}:{hard}"],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_LIMIT_S,
        )
    except FileNotFoundError:
        return  # the process is gone
    except (PermissionError, subprocess.TimeoutExpired) as error:
        raise InjectionError(f"the limits of process {pid} are not ours to change: {error}") from error
    if done.returncode and start_ticks(pid) is not None:
        raise InjectionError(f"the limits of process {pid} cannot be changed: {done.stderr.strip()}")


def _soft(pid: int) -> int | None:
    try:
        return file_limit(pid)
    except (OSError, ValueError):
        return None


def _is_ray(pid: int) -> bool:
    name = name_of(pid)
    return name == RAYLET or name.startswith(_WORKER_PREFIX)
