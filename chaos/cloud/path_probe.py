"""Measures a path between two network namespaces with a listener in one and a client in the other.

It needs nothing of the nodes: the kernel answers for the sockets even while every process of a node is frozen.
"""

from __future__ import annotations

import socket
import statistics
import struct
import threading
import time
from collections.abc import Sequence

from chaos.cloud.namespaces import socket_in
from chaos.cluster import PathMeasurement

LIMIT_S = 2.0
_CONNECT_LIMIT_S = 1.5
_PINGS = 3
_CHUNK_BYTES = 16 * 1024
# The first half of the time is not counted: a bucket's burst passes in it, and TCP's slow start.
_UNCOUNTED_SHARE = 0.5
# A little of the transfer on its way at a time: more would overflow a slow path's queue, and losses blur the rate.
_ON_THE_WAY_SHARE = 1 / 16
_ON_THE_WAY_BYTES = (8 * 1024, 128 * 1024)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def measure(source_pid: int, destination_pid: int, address: str, *, transfer_kib: int) -> PathMeasurement:
    """Connects, sends three bytes there and back, then transfers; returns within LIMIT_S. Blocks: run it in a thread.

    The rate is what arrived in the second half of the time, in payload megabits a second. Half of the time, not of the
    bytes: a rate that lets a burst pass and then little would else be taken for a fast path. A transfer too slow for
    the limit is measured as far as it got.
    """
    deadline_s = time.monotonic() + LIMIT_S
    kind = socket.SOCK_STREAM
    with socket_in(destination_pid, kind) as listener, socket_in(source_pid, kind) as client:
        listener.bind((address, 0))
        listener.listen(1)
        receiver = _Receiver(listener, transfer_kib * 1024, deadline_s)
        receiver.start()
        try:
            # Closing resets the connection, so that no rest of the transfer lingers in a slow queue.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _on_the_way(transfer_kib * 1024))
            client.settimeout(_CONNECT_LIMIT_S)
            client.connect(listener.getsockname())
            rtt_ms = _ping(client, deadline_s)
            _send(client, transfer_kib * 1024, deadline_s)
            receiver.join(max(0.0, deadline_s - time.monotonic()))
        except OSError:
            rtt_ms = None
        finally:
            receiver.give_up()
            receiver.join()
    return PathMeasurement(reachable=rtt_ms is not None, rtt_ms=rtt_ms, rate_mbit=receiver.rate_mbit())


def _on_the_way(size: int) -> int:
    least, most = _ON_THE_WAY_BYTES
    return max(least, min(most, round(size * _ON_THE_WAY_SHARE)))


def _ping(client: socket.socket, deadline_s: float) -> float | None:
    times_ms = []
    for _ in range(_PINGS):
        client.settimeout(_left(deadline_s))
        began_s = time.monotonic()
        try:
            client.sendall(b"?")
            if not client.recv(1):
                break
        except TimeoutError:
            break
        times_ms.append((time.monotonic() - began_s) * 1000.0)
    return round(statistics.median(times_ms), 3) if times_ms else None


def _send(client: socket.socket, size: int, deadline_s: float) -> None:
    chunk = bytes(_CHUNK_BYTES)
    while size > 0 and time.monotonic() < deadline_s:
        client.settimeout(_left(deadline_s))
        try:
            size -= client.send(chunk[: min(size, _CHUNK_BYTES)])
        except TimeoutError:
            return


def _left(deadline_s: float) -> float:
    return max(0.001, deadline_s - time.monotonic())


class _Receiver(threading.Thread):
    """Answers the pings and times the transfer."""

    def __init__(self, listener: socket.socket, size: int, deadline_s: float) -> None:
        super().__init__(name="path-receiver")
        self._listener = listener
        self._size = size
        self._deadline_s = deadline_s
        self._given_up = False
        self._arrivals: list[tuple[float, int]] = []
        self._ended_s = 0.0

    def give_up(self) -> None:
        """Makes the thread end soon."""
        self._given_up = True

    def run(self) -> None:
        """Accepts one connection and reads it until complete."""
        try:
            self._listener.settimeout(0.1)
            connection = self._accept()
            if connection is None:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(0.1)
                self._serve(connection)
        except OSError:
            return

    def _accept(self) -> socket.socket | None:
        while not self._over():
            try:
                return self._listener.accept()[0]
            except TimeoutError:
                continue
        return None

    def _serve(self, connection: socket.socket) -> None:
        pings, received = _PINGS, 0
        while received < self._size and not self._over():
            try:
                data = connection.recv(1 if pings else _CHUNK_BYTES)
            except TimeoutError:
                continue
            if not data:
                break
            if pings:
                pings -= 1
                connection.sendall(data)
            else:
                received += len(data)
                self._arrivals.append((time.monotonic(), received))
        # What did not arrive counts: of a transfer that was cut short, the silence at its end is part of the rate.
        self._ended_s = self._arrivals[-1][0] if received == self._size else time.monotonic()

    def _over(self) -> bool:
        return self._given_up or time.monotonic() > self._deadline_s

    def rate_mbit(self) -> float | None:
        """Payload megabits a second in the counted part; None when too little arrived to tell."""
        return rate_of(self._arrivals, self._ended_s)


def rate_of(arrivals: Sequence[tuple[float, int]], ended_s: float) -> float | None:
    """Megabits a second in the second half of the time, from when each so many bytes in all had arrived."""
    if not arrivals:
        return None
    counted_s = arrivals[0][0] + (ended_s - arrivals[0][0]) * _UNCOUNTED_SHARE
    from_s, before = next((at_s, size) for at_s, size in reversed(arrivals) if at_s <= counted_s)
    if ended_s <= from_s:
        return None
    return round((arrivals[-1][1] - before) * 8 / (ended_s - from_s) / 1e6, 4)
