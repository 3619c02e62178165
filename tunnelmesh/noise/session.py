"""One session: the keys that a handshake agreed on, and what is sealed and opened with them.

Source: the WireGuard paper, §5.4.6 and §6.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.replay import LIMIT, ReplayWindow
from tunnelmesh.wire.wireguard import TRANSPORT

REKEY_AFTER_MESSAGES = 2**60
"""Messages sealed before a new session is asked for (paper, §6.1)."""

REJECT_AFTER_MESSAGES = LIMIT
"""Messages a session seals or opens at most (paper, §6.1)."""

REKEY_AFTER_TIME = 120.0
"""Seconds after which the initiator, sending, asks for a new session."""

REJECT_AFTER_TIME = 180.0
"""Seconds after which a session neither seals nor opens."""

_PADDING = [bytes(n) for n in range(16)]
_SALT = bytes(4)
"""A nonce is four zeros and the counter."""


class Session:
    """Both directions of one session.

    :param keys: from the handshake.
    :param local: the index that this machine chose (4 bytes).
    :param remote: the index that the remote peer chose (4 bytes).
    :param initiator: whether this machine began the handshake; the initiator is who rekeys.
    :param born: when (seconds, monotonic).
    :param mtu: padding does not make a packet longer than this many bytes.
    :param counters: where drops are counted.
    """

    __slots__ = (
        "_counters",
        "_decrypt",
        "_encrypt",
        "_header",
        "_mtu",
        "_window",
        "born",
        "initiator",
        "local",
        "sealed",
    )

    def __init__(
        self,
        keys: Keys,
        *,
        local: bytes,
        remote: bytes,
        initiator: bool,
        born: float,
        mtu: int,
        counters: Counters,
    ) -> None:
        self._encrypt = ChaCha20Poly1305(keys.send).encrypt
        self._decrypt = ChaCha20Poly1305(keys.receive).decrypt
        self._header = TRANSPORT + remote
        self._window = ReplayWindow()
        self._mtu = mtu
        self._counters = counters
        self.local = local
        self.initiator = initiator
        self.born = born
        self.sealed = 0
        """Messages sealed so far: the next one's counter."""

    def seal(self, packets: Iterable[bytes]) -> list[bytes]:
        """Turn packets into transport messages. An empty packet makes a keepalive.

        Each is padded to a multiple of 16 bytes, so that its length tells less. The caller has
        made sure, with :meth:`can_seal`, that the session may.
        """
        encrypt, header, mtu = self._encrypt, self._header, self._mtu
        counter = self.sealed
        datagrams = []
        for packet in packets:
            sequence = counter.to_bytes(8, "little")
            counter += 1
            size = len(packet)
            if size & 15 and size < mtu:
                packet += _PADDING[min(-size & 15, mtu - size)]
            datagrams.append(header + sequence + encrypt(_SALT + sequence, packet, None))
        self.sealed = counter
        return datagrams

    def open(self, datagrams: Iterable[bytes]) -> list[bytes] | None:
        """Turn transport messages, whose header was read already, into packets.

        What is forged or replayed is dropped and counted. An IP packet's padding is cut off by the
        length in its header; anything else comes with its padding.

        :returns: the packets, in the order they came; none of them for a keepalive. None, instead
            of a list, if no message was authentic and new.
        """
        decrypt, accept = self._decrypt, self._window.accept
        packets = []
        authentic = False
        for datagram in datagrams:
            sequence = datagram[8:16]
            try:
                packet = decrypt(_SALT + sequence, datagram[16:], None)
            except (InvalidTag, ValueError):  # ValueError: too short to hold a counter
                self._counters.forged_packets += 1
                continue
            if not accept(int.from_bytes(sequence, "little")):
                self._counters.replayed_packets += 1
                continue
            authentic = True
            if not packet:
                continue
            size = len(packet)
            if size < 20 or packet[0] != 0x45 or packet[2] << 8 | packet[3] != size:
                unpadded = _unpadded(packet)  # not called for a full IPv4 packet: most are one
                if unpadded is None:
                    self._counters.malformed_packets += 1
                    continue
                packet = unpadded
            packets.append(packet)
        return packets if authentic else None

    def can_seal(self, count: int, now: float) -> bool:
        """Whether *count* more messages may be sealed."""
        return now - self.born < REJECT_AFTER_TIME and self.sealed + count <= REJECT_AFTER_MESSAGES

    def can_open(self, now: float) -> bool:
        """Whether the session is young enough to open anything."""
        return now - self.born < REJECT_AFTER_TIME

    def needs_rekey(self, now: float) -> bool:
        """Whether, having sent, this machine should ask for a new session."""
        return self.sealed > REKEY_AFTER_MESSAGES or (
            self.initiator and now - self.born >= REKEY_AFTER_TIME
        )


def _unpadded(packet: bytes) -> bytes | None:
    """Cut an IP packet's padding off; None if it is shorter than its header, or says so."""
    version = packet[0] >> 4
    if version not in (4, 6):
        return packet
    header = 20 if version == 4 else 40
    if len(packet) < header:
        return None
    total = packet[2] << 8 | packet[3] if version == 4 else 40 + (packet[4] << 8 | packet[5])
    return packet[:total] if header <= total <= len(packet) else None
