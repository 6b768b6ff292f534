"""The kernel's NFQUEUE in its own words: packets handed to a program, and the program's verdicts, over netlink.

Spoken directly (include/uapi/linux/netfilter/nfnetlink_queue.h), so that neither a compiler nor a library is needed
where it runs. Needs CAP_NET_ADMIN in the network namespace of whoever opens it.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ERROR = 2
_REQUEST, _ACK = 1, 4
_CFG_COMMAND, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_BIND = 1
_COPY_META, _COPY_PACKET = 1, 2
_FAIL_OPEN, _GSO = 1, 4
_ATTR_HEADER, _ATTR_VERDICT, _ATTR_MARK, _ATTR_PAYLOAD = 1, 2, 3, 10
_SOL_NETLINK, _NO_ENOBUFS = 270, 5
_RECEIVE_BUFFER_FORCED = 33
_BUFFER_BYTES = 16 * 2**20
_DROP, _ACCEPT = 0, 1
_ALL_OF_IT = 0xFFFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# Header of the message and of netfilter; attributes follow.
_PREFIX_BYTES = 20


@dataclass(frozen=True)
class Packet:
    """A packet the kernel holds until a verdict; `payload` is empty where only its mark was asked for."""

    number: int
    mark: int
    payload: bytes


class NetlinkQueue:
    """One queue of the current network namespace; a context, at whose end the kernel lets go of what it holds.

    The kernel accepts packets by itself where more than `room` wait for a verdict.

    Raises:
        OSError: somebody else has the queue, the kernel has no NFQUEUE, or this process may not use it.
    """

    def __init__(self, number: int, *, room: int) -> None:
        self._number = number
        self._room = room
        self._serial = itertools.count(1)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCED, _BUFFER_BYTES)
            self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            self._configure(_attribute(_CFG_COMMAND, struct.pack(">BBH", _BIND, 0, socket.AF_INET)))
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> NetlinkQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when a packet waits."""
        return self._socket.fileno()

    def ask_for(self, *, payload: bool) -> None:
        """Wants whole packets, each as it will be on the wire; or no more of each than its mark, however large."""
        copy = struct.pack(">IB", _ALL_OF_IT, _COPY_PACKET) if payload else struct.pack(">IB", 0, _COPY_META)
        flags = _FAIL_OPEN | (0 if payload else _GSO)
        self._socket.setblocking(True)
        self._configure(
            _attribute(_CFG_PARAMS, copy)
            + _attribute(_CFG_MAXLEN, struct.pack(">I", self._room))
            + _attribute(_CFG_MASK, struct.pack(">I", _FAIL_OPEN | _GSO))
            + _attribute(_CFG_FLAGS, struct.pack(">I", flags))
        )
        self._socket.setblocking(False)

    def take(self) -> Packet | None:
        """The next packet; None where none waits."""
        try:
            message = self._socket.recv(2**17)
        except BlockingIOError:
            return None
        return packet_of(message)

    def accept(self, packet: Packet, payload: bytes = b"") -> None:
        """Lets a packet go on, with another content where one is given."""
        self._decide(packet.number, _ACCEPT, _attribute(_ATTR_PAYLOAD, payload) if payload else b"")

    def drop(self, packet: Packet) -> None:
        """Ends a packet; who sent it is not told."""
        self._decide(packet.number, _DROP, b"")

    def _decide(self, packet: int, verdict: int, more: bytes) -> None:
        self._socket.send(
            self._message(_VERDICT, _REQUEST, _attribute(_ATTR_VERDICT, struct.pack(">II", verdict, packet)) + more)
        )

    def _configure(self, attributes: bytes) -> None:
        """Sends a configuration and waits for the kernel's answer; packets that come meanwhile are accepted."""
        self._socket.send(self._message(_CONFIG, _REQUEST | _ACK, attributes))
        while True:
            message = self._socket.recv(2**17)
            if _HEADER.unpack_from(message)[1] == _ERROR:
                (error,) = struct.unpack_from("=i", message, _HEADER.size)
                if error:
                    raise OSError(-error, f"netfilter queue {self._number}: {os.strerror(-error)}")
                return
            packet = packet_of(message)
            if packet is not None:
                self.accept(packet)

    def _message(self, kind: int, flags: int, attributes: bytes) -> bytes:
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, self._number) + attributes
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, next(self._serial) & 0xFFFFFFFF, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def packet_of(message: bytes) -> Packet | None:
    """The packet a message tells of; None for any other message."""
    length, kind, *_ = _HEADER.unpack_from(message)
    if kind != _PACKET:
        return None
    number, mark, payload = 0, 0, b""
    place = _PREFIX_BYTES
    while place + _ATTRIBUTE.size <= length:
        size, name = _ATTRIBUTE.unpack_from(message, place)
        begin = place + _ATTRIBUTE.size
        if name == _ATTR_HEADER:
            (number,) = struct.unpack_from(">I", message, begin)
        elif name == _ATTR_MARK:
            (mark,) = struct.unpack_from(">I", message, begin)
        elif name == _ATTR_PAYLOAD:
            payload = message[begin : place + size]
        place += (size + 3) & ~3
    return Packet(number, mark, payload)
