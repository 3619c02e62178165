"""Tests for sealing super-packets into records and opening them: :mod:`tunnelmesh.noise.sealer`,
:mod:`~tunnelmesh.noise.opener` and :mod:`~tunnelmesh.noise.reassembly`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import super_packet, super_packets
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.noise.ciphers import record_aead
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.local import BulkBuffers
from tunnelmesh.noise.reassembly import MAX_PENDING, MAX_SIZE, Reassembly
from tunnelmesh.noise.session import Form, Session
from tunnelmesh.wire.record import (
    AES_256_GCM,
    AES_256_OCB,
    CHACHA20_POLY1305,
    HEADER_SIZE,
    KIND,
    LAST,
    SEGMENT,
    is_complete,
    prefix,
)
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

CIPHERS = (CHACHA20_POLY1305, AES_256_GCM, AES_256_OCB)
KEYS = b"1" * 32, b"2" * 32
DATAGRAM = 1452


def joined(datagrams: Sequence[bytes]) -> list[tuple[memoryview, int]]:
    """Datagrams as a socket would hand them over: in runs of one length."""
    runs: list[tuple[bytearray, int]] = []
    for datagram in datagrams:
        if runs:
            run, step = runs[-1]
            if len(run) % step == 0 and len(datagram) <= step and len(run) + step < 1 << 17:
                run += datagram
                continue
        runs.append((bytearray(datagram), len(datagram)))
    return [(memoryview(run), step) for run, step in runs]


def packets_of(delivered: Sequence[memoryview]) -> list[bytes]:
    """The IP packets that the receiving kernel would make of what is delivered."""
    packets: list[bytes] = []
    for each in delivered:
        buffer = bytearray(each)
        if buffer[1]:
            packets += SuperPacket.read(buffer, 0, len(buffer)).packets()
        else:
            packets.append(bytes(buffer[VIRTIO_SIZE:]))
    return packets


def stream(size: int = 30_000, seed: int = 0) -> SuperPacket:
    """A part of a TCP stream."""
    headers = IP(src="100.96.0.1", dst="100.96.0.2") / TCP(flags="PA", seq=seed)
    return super_packet(headers, Random(seed).randbytes(size), 1380)


class RecordsTestCase(SynchronousTestCase):
    """A session and both its ends."""

    def setUp(self) -> None:
        self.counters = Counters()
        self.buffers = BulkBuffers()
        self.left = self.end(Keys(*KEYS), b"left", b"rite")
        self.right = self.end(Keys(*KEYS[::-1]), b"rite", b"left")

    def end(self, keys: Keys, local: bytes, remote: bytes) -> Session:
        """One end; both use the same buffers, as two sessions of one machine do."""
        return Session(
            keys,
            local=local,
            remote=remote,
            initiator=True,
            born=0,
            mtu=1420,
            counters=self.counters,
            records=lambda: self.buffers,
        )

    def seal(self, packet: SuperPacket, whole: bool, cipher: int = AES_256_GCM) -> list[bytes]:
        """The datagrams of a super-packet."""
        return self.left.seal_record(packet, Form(cipher, whole, DATAGRAM)).datagrams()

    def open(self, datagrams: Sequence[bytes]) -> list[bytes]:
        """The packets that come out of datagrams that arrive together."""
        packets: list[bytes] = []
        for run, step in joined(datagrams):
            packets += packets_of(self.right.open_records(run, step) or [])
        return packets


class RecordTests(RecordsTestCase):
    """What comes out is what went in."""

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(super_packets(), st.booleans(), st.sampled_from(CIPHERS))
    def test_any_super_packet(self, packet: SuperPacket, whole: bool, cipher: int) -> None:
        """Any super-packet becomes the packets that it stands for, in either form."""
        self.setUp()
        expected = packet.packets()
        self.assertEqual(self.open(self.seal(packet, whole, cipher)), expected)

    def test_byte_for_byte(self) -> None:
        """What the receiving kernel is given is what the sending one gave, its header included."""
        for whole in (False, True):
            packet = stream()
            given = bytes(packet.buffer[packet.start : packet.stop])
            ((run, step),) = joined(self.seal(packet, whole))
            (delivered,) = self.right.open_records(run, step) or []
            self.assertEqual(bytes(delivered), given)

    def test_no_longer_than_packets(self) -> None:
        """A segment's datagram is as long as WireGuard's for the packet that it stands for."""
        packet = stream()
        longest = max(map(len, packet.packets()))
        self.assertEqual(max(map(len, self.seal(packet, whole=False))), longest + 32)
        self.assertLessEqual(max(map(len, self.seal(stream(), whole=True))), DATAGRAM)

    def test_too_long_for_datagrams(self) -> None:
        """Where a segment does not fit into a datagram, the record is cut instead."""
        packet = stream()
        expected = packet.packets()
        datagrams = self.left.seal_record(packet, Form(0, False, 1200)).datagrams()
        self.assertLessEqual(max(map(len, datagrams)), 1200)
        self.assertEqual(self.open(datagrams), expected)

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(st.randoms(use_true_random=False), st.booleans())
    def test_loss_and_disorder(self, random: Random, ordered: bool) -> None:
        """Each segment that arrives is delivered once and as it was; loss costs nothing else."""
        self.setUp()
        expected: dict[bytes, bytes] = {}
        for seed in range(3):
            packet = stream(random.randrange(1, 20_000), seed * 50_000)
            packets = packet.packets()
            expected |= zip(self.seal(packet, whole=False), packets, strict=True)
        arriving = [each for each in expected if random.random() < 0.8]
        arriving += [each for each in arriving if random.random() < 0.2]
        if not ordered:
            random.shuffle(arriving)
        delivered: list[bytes] = []
        at = 0
        while at < len(arriving):
            size = random.randrange(1, 40)
            delivered += self.open(arriving[at : at + size])
            at += size
        self.assertEqual(sorted(delivered), sorted(expected[each] for each in set(arriving)))
        self.assertEqual(self.counters.forged_packets + self.counters.malformed_packets, 0)

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(st.randoms(use_true_random=False))
    def test_parts_in_disorder(self, random: Random) -> None:
        """Whole records are put together however their parts arrive, if all do."""
        self.setUp()
        arriving: list[bytes] = []
        expected: list[bytes] = []
        for seed in range(4):
            packet = stream(random.randrange(5_000, 20_000), seed * 50_000)
            packets = packet.packets()
            parts = self.seal(packet, whole=True)
            if random.random() < 0.3:
                parts.pop(random.randrange(len(parts)))
            else:
                expected += packets
            arriving += parts
        random.shuffle(arriving)
        delivered: list[bytes] = []
        for start in range(0, len(arriving), 7):
            delivered += self.open(arriving[start : start + 7])
        self.assertEqual(sorted(delivered), sorted(expected))

    def test_replayed(self) -> None:
        """A record counts once, in either form."""
        for whole in (False, True):
            datagrams = self.seal(stream(), whole)
            self.assertTrue(self.open(datagrams))
            self.assertEqual(self.open(datagrams), [])
        self.assertGreater(self.counters.replayed_packets, 20)

    def test_packets_between(self) -> None:
        """Records and WireGuard's messages share the counters, and go well together."""
        message = self.left.seal([b"\x45" + bytes(19)])
        datagrams = self.seal(stream(), whole=False)
        later = self.left.seal([b""])
        self.right.open(later)
        self.assertEqual(len(self.open(datagrams)), 22)
        self.right.open(message)
        self.assertEqual(self.counters.replayed_packets, 0)
        self.assertEqual(self.right.arrivals, (24, 24))
        self.assertEqual(self.left.sealed, 24)

    def test_layout(self) -> None:
        """A whole record is on the wire as the protocol says."""
        packet = stream()
        plain = bytes(packet.buffer[packet.start + VIRTIO_SIZE : packet.stop])
        datagrams = self.seal(packet, whole=True)
        step, further = len(datagrams[0]), len(datagrams) - 1
        self.assertEqual(step % 8, 0)
        for position, datagram in enumerate(datagrams):
            head = prefix(position, len(datagrams), AES_256_GCM, b"rite") + bytes(8)
            self.assertEqual(datagram[:16], head)
        whole = bytearray(b"".join(datagrams))
        kept = whole[16 : 16 + 16 * further]
        for number in range(further):
            at = step * (number + 1)
            whole[at : at + 8] = kept[8 * number :][:8]
            whole[at + 8 : at + 16] = kept[8 * (further + number) :][:8]
        out = bytearray(2 + len(plain))
        record_aead(AES_256_GCM, KEYS[0]).decrypt_into(
            bytes(12), bytes(whole[16 * len(datagrams) :]), datagrams[0][:8], out
        )
        self.assertEqual(bytes(out), (1380).to_bytes(2, "big") + plain)

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(st.integers(1200, 1500), st.integers(1, 60_000))
    def test_lengths(self, datagram: int, length: int) -> None:
        """Records of any length go in datagrams of any length, the last of which is never empty."""
        self.setUp()
        packet = bytearray(bytes(IP(dst="100.96.0.2") / bytes(length)))
        form = Form(AES_256_GCM, whole=True, datagram=datagram)
        run = self.left.seal_long(bytes(packet), form)
        whole = bytearray().join(run.buffers)
        self.assertLessEqual(run.segment, datagram)
        self.assertTrue(is_complete(memoryview(whole), run.segment))
        opened = self.right.open_records(memoryview(whole), run.segment)
        assert opened is not None
        self.assertEqual([bytes(each[VIRTIO_SIZE:]) for each in opened], [bytes(packet)])

    def test_arrivals(self) -> None:
        """What is lost shows in the two numbers."""
        self.open(self.seal(stream(), whole=False)[5:])
        self.assertEqual(self.right.arrivals, (22, 17))


class HostileTests(RecordsTestCase):
    """Whatever comes, little happens."""

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(st.booleans(), st.data())
    def test_tampered(self, whole: bool, data: st.DataObject) -> None:
        """A changed byte costs what it is in, at most; the rest is delivered as it was.

        In a whole record's headers, most of which say the same, it may cost nothing.
        """
        self.setUp()
        packet = stream()
        expected = packet.packets()
        datagrams = self.seal(packet, whole)
        number = data.draw(st.integers(0, len(datagrams) - 1))
        tampered = bytearray(datagrams[number])
        # The kind and the receiver lead elsewhere, and do not reach this session.
        at = data.draw(st.integers(1, len(tampered) - 1).filter(lambda at: not 4 <= at < 8))
        tampered[at] ^= data.draw(st.integers(1, 255))
        datagrams[number] = bytes(tampered)
        delivered = self.open(datagrams)
        if whole:
            self.assertIn(delivered, ([], expected) if number and at < HEADER_SIZE else ([],))
        else:
            self.assertEqual(delivered, expected[:number] + expected[number + 1 :])

    @settings(max_examples=150, derandomize=True, deadline=None, database=None)
    @given(st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=5))
    def test_noise(self, datagrams: list[bytes]) -> None:
        """Arbitrary bytes are dropped."""
        self.assertEqual(self.open([bytes([KIND]) + each for each in datagrams]), [])

    @settings(max_examples=200, derandomize=True, deadline=None, database=None)
    @given(super_packets(), st.data())
    def test_lying_peer(self, packet: SuperPacket, data: st.DataObject) -> None:
        """A peer may seal what it likes: what is delivered is a packet that is what it says."""
        self.setUp()
        aead = record_aead(CHACHA20_POLY1305, KEYS[0])
        plain = bytearray(packet.buffer[packet.start + VIRTIO_SIZE : packet.stop])
        for _ in range(data.draw(st.integers(0, 3))):
            plain[data.draw(st.integers(0, min(len(plain) - 1, 80)))] = data.draw(
                st.integers(0, 255)
            )
        del plain[data.draw(st.integers(0, len(plain)) | st.just(len(plain))) :]
        datagrams = []
        for counter in range(data.draw(st.integers(1, 3))):
            count = data.draw(st.sampled_from([SEGMENT, SEGMENT, 1]))
            position = (
                data.draw(st.sampled_from([0, 1, 2, LAST, LAST + 1, 255])) if not count else 0
            )
            head = prefix(position, count, CHACHA20_POLY1305, b"rite")
            body = bytes(plain) if not count else data.draw(st.binary(max_size=2)) + bytes(plain)
            sequence = counter.to_bytes(8, "little")
            sealed = bytearray(len(body) + 16)
            aead.encrypt_into(bytes(4) + sequence, body, head, sealed)
            datagrams.append(head + sequence + bytes(sealed))
        for run, step in joined(datagrams):
            for each in self.right.open_records(run, step) or []:
                buffer = bytearray(each)
                if buffer[1]:
                    SuperPacket.read(buffer, 0, len(buffer))
        self.assertEqual(self.counters.forged_packets, 0)

    def test_one_form_for_another(self) -> None:
        """What was sealed in one form, or with one cipher, does not pass for another."""
        message = self.left.seal([b"\x45" + bytes(40)])[0]
        segment = self.seal(stream(1380), whole=False)[0]
        for datagram in (
            prefix(0, 0, CHACHA20_POLY1305, b"rite") + message[8:],
            prefix(0, 1, CHACHA20_POLY1305, b"rite") + message[8:],
            prefix(0, 0, CHACHA20_POLY1305, b"rite") + segment[8:],
            prefix(0, 1, AES_256_GCM, b"rite") + segment[8:],
            prefix(0, LAST, AES_256_GCM, b"rite") + segment[8:],
            prefix(1, 0, AES_256_GCM, b"rite") + segment[8:],
            prefix(0, 0, 7, b"rite") + segment[8:],
        ):
            self.assertEqual(self.open([datagram]), [])
        self.assertEqual(self.right.arrivals, (0, 0))

    def test_parts_that_never_complete(self) -> None:
        """Parts of endless records fill no memory; a record completes beside them."""
        for counter in range(10_000):
            head = prefix(0, 3, AES_256_GCM, b"rite")
            self.open([head + counter.to_bytes(8, "little") + bytes(1000)])
        reassembly = self.buffers.reassembly
        self.assertEqual(len(reassembly._pending), MAX_PENDING)
        self.assertEqual(reassembly.lost, 10_000 - MAX_PENDING)
        first, *rest = self.seal(stream(), whole=True)
        self.open([first])
        self.assertEqual(len(self.open(rest)), 22)

    def test_contradictions(self) -> None:
        """Parts beyond the count, twice, or longer together than any packet, are no record."""
        reassembly = Reassembly()

        def add(position: int, count: int, chunk: bytes) -> tuple[memoryview, int] | None:
            head = prefix(position, count, 0, b"rite")
            return reassembly.add(memoryview(head + bytes(8) + chunk))

        self.assertIsNone(add(2, 2, b"beyond"))
        self.assertIsNone(add(0, 2, b"a" * 40))
        self.assertIsNone(add(0, 2, b"again"))
        complete = add(1, 2, b"b")
        assert complete is not None
        whole, step = complete
        self.assertEqual((len(whole), step), (16 + 40 + 16 + 1, 56))
        for first, second in (b"a" * 39, b"b"), (b"a" * 40, b"b" * 41), (b"a" * 40, b""):
            self.assertIsNone(add(0, 2, first))
            self.assertIsNone(add(1, 2, second))
        for position in range(200):
            self.assertIsNone(add(position, 201, bytes(MAX_SIZE // 100)))
        self.assertLessEqual(sum(each.size for each in reassembly._pending.values()), MAX_SIZE)

    def test_full_buffer(self) -> None:
        """More than there is room for is dropped and counted, not written over the end."""
        parts = [self.seal(stream(60_000, seed), whole=True) for seed in range(8)]
        self.open([part for each in parts for part in islice(each, 1, None)])
        firsts = [each[0] for each in parts]
        self.assertLessEqual(len(self.open(firsts)), 8 * 44)
        self.assertEqual(self.counters.forged_packets, 0)
        self.assertTrue(self.open(self.seal(stream(), whole=False)))
