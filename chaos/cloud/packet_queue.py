"""Holds, loses, doubles and damages packets in user space, where the kernel has no netem.

    nsenter --net=NAMESPACE python -m chaos.cloud.packet_queue

Netfilter chooses the packets and marks each with what is to become of it (`chaos.cloud.packet_rules`); this process
does it. It reads one JSON line a configuration (`Orders`) from standard input, answers each with a line, and ends,
letting go of every packet, when standard input does: so also when the Cloud dies. Rules that outlive it let packets
pass (`--queue-bypass`).

Packets that are received stay in the kernel until their time. Packets that are sent are copied, ended, and sent again
when their time has come: a kernel that still holds a packet counts it as not yet sent, and would let a connection have
little more than two packets under way, however long the delay. netem takes packets off their sender's account too.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from chaos.cloud.netlink_queue import NetlinkQueue, Packet

DEVICE = "eth0"
QUEUE_OUT, QUEUE_IN = 31237, 31238
# Bits of a packet's mark: what is to become of it, which holds it passes, and that it has passed all.
LOSE, DUPLICATE, CORRUPT = 1 << 16, 1 << 17, 1 << 18
HOLDS = tuple(1 << bit for bit in range(19, 27))
PASSED = 1 << 27
ORDERS_MASK = LOSE | DUPLICATE | CORRUPT | sum(HOLDS)

# Of packets in the kernel. Of those that are copied here, more would fill the memory of the Cloud's container.
_ROOM = 100_000
_MOST_HELD = 20_000
_AT_ONCE = 64
_SO_MARK = 36
_SEND_BUFFER_FORCED = 32
_SEND_BUFFER_BYTES = 16 * 2**20
_SIOCGIFMTU = 0x8921
_READY = b"ready\n"


@dataclass
class Hold:
    """Holds each packet with this bit `delay_ms` ± `jitter_ms`; `ordered` ones are not overtaken by each other."""

    bit: int
    delay_ms: float
    jitter_ms: float = 0.0
    correlation_percent: float = 0.0
    ordered: bool = True

    def __post_init__(self) -> None:
        self._last = 0.5

    def draw_s(self, chance: random.Random) -> float:
        """How long the next packet is held: uniform, of which a part is what the last one drew, as netem does."""
        share = self.correlation_percent / 100.0
        self._last = (1.0 - share) * chance.random() + share * self._last
        return max(0.0, self.delay_ms + self.jitter_ms * (2.0 * self._last - 1.0)) / 1000.0


@dataclass(frozen=True)
class Orders:
    """What a packet queue process is to do; `content` where it must see what packets that are received hold."""

    holds: tuple[Hold, ...] = ()
    content: bool = False

    def line(self) -> bytes:
        """As one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def of_line(line: bytes) -> Orders:
        """From one line."""
        data = json.loads(line)
        return Orders(tuple(Hold(**hold) for hold in data["holds"]), data["content"])


class Timetable:
    """When each packet is due, and which is next."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._holds: Sequence[Hold] = ()
        self._last_due_s: dict[tuple[int, int], float] = {}
        self._heap: list[tuple[float, int, int, Packet]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def obey(self, holds: Sequence[Hold]) -> None:
        """From now on packets are held so; those that wait keep their time."""
        self._holds = holds
        self._last_due_s.clear()

    def add(self, queue: int, packet: Packet, now_s: float) -> None:
        """Enters a packet of a queue."""
        due_s, late_s, passes = now_s, 0.0, 0
        for hold in self._holds:
            if packet.mark & hold.bit and hold.ordered:
                due_s += hold.draw_s(self._chance)
                passes |= hold.bit
            elif packet.mark & hold.bit:
                late_s += hold.draw_s(self._chance)
        if passes:
            due_s = max(due_s, self._last_due_s.get((queue, passes), 0.0))
            self._last_due_s[queue, passes] = due_s
        heapq.heappush(self._heap, (due_s + late_s, next(self._order), queue, packet))

    def next_s(self) -> float | None:
        """When the next packet is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> tuple[int, Packet] | None:
        """A packet that is due, with its queue, in the order of their times."""
        if not self._heap or self._heap[0][0] > now_s:
            return None
        _, _, queue, packet = heapq.heappop(self._heap)
        return queue, packet


class PacketLoop:
    """Takes packets from both queues, and lets them go when they are due."""

    def __init__(self, sent: NetlinkQueue, received: NetlinkQueue, chance: random.Random) -> None:
        self._queues = {QUEUE_OUT: sent, QUEUE_IN: received}
        self._chance = chance
        self._timetable = Timetable(chance)
        self._wire = _wire()
        self._largest = _largest_packet()

    def obey(self, orders: Orders) -> None:
        """Changes what is done to packets that come from now on."""
        self._timetable.obey(orders.holds)
        self._queues[QUEUE_OUT].ask_for(payload=True)
        self._queues[QUEUE_IN].ask_for(payload=orders.content)

    def run(self, orders: int) -> None:
        """Goes on until the descriptor `orders` comes to its end; then every packet goes at once."""
        unread = b""
        descriptors = [queue.fileno() for queue in self._queues.values()]
        while True:
            next_s = self._timetable.next_s()
            wait_s = None if next_s is None else max(0.0, next_s - time.monotonic())
            readable, _, _ = select.select([orders, *descriptors], [], [], wait_s)
            self._take()
            self._release(time.monotonic())
            if orders not in readable:
                continue
            read = os.read(orders, 65536)
            if not read:
                break
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                self.obey(Orders.of_line(line))
                os.write(sys.stdout.fileno(), _READY)
        self._take()
        self._release(float("inf"))

    def _take(self) -> None:
        for number, queue in self._queues.items():
            for _ in range(_AT_ONCE):
                packet = queue.take()
                if packet is None:
                    break
                if packet.mark & LOSE or len(self._timetable) >= _MOST_HELD:
                    queue.drop(packet)
                    continue
                if self._resent(number, packet):
                    queue.drop(packet)
                self._timetable.add(number, packet, time.monotonic())

    def _resent(self, number: int, packet: Packet) -> bool:
        """Whether a packet travels as a copy: one that the kernel has yet to split goes on itself."""
        return number == QUEUE_OUT and len(packet.payload) <= self._largest

    def _release(self, now_s: float) -> None:
        while (due := self._timetable.due(now_s)) is not None:
            number, packet = due
            payload = self._damaged(packet.payload) if packet.mark & CORRUPT else packet.payload
            if packet.mark & DUPLICATE:
                self._send(payload)
            if self._resent(number, packet):
                self._send(payload)
            else:
                self._queues[number].accept(packet, payload if packet.mark & CORRUPT else b"")

    def _damaged(self, payload: bytes) -> bytes:
        """With one bit after the network header changed."""
        content = bytearray(payload)
        begin = (content[0] & 0x0F) * 4
        if begin < len(content):
            content[self._chance.randrange(begin, len(content))] ^= 1 << self._chance.randrange(8)
        return bytes(content)

    def _send(self, payload: bytes) -> None:
        try:
            self._wire.sendto(payload, (socket.inet_ntoa(payload[16:20]), 0))
        except OSError:
            # There is no way any more, or no room: on a network, too, such a packet is lost without a word.
            return


def _wire() -> socket.socket:
    """A socket that sends whole packets, marked so that they do not come back here."""
    wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    wire.setsockopt(socket.SOL_SOCKET, _SO_MARK, PASSED)
    wire.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCED, _SEND_BUFFER_BYTES)
    wire.setblocking(False)
    return wire


def _largest_packet() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16si", DEVICE.encode(), 0))
    return int(struct.unpack("16si", asked)[1])


def main() -> None:
    """Entry point of the process."""
    with NetlinkQueue(QUEUE_OUT, room=_ROOM) as sent, NetlinkQueue(QUEUE_IN, room=_ROOM) as received:
        # Which packets are hit is the kernel's choice, at random; how long each is held is no part of a run's seed.
        PacketLoop(sent, received, random.Random()).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
