"""UDP ports behave like Twisted's."""

from __future__ import annotations

from twisted.internet.error import CannotListenError, InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.lab.sim.parts import Hear, Reflect
from tunnelmesh.lab.sim import Internet


class DatagramPortTests(SynchronousTestCase):
    """Opening, sending, receiving and closing."""

    def setUp(self) -> None:
        self.internet = Internet(seed=5)
        self.host = self.internet.host("203.0.113.10", "203.0.113.11", name="server")
        self.laptop = self.internet.host("198.51.100.5", name="laptop")

    def test_interfaces(self) -> None:
        """A host is a reactor for UDP, TCP, time and names; its ports are Twisted's."""
        for interface in (IReactorUDP, IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
            self.assertTrue(verifyObject(interface, self.host))
        self.assertTrue(verifyObject(IHostnameResolver, self.host.nameResolver))
        port = self.host.listenUDP(0, Hear())
        self.assertTrue(verifyObject(IUDPTransport, port))
        self.assertTrue(verifyObject(IListeningPort, port))
        self.assertFalse(hasattr(port, "socket"))

    def test_addresses(self) -> None:
        """A socket bound to one of two addresses sends from it, and hears only what is for it."""
        bound, hear = Reflect(), Hear()
        self.host.listenUDP(3478, bound, interface="203.0.113.11")
        self.laptop.listenUDP(6000, hear)
        hear.transport.write(b"?", ("203.0.113.10", 3478))
        hear.transport.write(b"?", ("203.0.113.11", 3478))
        self.internet.run(1)
        self.assertEqual(hear.heard, [(b"198.51.100.5:6000", ("203.0.113.11", 3478))])

    def test_source_is_a_plain_tuple(self) -> None:
        """What a protocol is given is what a socket would give."""
        hear = Hear()
        self.laptop.listenUDP(6000, hear)
        hear.transport.write(b"self", ("198.51.100.5", 6000))
        self.internet.run(1)
        self.assertIs(type(hear.sources[0]), tuple)

    def test_taken(self) -> None:
        """A port that is taken, on all addresses or on one, cannot be opened again."""
        self.host.listenUDP(1000, Hear())
        self.host.listenUDP(2000, Hear(), interface="203.0.113.11")
        self.host.listenUDP(2000, Hear(), interface="203.0.113.10")
        for port, interface in ((1000, ""), (1000, "203.0.113.10"), (2000, "")):
            self.assertRaises(CannotListenError, self.host.listenUDP, port, Hear(), interface)
        self.assertRaises(CannotListenError, self.host.listenUDP, 0, Hear(), "192.0.2.1")

    def test_ephemeral(self) -> None:
        """Port 0 is any free one, and getHost tells which."""
        ports = {self.host.listenUDP(0, Hear()).getHost().port for _ in range(50)}
        self.assertEqual(len(ports), 50)
        self.assertNotIn(0, ports)

    def test_stop(self) -> None:
        """A closed port says so to its protocol, is free, and sends nothing."""
        hear = Hear()
        stopped: list[bool] = []
        hear.stopProtocol = lambda: stopped.append(True)  # type: ignore[method-assign]
        port = self.host.listenUDP(1000, hear)
        closed = port.stopListening()
        assert closed is not None
        self.assertNoResult(closed)
        self.internet.run(0)
        self.successResultOf(closed)
        self.assertEqual(stopped, [True])
        self.assertIsNone(port.stopListening())
        port.write(b"?", ("198.51.100.5", 6000))
        self.assertEqual(list(self.internet.trace), [])
        self.host.listenUDP(1000, Hear())

    def test_unreachable(self) -> None:
        """What goes nowhere is lost without a word."""
        hear = Hear()
        self.laptop.listenUDP(0, hear)
        hear.transport.write(b"?", ("192.0.2.99", 9))
        hear.transport.write(b"?", ("203.0.113.10", 9))
        self.internet.run(1)
        self.assertIn("no route", self.internet.trace.tail(10))

    def test_wrong_addresses(self) -> None:
        """Names, the other family, and too much are errors, as in Twisted."""
        hear = Hear()
        self.laptop.listenUDP(0, hear)
        write = hear.transport.write
        self.assertRaises(InvalidAddressError, write, b"?", ("example.org", 9))
        self.assertRaises(InvalidAddressError, write, b"?", ("2001:db8::1", 9))
        self.assertRaises(MessageLengthError, write, bytes(66_000), ("203.0.113.10", 9))

    def test_connected(self) -> None:
        """A connected port hears one endpoint only, and needs no address to write."""
        one, other, hear = Reflect(), Reflect(), Hear()
        self.host.listenUDP(1, one, interface="203.0.113.10")
        self.host.listenUDP(1, other, interface="203.0.113.11")
        self.laptop.listenUDP(6000, hear)
        hear.transport.connect("203.0.113.10", 1)
        hear.transport.write(b"?")
        other.transport.write(b"stranger", ("198.51.100.5", 6000))
        self.internet.run(1)
        self.assertEqual(hear.sources, [("203.0.113.10", 1)])

    def test_protocol_fails(self) -> None:
        """A protocol's exception is logged, as Twisted does, and the port goes on."""

        class Broken(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                raise RuntimeError("broken")

        hear = Hear()
        self.host.listenUDP(1, Broken())
        self.laptop.listenUDP(0, hear)
        for _ in range(2):
            hear.transport.write(b"?", ("203.0.113.10", 1))
        self.internet.run(1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
