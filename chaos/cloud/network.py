"""Makes a node's own network stack obey a set of shapes, from outside the node.

The Cloud's container sees the host's processes, so it enters a node's network namespace by the node's process number
(`chaos.cloud.namespaces`). Chosen over a helper container in each node's network, kept warm, because there is no
container start in the injection path or anywhere else (an injection is two short processes, some 20 ms), nothing more
to clean up, and a paused or wedged node is shaped like any other. The rules live in the node's namespace and end with
it; the lease that removes them is the Cloud's, which Docker restarts and whose state is on disk.

Rates: a token bucket (tc-tbf(8)) at eth0 for what the node sends. What it receives is redirected to an intermediate
device (ifb) with a bucket of its own, which delays and does not lose; where the kernel cannot do that (no ifb, or no
mirred to redirect with), a policer drops what is over. Cuts and resets: netfilter, in chains of our own. All hit
connections that exist already, and only at eth0: loopback stays as it is.

Delay, loss, duplication, corruption and reordering take the first of two ways that can do what is wanted. netem, at the
same places as the buckets, hits all IPv4 that goes a way; what else a node sends passes beside it, since a lost ARP
request would stop the whole path for a second. Where the kernel has none, or where only some packets are meant, a
packet queue process does it (`chaos.cloud.queue_process`), to packets that netfilter chooses. The same quantities mean
the same on both.

`look` first, then the fewest commands that lead from what is there to what is wanted; a root queue that is neither the
kernel's default nor ours is somebody else's and is refused.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass

from chaos.cloud.command import run_to_end
from chaos.cloud.namespaces import COMMAND_LIMIT_S, run_in_network
from chaos.cloud.packet_queue import DEVICE, QUEUE_IN, QUEUE_OUT, Orders
from chaos.cloud.packet_rules import chains_in, jumps_in, orders_for, restore_script, table_rules
from chaos.cloud.packets import Impairment, Scope, Wanted
from chaos.cloud.queue_process import QueueProcess
from chaos.errors import InjectionError

IFB = "raychaos0"

_EGRESS_HANDLE = "7a05:"
_INGRESS_HANDLE = "7a06:"
_EGRESS_BUCKET = "7a07:"
_INGRESS_BUCKET = "7a08:"
_EGRESS_NETEM = "7a09:"
_INGRESS_NETEM = "7a0a:"
# What no filter sends to its second band, a netem, passes through the first.
_BANDS = "prio bands 2 priomap" + 16 * " 0"
_MEANS = {"prio": "netem", "tbf": "tbf"}
_DEFAULT_QUEUES = frozenset({"noqueue", "pfifo_fast", "fq_codel", "fq", "mq"})
_BUCKET_S = 0.003
_LEAST_BUCKET_BYTES = 5 * 1024
_MOST_BUCKET_BYTES = 384 * 1024
_QUEUE_S = 0.2
_LEAST_QUEUE_BYTES = 16 * 1024
# What generic receive offload may have joined; a policer drops whatever is larger than its bucket.
_LARGEST_PACKET_BYTES = 64 * 1024
_NETEM_PACKETS = 100_000
_NOTHING = Impairment()
_CUT = "--- "
_NETEM_TRIAL = (
    "tc qdisc add dev lo root handle 1: {bands}; tc qdisc add dev lo parent 1:2 netem delay 1ms; "
    "tc filter add dev lo parent 1: protocol ip u32 match u32 0 0 flowid 1:2; "
    "ip link add {ifb} type ifb; tc qdisc add dev lo ingress; "
    "tc filter add dev lo parent ffff: protocol ip u32 match u32 0 0 action mirred egress redirect dev {ifb}"
)


@dataclass(frozen=True)
class Found:
    """What a node's network obeys now: its root queue, and which things of ours there are."""

    queue: str
    handle: str
    ifb: bool
    ifb_queue: str
    ingress: bool
    chains: frozenset[tuple[str, str]]
    jumps: frozenset[tuple[str, str]]
    handed_over: bool

    @property
    def ours(self) -> tuple[str, ...]:
        """The things of ours that are there, in words."""
        found = [f"{self.queue} queue of {DEVICE}"] if self.handle == _EGRESS_HANDLE else []
        found += [f"device {IFB}"] if self.ifb else []
        found += [f"netfilter chain {chain} ({table})" for table, chain in sorted(self.chains)]
        return (*found, "a packet queue process") if self.handed_over else tuple(found)

    @property
    def means(self) -> tuple[str, ...]:
        """By which of the kernel's means packets are harmed: `netem`, `tbf`, `nfqueue`, `netfilter`."""
        queues = {self.queue if self.handle == _EGRESS_HANDLE else "", self.ifb_queue} & set(_MEANS)
        kinds = {_MEANS[queue] for queue in queues}
        kinds |= {"nfqueue"} if self.handed_over else set()
        kinds |= {"netfilter"} if any(table == "filter" for table, _ in self.chains) else set()
        return tuple(sorted(kinds))


def look_script(tables: str) -> str:
    """Prints what `parse` reads. `tables` is the netfilter command there is: `iptables` or `iptables-legacy`."""
    return (
        f"tc qdisc show; echo '{_CUT}links'; ip -o link show; echo '{_CUT}queues'; "
        f"cat /proc/self/net/netfilter/nfnetlink_queue 2>/dev/null || true; echo '{_CUT}rules'; "
        f"{tables}-save -t filter; {tables}-save -t mangle"
    )


def parse(output: str) -> Found:
    """Reads the output of `look_script`."""
    disciplines, _, rest = output.partition(f"{_CUT}links\n")
    links, _, rest = rest.partition(f"{_CUT}queues\n")
    queues, _, rules = rest.partition(f"{_CUT}rules\n")
    root = _root_of(disciplines, DEVICE)
    bound = {int(line.split()[0]) for line in queues.splitlines() if line.strip()}
    return Found(
        queue=root[0],
        handle=root[1],
        ifb=f": {IFB}:" in links,
        ifb_queue=_root_of(disciplines, IFB)[0],
        ingress=bool(re.search(rf"^qdisc (?:ingress|clsact) \S+ dev {DEVICE} ", disciplines, re.MULTILINE)),
        chains=chains_in(rules),
        jumps=jumps_in(rules),
        handed_over=bool(bound & {QUEUE_IN, QUEUE_OUT}),
    )


def _root_of(disciplines: str, device: str) -> tuple[str, str]:
    """A device's root queue and its handle."""
    root = re.search(rf"^qdisc (\S+) (\S+) dev {device} root", disciplines, re.MULTILINE)
    return (root.group(1), root.group(2)) if root else ("noqueue", "0:")


@dataclass(frozen=True)
class Reshaping:
    """How to get to what is wanted: commands, and what the packet queue process must do by then (None: not be)."""

    script: str
    orders: Orders | None


def plan(found: Found, wanted: Wanted, *, tables: str, netem: bool) -> Reshaping:
    """What leads from one to the other; an empty script when no command is needed.

    Raises:
        InjectionError: somebody else has put a queue there, or it is more than can be done at once.
    """
    sent, received = (wanted.along("out"), wanted.along("in")) if netem else (None, None)
    by_netem = sent is not None and received is not None and _in_one(sent) and _in_one(received)
    left = () if by_netem else wanted.impairments
    leaf = (sent or _NOTHING, received or _NOTHING) if by_netem else (_NOTHING, _NOTHING)
    rules = table_rules(wanted.cuts, wanted.resets, left)
    kill = _kill_commands(wanted.resets)
    # Before the rules, so that both ends hear of it: a rule tells the end that sends, and the other one may wait for
    # what was sent. After them, for those that were made meanwhile.
    commands = [
        *_rate_commands(found, wanted.rate_mbit, *leaf),
        *kill,
        *restore_script(tables, rules, found.chains, found.jumps),
        *kill,
    ]
    return Reshaping("\n".join(commands), orders_for(left))


def _in_one(impairment: Impairment) -> bool:
    """Whether one netem can do it: what it does not hold for reordering, it does not hold at all."""
    return not (impairment.reorder_percent and impairment.delay_ms)


def _kill_commands(resets: tuple[Scope, ...]) -> list[str]:
    """Ends connections that say nothing, too, where the kernel can: a reset rule needs a packet to answer."""
    commands = []
    for scope in resets:
        ports = " or ".join(f"sport = {port} or dport = {port}" for port in scope.ports)
        at_ports = f" and \\( {ports} \\)" if ports else ""
        commands += [f"ss --kill --tcp dst {peer}{at_ports} >/dev/null 2>&1 || true" for peer in scope.addresses or ()]
    return commands


def _rate_commands(found: Found, rate_mbit: float | None, sent: Impairment, received: Impairment) -> list[str]:
    ours = found.handle == _EGRESS_HANDLE
    if rate_mbit is None and not sent and not received:
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
    return [
        *_tree(DEVICE, (_EGRESS_HANDLE, _EGRESS_NETEM, _EGRESS_BUCKET), found.queue if ours else "", sent, rate_mbit),
        *_receiving(found, received, rate_mbit),
    ]


def _receiving(found: Found, received: Impairment, rate_mbit: float | None) -> list[str]:
    everything = f"filter replace dev {DEVICE} parent ffff: protocol ip prio 1 handle 800::1 u32 match u32 0 0"
    police = "false"
    if rate_mbit is not None and not received:
        burst = max(_bucket_bytes(rate_mbit), _LARGEST_PACKET_BYTES)
        police = f"tc {everything} police rate {_bits(rate_mbit)} burst {burst} drop flowid :1"
    if rate_mbit is None and not received:
        limited = found.ingress and (found.ifb or found.handle == _EGRESS_HANDLE)
        return [
            *([f"tc qdisc del dev {DEVICE} ingress"] if limited else []),
            *([f"ip link del {IFB}"] if found.ifb else []),
        ]
    tree = _tree(IFB, (_INGRESS_HANDLE, _INGRESS_NETEM, _INGRESS_BUCKET), found.ifb_queue, received, rate_mbit)
    return [
        *([] if found.ingress else [f"tc qdisc add dev {DEVICE} handle ffff: ingress"]),
        f"if ! {{ {{ ip link show {IFB} >/dev/null 2>&1 || ip link add {IFB} type ifb; }} &&",
        f"  ip link set {IFB} up &&",
        *(f"  {command} &&" for command in tree),
        f"  tc {everything} action mirred egress redirect dev {IFB}; }}; then",
        f"  ip link del {IFB} 2>/dev/null || true",
        f"  {police}",
        "fi",
    ]


def _tree(
    device: str, handles: tuple[str, str, str], there: str, impairment: Impairment, rate_mbit: float | None
) -> list[str]:
    """The queues of one device: a bucket, or a netem for IPv4, and in it a bucket. A tree with netem is made anew."""
    root, netem, bucket = handles
    remove = [f"tc qdisc del dev {device} root"] if there in _MEANS else []
    if not impairment:
        if rate_mbit is None:
            return remove
        return [
            *(remove if there == "prio" else []),
            f"tc qdisc replace dev {device} root handle {root} {_bucket(rate_mbit)}",
        ]
    commands = [
        *remove,
        f"tc qdisc add dev {device} root handle {root} {_BANDS}",
        f"tc qdisc add dev {device} parent {root}2 handle {netem} {_netem(impairment)}",
        f"tc filter add dev {device} parent {root} protocol ip prio 1 u32 match u32 0 0 flowid {root}2",
    ]
    if rate_mbit is not None:
        commands.append(f"tc qdisc add dev {device} parent {netem}1 handle {bucket} {_bucket(rate_mbit)}")
    return commands


def _netem(impairment: Impairment) -> str:
    """The words of tc-netem(8). With a rate, here one that is never reached, it keeps the order in spite of jitter."""
    words = ["netem", "limit", str(_NETEM_PACKETS)]
    if impairment.delay_ms:
        words += ["delay", f"{impairment.delay_ms:g}ms"]
        if impairment.jitter_ms:
            words += [f"{impairment.jitter_ms:g}ms", f"{impairment.correlation_percent:g}%", "rate", "100gbit"]
    elif impairment.reorder_percent:
        # Its `reorder` is the share that is not held.
        words += ["delay", f"{impairment.reorder_ms:g}ms", "reorder", f"{100.0 - impairment.reorder_percent:g}%"]
    for name, percent in (
        ("loss", impairment.loss_percent),
        ("duplicate", impairment.duplicate_percent),
        ("corrupt", impairment.corrupt_percent),
    ):
        words += [name, f"{percent:g}%"] if percent else []
    return " ".join(words)


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
        self._netem: bool | None = None
        self._applied: dict[int, Wanted] = {}
        self._queues: dict[int, QueueProcess] = {}
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def started(self, pid: int) -> None:
        """A fresh network namespace, with nothing of ours in it."""
        self._applied[pid] = Wanted()

    def ended(self, pid: int) -> None:
        """The namespace is gone."""
        self._applied.pop(pid, None)
        self._locks.pop(pid, None)
        queue = self._queues.pop(pid, None)
        if queue is not None:
            queue.let_go()

    async def look(self, pid: int) -> Found:
        """What the process's network obeys now."""
        tables = await self._tables_for(pid)
        return parse(await run_in_network(pid, look_script(tables)))

    async def shape(self, pid: int, wanted: Wanted) -> None:
        """Makes the process's network obey exactly this.

        Raises:
            InjectionError: it could not be done; the network obeys what it did before.
        """
        async with self._locks[pid]:
            if self._applied.get(pid) == wanted:
                return
            before = self._applied.pop(pid, Wanted())
            try:
                await self._follow(pid, wanted)
            except InjectionError:
                await self._follow(pid, before)
                self._applied[pid] = before
                raise
            self._applied[pid] = wanted

    async def _follow(self, pid: int, wanted: Wanted) -> None:
        found = await self.look(pid)
        coming = plan(
            found, wanted, tables=self._tables, netem=await self._has_netem() if wanted.impairments else False
        )
        # Who does it is there before the first packet comes, and goes after the last.
        if coming.orders is not None:
            await self._queue_of(pid).obey(coming.orders)
        if coming.script:
            await run_in_network(pid, coming.script)
        if coming.orders is None and pid in self._queues:
            await self._queues.pop(pid).end()

    def _queue_of(self, pid: int) -> QueueProcess:
        if pid not in self._queues:
            self._queues[pid] = QueueProcess(pid)
        return self._queues[pid]

    async def _has_netem(self) -> bool:
        """Whether this kernel has netem, and redirects what is received to it; tried once, in a network of its own."""
        if self._netem is None:
            script = _NETEM_TRIAL.format(ifb=IFB, bands=_BANDS)
            tried = await run_to_end("unshare", "--net", "sh", "-ec", script, limit_s=COMMAND_LIMIT_S)
            self._netem = tried.status == 0
        return self._netem

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
