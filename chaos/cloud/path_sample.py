"""Samples a path one way: numbered packets from one network namespace to another, counted where they arrive.

Both ends are sockets of this process, so one clock times a packet's way. UDP, without a checksum: the kernel would drop
damaged packets before they could be counted.
"""

from __future__ import annotations

import secrets
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.cloud.namespaces import socket_in
from chaos.cluster import PathSample

LIMIT_S = 12.0
# The number stands so often in a packet that damage hardly ever hides it.
_COPIES = 256
_NO_CHECKSUM = 11
_BUFFER_BYTES = 8 * 2**20
_POLL_S = 0.02
_NUMBER_BITS = 16


@dataclass(frozen=True)
class Arrival:
    """A packet that came, when, and whether as it was sent."""

    number: int
    at_s: float
    damaged: bool


def sample(
    source_pid: int,
    destination_pid: int,
    address: str,
    *,
    packets: int,
    interval_ms: float,
    patience_ms: float,
    port: int = 0,
    limit_s: float = LIMIT_S,
) -> PathSample:
    """Sends, counts, and returns within the limit; at once when every packet has come. Blocks: run it in a thread.

    Packets that cannot be sent in time to be waited for are not sent.
    """
    kind = socket.SOCK_DGRAM
    until_s = time.monotonic() + limit_s
    with socket_in(destination_pid, kind) as far, socket_in(source_pid, kind) as near:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        far.bind((address, port))
        near.setsockopt(socket.SOL_SOCKET, _NO_CHECKSUM, 1)
        counter = _Counter(far, packets, until_s)
        counter.start()
        try:
            patience_s = patience_ms / 1000.0
            sending_s = until_s - patience_s
            sent_s = _send(near, far.getsockname(), counter.mark, packets, interval_ms / 1000.0, until_s=sending_s)
            counter.finish(time.monotonic() + patience_s)
        finally:
            counter.join()
    return summary(sent_s, counter.arrivals)


def summary(sent_s: Sequence[float], arrivals: Sequence[Arrival]) -> PathSample:
    """What a sample shows: `sent_s` is when each number was sent, `arrivals` are in the order they came."""
    first: dict[int, float] = {}
    duplicates = overtaken = latest = 0
    for arrival in arrivals:
        if arrival.number in first:
            duplicates += 1
            continue
        first[arrival.number] = arrival.at_s
        overtaken += arrival.number < latest
        latest = max(latest, arrival.number)
    delays_ms = sorted((at_s - sent_s[number]) * 1000.0 for number, at_s in first.items())
    return PathSample(
        sent=len(sent_s),
        arrived=len(first),
        duplicates=duplicates,
        damaged=sum(arrival.damaged for arrival in arrivals),
        overtaken=overtaken,
        delay_ms=round(statistics.median(delays_ms), 3) if delays_ms else None,
        spread_ms=round(_percentile(delays_ms, 0.9) - _percentile(delays_ms, 0.1), 3) if delays_ms else None,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[round((len(ordered) - 1) * share)]


def _send(
    near: socket.socket, to: tuple[str, int], mark: int, packets: int, interval_s: float, *, until_s: float
) -> list[float]:
    """Sends at a steady pace; returns when each was sent. What the sender's own kernel refuses was sent and lost."""
    sent_s: list[float] = []
    began_s = time.monotonic()
    for number in range(packets):
        due_s = max(began_s + number * interval_s, time.monotonic())
        if due_s >= until_s:
            break
        time.sleep(max(0.0, due_s - time.monotonic()))
        # What is held back is charged to the sender: its buffer may be full.
        near.settimeout(max(0.001, until_s - time.monotonic()))
        content = struct.pack("!I", mark | number) * _COPIES
        sent_s.append(time.monotonic())
        try:
            near.sendto(content, to)
        except OSError:
            continue
    return sent_s


class _Counter(threading.Thread):
    """Notes what arrives, until everything has, or time is up."""

    def __init__(self, far: socket.socket, packets: int, until_s: float) -> None:
        super().__init__(name="path-counter")
        # Tells our packets from whatever else comes to that port.
        self.mark = secrets.randbits(32 - _NUMBER_BITS) << _NUMBER_BITS
        self.arrivals: list[Arrival] = []
        self._far = far
        self._packets = packets
        self._until_s = until_s

    def finish(self, until_s: float) -> None:
        """Nothing more is sent; waits until then."""
        self._until_s = min(self._until_s, until_s)

    def run(self) -> None:
        """Receives."""
        missing = set(range(self._packets))
        self._far.settimeout(_POLL_S)
        # A copy may come right after the last packet that was missing.
        while time.monotonic() < (self._until_s if missing else min(self._until_s, self._last_s() + 2 * _POLL_S)):
            try:
                content = self._far.recv(65536)
            except TimeoutError:
                continue
            arrival = self._read(content)
            if arrival is not None:
                self.arrivals.append(arrival)
                missing.discard(arrival.number)

    def _last_s(self) -> float:
        return self.arrivals[-1].at_s

    def _read(self, content: bytes) -> Arrival | None:
        now_s = time.monotonic()
        whole = content[: len(content) & ~3]
        words = Counter(whole[place : place + 4] for place in range(0, len(whole), 4))
        word = words.most_common(1)[0][0] if words else b"\0\0\0\0"
        (value,) = struct.unpack("!I", word)
        number = value & ((1 << _NUMBER_BITS) - 1)
        if value - number != self.mark or number >= self._packets:
            return None
        return Arrival(number, now_s, damaged=len(words) > 1)
