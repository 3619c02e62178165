"""Tests for :mod:`tunnelmesh.peer.crossing`: packets in and out, with streams that a test opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

from tests.bulk.packets import by_scapy, super_packet
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import OfflineError, StreamError, StreamTimeoutError, UnknownPeerError
from tunnelmesh.interfaces import IStreams, ITunnelDevice, ITunnelUser
from tunnelmesh.peer.crossing import REFUSALS, Crossing
from tunnelmesh.streams.translation import LINGER, PATIENCE, WAITING
from tunnelmesh.wire.virtio import HEADER_SIZE

HERE, THERE = "100.96.0.1", "100.96.0.7"
HERE6, THERE6 = "fd00::1", "fd00::7"
DOOR = 33333
"""The listener's port."""


@implementer(ITunnelDevice)
class FakeDevice:
    """Keeps what is written."""

    name = "tm0"
    mtu = 1420
    offloads = True
    udp_offload = False
    lacking = ""

    def __init__(self) -> None:
        self.written: list[Packet] = []
        self.bulk: list[bytes] = []

    def start(self, user: ITunnelUser) -> None:
        """Nothing to do."""

    def write(self, packets: Sequence[bytes]) -> None:
        """Keep packets, as Scapy reads them."""
        self.written += [(IP if each[0] >> 4 == 4 else IPv6)(each) for each in packets]

    def write_bulk(self, packet: memoryview) -> None:
        """Keep a super-packet."""
        self.bulk.append(bytes(packet))

    def stop(self) -> None:
        """Nothing to do."""

    def take(self) -> list[Packet]:
        """What was written since this was asked last."""
        written, self.written = self.written, []
        return written


class FakePort:
    """An open listener."""

    def __init__(self) -> None:
        self.open = True

    def getHost(self) -> Any:
        """Its address."""
        return type("Address", (), {"port": DOOR})

    def stopListening(self) -> None:
        """Close it."""
        self.open = False


class Inside:
    """The kernel's sockets."""

    def __init__(self) -> None:
        self.listening: list[tuple[str, int, Any, FakePort]] = []
        self.refuses = False

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> FakePort:
        """Listen, or not."""
        if self.refuses:
            raise CannotListenError(interface, port, OSError("no"))  # type: ignore[no-untyped-call]
        opened = FakePort()
        self.listening.append((interface, port, factory, opened))
        return opened


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """One stream that is to be opened."""

    def __init__(self, name: str, port: int) -> None:
        self.wanted = (name, port)
        self.cancelled = False
        self.transport = StringTransport()
        self.opening: Deferred[IProtocol] = Deferred(self._cancel)
        self._factory: Any = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Wait for the test."""
        self._factory = protocolFactory
        return self.opening

    def opened(self) -> None:
        """The stream is open."""
        protocol = self._factory.buildProtocol(None)
        protocol.makeConnection(self.transport)
        self.opening.callback(protocol)

    def _cancel(self, _: object) -> None:
        self.cancelled = True


@implementer(IStreams)
class FakeStreams:
    """Streams as a test opens them."""

    def __init__(self) -> None:
        self.asked: list[FakeEndpoint] = []

    def endpoint(self, host: str, port: int) -> FakeEndpoint:
        """Note who is asked for."""
        self.asked.append(FakeEndpoint(host, port))
        return self.asked[-1]


class CrossingTestCase(SynchronousTestCase):
    """A machine with a device."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.inside = Inside()
        self.streams = FakeStreams()
        self.device = FakeDevice()
        self.dropped: Counter[str] = Counter()
        addresses = IPv4Address(HERE), IPv6Address(HERE6)
        self.crossing = Crossing(
            self.clock, self.inside, self.streams, self.device, addresses, self.dropped
        )

    def tcp(self, flags: str = "S", sport: int = 40000, dport: int = 22, seq: int = 7) -> Packet:
        """A program's segment."""
        return IP(src=HERE, dst=THERE) / TCP(sport=sport, dport=dport, flags=flags, seq=seq)

    def leave(self, *packets: Packet) -> list[bytes]:
        """Programs send; return what passes as it is."""
        return self.crossing.packets_leaving("there", [bytes(packet) for packet in packets])

    def begun(self, syn: Packet | None = None) -> FakeEndpoint:
        """A program begins a connection."""
        self.leave(syn or self.tcp())
        return self.streams.asked[-1]

    def opened(self, syn: Packet | None = None) -> Packet:
        """Its stream is open; return the SYN that the kernel gets."""
        self.begun(syn).opened()
        [packet] = self.device.take()
        return packet


class OpeningTests(CrossingTestCase):
    """A connection is answered when, and if, its stream is open."""

    def test_syn_is_held(self) -> None:
        """Nothing is answered before the stream is open; then the kernel gets the SYN."""
        endpoint = self.begun()
        self.assertEqual(endpoint.wanted, ("there", 22))
        self.assertEqual(self.device.take(), [])
        endpoint.opened()
        [packet] = self.device.take()
        self.assertEqual((packet.src, packet.dst), (THERE, HERE))
        self.assertEqual((packet[TCP].dport, packet[TCP].seq), (DOOR, 7))
        self.assertEqual(bytes(packet), bytes(by_scapy(bytes(packet))))

    def test_listens_on_own_address_only(self) -> None:
        """The listener is opened when it is first needed, on the mesh address alone."""
        self.assertEqual(self.inside.listening, [])
        self.begun()
        self.begun(self.tcp(dport=80))
        [(interface, port, _, listener)] = self.inside.listening
        self.assertEqual((interface, port), (HERE, 0))
        self.crossing.close()
        self.assertFalse(listener.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ipv6(self) -> None:
        """The same over IPv6, with a listener of its own."""
        syn = IPv6(src=HERE6, dst=THERE6) / TCP(sport=40000, dport=22, flags="S")
        packet = self.opened(syn)
        self.assertEqual((packet.src, packet.dst), (THERE6, HERE6))
        self.assertEqual(self.inside.listening[0][0], HERE6)

    def test_retransmitted(self) -> None:
        """A SYN that is sent again while it is held opens no second stream; afterwards the kernel
        gets it again."""
        endpoint = self.begun()
        self.leave(self.tcp(), self.tcp())
        self.assertEqual((len(self.streams.asked), self.device.take()), (1, []))
        endpoint.opened()
        self.leave(self.tcp())
        one, other = self.device.take()
        self.assertEqual(bytes(one), bytes(other))

    def test_refused(self) -> None:
        """Where the peer refuses, the program hears so from its own kernel."""
        self.begun().opening.errback(StreamError("nobody listens"))
        [packet] = self.device.take()
        self.assertEqual((packet.src, packet[TCP].sport), (THERE, 22))
        self.assertEqual((str(packet[TCP].flags), packet[TCP].ack), ("RA", 8))
        self.assertEqual(len(self.crossing.flows), 0)

    def test_nobody_there(self) -> None:
        """Where the peer is gone or mute, there is no route to it."""
        for error in (OfflineError(""), UnknownPeerError(""), StreamTimeoutError("")):
            self.begun().opening.errback(error)
            [packet] = self.device.take()
            self.assertEqual((packet[ICMP].type, packet[ICMP].code), (3, 1))
        self.begun(IPv6(src=HERE6, dst=THERE6) / TCP(flags="S")).opening.errback(OfflineError(""))
        [packet] = self.device.take()
        self.assertEqual(packet[ICMPv6DestUnreach].code, 3)

    def test_stream_never_opens(self) -> None:
        """Whoever forgets to answer is not waited for."""
        endpoint = self.begun()
        self.clock.advance(PATIENCE)
        self.assertTrue(endpoint.cancelled)
        [packet] = self.device.take()
        self.assertEqual(packet[ICMP].code, 1)
        self.assertEqual(len(self.crossing.flows), 0)

    def test_given_up_and_begun_anew(self) -> None:
        """A SYN with another number is another connection; the first one's stream is let go."""
        first = self.begun(self.tcp(seq=1))
        second = self.begun(self.tcp(seq=2))
        self.assertTrue(first.cancelled)
        self.device.take()
        second.opened()
        [packet] = self.device.take()
        self.assertEqual(packet[TCP].seq, 2)
        third = self.begun(self.tcp(seq=3))
        self.assertIsNot(third, second)
        self.assertTrue(second.transport.disconnected)
        self.assertEqual(len(self.crossing.flows), 1)

    def test_no_listener(self) -> None:
        """If there can be no listener, programs are refused."""
        self.inside.refuses = True
        self.leave(self.tcp())
        [packet] = self.device.take()
        self.assertEqual(str(packet[TCP].flags), "RA")
        self.assertEqual(self.streams.asked, [])

    def test_flood(self) -> None:
        """Beyond a limit SYNs are dropped, to be sent again."""
        self.leave(*(self.tcp(sport=1024 + number) for number in range(WAITING + 5)))
        self.assertEqual(len(self.streams.asked), WAITING)
        self.assertEqual(self.dropped["too many connections begun at a time"], 5)

    def test_failure_is_logged(self) -> None:
        """A mistake of ours costs one connection."""
        self.begun().opening.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.crossing.flows), 0)


class DoorTests(CrossingTestCase):
    """What the listener accepts is joined to its stream."""

    def accept(self, host: str, port: int) -> Any:
        """The kernel has a connection; return its transport, or None if it was not let in."""
        protocol = self.inside.listening[0][2].buildProtocol(
            type("Address", (), {"host": host, "port": port})
        )
        if protocol is None:
            return None
        transport = StringTransport()
        protocol.makeConnection(transport)
        return transport

    def test_joined(self) -> None:
        """Bytes go from the connection to the stream and back; before, nothing is read."""
        endpoint = self.begun()
        endpoint.opened()
        self.assertEqual(endpoint.transport.producerState, "paused")
        [packet] = self.device.take()
        local = self.accept(THERE, packet[TCP].sport)
        self.assertEqual(endpoint.transport.producerState, "producing")
        local.protocol.dataReceived(b"question")
        endpoint.transport.protocol.dataReceived(b"answer")
        self.assertEqual((endpoint.transport.value(), local.value()), (b"question", b"answer"))

    def test_strangers(self) -> None:
        """A connection that nobody waits for is closed: another peer's, or one come twice."""
        packet = self.opened()
        alias = packet[TCP].sport
        self.assertIsNone(self.accept("100.96.0.9", alias))
        self.assertIsNone(self.accept(HERE, alias))
        self.assertIsNone(self.accept(THERE, alias + 1))
        self.assertIsNotNone(self.accept(THERE, alias))
        self.assertIsNone(self.accept(THERE, alias))

    def test_blocked(self) -> None:
        """If the kernel does not take it up, a firewall is to blame: that is said, once."""
        said: list[str] = []
        observer = lambda event: said.append(event["log_format"])  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(2):
            endpoint = self.begun()
            endpoint.opened()
            self.clock.advance(PATIENCE)
            self.assertTrue(endpoint.transport.disconnected)
        self.assertEqual(len([line for line in said if "firewall" in line]), 1)
        self.assertEqual(len(self.crossing.flows), 0)


class PacketTests(CrossingTestCase):
    """Packets of open connections, and others."""

    def test_there_and_back(self) -> None:
        """The listener's packets come out as the peer's, and look to the program as they should."""
        alias = self.opened()[TCP].sport
        self.leave(self.tcp("A", seq=8))
        answer = IP(src=HERE, dst=THERE) / TCP(sport=DOOR, dport=alias, flags="SA") / Raw(b"x")
        self.leave(answer)
        to_listener, to_program = self.device.take()
        self.assertEqual((to_listener[TCP].sport, to_listener[TCP].dport), (alias, DOOR))
        self.assertEqual((to_program.src, to_program.dst), (THERE, HERE))
        self.assertEqual((to_program[TCP].sport, to_program[TCP].dport), (22, 40000))
        self.assertEqual(bytes(to_program), bytes(by_scapy(bytes(to_program))))

    def test_super_packets(self) -> None:
        """A super-packet stays one."""
        alias = self.opened()[TCP].sport
        packet = super_packet(self.tcp("A", seq=8), bytes(5000), 1000)
        self.crossing.bulk_leaving("there", packet)
        [written] = self.device.bulk
        again = SuperPacket.read(bytearray(written), 0, len(written))
        segments = [IP(each) for each in again.packets()]
        self.assertEqual([len(each[TCP].payload) for each in segments], [1000] * 5)
        self.assertEqual({(each.src, each[TCP].sport) for each in segments}, {(THERE, alias)})

    def test_unknown_connection(self) -> None:
        """A connection that outlived a restart of this program is reset, also in the bulk."""
        self.leave(self.tcp("A"))
        self.crossing.bulk_leaving("there", super_packet(self.tcp("A"), bytes(5000), 1000))
        one, other = self.device.take()
        self.assertEqual([str(each[TCP].flags) for each in (one, other)], ["R", "R"])
        self.assertEqual(self.device.bulk, [])
        self.leave(self.tcp("R"))
        self.assertEqual(self.device.take(), [])

    def test_other_addresses(self) -> None:
        """What this machine forwards, or sends from another address, is no way to a peer."""
        self.opened()
        for flags in ("S", "A"):
            self.leave(IP(src="172.17.0.2", dst=THERE) / TCP(sport=40000, dport=22, flags=flags))
            [packet] = self.device.take()
            self.assertEqual(packet.dst, "172.17.0.2")
            self.assertIn("R", str(packet[TCP].flags))
        self.assertEqual(len(self.streams.asked), 1)

    def test_closed(self) -> None:
        """When both sides have ended, the connection is remembered for a while only."""
        alias = self.opened()[TCP].sport
        self.inside.listening[0][2].buildProtocol(
            type("Address", (), {"host": THERE, "port": alias})
        )
        self.leave(self.tcp("FA", seq=8))
        self.clock.advance(2 * LINGER)
        self.assertEqual(len(self.crossing.flows), 1)
        fin = IP(src=HERE, dst=THERE) / TCP(sport=DOOR, dport=alias, flags="FA")
        self.leave(fin)
        self.clock.advance(LINGER - 1)
        self.leave(fin)
        self.clock.advance(LINGER - 1)
        self.assertEqual(len(self.crossing.flows), 1)
        self.clock.advance(LINGER)
        self.assertEqual(len(self.crossing.flows), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_echo_passes(self) -> None:
        """ICMP is the peer's own business."""
        packets = [
            bytes(IP(src=HERE, dst=THERE) / ICMP()),
            bytes(IPv6(src=HERE6, dst=THERE6) / ICMPv6EchoRequest()),
        ]
        self.assertEqual(self.crossing.packets_leaving("there", packets), packets)
        self.assertEqual(self.device.take(), [])

    def test_udp(self) -> None:
        """UDP has nowhere to go: programs hear so, as many as may."""
        packet = IP(src=HERE, dst=THERE) / UDP(sport=4000, dport=53) / Raw(b"question")
        self.assertEqual(self.leave(*[packet] * (int(REFUSALS) + 7)), [])
        told = self.device.take()
        self.assertEqual(len(told), REFUSALS)
        self.assertEqual((told[0][ICMP].type, told[0][ICMP].code), (3, 3))
        self.assertEqual(sum(self.dropped.values()), 7)
        self.clock.advance(1.0)
        bulk = super_packet(packet.copy(), bytes(3000), 1000)
        self.crossing.bulk_leaving("there", bulk)
        [answer] = self.device.take()
        self.assertEqual(bytes(answer)[28:48], bytes(bulk.buffer[bulk.start + HEADER_SIZE :])[:20])


class KernelTests(SynchronousTestCase):
    """The kernel's own TCP, at both ends of the same connection."""

    def carry(self, *options: str) -> dict[str, Any]:
        """Send some megabytes; nothing may be lost, changed, or damaged on the way."""
        if os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise SkipTest("needs root and /dev/net/tun")
        ended = subprocess.run(
            [sys.executable, "-m", "bench.crossing", "--json", "--megabytes=8", *options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        told: dict[str, Any] = json.loads(ended.stdout)
        self.assertEqual((told["received"], told["taken"]), (told["sent"], 8_000_000))
        self.assertEqual((told["checksum_errors"], told["refused"]), (0, 0))
        return told

    def test_ipv4(self) -> None:
        """Over IPv4."""
        self.carry()

    def test_ipv6(self) -> None:
        """Over IPv6."""
        self.carry("--ipv6")

    def test_without_offloads(self) -> None:
        """Packet by packet."""
        self.assertEqual(self.carry("--plain")["super_packets"], 0)
