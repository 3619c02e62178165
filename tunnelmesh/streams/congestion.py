"""How fast a connection sends: CUBIC (RFC 9438), in bytes, with pacing.

aioquic's own counts in packets of one size, while datagrams here are of very different ones, and
leaves slow start at the first round trips that take longer, which on a busy machine are the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

NAME = "tunnelmesh"

FIRST_WINDOW = 32
"""Datagrams sent before anything is heard, a fifth of what fits a home router's queue."""

LEAST_WINDOW = 2
"""Datagrams (RFC 9002, 7.2)."""

BETA = 0.7
C = 0.4
"""The window after a loss, and how fast it grows again (RFC 9438, 4)."""

SPEED = 1.5
"""How much faster than one window a round trip is sent, so that pacing is not what limits."""

BURST = 0.004
BURST_DATAGRAMS = 10
"""Seconds' worth, or datagrams, that may go at once: a timer is no more precise than that."""


class Cubic(QuicCongestionControl):
    """One connection's window.

    :ivar clean: bytes that have arrived since the last loss.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = FIRST_WINDOW * max_datagram_size
        self.clean = 0
        self._size = max_datagram_size
        self._recovering_since = float("-inf")
        self._peak = 0
        self._epoch: float | None = None
        self._w_max = 0.0
        self._w_est = 0.0
        self._k = 0.0

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """It counts until it is acknowledged or lost."""
        self.bytes_in_flight += packet.sent_bytes
        self._peak = max(self._peak, self.bytes_in_flight)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """The window grows, as far as it is used at all."""
        size = packet.sent_bytes
        self.bytes_in_flight -= size
        self.clean += size
        window = self.congestion_window
        if _sent(packet) <= self._recovering_since or window > 2 * self._peak:
            return
        if self.ssthresh is None or window < self.ssthresh:
            self.congestion_window += size
        else:
            self.congestion_window += self._growth(now, size)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """They do not count any more."""
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """The window shrinks, once for all that was sent before that."""
        self.clean = 0
        last = float("-inf")
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            last = _sent(packet)
        if last <= self._recovering_since:
            return
        window = float(self.congestion_window)
        # Fast convergence (RFC 9438, 4.7): leave room for a flow that has just begun.
        self._w_max = window * (1 + BETA) / 2 if window < self._w_max else window
        self.congestion_window = max(int(window * BETA), LEAST_WINDOW * self._size)
        self.ssthresh = self.congestion_window
        self._recovering_since = now
        self._peak = self.bytes_in_flight
        self._epoch = None

    def on_persistent_congestion(self) -> None:
        """Nothing has arrived for long: begin again."""
        self.congestion_window = LEAST_WINDOW * self._size
        self._recovering_since = float("-inf")

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Only losses count."""

    def _growth(self, now: float, size: int) -> int:
        """By how much *size* bytes that have arrived widen the window (RFC 9438, 4.2 to 4.5)."""
        window = float(self.congestion_window)
        if self._epoch is None:
            self._epoch = now
            self._w_est = window
            self._k = (max(0.0, self._w_max - window) / self._size / C) ** (1 / 3)
        at = now - self._epoch - self._k
        target = min(self._w_max + C * at * at * at * self._size, 1.5 * window)
        alpha = 3 * (1 - BETA) / (1 + BETA) if self._w_est < self._w_max else 1.0
        self._w_est += alpha * self._size * size / window
        return int(max(0.0, max(target, self._w_est) - window) * size / window)


class Pacer(QuicPacketPacer):
    """Spreads what is sent over the round trip, in pieces that a timer can tell apart.

    :ivar size: bytes of the datagrams sent now.
    """

    def __init__(self, size: int) -> None:
        super().__init__(max_datagram_size=size)
        self.size = size

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """The window or the round trip is another."""
        rate = SPEED * congestion_window / max(smoothed_rtt, 1e-4)
        self.packet_time = self.size / rate
        self.bucket_max = max(BURST_DATAGRAMS * self.packet_time, BURST)


def _sent(packet: QuicSentPacket) -> float:
    assert packet.sent_time is not None
    return packet.sent_time


def _factory(**how: Any) -> QuicCongestionControl:
    return Cubic(**how)


register_congestion_control(NAME, _factory)
