"""Sealing a super-packet for a peer that takes nothing but WireGuard's packets.

The packets that it stands for are a flight (:mod:`tunnelmesh.noise.flight`): rows of one matrix,
each sealed into a row of another, which one system call sends as it is. The interpreter takes no
step for a single packet.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import repeat

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.segmentation import GEOMETRIES, Segments, segments_of
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.worth import LARGE
from tunnelmesh.noise.flight import Flight
from tunnelmesh.noise.padding import padded
from tunnelmesh.wire.wireguard import TAG_SIZE, TRANSPORT_OVERHEAD


class FlightSealer:
    """Seals super-packets of one session.

    :param aead: with the key for sending.
    :param header: the type and the receiver's index (8 bytes).
    :param mtu: padding does not make a packet longer than this many bytes.
    """

    def __init__(self, aead: ChaCha20Poly1305, header: bytes, mtu: int) -> None:
        self._seal = aead.encrypt_into
        self._prefix = np.uint64(int.from_bytes(header, "little"))
        self._mtu = mtu

    def seal(self, packet: SuperPacket, counter: int) -> Run | None:
        """Turn a super-packet into transport messages, under *counter* and those that follow.

        :returns: what is valid until the next call for any session; None, and nothing is done, if
            the packets are too small to be worth it.
        """
        if packet.segment_size < LARGE:
            return None
        segments = segments_of(packet)
        plain, flight = _rows(segments, self._mtu)
        count = packet.count
        counters = flight.numbers[:count] + np.uint64(counter)
        flight.prefixes[:count] = self._prefix
        flight.counters[:count] = counters
        flight.nonce_counters[:count] = counters
        last = count - 1
        length = padded(segments.last, self._mtu)
        deque(map(self._seal, flight.nonces[:last], plain, repeat(None), flight.sealed), 0)
        into = flight.sealed[last][: length + TAG_SIZE]
        self._seal(flight.nonces[last], plain[last][:length], None, into)
        stop = last * flight.step + TRANSPORT_OVERHEAD + length
        return Run([flight.view[:stop]], min(flight.step, stop), count)


@lru_cache(GEOMETRIES)
def _rows(segments: Segments, mtu: int) -> tuple[list[memoryview], Flight]:
    """Padded packets, and where they are sealed into; one for all sessions, since each flight is
    sent before the next is sealed."""
    length = padded(segments.length, mtu)
    plain = segments.rows(length)
    return plain, Flight(TRANSPORT_OVERHEAD + length, len(plain))
