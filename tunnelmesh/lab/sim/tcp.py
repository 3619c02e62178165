"""TCP (RFC 9293), as much as carries bytes reliably over a network that loses and reorders them.

A pure machine: segments and the time go in, segments come out. There is no congestion control,
no urgent data and no simultaneous open.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_FLAG_NAMES = {SYN: "SYN", FIN: "FIN", RST: "RST", ACK: "ACK"}

#: Sequence numbers are counted without end inside, and are taken modulo this on the wire.
MODULUS = 1 << 32

#: Retransmission timeout before the first measurement (RFC 6298 §2.1), and its bounds: the lower
#: one is Linux's (the RFC's one second would hide how soon a healed path carries again).
RTO_INITIAL = 1.0
RTO_MIN = 0.2
RTO_MAX = 60.0

#: Retransmissions in a row before giving up, during the handshake and after it (Linux's numbers:
#: about two minutes, and a quarter of an hour).
SYN_RETRIES = 6
DATA_RETRIES = 15

#: Acknowledgements of the same byte that mean that the segment after it was lost (RFC 5681 §3.2).
DUPLICATE_ACKS = 3

#: Seconds in TIME-WAIT, to answer a last FIN that comes again.
TIME_WAIT = 60.0

#: Bytes that wait to be sent or acknowledged, at most.
SEND_BUFFER = 256 * 1024


class Segment(NamedTuple):
    """A TCP segment without its ports.

    :ivar sequence: 32 bits.
    :ivar acknowledgement: 32 bits.
    :ivar flags: FIN, SYN, RST, PSH and ACK.
    :ivar window: bytes that the sender has room for.
    :ivar mss: the largest payload that the sender takes, on a SYN; 0 where it does not say.
    """

    sequence: int
    acknowledgement: int
    flags: int
    window: int
    data: bytes = b""
    mss: int = 0

    def describe(self) -> str:
        """The flags and the length, as packet sniffers write them."""
        flags = "+".join(name for flag, name in _FLAG_NAMES.items() if self.flags & flag)
        return f"{flags} {len(self.data)} bytes" if self.data else flags


def reset_for(segment: Segment) -> Segment | None:
    """The answer to a segment that belongs to no connection (RFC 9293 §3.10.7.1)."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        return Segment(segment.acknowledgement, 0, RST, 0)
    length = len(segment.data) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    return Segment(0, (segment.sequence + length) % MODULUS, RST | ACK, 0)


def _unwrap(number: int, near: int) -> int:
    """The endless number, closest to *near*, of a 32-bit one."""
    return near + (number - near + MODULUS // 2) % MODULUS - MODULUS // 2


class Connection:
    """One end of a connection.

    After each call, send what :meth:`segments` gives, and call :meth:`expire` at :attr:`deadline`.

    :ivar connected: the handshake is done.
    :ivar at_end: the other end has sent its last byte and all are here.
    :ivar failure: why it ended too early: 'refused', 'reset' or 'timed out'; or None.
    :ivar closed: nothing will be sent or taken any more.
    :ivar deadline: when to call :meth:`expire`, or None.

    :param mss: the largest payload of a segment, in bytes, that this end's network carries.
    :param window: bytes this end keeps for a reader that is slow.
    """

    def __init__(self, mss: int, window: int, random: Random) -> None:
        self.connected = self.at_end = self.closed = False
        self.failure: str | None = None
        self.deadline: float | None = None
        self._mss_here = self._mss = mss
        self._capacity = window
        # Sending: _base is the number of the first byte in _buffer; _una of the first one not
        # acknowledged; _nxt of the next to send; _top the end of all that was ever sent.
        self._una = self._nxt = self._top = random.getrandbits(32)
        self._base = self._una + 1
        self._buffer = bytearray()
        self._finishing = False
        # Who sends its FIN first waits at the end, in case its last acknowledgement is lost.
        self._finished_first = False
        self._peer_window = 0
        self._window_from = (0, 0)
        # Receiving: the next byte wanted; what came too early, by its number.
        self._rcv: int | None = None
        self._early: dict[int, bytes] = {}
        self._inbox = bytearray()
        self._end_at: int | None = None
        self._advertised = window
        self._owes_ack = False
        # Retransmission.
        self._rto = RTO_INITIAL
        self._srtt: float | None = None
        self._rttvar = 0.0
        self._timed: tuple[int, float] | None = None
        self._retries = 0
        self._duplicates = 0
        self._cautious = False
        self._recover: int | None = None
        self._resend_first = False
        self._out: list[Segment] = []

    @classmethod
    def answering(cls, syn: Segment, mss: int, window: int, random: Random) -> Connection:
        """The passive end, made by the SYN that it received."""
        self = cls(mss, window, random)
        self._learn_start(syn)
        return self

    # What the application does.

    def send(self, data: bytes | memoryview) -> int:
        """Take bytes to send.

        :returns: how many were taken; none where the buffer is full.
        """
        taken = data[: self.room]
        self._buffer += taken
        return len(taken)

    @property
    def room(self) -> int:
        """Bytes that :meth:`send` takes now."""
        if not self.connected or self.closed or self._finishing:
            return 0
        return max(0, SEND_BUFFER - len(self._buffer))

    @property
    def readable(self) -> int:
        """Bytes that wait for :meth:`read`."""
        return len(self._inbox)

    def read(self, limit: int) -> bytes:
        """Take up to *limit* bytes that arrived."""
        data = bytes(self._inbox[:limit])
        del self._inbox[:limit]
        opened = self._capacity - len(self._inbox) - self._advertised
        if opened >= min(self._capacity // 2, 2 * self._mss):
            self._owes_ack = True
        return data

    def finish(self) -> None:
        """Send no more after what was taken: FIN."""
        self._finishing = True

    def abort(self) -> None:
        """End at once: RST, and all buffers are dropped."""
        if not self.closed and self._rcv is not None:
            self._out.append(self._segment(self._top, RST | ACK))
        self._close()

    # What the network and the clock do.

    def receive(self, segment: Segment, now: float) -> None:
        """A segment arrived."""
        if self.closed:
            return
        if self._rcv is None:
            self._receive_answer(segment, now)
            return
        sequence = _unwrap(segment.sequence, self._rcv)
        if segment.flags & RST:
            if self._rcv <= sequence <= self._rcv + self._capacity:
                # A reset of the last FIN only means that the other end forgot us already.
                done = self.at_end and self._finishing and self._una >= self._end_of_data
                self._close(None if done else "reset")
            return
        if segment.flags & SYN:
            self._owes_ack = self.connected
            return
        if not segment.flags & ACK:
            return
        if not self._acknowledged(segment, sequence, now):
            return
        if segment.data or segment.flags & FIN:
            self._owes_ack = True
            self._accept(segment, sequence)
        if self._finishing and self._una > self._end_of_data and self.at_end and not self.closed:
            if self._finished_first:
                self.deadline = now + TIME_WAIT
            else:
                self._close()

    def expire(self, now: float) -> None:
        """The :attr:`deadline` has come: send again what was not acknowledged, or give up."""
        if self.deadline is None or now < self.deadline:
            return
        if self.at_end and self._una > self._end_of_data:
            self._close()
            return
        self._retries += 1
        if self._retries > (DATA_RETRIES if self.connected else SYN_RETRIES):
            self._close("timed out")
            return
        self._rto = min(self._rto * 2, RTO_MAX)
        self._nxt = self._una
        self._cautious = True
        self._timed = self._recover = None
        self.deadline = None

    def segments(self, now: float) -> list[Segment]:
        """What is to be sent now."""
        if not self.closed:
            self._transmit(now)
            if self._owes_ack and self._rcv is not None:
                self._emit(self._nxt, ACK)
        out, self._out = self._out, []
        return out

    # Inside.

    @property
    def _end_of_data(self) -> int:
        """The number that the FIN has."""
        return self._base + len(self._buffer)

    def _close(self, failure: str | None = None) -> None:
        self.failure = failure
        self.closed = True
        self.deadline = None
        self._buffer.clear()
        self._early.clear()

    def _learn_start(self, syn: Segment) -> None:
        self._rcv = (syn.sequence + 1) % MODULUS
        self._mss = min(self._mss_here, syn.mss or self._mss_here)
        self._peer_window = syn.window
        self._window_from = (self._rcv, self._una)

    def _receive_answer(self, segment: Segment, now: float) -> None:
        """A segment arrived in SYN-SENT."""
        answers_syn = segment.flags & ACK and _unwrap(segment.acknowledgement, self._una) == (
            self._una + 1
        )
        if segment.flags & RST:
            if answers_syn:
                self._close("refused")
        elif segment.flags & SYN and answers_syn:
            self._learn_start(segment)
            assert self._rcv is not None
            self._acknowledged(segment, self._rcv, now)
            self._owes_ack = True
        elif segment.flags & ACK:
            reset = reset_for(segment)
            if reset is not None:
                self._out.append(reset)

    def _acknowledged(self, segment: Segment, sequence: int, now: float) -> bool:
        """Take note of the acknowledgement; False where it is nonsense."""
        ack = _unwrap(segment.acknowledgement, self._una)
        if ack > self._top:
            self._owes_ack = True
            return False
        if ack > self._una:
            self._advance(ack, now)
        elif ack == self._una < self._top and not segment.data and not segment.flags & FIN:
            self._retries = 0
            self._duplicates += 0 < segment.window == self._peer_window
            if self._duplicates == DUPLICATE_ACKS and self._recover is None:
                self._recover = self._top
                self._resend_first = True
        if ack >= self._una and (sequence, ack) >= self._window_from:
            self._window_from = (sequence, ack)
            if self._peer_window == 0 < segment.window:
                # What probed the closed window was not taken.
                self._nxt = self._una
                self._go_on()
            self._peer_window = segment.window
        return True

    def _advance(self, ack: int, now: float) -> None:
        self._una = ack
        self._nxt = max(self._nxt, ack)
        self.connected = True
        gone = min(ack - self._base, len(self._buffer))
        if gone > 0:
            del self._buffer[:gone]
            self._base += gone
        if self._timed is not None and ack >= self._timed[0]:
            self._measure(now - self._timed[1])
            self._timed = None
        self._retries = self._duplicates = 0
        self._go_on()
        if self._recover is not None:
            # NewReno (RFC 6582): a partial acknowledgement shows the next hole.
            self._resend_first = ack < self._recover
            if not self._resend_first:
                self._recover = None

    def _go_on(self) -> None:
        """The other end takes data again: no more caution, and the timeout is the measured one.

        (RFC 6298 would keep the long timeout until the next measurement, which only new data
        allow; Linux has timestamps, with which the next acknowledgement is one.)
        """
        self._cautious = False
        self.deadline = None
        self._rto = RTO_INITIAL
        if self._srtt is not None:
            self._rto = min(max(self._srtt + 4 * self._rttvar, RTO_MIN), RTO_MAX)

    def _measure(self, rtt: float) -> None:
        """RFC 6298 §2."""
        if self._srtt is None:
            self._srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar = 0.75 * self._rttvar + 0.25 * abs(self._srtt - rtt)
            self._srtt = 0.875 * self._srtt + 0.125 * rtt

    def _accept(self, segment: Segment, sequence: int) -> None:
        """Take a segment's data, which may be early, late or too much."""
        assert self._rcv is not None
        edge = self._rcv + self._capacity - len(self._inbox)
        if segment.flags & FIN and self._end_at is None:
            self._end_at = sequence + len(segment.data)
            self._finished_first = self._top > self._end_of_data
        if sequence > self._rcv:
            if sequence + len(segment.data) <= edge:
                known = self._early.get(sequence, b"")
                if len(known) < len(segment.data):
                    self._early[sequence] = segment.data
            return
        self._take(segment.data[self._rcv - sequence : max(0, edge - sequence)])
        while self._early:
            first = min(self._early)
            if first > self._rcv:
                break
            self._take(self._early.pop(first)[self._rcv - first :])
        if self._rcv == self._end_at:
            self._rcv += 1
            self.at_end = True

    def _take(self, data: bytes) -> None:
        assert self._rcv is not None
        self._inbox += data
        self._rcv += len(data)

    def _transmit(self, now: float) -> None:
        """Send what the other end's window admits."""
        if not self.connected:
            if self._nxt == self._una:
                flags = SYN if self._rcv is None else SYN | ACK
                self._emit(self._nxt, flags, mss=self._mss_here)
                self._sent(self._nxt + 1, now)
            return
        if self._resend_first:
            self._resend_first = False
            self._emit_data(self._una, min(self._mss, self._top - self._una))
            self._timed = None
        # While a timeout lasts, one segment at a time; that also probes a window of zero.
        allowance = max(1, min(self._mss, self._peer_window)) if self._cautious else None
        edge = self._una + (self._peer_window if allowance is None else allowance)
        end = self._end_of_data
        while True:
            length = min(self._mss, end - self._nxt, edge - self._nxt)
            finishes = self._finishing and self._nxt + max(length, 0) == end and self._nxt <= end
            if length <= 0 and not finishes:
                break
            self._emit_data(self._nxt, length + finishes)
            self._sent(self._nxt + length + finishes, now)
            if finishes or self._cautious:
                break
        waits = self._una < self._top or (self._peer_window == 0 and self._buffer)
        if waits and self.deadline is None:
            self.deadline = now + self._rto

    def _sent(self, nxt: int, now: float) -> None:
        if nxt > self._top:
            if self._timed is None and self._nxt == self._top:
                self._timed = (nxt, now)
            self._top = nxt
        self._nxt = nxt
        if self.deadline is None:
            self.deadline = now + self._rto

    def _emit_data(self, start: int, length: int) -> None:
        """Send *length* numbers from *start* on: bytes, and the FIN if it is among them."""
        offset = start - self._base
        data = bytes(self._buffer[offset : offset + length])
        last = offset + length >= len(self._buffer)
        flags = ACK | (PSH if last and data else 0)
        if self._finishing and offset + length > len(self._buffer):
            flags |= FIN
        self._emit(start, flags, data)

    def _emit(self, sequence: int, flags: int, data: bytes = b"", mss: int = 0) -> None:
        self._out.append(self._segment(sequence, flags, data, mss))
        self._owes_ack = False

    def _segment(self, sequence: int, flags: int, data: bytes = b"", mss: int = 0) -> Segment:
        self._advertised = max(0, self._capacity - len(self._inbox))
        acknowledgement = (self._rcv or 0) % MODULUS if flags & ACK else 0
        return Segment(sequence % MODULUS, acknowledgement, flags, self._advertised, data, mss)
