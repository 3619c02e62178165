"""What two peers have agreed on about super-packets, and how these go at the moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tunnelmesh.noise.ciphers import PREFERRED
from tunnelmesh.noise.session import Form
from tunnelmesh.noise.tunnel import Tunnel
from tunnelmesh.paths.carriage import Carriage
from tunnelmesh.paths.selection import Way
from tunnelmesh.wire.control import RECORD_VERSION, Abilities, Arrivals
from tunnelmesh.wire.record import CHACHA20_POLY1305

ASK_INTERVAL = 0.5
"""Seconds between asking for a remote peer's abilities, as long as it does not tell them."""

CONFIRM = 5.0
"""Seconds within which a remote peer tells its abilities again after a handshake; one that does
not has been replaced by an older version."""

REPORT_INTERVAL = 0.02
"""Seconds between telling what has arrived: a few hundred super-packets at full speed."""

STREAM_DATAGRAM = 16 * 1024
"""Bytes of a record's datagrams inside a TCP connection, to the coordinator or to the remote peer:
what waits behind one waits 0.3 ms at 400 Mbit/s, and the hub's work is per datagram no more."""


class Bulk:
    """One remote peer's part.

    :param ours: what this machine can do; version 0 keeps to WireGuard's packets.
    :param whole: whether whole records may be used.
    """

    def __init__(self, tunnel: Tunnel, ours: Abilities, whole: bool) -> None:
        self.carriage = Carriage()
        self._tunnel = tunnel
        self._ours = ours
        self._whole = whole
        self._cipher: int | None = None
        self._asked_at = self._reported_at = float("-inf")
        self._confirm_by: float | None = None
        self._way: Way | None = None

    @property
    def agreed(self) -> bool:
        """Whether it is known that the remote peer opens records."""
        return self._cipher is not None

    def established(self, now: float) -> list[bytes]:
        """There is a new session.

        :returns: messages for the remote peer.
        """
        if not self._ours.version:
            return []
        self._confirm_by = now + CONFIRM
        return [self._ours.encode()]

    def told(self, theirs: Abilities) -> list[bytes]:
        """The remote peer tells what it can do.

        :returns: messages for it.
        """
        self._confirm_by = None
        self._cipher = None
        if min(theirs.version, self._ours.version) >= RECORD_VERSION:
            both = theirs.ciphers & self._ours.ciphers
            quick = (cipher for cipher in PREFERRED if both >> cipher & 1)
            self._cipher = next(quick, CHACHA20_POLY1305)
        return [self._ours.encode()] if theirs.asks and self._ours.version else []

    def form(self, way: Way | None, datagram: int | None, now: float) -> Form | None:
        """How to send a super-packet by a way, or a packet that is too long for it.

        :param datagram: bytes of the longest datagram; None if any goes, inside a TCP connection.
        :returns: None for packet by packet.
        """
        if self._confirm_by is not None and now > self._confirm_by:
            self._cipher = self._confirm_by = None
        if self._cipher is None:
            return None
        if way != self._way:
            self._way = way
            self.carriage.moved()
        if datagram is None:
            return Form(self._cipher, self._whole, STREAM_DATAGRAM)
        return Form(self._cipher, self._whole and self.carriage.whole, datagram)

    def sent(self, form: Form, now: float) -> None:
        """Super-packets were sent in that form."""
        if form.whole and form.datagram != STREAM_DATAGRAM:
            self.carriage.sent(now)

    def question(self, now: float) -> Sequence[bytes]:
        """What to ask the remote peer before bulk goes packet by packet."""
        if self._cipher is not None or not self._ours.version:
            return ()
        if now - self._asked_at < ASK_INTERVAL:
            return ()
        self._asked_at = now
        asking = Abilities(self._ours.version, self._ours.ciphers, asks=True)
        return (asking.encode(),)

    def arrived(self, now: float) -> Sequence[bytes]:
        """Records have arrived: what to tell the remote peer about them."""
        if now - self._reported_at < REPORT_INTERVAL:
            return ()
        self._reported_at = now
        session, sealed, opened = self._tunnel.arrivals
        return () if session is None else (Arrivals(sealed, opened).encode(),)


def abilities(ciphers: Collection[int], form: str) -> Abilities:
    """What this machine tells of itself.

    :param ciphers: what the processor is quick at.
    :param form: the setting ``bulk``.
    """
    bits = sum(1 << cipher for cipher in ciphers)
    return Abilities(0 if form == "packets" else RECORD_VERSION, bits, asks=False)
