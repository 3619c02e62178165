"""QUIC (RFC 9000) by aioquic, made to fit between two peers.

This module is imported when the first stream is opened or arrives, and not before: aioquic takes
time to load and memory that most peers never need.

aioquic by itself lets the other side send more as data arrives, read or not; here it is as much as
the reader has room for. And where many streams have much to send, aioquic is slow.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakSet

from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.stream import QuicStream

from tunnelmesh.streams.configuration import DATAGRAM, FIRST_WINDOW, configuration
from tunnelmesh.streams.congestion import Pacer

MOST_STREAMS = 256
"""Streams that a peer may have open at a time in one direction; further ones wait."""

LARGEST_WINDOW = 4 * 1024 * 1024
"""What that may grow to while the reader keeps up: 300 Mbit/s over 100 ms."""

ROOM = 32 * 1024 * 1024
"""Bytes by which one connection's windows may grow, all together."""

LARGE_DATAGRAM = 16_000
"""Bytes of a datagram that goes in parts; a stream's frame is less than 16,384 bytes long, as
aioquic writes it."""

CAUTION = 256 * 1024
MOST_CAUTION = 64 * 1024 * 1024
"""Bytes that have to arrive without a loss before datagrams go in parts: at first, and at most,
since it is doubled each time that this is followed by a loss."""

ABORTED = 1
"""The error code of a stream that was aborted."""

AT_ONCE = 16
"""Streams that take a turn together: for each packet aioquic looks at every stream in its queue,
which for two hundred of them would be most of the work."""

_CREDIT_CAPACITY = 1 + 8 + 8


class Quic(QuicConnection):
    """One QUIC connection, without input and output.

    :param opener: whether this side opens it: QUIC's client.
    :param destination: the connection ID in the opener's first packet; None for the opener.
    """

    def __init__(self, opener: bool, destination: bytes | None = None) -> None:
        super().__init__(
            configuration=configuration(opener),
            original_destination_connection_id=destination,
        )
        most = 0 if opener else MOST_STREAMS
        self._local_max_streams_bidi = _limit(QuicFrameType.MAX_STREAMS_BIDI, most)
        self._local_max_streams_uni = _limit(QuicFrameType.MAX_STREAMS_UNI, 0)
        self._pacer = self._loss._pacer = Pacer(DATAGRAM)
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
