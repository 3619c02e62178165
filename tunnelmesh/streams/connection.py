"""One QUIC connection, driven by a Twisted reactor: what happens in one turn goes out together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aioquic.quic.events import (
    ConnectionTerminated,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from tunnelmesh.streams.quic import Quic
from tunnelmesh.streams.transport import StreamTransport

UNUSED = 60.0
"""Seconds after the last stream has ended until its opener closes the connection."""

ASK = 240.0
"""Seconds between asking whether the other side still has the connection, while streams are open
and silent: a side that was started anew says at once that it has not."""

GRAIN = 1e-6
"""Seconds by which a moment may be missed in floating point: sums of the same times in another
order, by which aioquic judges whether a timer has come, may be before or after it."""


class Connection:
    """One QUIC connection.

    :param opener: whether this side opens it.
    :param send: takes datagrams for the other side.
    :param room: gives bytes of the longest datagram that goes as a whole, and in parts.
    :param incoming: told of streams that the other side opens.
    :param lost: called once, when the connection is gone.
    :param destination: the connection ID in the opener's first packet; None for the opener.
    """

    def __init__(
        self,
        reactor: Any,
        opener: bool,
        send: Callable[[Sequence[bytes]], None],
        room: Callable[[], tuple[int, int]],
        incoming: Callable[[StreamTransport], None],
        lost: Callable[[Connection], None],
        destination: bytes | None = None,
    ) -> None:
        self.quic = Quic(opener, destination)
        self.streams: dict[int, StreamTransport] = {}
        self._reactor = reactor
        self._opener = opener
        self._send = send
        self._room = room
        self._incoming = incoming
        self._lost = lost
        self._turn: Any = None
        self._timer: Any = None
        self._used_at = float(reactor.seconds())
        self._over = False
        if opener:
            self.quic.begin(self._used_at)

    def open(self, first: bytes) -> StreamTransport:
        """Open a stream.

        :param first: what it begins with.
        """
        stream = self.quic.open(first)
        self.wake()
        transport = self.streams[stream] = StreamTransport(self, stream)
        return transport

    def received(self, datagram: bytes) -> None:
        """A datagram arrived."""
        self.quic.receive(datagram, self._reactor.seconds())
        self.wake()

    def close(self, reason: str) -> None:
        """Tell the other side that the connection is over, and end all streams."""
        if not self._over:
            self.quic.close(reason_phrase=reason)
            self._turned()
            self.drop(reason)

    def drop(self, reason: str) -> None:
        """End all streams without another word."""
        if self._over:
            return
        self._over = True
        for call in (self._turn, self._timer):
            if call is not None and call.active():
                call.cancel()
        self._lost(self)
        for transport in list(self.streams.values()):
            transport.lost(reason)

    # For the transports.

    def wake(self) -> None:
        """There may be something to send, when this turn is over."""
        if self._turn is None and not self._over:
            self._turn = self._reactor.callLater(0, self._turned)

    def taken(self, stream: int, total: int) -> None:
        """A reader has taken *total* bytes of a stream so far."""
        if self.quic.taken(stream, total, self._reactor.seconds()):
            self.wake()

    def ended(self, stream: int) -> None:
        """A transport is done with its stream."""
        del self.streams[stream]
        self.quic.forget(stream)
        self._used_at = self._reactor.seconds()

    # What follows.

    def _turned(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn.active():  # this is done for another reason
            turn.cancel()
        if self._over:
            return
        now = self._reactor.seconds()
        deadline = self.quic.get_timer()
        if deadline is not None and now >= deadline - GRAIN:
            self.quic.handle_timer(max(now, deadline) + GRAIN)
            self.quic.be_patient()
        self._look(now)
        self._happened()
        self.quic.fit(*self._room())
        datagrams = self.quic.datagrams(now)
        if datagrams:
            self._send(datagrams)
            for transport in list(self.streams.values()):
                transport.sent()
        self._happened()
        if not self._over:
            self._rearm(now)

    def _look(self, now: float) -> None:
        if now < self._used_at + (ASK if self.quic.in_use else UNUSED):
            return
        self._used_at = now
        if self.quic.in_use:
            self.quic.send_ping(0)
        elif self._opener:
            self.quic.close(reason_phrase="unused")

    def _rearm(self, now: float) -> None:
        at = self._used_at + (ASK if self.quic.in_use else UNUSED)
        deadline = self.quic.get_timer()
        if deadline is not None:
            at = min(at, deadline)
        delay = max(0.0, at - now)
        if self._timer is not None and self._timer.active():
            self._timer.reset(delay)
        else:
            self._timer = self._reactor.callLater(delay, self._turned)

    def _happened(self) -> None:
        """Pass on what has happened; what came of one stream in this turn, together."""
        touched: dict[StreamTransport, None] = {}
        while (event := self.quic.next_event()) is not None:
            match event:
                case StreamDataReceived():
                    transport = self._transport(event.stream_id)
                    if transport is not None:
                        transport.received(event.data, event.end_stream)
                        touched[transport] = None
                case StreamReset() if event.stream_id in self.streams:
                    self.streams[event.stream_id].reset()
                case StopSendingReceived() if event.stream_id in self.streams:
                    self.streams[event.stream_id].stopped()
                case ConnectionTerminated():
                    self.drop(event.reason_phrase or "the connection was closed")
                    return
        for transport in touched:
            transport.deliver()

    def _transport(self, stream: int) -> StreamTransport | None:
        """The transport of a stream; a new one if the other side has just opened it."""
        found = self.streams.get(stream)
        if found is None and self.quic.claim(stream):
            found = self.streams[stream] = StreamTransport(self, stream)
            self._incoming(found)
        return found
