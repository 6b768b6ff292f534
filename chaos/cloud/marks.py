"""Processes of a cluster and of its nodes, found without trusting a PID: by their mark, and by their session.

Each process a cluster starts carries the cluster's mark in its environment. That alone does not do: processes that set
their title, as Ray's agents and workers do, overwrite the memory /proc shows as their environment. But every node's
wrapper begins a session of its own, which all it starts belongs to, also when the wrapper is dead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos.cloud.node_process import start_ticks
from chaos.cloud.ray_start import INSTANCE_VARIABLE, MARK_VARIABLE, PROGRAM_VARIABLE

_GONE = ("", "Z", "X")
_SESSION_FIELD = 3


def all_pids() -> Iterator[int]:
    """Every process of this machine but this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment at its start; empty when it is gone, overwritten, or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}


def marked(mark: str, *, instance: str | None = None) -> Iterator[int]:
    """Processes whose environment carries a cluster's mark, and a node's instance where given."""
    for pid in all_pids():
        environment = environment_of(pid)
        if environment.get(MARK_VARIABLE) == mark and instance in (None, environment.get(INSTANCE_VARIABLE)):
            yield pid


def programs(mark: str) -> list[int]:
    """Processes of the programs a cluster was given to run beside its head, and of what they started."""
    return sorted(pid for pid in marked(mark) if PROGRAM_VARIABLE in environment_of(pid))


def command_of(pid: int, *, proc: Path = Path("/proc")) -> list[str]:
    """The words of a process's command; empty when it is gone."""
    try:
        raw = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in raw.split(b"\0") if word]


def processes(mark: str, *, instance: str | None = None, sessions: Iterable[str] = ()) -> list[int]:
    """Living processes that carry the mark, or share a session with one that does, or are of one of `sessions`.

    A session is written as its leader's PID and start time, `PID:TICKS`; one whose number another leader has since
    taken is nobody of ours.
    """
    found = set(marked(mark, instance=instance))
    numbers = {session_of(pid) for pid in found} | {number for text in sessions if (number := _still_ours(text))}
    numbers.discard(0)
    found |= {pid for pid in all_pids() if session_of(pid) in numbers}
    return sorted(pid for pid in found if state_of(pid) not in _GONE)


def session_of(pid: int) -> int:
    """The number of a process's session; 0 when it is gone."""
    fields = _fields_of(pid)
    return int(fields[_SESSION_FIELD]) if fields else 0


def in_session(number: int) -> list[int]:
    """The living processes of a session, by its leader's PID; the number stays theirs while there is one."""
    return sorted(pid for pid in all_pids() if session_of(pid) == number and state_of(pid) not in _GONE)


def state_of(pid: int) -> str:
    """The kernel's one-letter state of a process (`R`, `S`, `T`, …); empty when it is gone."""
    fields = _fields_of(pid)
    return fields[0] if fields else ""


def kill_pending(pid: int) -> bool:
    """Whether SIGKILL waits for a process to be scheduled again (proc(5), ShdPnd)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = next(line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) >> (signal.SIGKILL - 1) & 1)


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _still_ours(session: str) -> int:
    leader, _, ticks = session.partition(":")
    started = start_ticks(int(leader))
    return int(leader) if started is None or started == int(ticks) else 0


def _fields_of(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
