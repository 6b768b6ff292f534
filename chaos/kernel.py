"""What this machine's kernel can do to a network and to a process, found by trying it where possible.

The trial takes place in a network namespace of its own that ends with the process that made it; nothing is left behind,
except that a kernel with loadable modules may load one. A kernel that may not be tried (no root, no user namespaces, no
`tc`) is judged by what it was built with.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaos.examination import Kernel, KernelFeature

_PROBE_LIMIT_S = 10.0
_MARK = "@raychaos-probe"


@dataclass(frozen=True)
class _Trial:
    """A feature: the tool and commands that show it in a fresh namespace, and the option and module that provide it."""

    name: str
    tool: str
    commands: str
    option: str
    module: str


def _rule(match: str) -> str:
    legacy = f"iptables-legacy -w 2 -A OUTPUT {match}"
    return f"iptables -w 2 -A OUTPUT {match} || {{ command -v iptables-legacy >/dev/null && {legacy}; }}"


_TRIALS = (
    _Trial("netem", "tc", "tc qdisc add dev lo root netem delay 1ms", "NET_SCH_NETEM", "sch_netem"),
    _Trial("prio", "tc", "tc qdisc add dev lo root prio", "NET_SCH_PRIO", "sch_prio"),
    _Trial("tbf", "tc", "tc qdisc add dev lo root tbf rate 1mbit burst 16kb latency 50ms", "NET_SCH_TBF", "sch_tbf"),
    _Trial("htb", "tc", "tc qdisc add dev lo root handle 1: htb default 1", "NET_SCH_HTB", "sch_htb"),
    _Trial("ingress", "tc", "tc qdisc add dev lo ingress", "NET_SCH_INGRESS", "sch_ingress"),
    _Trial("ifb", "ip", "ip link add raychaos0 type ifb", "IFB", "ifb"),
    _Trial("veth", "ip", "ip link add raychaos0 type veth peer name raychaos1", "VETH", "veth"),
    _Trial(
        "mirred",
        "tc",
        "ip link add raychaos0 type ifb && tc qdisc add dev lo ingress && "
        "tc filter add dev lo parent ffff: protocol ip u32 match u32 0 0 action mirred egress redirect dev raychaos0",
        "NET_ACT_MIRRED",
        "act_mirred",
    ),
    _Trial(
        "police",
        "tc",
        "tc qdisc add dev lo ingress && "
        "tc filter add dev lo parent ffff: protocol ip u32 match u32 0 0 police rate 1mbit burst 64kb drop flowid :1",
        "NET_ACT_POLICE",
        "act_police",
    ),
    _Trial("drop", "iptables", _rule("-d 192.0.2.1 -j DROP"), "NETFILTER_XTABLES", "ip_tables"),
    _Trial(
        "reject",
        "iptables",
        _rule("-p tcp -d 192.0.2.1 -j REJECT --reject-with tcp-reset"),
        "IP_NF_TARGET_REJECT",
        "ipt_REJECT",
    ),
    _Trial(
        "statistic",
        "iptables",
        _rule("-d 192.0.2.1 -m statistic --mode random --probability 0.5 -j DROP"),
        "NETFILTER_XT_MATCH_STATISTIC",
        "xt_statistic",
    ),
    _Trial(
        "nfqueue",
        "iptables",
        _rule("-d 192.0.2.1 -j NFQUEUE --queue-num 7 --queue-bypass"),
        "NETFILTER_XT_TARGET_NFQUEUE",
        "xt_NFQUEUE",
    ),
)


def examine_kernel(*, root: Path = Path("/")) -> Kernel:
    """Looks at the kernel; bounded to some ten seconds. `root` is where `proc`, `sys` and `lib` are read from."""
    release = os.uname().release
    tried = _try_all()
    built, listed_in = _built_with(root, release)
    network = tuple(_network_feature(trial, tried.get(trial.name), built, listed_in) for trial in _TRIALS)
    cgroup = _cgroup(root)
    return Kernel(release=release, cgroup=cgroup, features=(*network, *_controls(root, cgroup)))


def _network_feature(
    trial: _Trial, outcome: tuple[bool, str] | None, built: Mapping[str, str], listed_in: str
) -> KernelFeature:
    how = built.get(trial.option) or built.get(trial.module)
    if outcome is not None:
        works, said = outcome
        if works or os.geteuid() == 0:
            return KernelFeature(name=trial.name, available=works, found_by="probe", detail=said)
    if how is not None:
        return KernelFeature(name=trial.name, available=True, found_by=how, detail="not tried")
    if listed_in:
        detail = f"no {trial.option}, no {trial.module}"
        return KernelFeature(name=trial.name, available=False, found_by=listed_in, detail=detail)
    detail = "not tried, and nothing lists what the kernel was built with"
    return KernelFeature(name=trial.name, available=False, found_by="unknown", detail=detail)


def _try_all() -> dict[str, tuple[bool, str]]:
    """Each trial's success and, for a failure, what the tool said; only those that could be tried at all."""
    trials = [trial for trial in _TRIALS if shutil.which(trial.tool, path=_search_path())]
    unshare = shutil.which("unshare", path=_search_path())
    if unshare is None or not trials:
        return {}
    namespaces = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    inner = [unshare, "--net", "sh", "-c"]
    script = "\n".join(
        # A namespace for each trial: one leaves a root qdisc or a device that would be in another's way.
        f"said=$({' '.join(inner)} {_quoted(trial.commands)} 2>&1); echo '{_MARK}' {trial.name} $? $said"
        for trial in trials
    )
    try:
        done = subprocess.run(
            [unshare, *namespaces, "sh", "-c", script],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_LIMIT_S,
            check=False,
            env={**os.environ, "PATH": _search_path(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else expired.stdout or ""
    except OSError:
        return {}
    return _parse(output)


def _parse(output: str) -> dict[str, tuple[bool, str]]:
    outcomes: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        mark, _, rest = line.partition(" ")
        parts = rest.split(" ", 2)
        if mark == _MARK and len(parts) >= 2:
            works = parts[1] == "0"
            outcomes[parts[0]] = (works, "" if works else (parts[2] if len(parts) > 2 else f"status {parts[1]}")[:200])
    return outcomes


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _search_path() -> str:
    """The PATH with the places of tc and iptables, which unprivileged users often lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _built_with(root: Path, release: str) -> tuple[dict[str, str], str]:
    """Options and modules the kernel has, each with where that is written; and where all of them are, if anywhere.

    What is loaded now is no list of what can be: a feature that is missing there may still come when it is asked for.
    """
    found: dict[str, str] = {}
    listed_in = ""
    for name in _lines(root / "proc/modules"):
        found[name.split(" ", 1)[0]] = "modules"
    library = root / "lib/modules" / release
    for listing in ("modules.builtin", "modules.dep"):
        for line in _lines(library / listing):
            listed_in = "modules"
            name = Path(line.split(":", 1)[0]).name.split(".ko", 1)[0]
            found.setdefault(name.replace("-", "_"), "modules")
    for config in (root / "proc/config.gz", root / "boot" / f"config-{release}"):
        for line in _lines(config):
            listed_in = "config"
            option, _, value = line.partition("=")
            if option.startswith("CONFIG_") and value in ("y", "m"):
                found.setdefault(option.removeprefix("CONFIG_"), "config")
    return found, listed_in


def _lines(path: Path) -> Sequence[str]:
    """A file's lines; none where it cannot be read, which is no error: every one of these files is optional."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, gzip.BadGzipFile):
        return ()
    return content.decode(errors="replace").splitlines()


def _cgroup(root: Path) -> Literal["v1", "v2", "hybrid", "none"]:
    base = root / "sys/fs/cgroup"
    if (base / "cgroup.controllers").exists():
        return "v2"
    if (base / "unified/cgroup.controllers").exists():
        return "hybrid"
    return "v1" if any((base / controller).is_dir() for controller in ("memory", "cpu", "freezer")) else "none"


def _controls(root: Path, cgroup: str) -> tuple[KernelFeature, ...]:
    """What cgroups and PSI offer, read from where the kernel lists it."""
    base = root / "sys/fs/cgroup"
    if cgroup == "v2":
        words = set(" ".join(_lines(base / "cgroup.controllers")).split())
        present = {"freezer": True, "cpu": "cpu" in words, "memory": "memory" in words, "io": "io" in words}
    else:
        present = {
            "freezer": (base / "freezer").is_dir(),
            "cpu": (base / "cpu/cpu.cfs_quota_us").exists() or (base / "cpu,cpuacct/cpu.cfs_quota_us").exists(),
            "memory": (base / "memory").is_dir(),
            "io": (base / "blkio").is_dir(),
        }
    # Without a hierarchy to look at, this process sees none: that says nothing about the engine's containers.
    found_by = "unknown" if cgroup == "none" else "proc"
    controllers = tuple(
        KernelFeature(name=f"cgroup_{name}", available=there, found_by=found_by) for name, there in present.items()
    )
    pressure = bool(_lines(root / "proc/pressure/cpu"))
    return (*controllers, KernelFeature(name="pressure", available=pressure, found_by="proc"))
