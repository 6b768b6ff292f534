"""Entering the network namespace of another process: to run a command there, or to open a socket that belongs there.

Needs CAP_SYS_ADMIN, and CAP_SYS_PTRACE to look a process of another container up (namespaces(7), setns(2)).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading

from chaos.cloud.command import run_to_end
from chaos.errors import InjectionError

COMMAND_LIMIT_S = 10.0
_CLONE_NEWNET = 0x40000000


def network_of(pid: int) -> str:
    """The file that stands for a process's network namespace."""
    return f"/proc/{pid}/ns/net"


async def run_in_network(pid: int, script: str) -> str:
    """Runs a shell script in a process's network namespace; returns what it wrote to standard output.

    Raises:
        InjectionError: the script failed, took longer than COMMAND_LIMIT_S, or the process is gone.
    """
    try:
        ended = await run_to_end("nsenter", f"--net={network_of(pid)}", "sh", "-ec", script, limit_s=COMMAND_LIMIT_S)
    except asyncio.TimeoutError:
        raise InjectionError(f"a network command did not end within {COMMAND_LIMIT_S:g} s: {script}") from None
    if ended.status:
        said = ended.errors.strip().replace("\n", "; ")
        raise InjectionError(f"a network command failed with status {ended.status}: {said}")
    return ended.output


def socket_in(pid: int, kind: socket.SocketKind) -> socket.socket:
    """A TCP (SOCK_STREAM) or UDP (SOCK_DGRAM) socket in a process's network namespace, whichever thread uses it.

    Raises:
        OSError: the process is gone, or its namespace cannot be entered.
    """
    made: list[socket.socket | OSError] = []

    def make() -> None:
        # A namespace is entered by one thread alone, which ends here: nothing else of this process moves.
        try:
            descriptor = os.open(network_of(pid), os.O_RDONLY | os.O_CLOEXEC)
            try:
                library = ctypes.CDLL(None, use_errno=True)
                if library.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns: {os.strerror(number)}")
            finally:
                os.close(descriptor)
            made.append(socket.socket(socket.AF_INET, kind))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name=f"enter-{pid}")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
