"""Opening a flight (:mod:`tunnelmesh.noise.flight`), and making super-packets of it.

Messages that came together and lie one after the other are rows of a matrix. They are opened into
the rows of another, and where these continue each other, which they nearly always do, their
payloads are copied once, to where the kernel takes them from. The interpreter takes no step for a
single packet.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import pairwise, repeat

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.bulk.coalescing import LARGEST, coalesce
from tunnelmesh.bulk.layout import MAX_SEGMENTS, Layout, layout_of
from tunnelmesh.bulk.rows import Octets, Rows
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.worth import FLIGHT, LARGE
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.flight import Flight
from tunnelmesh.noise.padding import unpadded
from tunnelmesh.noise.replay import LIMIT, ReplayWindow
from tunnelmesh.wire.virtio import EMPTY
from tunnelmesh.wire.wireguard import TAG_SIZE, TRANSPORT_OVERHEAD

ROOM = 3 << 16
"""Bytes that can be opened together: all that a turn of reading brings at once."""

_SIZES = 4
"""Lengths of messages for which there is room at a time. Most flows' are all the same."""

_PREFIX = 8
"""Bytes of the type and the receiver's index."""

_LEAD = 12
"""Bytes before each packet, so that what follows a usual TCP header (52 bytes) is aligned."""

_memory = bytearray(ROOM)
_view = memoryview(_memory)
"""Where super-packets are made; one for all sessions, since each flight is delivered before the
next is opened. A packet and its virtio header are shorter than its message was."""


class _Room:
    """For messages of one length, and the packets in them."""

    def __init__(self, step: int) -> None:
        count = ROOM // step
        length = step - TRANSPORT_OVERHEAD
        pitch = _LEAD + length
        pitch += -pitch % 16
        octets = np.zeros((count, pitch), np.uint8)
        view = octets.data.cast("B")
        self.length = length
        self.flight = Flight(step, count)
        self.octets = octets[:, _LEAD:]
        self.packets = [view[at : at + length] for at in range(_LEAD, count * pitch, pitch)]


_room = lru_cache(_SIZES)(_Room)


class FlightOpener:
    """Opens flights of one session.

    :param aead: with the key for receiving.
    :param window: the session's.
    :param counters: where drops are counted.
    """

    def __init__(self, aead: ChaCha20Poly1305, window: ReplayWindow, counters: Counters) -> None:
        self._open = aead.decrypt_into
        self._window = window
        self._counters = counters

    def open(self, datagrams: memoryview, step: int) -> list[memoryview] | None:
        """Turn transport messages into packets.

        :param datagrams: one after the other, each *step* bytes long but the last; the first one's
            header is this session's.
        :returns: packets, each with a virtio header that fits it before it, valid until the next
            call for any session. None, and nothing is done, if there are few, or small ones, or
            any that is not this session's, not authentic or not later than all before it, or a
            keepalive: these are to be opened one by one.
        """
        size = len(datagrams)
        count = -(-size // step)
        tail = size - (count - 1) * step - TRANSPORT_OVERHEAD
        if count < FLIGHT or step < LARGE + TRANSPORT_OVERHEAD or tail <= 0 or size > ROOM:
            return None
        room = _room(step)
        flight = room.flight
        flight.view[:size] = datagrams
        counters: list[int] = flight.counters[:count].tolist()
        prefixes = flight.prefixes[:count].tobytes()
        if prefixes != prefixes[:_PREFIX] * count or not self._are_new(counters):
            return None
        flight.nonce_counters[:count] = flight.counters[:count]
        last = count - 1
        room.packets[last][tail:] = bytes(room.length - tail)  # a longer one has been there
        packets = room.packets[:last]
        packets.append(room.packets[last][:tail])
        sealed = flight.sealed[last][: tail + TAG_SIZE]
        try:
            deque(map(self._open, flight.nonces[:last], flight.sealed, repeat(None), packets), 0)
            self._open(flight.nonces[last], sealed, None, packets[last])
        except InvalidTag:
            return None
        self._accept(counters)
        return self._joined(room.octets, packets)

    def _are_new(self, counters: list[int]) -> bool:
        """Whether the counters rise, from one that is later than all before."""
        if counters[0] < self._window.expected or counters[-1] >= LIMIT:
            return False
        return counters == sorted(set(counters))

    def _accept(self, counters: list[int]) -> None:
        first, count = counters[0], len(counters)
        is_run = counters[-1] - first == count - 1  # they rise
        if not is_run or not self._window.accept_run(first, count):
            deque(map(self._window.accept, counters), 0)

    def _joined(self, octets: Octets, padded: list[memoryview]) -> list[memoryview]:
        """The packets, in as few super-packets as may be."""
        rows = _rows(octets, padded)
        if rows is None:
            if len(padded[-1]) == len(padded[0]):
                return self._separately(padded)
            ending = self._separately(padded[-1:])  # perhaps only that one is of another flow
            return self._joined(octets, padded[:-1]) + ending
        bounds = rows.bounds()
        if len(bounds) * FLIGHT > len(padded) + FLIGHT:
            return self._separately(padded)  # flows in turns
        most = min(MAX_SEGMENTS, LARGEST // rows.layout.length)
        found: list[memoryview] = []
        start = 0
        for first, end in pairwise(bounds):
            for begin in range(first, end, most):
                after = min(begin + most, end)
                if after - begin > 1 and (not begin or _layout(padded[begin]) == rows.layout):
                    stop = rows.join(begin, after, _memory, start)
                    found.append(_view[start:stop])
                    start = stop
                else:
                    found += self._separately(padded[begin:after])
        return found

    def _separately(self, padded: list[memoryview]) -> list[memoryview]:
        """The packets of various flows and lengths, in as few super-packets as may be."""
        packets = []
        for each in padded:
            packet = unpadded(bytes(each))
            if packet is None:
                self._counters.malformed_packets += 1
            else:
                packets.append(packet)
        return [
            memoryview(each.buffer if isinstance(each, SuperPacket) else EMPTY + each)
            for each in coalesce(packets, udp=True)
        ]


def _layout(padded: memoryview) -> Layout | None:
    packet = unpadded(bytes(padded))
    return None if packet is None else layout_of(packet, udp=True)


def _rows(octets: Octets, padded: list[memoryview]) -> Rows | None:
    """The packets as rows; None if first and last alone tell that they are not of one flow.

    Padding of others that is not zero, as it should be, makes their checksums wrong.
    """
    layout = _layout(padded[0]) if len(padded) > 1 else None
    last = unpadded(bytes(padded[-1]))
    if layout is None or last is None or len(last) > layout.length:
        return None
    if len(last) < layout.length and not layout.ends(last):
        return None
    width = layout.length + -layout.length % 4
    return Rows(octets[: len(padded), :width], layout, len(last))
