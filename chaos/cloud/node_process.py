"""The process a node lives under: runs one command, and lets nothing of it survive.

It is the subreaper of everything the command starts. It ends it all when the command ends, on SIGTERM, and when the
Cloud named in ADDRESS_FILE has been dead for the grace period. After SIGUSR1 it runs the command again, once, when that
has ended; SIGUSR2 takes that back. A container, which the engine ends, has no Cloud to watch and writes where the
engine reads: `-` for both files. Standard library only: it stays small.

    python -m chaos.cloud.node_process ADDRESS_FILE GRACE_S NICENESS LOG_FILE COMMAND [ARGUMENT ...]
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NONE = "-"
AGAIN, NOT_AGAIN = signal.SIGUSR1, signal.SIGUSR2
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.2
_STOP_LIMIT_S = 4.0


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (/proc/PID/stat, field 22); None when gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def children_of(root: int) -> list[int]:
    """All living descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def cloud_alive(address_file: Path) -> bool:
    """Whether the Cloud that last wrote its address still runs."""
    try:
        address = json.loads(address_file.read_text())
        pid, ticks = int(address["pid"]), int(address["start_ticks"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return start_ticks(pid) == ticks


class _Stop(Exception):
    pass


def _on_sigterm(_signal: int, _frame: object) -> None:
    raise _Stop


def _reap(child: subprocess.Popen[bytes]) -> bool:
    """Collects ended orphans; true once the command itself has ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if pid == child.pid:
            return True


def _end_all(child: subprocess.Popen[bytes], *, politely: bool) -> None:
    if politely:
        child.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_LIMIT_S
        while time.monotonic() < deadline_s and not _reap(child):
            time.sleep(0.05)
    while remaining := children_of(os.getpid()):
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap(child)
        time.sleep(0.02)


def main(arguments: list[str]) -> None:
    """Runs the command until it ends, or must; again where that was asked for."""
    address_file, grace_s, niceness, log_file, *command = arguments
    os.nice(int(niceness))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    again: list[int] = []
    asked: list[int] = []
    signal.signal(AGAIN, lambda number, _frame: again.append(number))
    signal.signal(NOT_AGAIN, lambda _number, _frame: again.clear())
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched = None if address_file == NONE else Path(address_file)
    while _run(command, log_file, asked, watched=watched, grace_s=float(grace_s)) and again and not asked:
        again.clear()


def _run(command: list[str], log_file: str, asked: list[int], *, watched: Path | None, grace_s: float) -> bool:
    """Runs the command and ends whatever it leaves behind; whether it ended by itself, and not because it had to.

    `asked` holds the SIGTERMs that came while there was nothing to interrupt.
    """
    with contextlib.nullcontext(None) if log_file == NONE else Path(log_file).open("ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    last_seen_s = time.monotonic()
    by_itself, politely = True, False
    try:
        signal.signal(signal.SIGTERM, _on_sigterm)
        if asked:
            raise _Stop
        while not _reap(child):
            now_s = time.monotonic()
            if watched is None or cloud_alive(watched):
                last_seen_s = now_s
            elif now_s - last_seen_s > grace_s:
                by_itself = False
                break
            time.sleep(_POLL_S)
    except _Stop:
        by_itself, politely = False, True
    finally:
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
        _end_all(child, politely=politely)
    return by_itself


if __name__ == "__main__":
    main(sys.argv[1:])
