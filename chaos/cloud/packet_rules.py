"""From what packets are to suffer to netfilter rules, in chains of our own; nobody else's rule is touched.

Cuts are DROP, resets REJECT with a TCP reset, in the `filter` table. What the packet queue process does
(`chaos.cloud.packet_queue`) is chosen in the `mangle` table: each packet is marked with what is to become of it, at
random (`statistic`) where only a share is meant, and those with a mark are handed over. `--queue-bypass`: without the
process packets pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chaos.cloud.packet_queue import (
    CORRUPT,
    DEVICE,
    DUPLICATE,
    HOLDS,
    LOSE,
    ORDERS_MASK,
    PASSED,
    QUEUE_IN,
    QUEUE_OUT,
    Hold,
    Orders,
)
from chaos.cloud.packets import Impairment, Scope
from chaos.errors import InjectionError
from chaos.harm import Direction

CHAIN_IN = "RAYCHAOS-IN"
CHAIN_OUT = "RAYCHAOS-OUT"
MOST_PORTS = 15  # of netfilter's `multiport`

_WAYS: tuple[tuple[Direction, str, str, str], ...] = (("in", CHAIN_IN, "-i", "-s"), ("out", CHAIN_OUT, "-o", "-d"))
_TABLES = ("filter", "mangle")
# A reset itself passes, or the other end would never hear of it.
_RESET = "--tcp-flags RST NONE -j REJECT --reject-with tcp-reset"


def chains_in(saved: str) -> frozenset[tuple[str, str]]:
    """Our chains, each as its table and name, in what `iptables-save` printed."""
    return frozenset(_found(saved, rf"^:({CHAIN_IN}|{CHAIN_OUT}) "))


def jumps_in(saved: str) -> frozenset[tuple[str, str]]:
    """Our chains that packets are sent to."""
    return frozenset(_found(saved, rf"^-A \S+ -j ({CHAIN_IN}|{CHAIN_OUT})$"))


def _found(saved: str, pattern: str) -> Iterator[tuple[str, str]]:
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif match := re.match(pattern, line):
            yield table, match.group(1)


def orders_for(impairments: tuple[Impairment, ...]) -> Orders | None:
    """What the packet queue process is to do; None where it is not needed.

    Raises:
        InjectionError: more delays at once than a packet's mark can tell apart.
    """
    holds = tuple(hold for _, _, hold in _holds(impairments))
    if not any(impairments):
        return None
    received = [item for item in impairments if item.scope.goes("in")]
    return Orders(holds, content=any(item.duplicate_percent or item.corrupt_percent for item in received))


def table_rules(
    cuts: Iterable[Scope], resets: Iterable[Scope], impairments: tuple[Impairment, ...]
) -> dict[str, list[str]]:
    """The rules of our chains, by table."""
    filtering = [rule for scope in cuts for rule in _rules(scope, "-j DROP")]
    filtering += [rule for scope in resets for rule in _rules(scope, _RESET, tcp=True)]
    return {"filter": filtering, "mangle": list(_marking(impairments))}


def restore_script(
    tables: str, rules: dict[str, list[str]], chains: frozenset[tuple[str, str]], jumps: frozenset[tuple[str, str]]
) -> list[str]:
    """The command that leads from the chains there are to these rules, each table in one transaction; none for none."""
    lines: list[str] = []
    for table in _TABLES:
        changes = _changes(
            rules[table],
            {name for where, name in chains if where == table},
            {name for where, name in jumps if where == table},
        )
        if changes:
            lines += [f"*{table}", *changes, "COMMIT"]
    return [f"{tables}-restore --noflush <<'RULES'", *lines, "RULES"] if lines else []


def _changes(rules: list[str], chains: set[str], jumps: set[str]) -> list[str]:
    if rules:
        # Naming a chain makes it, or empties it; with --noflush nothing else is touched.
        return [
            *(f":{chain} - [0:0]" for chain in (CHAIN_IN, CHAIN_OUT)),
            *rules,
            *(f"-I {_hook(chain)} 1 -j {chain}" for chain in (CHAIN_IN, CHAIN_OUT) if chain not in jumps),
        ]
    return [
        *(f"-D {_hook(chain)} -j {chain}" for chain in sorted(jumps)),
        *(f"-F {chain}" for chain in sorted(chains)),
        *(f"-X {chain}" for chain in sorted(chains)),
    ]


def _hook(chain: str) -> str:
    return "INPUT" if chain == CHAIN_IN else "OUTPUT"


def _rules(scope: Scope, target: str, *, way: Direction = "both", tcp: bool = False) -> Iterator[str]:
    """The rules that do something to the packets of a scope that go one way, or both."""
    for direction, chain, device, peer in _WAYS:
        if not scope.goes(direction) or way not in ("both", direction):
            continue
        for address in scope.addresses if scope.addresses is not None else ("",):
            at = f" {peer} {address}" if address else ""
            for protocol in _protocols(scope.ports, tcp=tcp):
                yield f"-A {chain} {device} {DEVICE}{at}{protocol} {target}"


def _protocols(ports: tuple[int, ...], *, tcp: bool) -> tuple[str, ...]:
    if not ports:
        return (" -p tcp",) if tcp else ("",)
    listed = ",".join(str(port) for port in ports)
    return tuple(f" -p {name} -m multiport --ports {listed}" for name in (("tcp",) if tcp else ("tcp", "udp")))


def _marking(impairments: tuple[Impairment, ...]) -> Iterator[str]:
    if not any(impairments):
        return
    yield f"-A {CHAIN_OUT} -m mark --mark {PASSED:#x}/{PASSED:#x} -j RETURN"
    for item in impairments:
        for share, bit in (
            (item.loss_percent, LOSE),
            (item.duplicate_percent, DUPLICATE),
            (item.corrupt_percent, CORRUPT),
        ):
            yield from _mark(item.scope, bit, share)
    for item, share, hold in _holds(impairments):
        yield from _mark(item.scope, hold.bit, share)
    for _, chain, _, _ in _WAYS:
        queue = QUEUE_IN if chain == CHAIN_IN else QUEUE_OUT
        handed = f"-m mark ! --mark 0x0/{ORDERS_MASK:#x}"
        yield f"-A {chain} {handed} -j NFQUEUE --queue-num {queue} --queue-bypass"


def _mark(scope: Scope, bit: int, percent: float) -> Iterator[str]:
    if percent <= 0.0:
        return
    chance = "" if percent >= 100.0 else f"-m statistic --mode random --probability {percent / 100.0:.6f} "
    yield from _rules(scope, f"{chance}-j MARK --set-xmark {bit:#x}/{bit:#x}")


def _holds(impairments: tuple[Impairment, ...]) -> list[tuple[Impairment, float, Hold]]:
    """Each impairment that holds packets, the share of them it holds, and how."""
    wanted = [(item, 100.0, True) for item in impairments if item.delay_ms]
    wanted += [(item, item.reorder_percent, False) for item in impairments if item.reorder_percent]
    if len(wanted) > len(HOLDS):
        raise InjectionError(f"{len(wanted)} delays on one node at once; there can be {len(HOLDS)}")
    return [
        (item, share, _hold(item, bit, ordered=ordered))
        for (item, share, ordered), bit in zip(wanted, HOLDS, strict=False)
    ]


def _hold(item: Impairment, bit: int, *, ordered: bool) -> Hold:
    if ordered:
        return Hold(bit, item.delay_ms, item.jitter_ms, item.correlation_percent)
    return Hold(bit, item.reorder_ms, ordered=False)
