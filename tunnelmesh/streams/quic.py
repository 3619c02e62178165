"""QUIC (RFC 9000) by aioquic, made to fit between two peers.

This module is imported when the first stream is opened or arrives, and not before: aioquic takes
time to load and memory that most peers never need.

What is different from QUIC on the open internet:

- The datagrams travel inside a session that has authenticated both peers by their keys, and nobody
  else can put any there. So the certificate that TLS insists on says nothing: it is made by each
  process for itself, and not looked at.
- Datagrams may be shorter than 1,200 bytes: the path's length is known from elsewhere.
- The receiver lets the other side send only as much as its reader has room for. aioquic by itself
  grants more as data arrives, read or not.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from datetime import UTC, datetime
from functools import cache
from typing import Any
from weakref import WeakSet

from aioquic.quic import connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion
from aioquic.quic.stream import QuicStream
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tunnelmesh.streams import congestion

ALPN = "tunnelmesh/1"

IDLE = 3600.0
"""Seconds without a word after which a connection is given up although streams are open on it: a
machine that has slept for less finds its streams as it left them."""

MOST_STREAMS = 256
"""Streams that a peer may have open at a time in one direction; further ones wait."""

FIRST_WINDOW = 128 * 1024
"""Bytes that a stream's sender may be ahead of its reader, at first: with all streams open and none
read this is 32 MB."""

LARGEST_WINDOW = 4 * 1024 * 1024
"""What that may grow to while the reader keeps up: 300 Mbit/s over 100 ms."""

ROOM = 32 * 1024 * 1024
"""Bytes by which one connection's windows may grow, all together."""

DATAGRAM = 1164
"""Bytes of a datagram that fits every path: 1,200 (:data:`tunnelmesh.paths.path_mtu.BASE`), less 32
of the tunnel's overhead and 4 of the control message."""

ABORTED = 1
"""The error code of a stream that was aborted."""

LARGE_DATAGRAM = 16_000
"""Bytes of a datagram that goes in parts; a stream's frame is less than 16,384 bytes long, as
aioquic writes it."""

CAUTION = 256 * 1024
MOST_CAUTION = 64 * 1024 * 1024
"""Bytes that have to arrive without a loss before datagrams go in parts: at first, and at most,
since it is doubled each time that this is followed by a loss."""

AT_ONCE = 16
"""Streams that take a turn together: for each packet aioquic looks at every stream in its queue,
which for two hundred of them would be most of the work."""

_CREDIT_CAPACITY = 1 + 8 + 8
_UNLIMITED = 1 << 60

# RFC 9000 pads the first packets to 1,200 bytes, and drops shorter ones.
connection.SMALLEST_MAX_DATAGRAM_SIZE = DATAGRAM  # type: ignore[attr-defined]

# A peer that breaks the protocol must not be able to fill somebody's log.
logging.getLogger("quic").setLevel(logging.CRITICAL + 1)


class Quic(QuicConnection):
    """One QUIC connection, without input and output.

    :param opener: whether this side opens it: QUIC's client.
    :param destination: the connection ID in the opener's first packet; None for the opener.
    """

    def __init__(self, opener: bool, destination: bytes | None = None) -> None:
        super().__init__(
            configuration=_configuration(opener),
            original_destination_connection_id=destination,
        )
        most = 0 if opener else MOST_STREAMS
        self._local_max_streams_bidi = _limit(QuicFrameType.MAX_STREAMS_BIDI, most)
        self._local_max_streams_uni = _limit(QuicFrameType.MAX_STREAMS_UNI, 0)
        self._pacer = self._loss._pacer = congestion.Pacer(DATAGRAM)
        self._caution = CAUTION
        self._claimed: WeakSet[QuicStream] = WeakSet()
        self._grown = 0
        self._windows: dict[int, tuple[int, float]] = {}

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram arrived."""
        self.receive_datagram(datagram, _ADDRESS, now)

    def fit(self, single: int, large: int) -> None:
        """Choose how long the next datagrams are.

        Every datagram costs about the same work, so long ones are better, as long as none is lost:
        they go in parts, of which none may be missing.

        :param single: bytes of the longest one that goes as a whole; *large*: in parts.
        """
        is_large = self._max_datagram_size > single
        clean = self._loss._cc.clean  # type: ignore[attr-defined]
        if is_large and not clean:
            self._caution = min(2 * self._caution, MOST_CAUTION)
        elif is_large and clean > 64 * self._caution:
            self._caution = CAUTION
        size = min(large, LARGE_DATAGRAM) if clean >= self._caution else single
        if size != self._max_datagram_size:
            self._max_datagram_size = self._pacer.size = size

    def begin(self, now: float) -> None:
        """Begin the handshake."""
        self.connect(_ADDRESS, now)

    def datagrams(self, now: float) -> list[bytes]:
        """What is to be sent now."""
        if not self._network_paths:  # nothing but nonsense has arrived
            return []
        busy = [stream for stream in self._streams_queue if _has_to_send(stream)]
        if len(busy) <= AT_ONCE:
            return self._produce(now)
        rest = [stream for stream in self._streams_queue if not _has_to_send(stream)]
        # Who has sent nothing yet comes first, so that nobody waits long for an answer.
        waiting = deque(sorted(busy, key=_has_sent))
        datagrams: list[bytes] = []
        control, in_vain = self._loss._cc, 0
        while in_vain < len(waiting):
            self._streams_queue = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
            window, share = control.congestion_window, AT_ONCE * self._max_datagram_size
            control.congestion_window = min(window, control.bytes_in_flight + share)
            produced = self._produce(now)
            control.congestion_window = window
            datagrams += produced
            waiting.extend(self._streams_queue)
            in_vain = 0 if produced else in_vain + AT_ONCE
            if self._pacing_at is not None or control.bytes_in_flight + DATAGRAM > window:
                break
        self._streams_queue = [*waiting, *rest]
        return datagrams

    def _produce(self, now: float) -> list[bytes]:
        return [datagram for datagram, _ in self.datagrams_to_send(now)]

    def open(self, first: bytes) -> int:
        """Open a stream that begins with *first*.

        :returns: its number.
        """
        stream = self.get_next_available_stream_id()
        self.send_stream_data(stream, first)
        return stream

    def claim(self, stream: int) -> bool:
        """Whether the other side has opened this stream, and this is the first time of asking."""
        found = self._streams.get(stream)
        if found is None or found in self._claimed or self._is_client:
            return False
        self._claimed.add(found)
        return True

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Send bytes on a stream, unless it takes none any more."""
        found = self._streams.get(stream)
        if found is None or found.sender.is_finished:
            return
        if found.sender._reset_error_code is None and found.sender._buffer_fin is None:
            found.sender.write(data, end_stream=fin)

    def stop(self, stream: int) -> None:
        """Tell the other side that what it sends on a stream is not read any more."""
        found = self._streams.get(stream)
        if found is not None and not found.receiver.is_finished:
            self.stop_stream(stream, 0)

    def reset(self, stream: int) -> None:
        """Send nothing more on a stream, not even what is on its way."""
        if stream in self._streams:
            self.reset_stream(stream, ABORTED)

    def knows(self, identifier: bytes) -> bool:
        """Whether a packet to this connection ID is for this connection."""
        return identifier == self.original_destination_connection_id or any(
            identifier == each.cid for each in self._host_cids
        )

    def sends_to(self, identifier: bytes) -> bool:
        """Whether this connection sends its packets to that connection ID."""
        return identifier == self._peer_cid.cid

    @property
    def in_use(self) -> bool:
        """Whether there is any stream whose bytes have not all arrived, both ways."""
        return bool(self._streams)

    def unsent(self, stream: int) -> int:
        """Bytes of a stream that have not been sent once."""
        found = self._streams.get(stream)
        return 0 if found is None else found.sender._buffer_stop - found.sender.highest_offset

    def taken(self, stream: int, total: int, now: float) -> bool:
        """A stream's reader has taken *total* bytes so far: let the sender send as many more.

        :returns: whether there is anything to tell the sender.
        """
        found = self._streams.get(stream)
        if found is None or found.receiver.is_finished:
            return False
        window, since = self._windows.get(stream, (FIRST_WINDOW, now))
        if total + window - found.max_stream_data_local < window // 2:
            return False
        grows = window < LARGEST_WINDOW and self._grown + window <= ROOM
        if grows and now - since < 2 * self._loss._rtt_smoothed:
            # Half a window was read in two round trips: the window is what holds the sender back.
            self._grown += window
            window *= 2
        self._windows[stream] = window, now
        found.max_stream_data_local = total + window
        return True

    def forget(self, stream: int) -> None:
        """A stream has ended."""
        window, _ = self._windows.pop(stream, (FIRST_WINDOW, 0.0))
        self._grown -= window - FIRST_WINDOW

    def be_patient(self) -> None:
        """Do not let the time between two attempts grow to more than some seconds: the path may
        come back at any time."""
        self._loss._pto_count = min(self._loss._pto_count, 5)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        limit = stream.max_stream_data_local
        if stream.max_stream_data_local_sent == limit:
            return
        frame = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=_CREDIT_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        frame.push_uint_var(stream.stream_id)
        frame.push_uint_var(limit)
        stream.max_stream_data_local_sent = limit


_ADDRESS = ("", 0)
"""aioquic wants to know where datagrams come from; here it is always the same."""


def _has_to_send(stream: QuicStream) -> bool:
    """Whether aioquic has anything to do for a stream when it sends."""
    sender, receiver = stream.sender, stream.receiver
    if stream.is_blocked or sender.buffer_is_empty:
        return sender.reset_pending or receiver.stop_pending or stream.is_finished
    return True


def _has_sent(stream: QuicStream) -> bool:
    return stream.sender.highest_offset > 0


def _limit(frame: QuicFrameType, value: int) -> Limit:
    return Limit(frame_type=frame, name=frame.name, value=value)


@cache
def _configuration(opener: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=opener,
        alpn_protocols=[ALPN],
        idle_timeout=IDLE,
        congestion_control_algorithm=congestion.NAME,
        max_datagram_size=DATAGRAM,
        max_data=_UNLIMITED,
        max_stream_data=FIRST_WINDOW,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256],
        verify_mode=ssl.CERT_NONE,
    )
    if not opener:
        configuration.private_key = Ed25519PrivateKey.generate()
        configuration.certificate = _certificate(configuration.private_key)
    return configuration


def _certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    """What TLS insists on."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tunnelmesh")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .sign(key, None)
    )
