"""Two network namespaces with a cable between them, each with a process that stands for a node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

NEAR, FAR = "10.231.0.1", "10.231.0.2"


@dataclass(frozen=True)
class Pair:
    """The two processes by number; their addresses are NEAR and FAR, at `eth0`."""

    near: int
    far: int


def why_not() -> str:
    """Why namespaces cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "tc", "iptables") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def why_no_rules() -> str:
    """Why packets cannot be chosen by rules here; empty where they can."""
    if why_not():
        return why_not()
    rule = "iptables -t mangle -A OUTPUT -j NFQUEUE --queue-num 7 --queue-bypass"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", rule], capture_output=True, check=False)
    return f"needs netfilter: {tried.stderr.decode(errors='replace').strip()}" if tried.returncode else ""


@contextmanager
def pair() -> Iterator[Pair]:
    """Makes them; their networks end with their processes."""
    with ExitStack() as stack:
        near, far = stack.enter_context(_process()), stack.enter_context(_process())
        _in(near, f"ip link add eth0 type veth peer name eth0 netns {far}")
        for pid, address in ((near, NEAR), (far, FAR)):
            _in(pid, f"ip addr add {address}/24 dev eth0 && ip link set eth0 up && ip link set lo up")
        yield Pair(near, far)


@contextmanager
def _process() -> Iterator[int]:
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up; exec cat"], stdin=-1, stdout=-1)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def _in(pid: int, script: str) -> None:
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec", script], check=True)
