"""A flight: transport messages of one length that lie in memory one after the other.

What one system call sends or brings is the rows of a matrix, of which all headers are written or
read at once, and for whose sealed parts the views that the cipher wants are cut once for all.
"""

from __future__ import annotations

import numpy as np

from tunnelmesh.wire.wireguard import TRANSPORT_HEADER_SIZE

_PREFIX = 8
"""Bytes of the type and the receiver's index, before the counter."""

_NONCE = 12
"""Bytes of a nonce: four zeros and the counter (paper, §5.4.6)."""


class Flight:
    """Room for a flight.

    :param step: bytes of each message but the last, which may be shorter.
    :param count: most messages.

    :ivar view: all messages.
    :ivar sealed: of each message what follows its header.
    :ivar nonces: for each message.
    :ivar prefixes: types and receivers' indices, each as one number.
    :ivar numbers: 0, 1, 2 ...
    """

    def __init__(self, step: int, count: int) -> None:
        octets = np.zeros((count, step), np.uint8)
        nonces = np.zeros((count, _NONCE), np.uint8)
        self.step = step
        self.view = octets.data.cast("B")
        self.sealed = [
            self.view[at + TRANSPORT_HEADER_SIZE : at + step] for at in range(0, count * step, step)
        ]
        self.nonces = [nonces[row].data for row in range(count)]
        self.prefixes = octets[:, :_PREFIX].view("<u8")[:, 0]
        self.counters = octets[:, _PREFIX:TRANSPORT_HEADER_SIZE].view("<u8")[:, 0]
        self.nonce_counters = nonces[:, _NONCE - 8 :].view("<u8")[:, 0]
        self.numbers = np.arange(count, dtype=np.uint64)
