"""Makes a node's own network stack obey a set of shapes, from outside the node.

The Cloud's container sees the host's processes, so it enters a node's network namespace by the node's process number
(`chaos.cloud.namespaces`). Chosen over a helper container in each node's network, kept warm, because there is no
container start in the injection path or anywhere else (an injection is two short processes, some 20 ms), nothing more
to clean up, and a paused or wedged node is shaped like any other. The rules live in the node's namespace and end with
it; the lease that removes them is the Cloud's, which Docker restarts and whose state is on disk.

Rates: a token bucket (tc-tbf(8)) at eth0 for what the node sends. What it receives is redirected to an intermediate
device (ifb) with a bucket of its own, which delays and does not lose; where the kernel cannot do that (no ifb, or no
mirred to redirect with), a policer drops what is over. Cuts: netfilter DROP, both ways, in chains of our own. Both hit
connections that exist already, and nothing but IPv4 at eth0: loopback stays as it is.

`look` first, then the fewest commands that lead from what is there to what is wanted; a root queue that is neither the
kernel's default nor ours is somebody else's and is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaos.cloud.namespaces import run_in_network
from chaos.errors import InjectionError
from chaos.harm import NetworkShape

DEVICE = "eth0"
IFB = "raychaos0"
CHAIN_IN = "RAYCHAOS-IN"
CHAIN_OUT = "RAYCHAOS-OUT"

_EGRESS_HANDLE = "7a05:"
_INGRESS_HANDLE = "7a06:"
_DEFAULT_QUEUES = frozenset({"noqueue", "pfifo_fast", "fq_codel", "fq", "mq"})
_BUCKET_S = 0.003
_LEAST_BUCKET_BYTES = 5 * 1024
_MOST_BUCKET_BYTES = 384 * 1024
_QUEUE_S = 0.2
_LEAST_QUEUE_BYTES = 16 * 1024
# What generic receive offload may have joined; a policer drops whatever is larger than its bucket.
_LARGEST_PACKET_BYTES = 64 * 1024
_CUT = "--- "


@dataclass(frozen=True)
class Wanted:
    """What a node's network is to obey: at most this rate, and no packets to or from these addresses."""

    rate_mbit: float | None = None
    cut_from: tuple[str, ...] = ()

    @staticmethod
    def of(shapes: Iterable[NetworkShape], addresses: Mapping[str, str]) -> Wanted:
        """All shapes at once: the slowest rate, and every cut from a node that has an address."""
        shapes = tuple(shapes)
        rates = [shape.rate_mbit for shape in shapes if shape.rate_mbit is not None]
        peers = {node for shape in shapes for node in shape.cut_from}
        cuts = {str(ipaddress.IPv4Address(addresses[node])) for node in peers if node in addresses}
        return Wanted(rate_mbit=min(rates, default=None), cut_from=tuple(sorted(cuts)))


@dataclass(frozen=True)
class Found:
    """What a node's network obeys now: its root queue, and which things of ours there are."""

    queue: str
    handle: str
    ifb: bool
    ingress: bool
    chains: frozenset[str]
    jumps: frozenset[str]
    cuts: tuple[str, ...]

    @property
    def ours(self) -> tuple[str, ...]:
        """The things of ours that are there, in words."""
        found = [f"{self.queue} queue of {DEVICE}"] if self.handle == _EGRESS_HANDLE else []
        found += [f"device {IFB}"] if self.ifb else []
        found += [f"netfilter chain {chain}" for chain in sorted(self.chains)]
        return tuple(found)


def look_script(tables: str) -> str:
    """Prints what `parse` reads. `tables` is the netfilter command there is: `iptables` or `iptables-legacy`."""
    return (
        f"tc qdisc show dev {DEVICE}; echo '{_CUT}links'; ip -o link show; echo '{_CUT}rules'; {tables}-save -t filter"
    )


def parse(output: str) -> Found:
    """Reads the output of `look_script`."""
    queues, _, rest = output.partition(f"{_CUT}links\n")
    links, _, rules = rest.partition(f"{_CUT}rules\n")
    root = re.search(r"^qdisc (\S+) (\S+) (?:dev \S+ )?root", queues, re.MULTILINE)
    return Found(
        queue=root.group(1) if root else "noqueue",
        handle=root.group(2) if root else "0:",
        ifb=f": {IFB}:" in links,
        ingress=bool(re.search(r"^qdisc (?:ingress|clsact) ", queues, re.MULTILINE)),
        chains=frozenset(re.findall(rf"^:({CHAIN_IN}|{CHAIN_OUT}) ", rules, re.MULTILINE)),
        jumps=frozenset(re.findall(rf"^-A \S+ -j ({CHAIN_IN}|{CHAIN_OUT})$", rules, re.MULTILINE)),
        cuts=tuple(sorted(re.findall(rf"^-A {CHAIN_OUT} -d ([0-9.]+)(?:/32)? -j DROP$", rules, re.MULTILINE))),
    )


def plan(found: Found, wanted: Wanted, *, tables: str) -> str:
    """The shell script that leads from one to the other; empty when there is nothing to do.

    Raises:
        InjectionError: somebody else has put a queue there.
    """
    return "\n".join([*_rate_commands(found, wanted.rate_mbit), *_cut_commands(found, wanted.cut_from, tables)])


def _rate_commands(found: Found, rate_mbit: float | None) -> list[str]:
    ours = found.handle == _EGRESS_HANDLE
    if rate_mbit is None:
        # The root queue last: a policer bears no mark of ours, and that queue tells whose it is.
        return [
            *([f"tc qdisc del dev {DEVICE} ingress"] if found.ingress and (ours or found.ifb) else []),
            *([f"ip link del {IFB}"] if found.ifb else []),
            *([f"tc qdisc del dev {DEVICE} root"] if ours else []),
        ]
    if not ours and found.queue not in _DEFAULT_QUEUES:
        raise InjectionError(
            f"{DEVICE} of the node has a {found.queue} queue (handle {found.handle}) that raychaos did not make; "
            "remove it, or do not shape this node"
        )
    if found.ingress and not ours and not found.ifb:
        raise InjectionError(f"{DEVICE} of the node has an ingress queue that raychaos did not make; remove it")
    bucket = _bucket(rate_mbit)
    everything = f"filter replace dev {DEVICE} parent ffff: protocol ip prio 1 handle 800::1 u32 match u32 0 0"
    police = f"police rate {_bits(rate_mbit)} burst {max(_bucket_bytes(rate_mbit), _LARGEST_PACKET_BYTES)} drop"
    return [
        f"tc qdisc replace dev {DEVICE} root handle {_EGRESS_HANDLE} {bucket}",
        *([] if found.ingress else [f"tc qdisc add dev {DEVICE} handle ffff: ingress"]),
        f"if ! {{ {{ ip link show {IFB} >/dev/null 2>&1 || ip link add {IFB} type ifb; }} &&",
        f"  ip link set {IFB} up &&",
        f"  tc qdisc replace dev {IFB} root handle {_INGRESS_HANDLE} {bucket} &&",
        f"  tc {everything} action mirred egress redirect dev {IFB}; }}; then",
        f"  ip link del {IFB} 2>/dev/null || true",
        f"  tc {everything} {police} flowid :1",
        "fi",
    ]


def _cut_commands(found: Found, cut_from: tuple[str, ...], tables: str) -> list[str]:
    if not cut_from:
        if not found.chains:
            return []
        lines = [f"-D {_hook(chain)} -j {chain}" for chain in sorted(found.jumps)]
        lines += [f"-F {chain}" for chain in sorted(found.chains)]
        lines += [f"-X {chain}" for chain in sorted(found.chains)]
    elif cut_from == found.cuts and len(found.jumps) == len((CHAIN_IN, CHAIN_OUT)):
        return []
    else:
        # Naming a chain makes it, or empties it; with --noflush nothing else is touched.
        lines = [f":{CHAIN_IN} - [0:0]", f":{CHAIN_OUT} - [0:0]"]
        lines += [f"-A {CHAIN_IN} -s {address} -j DROP" for address in cut_from]
        lines += [f"-A {CHAIN_OUT} -d {address} -j DROP" for address in cut_from]
        lines += [f"-I {_hook(chain)} 1 -j {chain}" for chain in (CHAIN_IN, CHAIN_OUT) if chain not in found.jumps]
    # One transaction: a node is cut both ways or not at all.
    return [f"{tables}-restore --noflush <<'RULES'", "*filter", *lines, "COMMIT", "RULES"]


def _hook(chain: str) -> str:
    return "INPUT" if chain == CHAIN_IN else "OUTPUT"


def _bits(rate_mbit: float) -> str:
    return f"{round(rate_mbit * 1e6)}bit"


def _bucket_bytes(rate_mbit: float) -> int:
    return min(_MOST_BUCKET_BYTES, max(_LEAST_BUCKET_BYTES, round(rate_mbit * 1e6 / 8 * _BUCKET_S)))


def _bucket(rate_mbit: float) -> str:
    """A bucket of 3 ms, so that a short probe sees the rate and not the burst; a queue of 0.2 s, or a few packets."""
    queue_bytes = max(_LEAST_QUEUE_BYTES, round(rate_mbit * 1e6 / 8 * _QUEUE_S))
    return f"tbf rate {_bits(rate_mbit)} burst {_bucket_bytes(rate_mbit)} limit {queue_bytes}"


class NetworkShaper:
    """Shapes the networks of processes; remembers what it did, so that nothing to do costs nothing."""

    def __init__(self) -> None:
        self._tables = ""
        self._applied: dict[int, Wanted] = {}

    def started(self, pid: int) -> None:
        """A fresh network namespace, with nothing of ours in it."""
        self._applied[pid] = Wanted()

    def ended(self, pid: int) -> None:
        """The namespace is gone."""
        self._applied.pop(pid, None)

    async def look(self, pid: int) -> Found:
        """What the process's network obeys now."""
        tables = await self._tables_for(pid)
        return parse(await run_in_network(pid, look_script(tables)))

    async def shape(self, pid: int, wanted: Wanted) -> None:
        """Makes the process's network obey exactly this.

        Raises:
            InjectionError: it could not be done; what was done of it is removed.
        """
        if self._applied.get(pid) == wanted:
            return
        self._applied.pop(pid, None)
        script = plan(await self.look(pid), wanted, tables=self._tables)
        try:
            if script:
                await run_in_network(pid, script)
        except InjectionError:
            undo = plan(await self.look(pid), Wanted(), tables=self._tables)
            if undo:
                await run_in_network(pid, undo)
            raise
        self._applied[pid] = wanted

    async def _tables_for(self, pid: int) -> str:
        """The netfilter command this kernel understands, found once."""
        if not self._tables:
            self._tables = (
                await run_in_network(
                    pid,
                    "for tables in iptables iptables-legacy; do "
                    "if $tables -S INPUT >/dev/null 2>&1; then echo $tables; exit 0; fi; done; "
                    "echo 'neither iptables nor iptables-legacy works on this kernel' >&2; exit 1",
                )
            ).strip()
        return self._tables
