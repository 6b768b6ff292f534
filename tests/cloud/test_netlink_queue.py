"""The kernel's words for a packet; `test_network_kernel` shows the conversation."""

from __future__ import annotations

import socket
import struct

import pytest

from chaos.cloud.netlink_queue import NetlinkQueue, Packet, packet_of
from tests.cloud.netns import why_no_rules


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, *attributes: bytes) -> bytes:
    body = struct.pack(">BBH", socket.AF_INET, 0, 5) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


HEADER = attribute(1, struct.pack(">IHB", 7, 0x0800, 3))
DEVICE = attribute(6, struct.pack(">I", 2))


def test_a_packet_is_read_whatever_the_order_of_its_parts() -> None:
    mark, payload = attribute(3, struct.pack(">I", 0x80000)), attribute(10, b"hello")
    expected = Packet(7, 0x80000, b"hello")
    assert packet_of(message(0x300, HEADER, DEVICE, mark, payload)) == expected
    assert packet_of(message(0x300, payload, mark, HEADER)) == expected


def test_without_a_mark_or_content_there_is_none() -> None:
    assert packet_of(message(0x300, HEADER, DEVICE)) == Packet(7, 0, b"")


def test_another_message_is_no_packet() -> None:
    assert packet_of(message(0x301, HEADER)) is None


@pytest.mark.skipif(bool(why_no_rules()), reason=why_no_rules())
def test_a_queue_is_one_program_s() -> None:
    with (
        NetlinkQueue(31999, room=10) as queue,
        pytest.raises(OSError, match="netfilter queue 31999"),
        NetlinkQueue(31999, room=10),
    ):
        assert queue.take() is None
    with NetlinkQueue(31999, room=10) as queue:
        queue.ask_for(payload=True)
        assert queue.take() is None
