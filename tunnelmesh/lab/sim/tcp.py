"""TCP (RFC 9293), as much as carries bytes reliably over a network that loses and reorders them.

A pure machine: segments and the time go in, segments come out. There is no congestion control and
no urgent data.
"""

from __future__ import annotations

from random import Random

from tunnelmesh.lab.sim.outgoing import Outgoing
from tunnelmesh.lab.sim.reassembly import Reassembly
from tunnelmesh.lab.sim.retransmission import Timeout
from tunnelmesh.lab.sim.segment import ACK, FIN, MODULUS, PSH, RST, SYN, Segment, reset_for, unwrap

#: Retransmissions in a row before giving up, during the handshake and after it (Linux's numbers:
#: about two minutes, and a quarter of an hour).
SYN_RETRIES = 6
DATA_RETRIES = 15

#: Acknowledgements of the same byte that mean that the segment after it was lost (RFC 5681 §3.2).
DUPLICATE_ACKS = 3

#: Seconds in TIME-WAIT, to answer a last FIN that comes again: RFC 9293's four minutes, longer than
#: the longest pause between two retransmissions.
TIME_WAIT = 240.0


class Connection:
    """One end of a connection.

    After each call, send what :meth:`segments` gives, and call :meth:`expire` at :attr:`deadline`.

    :ivar connected: the handshake is done.
    :ivar failure: why it ended too early: 'refused', 'reset' or 'timed out'; or None.
    :ivar closed: nothing will be sent or taken any more.
    :ivar deadline: when to call :meth:`expire`, or None.

    :param mss: the largest payload of a segment, in bytes, that this end's network carries.
    :param window: bytes this end keeps for a reader that is slow.
    """

    def __init__(self, mss: int, window: int, random: Random) -> None:
        self.connected = self.closed = False
        self.failure: str | None = None
        self.deadline: float | None = None
        self._mss_here = self._mss = mss
        self._capacity = self._advertised = window
        # Sending: _una is the first number that is not acknowledged, _nxt the next to send, _top
        # the end of all that was ever sent.
        self._una = self._nxt = self._top = random.getrandbits(32)
        self._outgoing = Outgoing(self._una + 1)
        # Who sends its FIN first waits at the end, in case its last acknowledgement is lost.
        self._finished_first = False
        self._peer_window = 0
        self._window_from = (0, 0)
        # Receiving: known once the other end's SYN is.
        self._incoming: Reassembly | None = None
        self._owes_ack = False
        # Retransmission.
        self._timeout = Timeout()
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
        return self._outgoing.add(data) if self.room else 0

    @property
    def room(self) -> int:
        """Bytes that :meth:`send` takes now."""
        return self._outgoing.room if self.connected and not self.closed else 0

    @property
    def at_end(self) -> bool:
        """The other end has sent its last byte, and all are here."""
        return self._incoming is not None and self._incoming.at_end

    @property
    def readable(self) -> int:
        """Bytes that wait for :meth:`read`."""
        return 0 if self._incoming is None else self._incoming.readable

    def read(self, limit: int) -> bytes:
        """Take up to *limit* bytes that arrived."""
        if self._incoming is None:
            return b""
        data = self._incoming.read(limit)
        opened = self._incoming.room - self._advertised
        if opened >= min(self._capacity // 2, 2 * self._mss):
            self._owes_ack = True
        return data

    def finish(self) -> None:
        """Send no more after what was taken: FIN."""
        self._outgoing.finished = True

    def abort(self) -> None:
        """End at once: RST, and all buffers are dropped."""
        if not self.closed and self._incoming is not None:
            self._out.append(self._segment(self._top, RST | ACK))
        self._close()

    # What the network and the clock do.

    def receive(self, segment: Segment, now: float) -> None:
        """A segment arrived."""
        if self.closed:
            return
        incoming = self._incoming
        if incoming is None:
            self._receive_answer(segment, now)
            return
        sequence = unwrap(segment.sequence, incoming.next)
        if segment.flags & RST:
            if incoming.covers(sequence):
                # A reset of the last FIN only means that the other end forgot us already.
                sent = self._outgoing.finished and self._una >= self._outgoing.end
                done = sent and self.at_end
                self._close(None if done else "reset")
            return
        if segment.flags & SYN:
            if segment.flags & ACK and not self.connected:  # the other end of a simultaneous open
                self._acknowledged(segment, sequence + 1, now)
            self._owes_ack = self.connected
            return
        if not segment.flags & ACK:
            return
        if not self._acknowledged(segment, sequence, now):
            return
        if segment.data or segment.flags & FIN:
            self._owes_ack = True
            was_at_end = incoming.at_end
            incoming.accept(sequence, segment.data, bool(segment.flags & FIN))
            if incoming.at_end and not was_at_end:
                self._finished_first = self._top > self._outgoing.end
        if self.at_end and self._una > self._outgoing.end:
            if self._finished_first:
                self.deadline = now + TIME_WAIT
            else:
                self._close()

    def expire(self, now: float) -> None:
        """The :attr:`deadline` has come: send again what was not acknowledged, or give up."""
        if self.deadline is None or now < self.deadline:
            return
        if self.at_end and self._una > self._outgoing.end:
            self._close()
            return
        self._retries += 1
        if self._retries > (DATA_RETRIES if self.connected else SYN_RETRIES):
            self._close("timed out")
            return
        self._timeout.back_off()
        self._nxt = self._una
        self._cautious = True
        self._timed = self._recover = None
        self.deadline = None

    def segments(self, now: float) -> list[Segment]:
        """What is to be sent now."""
        if not self.closed:
            self._transmit(now)
            if self._owes_ack and self._incoming is not None:
                self._emit(self._nxt, ACK)
        out, self._out = self._out, []
        return out

    # Inside.

    def _close(self, failure: str | None = None) -> None:
        self.failure = failure
        self.closed = True
        self.deadline = None
        self._outgoing.clear()

    def _learn_start(self, syn: Segment) -> None:
        start = (syn.sequence + 1) % MODULUS
        self._incoming = Reassembly(start, self._capacity)
        self._mss = min(self._mss_here, syn.mss or self._mss_here)
        self._peer_window = syn.window
        self._window_from = (start, self._una)

    def _receive_answer(self, segment: Segment, now: float) -> None:
        """A segment arrived in SYN-SENT."""
        answers_syn = segment.flags & ACK and unwrap(segment.acknowledgement, self._una) == (
            self._una + 1
        )
        if segment.flags & RST:
            if answers_syn:
                self._close("refused")
        elif segment.flags & SYN and answers_syn:
            self._learn_start(segment)
            self._acknowledged(segment, segment.sequence + 1, now)
            self._owes_ack = True
        elif segment.flags == SYN:  # simultaneous open: our SYN again, with an acknowledgement
            self._learn_start(segment)
            self._nxt = self._una
        elif segment.flags & ACK:
            reset = reset_for(segment)
            if reset is not None:
                self._out.append(reset)

    def _acknowledged(self, segment: Segment, sequence: int, now: float) -> bool:
        """Take note of the acknowledgement; False where it is nonsense."""
        ack = unwrap(segment.acknowledgement, self._una)
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
        self._outgoing.acknowledge(ack)
        if self._timed is not None and ack >= self._timed[0]:
            self._timeout.measure(now - self._timed[1])
            self._timed = None
        self._retries = self._duplicates = 0
        self._go_on()
        if self._recover is not None:
            # NewReno (RFC 6582): a partial acknowledgement shows the next hole.
            self._resend_first = ack < self._recover
            if not self._resend_first:
                self._recover = None

    def _go_on(self) -> None:
        """The other end takes data again: no more caution."""
        self._cautious = False
        self.deadline = None
        self._timeout.recover()

    def _transmit(self, now: float) -> None:
        """Send what the other end's window admits."""
        if not self.connected:
            if self._nxt == self._una:
                flags = SYN if self._incoming is None else SYN | ACK
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
        end = self._outgoing.end
        while True:
            length = min(self._mss, end - self._nxt, edge - self._nxt)
            last = self._nxt <= end == self._nxt + max(length, 0)
            finishes = self._outgoing.finished and last
            if length <= 0 and not finishes:
                break
            self._emit_data(self._nxt, length + finishes)
            self._sent(self._nxt + length + finishes, now)
            if finishes or self._cautious:
                break
        waits = self._una < self._top or (self._peer_window == 0 and self._una < end)
        if waits and self.deadline is None:
            self.deadline = now + self._timeout.seconds

    def _sent(self, nxt: int, now: float) -> None:
        if nxt > self._top:
            if self._timed is None and self._nxt == self._top:
                self._timed = (nxt, now)
            self._top = nxt
        self._nxt = nxt
        if self.deadline is None:
            self.deadline = now + self._timeout.seconds

    def _emit_data(self, start: int, length: int) -> None:
        """Send *length* numbers from *start* on: bytes, and the FIN if it is among them."""
        data, finishes = self._outgoing.cut(start, length)
        last = start + length >= self._outgoing.end
        flags = ACK | (PSH if last and data else 0) | (FIN if finishes else 0)
        self._emit(start, flags, data)

    def _emit(self, sequence: int, flags: int, data: bytes = b"", mss: int = 0) -> None:
        self._out.append(self._segment(sequence, flags, data, mss))
        self._owes_ack = False

    def _segment(self, sequence: int, flags: int, data: bytes = b"", mss: int = 0) -> Segment:
        acknowledgement = 0
        if self._incoming is not None:
            self._advertised = self._incoming.room
            acknowledgement = self._incoming.next % MODULUS
        return Segment(sequence % MODULUS, acknowledgement, flags, self._advertised, data, mss)
