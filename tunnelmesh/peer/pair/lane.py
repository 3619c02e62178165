"""The quick way of packets to and from one remote peer, while nothing about the pair changes.

What a packet needs to know is decided seldom: which session seals it, in which form, and where it
goes. So this is decided once (:meth:`.Carrier.lane`) and a lane laid, by which packets pass with
few steps; whatever happens to the pair lays it anew, or takes it away. In return a lane only counts
what has passed. The machines that judge by that are told before they decide anything, and every
:data:`~tunnelmesh.peer.pair.remote.LOOK` seconds under traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.session import Form, Session
from tunnelmesh.paths.selection import Way
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE


class Course(NamedTuple):
    """Where a lane leads, and how; two lanes that agree in it are the same.

    :ivar session: seals and opens.
    :ivar way: carries.
    :ivar form: of super-packets; None if there is none yet that the remote peer is known to take.
    :ivar longest: bytes of the longest packet for one datagram; None if the device has no longer.
    :ivar examined: whether somebody wants to see each super-packet that leaves.
    """

    session: Session
    way: Way
    form: Form | None
    longest: int | None
    examined: bool

    @property
    def is_express(self) -> bool:
        """Whether super-packets go as the kernel hands them over, whatever is in them."""
        return not self.examined and self.longest is None and bool(self.form and self.form.whole)


class Lane:
    """Such a way.

    :param path: that of the course's way.
    :param used: is told of the first use, and of the first after each :meth:`clear`.

    :ivar sent_at: when something was last sent, and *heard_at*: received; None if nothing was since
        the last :meth:`clear`. *sent_packets*, *sent_bytes*, *heard_packets* and *heard_bytes* tell
        how much, *largest* bytes of the largest datagram sent.
    :ivar heard_last: whether the last thing was to receive.
    :ivar sent_bulk: whether super-packets were sent; *heard_records*: whether records were
        received.
    """

    __slots__ = (
        "_form",
        "_fresh",
        "_longest",
        "_session",
        "_used",
        "_write",
        "_write_run",
        "course",
        "heard_at",
        "heard_bytes",
        "heard_last",
        "heard_packets",
        "heard_records",
        "largest",
        "sent_at",
        "sent_bulk",
        "sent_bytes",
        "sent_packets",
    )

    def __init__(self, course: Course, path: IPath, used: Callable[[float], None]) -> None:
        self.course = course
        self._session, _, self._form, self._longest, _ = course
        self._write = path.write
        self._write_run = path.write_run
        self._used = used
        self.clear()

    def clear(self) -> None:
        """What has passed is known: count anew."""
        self._fresh = True
        self.sent_at: float | None = None
        self.heard_at: float | None = None
        self.sent_packets = self.sent_bytes = self.largest = 0
        self.heard_packets = self.heard_bytes = 0
        self.heard_last = self.heard_records = self.sent_bulk = False

    def send(self, packets: Sequence[bytes], now: float) -> bool:
        """Carry a batch of packets.

        :returns: False, and nothing was done, if one of them is too long.
        """
        longest = self._longest
        if longest is not None and max(map(len, packets)) > longest:
            return False
        datagrams = self._session.seal(packets)
        self._write(datagrams)
        self.sent_packets += len(packets)
        self.sent_bytes += sum(map(len, packets))
        largest = max(map(len, datagrams))
        if largest > self.largest:
            self.largest = largest
        self.sent_at = now
        self.heard_last = False
        if self._fresh:
            self._first(now)
        return True

    def send_bulk(self, packet: SuperPacket, now: float) -> bool:
        """Carry a super-packet; its buffer is not what it was afterwards.

        :returns: False, and nothing was done, if it does not go as it is.
        """
        form, longest = self._form, self._longest
        if longest is not None and packet.headers + packet.segment_size > longest:
            return False
        session = self._session
        run = session.seal_flight(packet) if form is None else session.seal_record(packet, form)
        if run is None:
            return False
        self._write_run(run)
        self.sent_packets += packet.count
        self.sent_bytes += packet.stop - packet.start - VIRTIO_SIZE
        if run.segment > self.largest:
            self.largest = run.segment
        self.sent_at = now
        self.sent_bulk = True
        self.heard_last = False
        if self._fresh:
            self._first(now)
        return True

    def carry(self, memory: memoryview, start: int, stop: int, size: int, now: float) -> None:
        """Carry the kernel's own super-packet, on a lane that is express.

        :param memory: has it from *start* on, after two bytes of no use; they do not stay.
        :param size: bytes of payload in each of its segments.
        """
        assert self._form is not None
        self._write_run(self._session.seal_own(memory, start, stop, size, self._form))
        self.sent_packets += (stop - start) // size
        self.sent_bytes += stop - start
        self.sent_at = now
        self.heard_last = False
        if not self.sent_bulk:
            self.sent_bulk = True
            self.largest = max(self.largest, self._form.datagram)
            if self._fresh:
                self._first(now)

    def open(self, datagrams: Sequence[bytes], now: float) -> list[bytes]:
        """The packets in messages of the lane's session that came by its path."""
        packets = self._session.open(datagrams)
        if packets is None:
            return []
        self._heard(packets, 0, now)
        return packets

    def open_records(self, records: memoryview, step: int, now: float) -> list[memoryview]:
        """The packets in records of the lane's session that came by its path, as
        :meth:`.Session.open_records` gives them."""
        packets = self._session.open_records(records, step)
        if packets is None:
            return []
        self.heard_records = True
        self._heard(packets, VIRTIO_SIZE, now)
        return packets

    def open_record(self, record: memoryview, step: int, now: float) -> Sequence[memoryview]:
        """The same for one whole record, complete (:func:`.is_complete`)."""
        packets = self._session.open_record(record, step)
        if packets is None:
            return ()
        self.heard_records = True
        self._heard(packets, VIRTIO_SIZE, now)
        return packets

    def open_flight(self, messages: memoryview, step: int, now: float) -> list[memoryview] | None:
        """The same of WireGuard's transport messages, as :meth:`.Session.open_flight` gives them;
        None if they are to be opened one by one."""
        packets = self._session.open_flight(messages, step)
        if packets is not None:
            self._heard(packets, VIRTIO_SIZE, now)
        return packets

    def _heard(self, packets: Sequence[bytes | memoryview], extra: int, now: float) -> None:
        """Packets have arrived, each *extra* bytes longer than it is."""
        count = len(packets)
        self.heard_packets += count
        self.heard_bytes += sum(map(len, packets)) - extra * count
        self.heard_at = now
        self.heard_last = True
        if self._fresh:
            self._first(now)

    def _first(self, now: float) -> None:
        self._fresh = False
        self._used(now)
