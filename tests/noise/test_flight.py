"""Flights, beside packets that are sealed and opened one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import TIMESTAMPS, headers, super_packet, whole
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.worth import FLIGHT, LARGE
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.flight_opener import ROOM, FlightOpener
from tunnelmesh.noise.flight_sealer import FlightSealer
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.local import BulkBuffers
from tunnelmesh.noise.replay import LIMIT, ReplayWindow
from tunnelmesh.noise.session import Session
from tunnelmesh.wire.virtio import EMPTY, HEADER_SIZE
from tunnelmesh.wire.wireguard import TRANSPORT

KEY = bytes(range(32))
AEAD = ChaCha20Poly1305(KEY)
INDEX = b"indx"
MTU = 1420

V4 = IP(src="100.96.0.1", dst="100.96.0.2", flags="DF")
V6 = IPv6(src="fd00::1", dst="fd00::2")
FLOW = TCP(flags="A", options=TIMESTAMPS)


def session(mtu: int = MTU) -> Session:
    """A session whose two directions have the same key, so that it opens what it seals."""
    return Session(
        Keys(KEY, KEY),
        local=INDEX,
        remote=INDEX,
        initiator=True,
        born=0.0,
        mtu=mtu,
        counters=Counters(),
        records=BulkBuffers,
    )


def payload(size: int, seed: int = 1) -> bytes:
    """Bytes like any others."""
    return random.Random(seed).randbytes(size)


def flow(headers: Packet, count: int = 10, segment: int = 1368, short: int = 0) -> SuperPacket:
    """A super-packet of that many segments."""
    return super_packet(headers, payload(count * segment - short), segment)


def taken_apart(packets: Sequence[memoryview]) -> list[bytes]:
    """The packets that the kernel makes of what it is handed."""
    found = []
    for packet in packets:
        if packet[1]:
            buffer = bytearray(packet)
            found += SuperPacket.read(buffer, 0, len(buffer)).packets()
        else:
            found.append(bytes(packet[HEADER_SIZE:]))
    return found


def meaning(packet: bytes) -> bytes:
    """The packet without the identification of one that may not be fragmented (RFC 6864)."""
    if packet[:1] == b"\x45" and len(packet) > 20 and packet[6] & 0x40:
        return packet[:4] + packet[6:10] + packet[12:]
    return packet


class SealTests(SynchronousTestCase):
    """Byte for byte what sealing packet by packet makes."""

    def same(self, packet: SuperPacket, counter: int = 0, mtu: int = MTU) -> None:
        """Check that both ways make the same messages."""
        one = session(mtu)
        one.sealed = counter
        expected = one.seal(packet.packets())
        run = FlightSealer(AEAD, TRANSPORT + INDEX, mtu).seal(packet, counter)
        assert run is not None
        self.assertEqual(run.datagrams(), expected)
        self.assertEqual(run.count, packet.count)
        self.assertEqual(run.segment, len(expected[0]))

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(headers(), st.integers(LARGE, 1500), st.integers(1, 4000), st.data())
    def test_any(self, headers: Packet, size: int, length: int, data: st.DataObject) -> None:
        """Whatever the headers, lengths, counter and MTU are."""
        counter = data.draw(st.sampled_from([0, 255, 2**32 - 2, LIMIT - 9]))
        mtu = data.draw(st.sampled_from([MTU, 1280, 1400, 1409, 1500]))
        self.same(super_packet(headers, payload(length), size), counter, mtu)

    def test_one_after_the_other(self) -> None:
        """Nothing of one super-packet is left in the next: geometries, sessions and lengths
        change."""
        for short in (0, 1, 1000, 0, 1367):
            for ip in (V4, V6):
                for count in (40, 3, 20):
                    self.same(flow(ip / FLOW, count, 1348, short % 1348), count)

    def test_small(self) -> None:
        """Small segments are not worth it."""
        sealer = FlightSealer(AEAD, TRANSPORT + INDEX, MTU)
        self.assertIs(sealer.seal(flow(V4 / FLOW, segment=LARGE - 1), 0), None)


class OpenTests(SynchronousTestCase):
    """The same packets as come out one by one, but fewer."""

    def setUp(self) -> None:
        """A session that seals, and one that opens."""
        self.sealing = session()
        self.window = ReplayWindow()
        self.counters = Counters()
        self.opener = FlightOpener(AEAD, self.window, self.counters)

    def sealed(self, packets: Sequence[bytes]) -> list[bytes]:
        """The packets' messages."""
        return self.sealing.seal(packets)

    def open(self, messages: Sequence[bytes]) -> list[memoryview] | None:
        """Open messages that arrived together."""
        return self.opener.open(memoryview(bytearray(b"".join(messages))), len(messages[0]))

    def opened(self, messages: Sequence[bytes]) -> list[memoryview]:
        """The same, if they are opened at all."""
        found = self.open(messages)
        assert found is not None
        return found

    def test_inverse(self) -> None:
        """What was cut up becomes what it was, at any length of packets and of the last one."""
        for ip in (V4, V6):
            for transport in (FLOW, TCP(flags="PA"), TCP(flags="CA"), UDP()):
                for segment in (500, 1001, 1002, 1003, 1340):
                    for short in (0, 1, 17, 400):
                        packet = flow(ip / transport, 9, segment, short)
                        found = self.opened(self.sealed(packet.packets()))
                        self.assertEqual(list(map(bytes, found)), [whole(packet)])

    def test_long(self) -> None:
        """More than a super-packet can hold becomes several."""
        first = flow(V4 / FLOW, 47)
        header = V4.copy()
        header.id = 47 + 1
        second = flow(header / TCP(flags="A", seq=47 * 1368, options=TIMESTAMPS), 47)
        found = self.opened(self.sealed([*first.packets(), *second.packets()]))
        self.assertEqual(len(found), 3)
        self.assertEqual(
            list(map(meaning, taken_apart(found))),
            list(map(meaning, [*first.packets(), *second.packets()])),
        )

    def test_two_flows(self) -> None:
        """Packets of two flows in turns are two super-packets."""
        flows = [flow(V4 / TCP(flags="A", dport=port)) for port in (1, 2)]
        packets = [
            each for pair in zip(*(f.packets() for f in flows), strict=True) for each in pair
        ]
        self.assertEqual(
            list(map(bytes, self.opened(self.sealed(packets)))), list(map(whole, flows))
        )

    def test_no_ip(self) -> None:
        """What is no IP packet, a control message say, comes with its padding and on its own."""
        message = b"\x10" + payload(1300)
        packets = flow(V4 / FLOW).packets()
        found = self.opened(self.sealed([*packets[:2], message + bytes(119), *packets[2:]]))
        self.assertEqual([bytes(each)[1] for each in found], [1, 0])
        self.assertEqual(bytes(found[1]), EMPTY + message + bytes(119))

    def test_malformed(self) -> None:
        """A packet that announces more than there is gets lost alone, and is counted."""
        packets = flow(V4 / FLOW).packets()
        packets[3] = packets[3][:2] + b"\xff\xff" + packets[3][4:]
        found = taken_apart(self.opened(self.sealed(packets)))
        self.assertEqual(found, [*packets[:3], *packets[4:]])
        self.assertEqual(self.counters.malformed_packets, 1)

    def test_one_by_one(self) -> None:
        """What is not a flight of new, authentic messages of one session is left to be opened one
        by one, and nothing is done to it."""
        packets = flow(V4 / FLOW).packets()
        messages = self.sealed(packets)
        for what in (
            messages[: FLIGHT - 1],
            [*messages, self.sealed([b""])[0]],
            [*messages[:-1], messages[-1][:20]],
            [*messages[:5], bytes([messages[5][0] ^ 1]) + messages[5][1:], *messages[6:]],
            [*messages[:5], messages[5][:4] + b"else" + messages[5][8:], *messages[6:]],
            [*messages[:5], messages[5][:-1] + bytes([messages[5][-1] ^ 1]), *messages[6:]],
            [*messages[:-1], messages[-1][:-1]],
            [*messages[:5], messages[4], *messages[6:]],
            messages[::-1],
            self.sealed([bytes(each) for each in flow(V4 / FLOW, segment=400).packets()]),
            messages * (ROOM // len(messages[0]) // len(messages) + 1),
        ):
            self.assertIs(self.open(what), None)
            self.assertEqual(self.window.accepted, 0)
        self.assertEqual(taken_apart(self.opened(messages)), packets)
        self.assertIs(self.open(messages), None)

    def test_limit(self) -> None:
        """Counters beyond the last valid one are nothing."""
        self.sealing.sealed = LIMIT - 5
        messages = self.sealed(flow(V4 / FLOW).packets())
        self.assertIs(self.open(messages), None)
        self.assertEqual(len(taken_apart(self.opened(messages[:5]))), 5)

    def test_padding_that_is_not_zero(self) -> None:
        """A stock peer pads with zeros. Anything else is cut off all the same."""
        packets = flow(V4 / FLOW, segment=1001).packets()
        found = self.opened(self.sealed([each + b"pad" for each in packets]))
        self.assertEqual(taken_apart(found), packets)

    @settings(max_examples=100, derandomize=True, deadline=None, database=None)
    @given(st.lists(headers(), min_size=1, max_size=2), st.randoms(use_true_random=False))
    def test_hostile(self, flows: list[Packet], chance: random.Random) -> None:
        """Whatever is lost, changed or mixed, it is what comes out one by one, in the order of each
        flow."""
        self.setUp()
        size = chance.randrange(LARGE, 1400)
        queues = [
            super_packet(each, payload(chance.randrange(1, 20 * size)), size).packets()
            for each in flows
        ]
        length = max(len(queue[0]) for queue in queues)
        packets: list[bytes] = []
        while any(queues):
            queue = chance.choice([each for each in queues if each])
            packet = bytearray(queue.pop(0))
            if chance.randrange(20) == 0:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
            if chance.randrange(20):
                packets.append(bytes(packet))
        messages = [each for each in self.sealed(packets) if chance.randrange(30)]
        step = len(self.sealed([bytes(length)])[0])
        flight = [each for each in messages if len(each) == step]
        flight += [each for each in messages[-1:] if len(each) < step]
        assume(len(flight) >= FLIGHT)
        expected = session().open(flight)
        found = self.open(flight)
        assert found is not None
        assert expected is not None
        self.assertEqual(sorted(map(meaning, taken_apart(found))), sorted(map(meaning, expected)))
        if len(flows) == 1:
            self.assertEqual(list(map(meaning, taken_apart(found))), list(map(meaning, expected)))
