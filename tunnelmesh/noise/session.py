"""One session: the keys that a handshake agreed on, and what is sealed and opened with them.

Source: the WireGuard paper, §5.4.6 and §6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.worth import FLIGHT, LARGE
from tunnelmesh.noise.ciphers import record_aead
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.opened import OpenedBuffer
from tunnelmesh.noise.opener import RecordOpener
from tunnelmesh.noise.padding import unpadded
from tunnelmesh.noise.replay import LIMIT, ReplayWindow
from tunnelmesh.noise.sealer import RecordSealer, fits
from tunnelmesh.wire.record import HEADER_SIZE, SEGMENT, SEGMENT_SIZE
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE
from tunnelmesh.wire.wireguard import TRANSPORT

if TYPE_CHECKING:
    from tunnelmesh.noise.flight_opener import FlightOpener
    from tunnelmesh.noise.flight_sealer import FlightSealer
    from tunnelmesh.noise.local import BulkBuffers

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


class Form(NamedTuple):
    """How a super-packet is to be sent.

    :ivar cipher: one of :mod:`tunnelmesh.wire.record`.
    :ivar whole: sealed at once; otherwise each segment alone, where segments fit into datagrams.
    :ivar datagram: bytes of the longest datagram.
    """

    cipher: int
    whole: bool
    datagram: int


class Session:
    """Both directions of one session.

    :param keys: from the handshake.
    :param local: the index that this machine chose (4 bytes).
    :param remote: the index that the remote peer chose (4 bytes).
    :param initiator: whether this machine began the handshake; the initiator is who rekeys.
    :param born: when (seconds, monotonic).
    :param mtu: padding does not make a packet longer than this many bytes.
    :param counters: where drops are counted.
    :param records: gives the buffers for records.
    """

    __slots__ = (
        "_counters",
        "_decrypt",
        "_encrypt",
        "_flight_opener",
        "_flight_sealer",
        "_header",
        "_keys",
        "_mtu",
        "_openers",
        "_records",
        "_remote",
        "_sealers",
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
        records: Callable[[], BulkBuffers],
    ) -> None:
        self._encrypt = ChaCha20Poly1305(keys.send).encrypt
        self._decrypt = ChaCha20Poly1305(keys.receive).decrypt
        self._flight_sealer: FlightSealer | None = None
        self._flight_opener: FlightOpener | None = None
        self._header = TRANSPORT + remote
        self._window = ReplayWindow()
        self._mtu = mtu
        self._counters = counters
        self._keys = keys
        self._remote = remote
        self._records = records
        self._sealers: dict[int, RecordSealer] = {}
        self._openers: dict[int, RecordOpener] = {}
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
                alone = unpadded(packet)  # not called for a full IPv4 packet: most are one
                if alone is None:
                    self._counters.malformed_packets += 1
                    continue
                packet = alone
            packets.append(packet)
        return packets if authentic else None

    def seal_flight(self, packet: SuperPacket) -> Run | None:
        """Turn a super-packet into transport messages; see :meth:`.FlightSealer.seal`."""
        if packet.segment_size < LARGE:
            return None
        if self._flight_sealer is None:
            from tunnelmesh.noise.flight_sealer import FlightSealer  # numpy: 0.2 s and 16 MB

            aead = ChaCha20Poly1305(self._keys.send)
            self._flight_sealer = FlightSealer(aead, self._header, self._mtu)
        run = self._flight_sealer.seal(packet, self.sealed)
        if run is not None:
            self.sealed += run.count
        return run

    def open_flight(self, datagrams: memoryview, step: int) -> list[memoryview] | None:
        """Turn transport messages into packets; see :meth:`.FlightOpener.open`."""
        if len(datagrams) < FLIGHT * step:
            return None
        if self._flight_opener is None:
            from tunnelmesh.noise.flight_opener import FlightOpener  # numpy: 0.2 s and 16 MB

            aead = ChaCha20Poly1305(self._keys.receive)
            self._flight_opener = FlightOpener(aead, self._window, self._counters)
        return self._flight_opener.open(datagrams, step)

    def seal_record(self, packet: SuperPacket, form: Form) -> Run:
        """Turn a super-packet into records; :meth:`can_seal` has said that the session may.

        The packet's buffer, and two bytes before it, are not what they were afterwards.

        :returns: what is valid until the next call for any session.
        """
        if not form.whole and fits(packet, form.datagram):
            counter = self.sealed
            self.sealed += packet.count
            return self._sealer(form.cipher).seal_segments(packet, counter)
        memory, start = memoryview(packet.buffer), packet.start + VIRTIO_SIZE
        return self.seal_own(memory, start, packet.stop, packet.segment_size, form)

    def seal_long(self, packet: bytes, form: Form) -> Run:
        """Turn a packet that is too long for a datagram into a record, which several carry.

        :returns: what is valid until the next call for any session.
        """
        counter = self.sealed
        self.sealed += 1
        return self._sealer(form.cipher).seal_packet(packet, counter, form.datagram)

    def seal_own(self, memory: memoryview, start: int, stop: int, size: int, form: Form) -> Run:
        """The same, sealed whole, for what this machine's kernel says is a super-packet. Whether
        it is one, the remote peer finds out.

        :param memory: holds it from *start* to *stop*; the two bytes before are overwritten.
        :param size: bytes of payload in each segment.
        """
        counter = self.sealed
        self.sealed = counter + 1
        start -= SEGMENT_SIZE.size
        SEGMENT_SIZE.pack_into(memory, start, size)
        return self._sealer(form.cipher).seal_plain(memory[start:stop], counter, form.datagram)

    def open_record(self, datagrams: memoryview, step: int) -> list[memoryview] | None:
        """As :meth:`open_records`, for all parts of one whole record (:func:`.is_complete`)."""
        opened = self._records().opened
        opened.clear()
        opener = self._opener(datagrams[3], opened)
        if opener is None:
            self._counters.malformed += datagrams[2]
            return None
        return opened.packets if opener.open_whole(datagrams, step) else None

    def open_records(self, datagrams: memoryview, step: int) -> list[memoryview] | None:
        """Turn records into packets.

        :param datagrams: one after the other, each *step* bytes long but the last.
        :returns: packets, each with a virtio header that fits it before it, valid until the next
            call for any session. None, instead of a list, if no record was authentic and new.
        """
        if step <= HEADER_SIZE or len(datagrams) <= HEADER_SIZE:
            self._counters.malformed += -(-len(datagrams) // step)
            return None
        records = self._records()
        records.opened.clear()
        opened = 0
        for together in alike(datagrams, step):
            opener = self._opener(together[3], records.opened)
            if opener is None:
                self._counters.malformed += 1
            elif together[2] == SEGMENT:
                opened += opener.open_segments(together, step)
            else:
                opened += opener.open_parts(together, step, records.reassembly)
        return records.opened.packets if opened else None

    def _opener(self, cipher: int, opened: OpenedBuffer) -> RecordOpener | None:
        """What opens records sealed with that cipher, if there is such a cipher."""
        opener = self._openers.get(cipher)
        if opener is None:
            try:
                aead = record_aead(cipher, self._keys.receive)
            except KeyError:
                return None
            opener = RecordOpener(aead, self._window, self._counters, opened)
            self._openers[cipher] = opener
        return opener

    def _sealer(self, cipher: int) -> RecordSealer:
        sealer = self._sealers.get(cipher)
        if sealer is None:
            aead = record_aead(cipher, self._keys.send)
            sealer = RecordSealer(aead, cipher, self._remote, self._records().sealed)
            self._sealers[cipher] = sealer
        return sealer

    @property
    def arrivals(self) -> tuple[int, int]:
        """How many messages the remote peer has sealed, as far as is known, and how many of them
        were opened."""
        return self._window.expected, self._window.accepted

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


def alike(datagrams: memoryview, step: int) -> Iterator[memoryview]:
    """Part records that arrived together into those that are opened together.

    They agree in the number of parts, the cipher and, which nearly always tells sessions apart, the
    first byte of the receiver's index.
    """
    headers = [bytes(datagrams[at::step]) for at in (2, 3, 4)]
    if all(values.count(values[0]) == len(values) for values in headers):
        if len(datagrams) > HEADER_SIZE:
            yield datagrams
        return
    at = 0
    for _, some in groupby(zip(*headers, strict=False)):
        stop = at + step * len(list(some))
        if len(datagrams) - at > HEADER_SIZE:
            yield datagrams[at:stop]
        at = stop
