"""Sealing and opening, and when a session may."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.noise.pair import ip
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.local import BulkBuffers
from tunnelmesh.noise.session import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    Form,
    Session,
)
from tunnelmesh.wire.record import CHACHA20_POLY1305
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE
from tunnelmesh.wire.wireguard import TRANSPORT_OVERHEAD, transport_header

MTU = 1420


def ip6(payload: bytes) -> bytes:
    """An IPv6 packet, as far as a session looks into it."""
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes(34) + payload


class SessionTests(SynchronousTestCase):
    """Two ends of one session."""

    def setUp(self) -> None:
        self.counters = Counters()
        self.left = self.end(Keys(b"1" * 32, b"2" * 32), initiator=True)
        self.right = self.end(Keys(b"2" * 32, b"1" * 32), initiator=False)

    def end(self, keys: Keys, *, initiator: bool) -> Session:
        return Session(
            keys,
            local=b"left" if initiator else b"rite",
            remote=b"rite" if initiator else b"left",
            initiator=initiator,
            born=100.0,
            mtu=MTU,
            counters=self.counters,
            records=BulkBuffers,
        )

    def test_messages(self) -> None:
        """Each message has its header; counters go on from batch to batch."""
        first = self.left.seal([ip(b"a"), ip(b"b")])
        second = self.left.seal([ip(b"c")])
        headers = [datagram[:16] for datagram in first + second]
        self.assertEqual(headers, [transport_header(b"rite", n) for n in range(3)])
        self.assertEqual(self.right.open(first + second), [ip(b"a"), ip(b"b"), ip(b"c")])

    def test_padding(self) -> None:
        """Lengths are rounded up to 16 bytes, but never beyond the MTU."""
        for size, padded in [(0, 0), (20, 32), (32, 32), (1409, 1420), (1420, 1420), (1425, 1425)]:
            packet = ip(bytes(size - 20)) if size else b""
            (datagram,) = self.left.seal([packet])
            self.assertEqual(len(datagram), padded + TRANSPORT_OVERHEAD, size)
            self.assertEqual(self.right.open([datagram]), [packet] if size else [])

    def test_long(self) -> None:
        """A packet that is too long for a datagram goes in parts, and comes out whole."""
        form = Form(CHACHA20_POLY1305, whole=False, datagram=1200)
        packet = ip(bytes(1400))
        run = self.left.seal_long(packet, form)
        parts = run.datagrams()
        self.assertEqual(max(map(len, parts)), 1200)
        self.assertEqual(len(parts), 2)
        opened = self.right.open_records(memoryview(bytearray(b"".join(parts))), run.segment)
        assert opened is not None
        self.assertEqual([bytes(each)[VIRTIO_SIZE:] for each in opened], [packet])

    def test_ipv6(self) -> None:
        """The padding of an IPv6 packet is cut off by its payload length."""
        self.assertEqual(self.right.open(self.left.seal([ip6(b"hello")])), [ip6(b"hello")])

    def test_other_than_ip(self) -> None:
        """What is not IP is delivered as it came, padding included."""
        self.assertEqual(
            self.right.open(self.left.seal([b"\x01control"])), [b"\x01control" + bytes(8)]
        )

    def test_wrong_length_in_header(self) -> None:
        """An IP packet that claims to be longer than it is, or than its header, is dropped."""
        wrong = [
            b"\x45",
            b"\x45\0\0\x13" + bytes(16),
            b"\x45\0\0\x21" + bytes(28),
            b"\x60" + bytes(31),
            ip6(bytes(9))[:48],
        ]
        self.assertEqual(self.right.open(self.left.seal(wrong)), [])
        self.assertEqual(self.counters.malformed_packets, len(wrong))

    def test_keepalive(self) -> None:
        """An empty packet is authentic and delivers nothing."""
        (datagram,) = self.left.seal([b""])
        self.assertEqual(len(datagram), TRANSPORT_OVERHEAD)
        self.assertEqual(self.right.open([datagram]), [])
        self.assertIsNone(self.right.open([datagram]))

    def test_forged_and_replayed(self) -> None:
        """Neither is delivered, each is counted, and the rest of the batch is."""
        good, twice, bad = self.left.seal([ip(b"good"), ip(b"twice"), ip(b"bad")])
        batch = [bad[:-1] + bytes([bad[-1] ^ 1]), twice, twice, good]
        self.assertEqual(self.right.open(batch), [ip(b"twice"), ip(b"good")])
        self.assertEqual(self.counters.forged_packets, 1)
        self.assertEqual(self.counters.replayed_packets, 1)
        self.assertEqual(self.right.open([bad]), [ip(b"bad")], "a forgery uses up nothing")

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.binary(max_size=80))
    def test_hostile_bytes(self, rest: bytes) -> None:
        """Whatever follows type and index, nothing is delivered and nothing is raised."""
        self.assertIsNone(self.right.open([transport_header(b"rite", 0)[:8] + rest]))

    def test_ages(self) -> None:
        """When the initiator renews, and when both sides stop."""
        rekey, reject = 100 + REKEY_AFTER_TIME, 100 + REJECT_AFTER_TIME
        self.assertFalse(self.left.needs_rekey(rekey - 0.1))
        self.assertTrue(self.left.needs_rekey(rekey))
        self.assertFalse(self.right.needs_rekey(rekey))
        for end in (self.left, self.right):
            self.assertTrue(end.can_seal(1, reject - 0.1) and end.can_open(reject - 0.1))
            self.assertFalse(end.can_seal(1, reject) or end.can_open(reject))

    def test_message_limits(self) -> None:
        """After very many messages both sides renew, and then stop."""
        self.right.sealed = REKEY_AFTER_MESSAGES
        self.assertFalse(self.right.needs_rekey(100))
        self.right.seal([b""])
        self.assertTrue(self.right.needs_rekey(100))
        self.right.sealed = REJECT_AFTER_MESSAGES - 2
        self.assertTrue(self.right.can_seal(2, 100))
        self.assertFalse(self.right.can_seal(3, 100))
        self.assertEqual(
            self.left.open(self.right.seal([ip(b"1"), ip(b"2")])), [ip(b"1"), ip(b"2")]
        )
        self.assertIsNone(self.left.open(self.right.seal([ip(b"3")])), "beyond the limit")
