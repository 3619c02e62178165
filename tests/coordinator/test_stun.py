"""The coordinator's STUN server."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tunnelmesh.coordinator import stun as server
from tunnelmesh.coordinator.stun import StunServer
from tunnelmesh.coordinator.stun_answer import answer
from tunnelmesh.errors import ListenError
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Attribute, Change, Class, Message

TRANSACTION = bytes(range(12))
CLIENT = Endpoint("203.0.113.7", 4242)
LOCAL = Endpoint("198.51.100.1", 3478)
OTHER = Endpoint("198.51.100.2", 3479)
OTHER_PORT = Endpoint("198.51.100.1", 3479)


def request(*attributes: tuple[int, bytes], **fields: Any) -> Message:
    return Message(Class.REQUEST, fields.pop("transaction", TRANSACTION), attributes, **fields)


class AnswerTests(SynchronousTestCase):
    """What is answered, without any socket."""

    def answer(self, asked: Message, other: Endpoint = OTHER) -> tuple[Message, Endpoint]:
        answered = answer(asked, CLIENT, LOCAL, other)
        assert answered is not None
        return answered

    def test_two_addresses(self) -> None:
        """A client learns its endpoint, and the server's two addresses."""
        message, origin = self.answer(request())
        self.assertEqual((message.kind, message.transaction), (Class.SUCCESS, TRANSACTION))
        self.assertEqual((message.mapped, message.origin, message.other), (CLIENT, LOCAL, OTHER))
        self.assertEqual(origin, LOCAL)

    def test_change(self) -> None:
        """The answer leaves, and says that it leaves, from where it was asked to."""
        for change, expected in (
            (Change.PORT, OTHER_PORT),
            (Change.ADDRESS, Endpoint(OTHER.host, LOCAL.port)),
            (Change.ADDRESS | Change.PORT, OTHER),
        ):
            message, origin = self.answer(request(stun.change_request(change)))
            self.assertEqual((origin, message.origin), (expected, expected))

    def test_one_address(self) -> None:
        """A server with one address claims no other, and changes only its port."""
        message, _ = self.answer(request(), OTHER_PORT)
        self.assertEqual((message.mapped, message.origin, message.other), (CLIENT, None, None))
        message, origin = self.answer(request(stun.change_request(Change.PORT)), OTHER_PORT)
        self.assertEqual((message.kind, origin), (Class.SUCCESS, OTHER_PORT))
        message, origin = self.answer(request(stun.change_request(Change.ADDRESS)), OTHER_PORT)
        self.assertEqual((message.kind, origin), (Class.ERROR, LOCAL))

    def test_classic(self) -> None:
        """A client of RFC 3489 is told in its own attributes."""
        message, _ = self.answer(request(transaction=bytes(16)))
        self.assertEqual(len(message.transaction), 16)
        self.assertEqual(
            message.attributes,
            (
                stun.address(Attribute.MAPPED_ADDRESS, CLIENT),
                stun.address(Attribute.SOURCE_ADDRESS, LOCAL),
                stun.address(Attribute.CHANGED_ADDRESS, OTHER),
            ),
        )

    def test_fingerprint(self) -> None:
        """Who sends a FINGERPRINT gets one."""
        self.assertTrue(self.answer(request(fingerprint=True))[0].fingerprint)
        self.assertFalse(self.answer(request())[0].fingerprint)

    def test_unknown_attributes(self) -> None:
        """What must be understood and is not is named; the rest is ignored."""
        reflecting = (0x0002, bytes(8)), (0x0027, bytes(4)), (0x0026, b"")
        asked = request(*reflecting, (0x8FFF, b"?"), (Attribute.USERNAME, b"me"))
        message, origin = self.answer(asked)
        self.assertEqual((message.kind, origin), (Class.ERROR, LOCAL))
        self.assertEqual(message.error, (420, "Unknown Attribute"))
        self.assertEqual(message.unknown, (0x0002, 0x0027, 0x0026))

    def test_not_answered(self) -> None:
        """Answers, indications and other methods are never answered, so that nothing loops."""
        for kind, method in (
            (Class.SUCCESS, 1),
            (Class.ERROR, 1),
            (Class.INDICATION, 1),
            (Class.REQUEST, 3),
        ):
            message = Message(kind, TRANSACTION, method=method)
            self.assertIsNone(answer(message, CLIENT, LOCAL, OTHER))

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=30),
        st.booleans(),
        st.booleans(),
    )
    def test_no_amplifier(self, attributes: Any, fingerprint: bool, ipv6: bool) -> None:
        """No answer is more than 4.6 times as long as its request (2.8 times over IPv4)."""
        attributes = [each for each in attributes if each[0] not in (0x0003, 0x8028)]
        asked = request(*attributes, fingerprint=fingerprint)
        if ipv6:
            here = Endpoint("2001:db8::1", 3478), Endpoint("2001:db8::2", 3479)
            answered = answer(asked, Endpoint("2001:db8:ffff::7", 1), *here)
        else:
            answered = answer(asked, CLIENT, LOCAL, OTHER)
        assert answered is not None
        longest = len(stun.encode(asked)) * (4.6 if ipv6 else 2.8)
        self.assertLessEqual(len(stun.encode(answered[0])), longest)


class FakePort:
    """A UDP port that keeps what it was told to send."""

    def __init__(self, open_ports: list[FakePort], host: str, port: int) -> None:
        self.host, self.port = host, port
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self._open = open_ports
        open_ports.append(self)

    def getHost(self) -> Endpoint:
        return Endpoint(self.host, self.port)

    def stopListening(self) -> None:
        self._open.remove(self)

    def write(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if addr[1] == 0:
            raise OSError(22, "Invalid argument")
        self.sent.append((datagram, addr))


@implementer(IReactorUDP)
class FakeReactor(Clock):
    """A clock with ports; the UDP ones in *taken* are, and so are the TCP ones in *taken_tcp*."""

    def __init__(self, *taken: Endpoint) -> None:
        super().__init__()
        self.open: list[FakePort] = []
        self.taken = taken
        self.open_tcp: list[FakePort] = []
        self.taken_tcp: tuple[Endpoint, ...] = ()

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        if Endpoint(interface, port) in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        opened = FakePort(self.open, interface, port or 50000 + len(self.open))
        protocol.transport = opened  # type: ignore[assignment]
        opened.protocol = protocol  # type: ignore[attr-defined]
        return opened

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if Endpoint(interface, port) in self.taken_tcp:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return FakePort(self.open_tcp, interface, port)


class ServerTests(SynchronousTestCase):
    """The server on a fake network."""

    def start(self, *arguments: Any) -> StunServer:
        self.reactor = FakeReactor()
        service = StunServer(self.reactor, *arguments)
        service.startService()
        return service

    def receive(self, datagram: bytes, addr: tuple[str, int] = CLIENT, port: int = 0) -> None:
        protocol: Any = self.reactor.open[port].protocol  # type: ignore[attr-defined]
        protocol.datagramReceived(datagram, addr)

    def test_four_sockets(self) -> None:
        """With two addresses it listens on both ports of both, and answers from the right one."""
        service = self.start(LOCAL.host, 3478, OTHER.host)
        self.assertEqual(
            service.endpoints,
            (LOCAL, OTHER_PORT, Endpoint(OTHER.host, 3478), OTHER),
        )
        for at, opposite in ((0, 3), (1, 2), (2, 1), (3, 0)):
            self.receive(stun.encode(request(stun.change_request(Change(6)))), port=at)
            ((datagram, addr),) = self.reactor.open[opposite].sent
            self.assertEqual(addr, CLIENT)
            self.assertEqual(stun.decode(datagram).other, service.endpoints[opposite])
            self.reactor.open[opposite].sent.clear()
        self.assertEqual(service.counters.answered, 4)

    def test_two_sockets(self) -> None:
        """With one address it listens on two ports and answers from both."""
        self.assertEqual(self.start("0.0.0.0", 3478).endpoints[1], Endpoint("0.0.0.0", 3479))
        self.receive(stun.encode(request(stun.change_request(Change.PORT))))
        self.assertEqual(len(self.reactor.open[1].sent), 1)

    def test_stop(self) -> None:
        """Stopping closes every socket."""
        service = self.start(LOCAL.host, 3478, OTHER.host)
        self.assertEqual(len(self.reactor.open_tcp), 4)
        self.successResultOf(service.stopService())
        self.assertEqual((self.reactor.open, service.endpoints), ([], ()))
        self.assertEqual(self.reactor.open_tcp, [])

    def test_taken_tcp(self) -> None:
        """TCP is for those without UDP: where its port is taken, the rest works, and it is said."""
        self.reactor = FakeReactor()
        self.reactor.taken_tcp = (LOCAL,)
        service = StunServer(self.reactor, LOCAL.host, 3478)
        service.startService()
        self.assertEqual([(each.host, each.port) for each in self.reactor.open_tcp], [OTHER_PORT])
        self.assertEqual(len(self.reactor.open), 2)

    def test_taken_port(self) -> None:
        """Any port being taken is one clear error, and leaves nothing open."""
        for taken in (LOCAL, OTHER_PORT, Endpoint(OTHER.host, 3478), OTHER):
            fake = FakeReactor(taken)
            service = StunServer(fake, LOCAL.host, 3478, OTHER.host)
            error = self.assertRaises(ListenError, service.startService)
            self.assertIn(str(taken), str(error))
            self.assertIn("Address already in use", str(error))
            self.assertEqual((fake.open, service.running), ([], 0))

    def test_bad_addresses(self) -> None:
        """Addresses that make no pair are refused in words."""
        for address, alternate in (
            ("nonsense", None),
            ("192.0.2.1", "nonsense"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "2001:db8::1"),
            ("0.0.0.0", "192.0.2.1"),
        ):
            service = StunServer(FakeReactor(), address, 3478, alternate)
            self.assertRaises(ListenError, service.startService)

    def test_addresses_in_any_spelling(self) -> None:
        """An address written in a long way is the same address."""
        service = self.start("2001:DB8:0:0::1", 3478, "2001:db8::0:2")
        self.assertEqual(service.endpoints[3], Endpoint("2001:db8::2", 3479))
        self.receive(stun.encode(request(stun.change_request(Change(6)))), ("2001:db8::7", 9))
        self.assertEqual(service.counters.answered, 1)

    def test_ipv4_inside_ipv6(self) -> None:
        """On a socket for both families an IPv4 client is told its IPv4 endpoint."""
        self.start("::", 3478)
        self.receive(stun.encode(request()), ("::ffff:203.0.113.7", 4242))
        ((datagram, addr),) = self.reactor.open[0].sent
        self.assertEqual(addr, ("::ffff:203.0.113.7", 4242))
        self.assertEqual(stun.decode(datagram).mapped, CLIENT)

    def test_counted(self) -> None:
        """What is not answered is counted."""
        service = self.start(LOCAL.host, 3478)
        self.receive(b"noise")
        self.receive(stun.encode(request((0x8001, bytes(600)))))
        self.receive(stun.encode(request((0x0003, b"short"))))
        self.receive(stun.encode(Message(Class.SUCCESS, TRANSACTION)))
        self.receive(stun.encode(request((0x0002, bytes(8)))))
        self.receive(stun.encode(request()), (CLIENT.host, 0))
        self.assertEqual(
            service.counters,
            server.Counters(refused=1, malformed=3, ignored=1, unsent=1),
        )

    def test_limit_per_network(self) -> None:
        """A /24 that asks too often is limited, its neighbours are not, and it recovers."""
        service = self.start(LOCAL.host, 3478)
        asked = stun.encode(request())
        for number in range(server.SOURCE_BURST + 10):
            self.receive(asked, (f"203.0.113.{number % 250}", 4242))
        self.assertEqual(service.counters.limited, 10)
        self.receive(asked, ("203.0.114.1", 4242))
        self.assertEqual(service.counters.limited, 10)
        self.reactor.advance(server.SOURCE_INTERVAL)
        self.receive(asked)
        self.assertEqual(service.counters.limited, 10)

    def test_limit_ipv6(self) -> None:
        """For IPv6 a /56 is one network."""
        service = self.start("::", 3478)
        asked = stun.encode(request())
        for number in range(server.SOURCE_BURST + 10):
            self.receive(asked, (f"2001:db8:0:{number % 250:x}::1", 4242))
        self.assertEqual(service.counters.limited, 10)
        self.receive(asked, ("2001:db8:0:100::1", 4242))
        self.assertEqual(service.counters.limited, 10)

    def test_limit_altogether(self) -> None:
        """Requests from everywhere at once are limited, and remembered in bounded memory."""
        service = self.start(LOCAL.host, 3478)
        asked = stun.encode(request())
        for number in range(server.TOTAL_BURST + 500):
            self.receive(asked, (f"10.{number >> 8}.{number & 255}.1", 4242))
        self.assertEqual(service.counters.answered, server.TOTAL_BURST)
        self.assertEqual(service.counters.limited, 500)
        self.assertLessEqual(len(service._sources), server.SOURCES)


class Client(DatagramProtocol):
    """Sends one request and waits for the answer."""

    def __init__(self, asked: bytes, to: Endpoint) -> None:
        self.answered: Deferred[tuple[bytes, tuple[str, int]]] = Deferred()
        self._asked = asked, to

    def startProtocol(self) -> None:
        assert self.transport is not None
        self.transport.write(*self._asked)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.answered.callback((datagram, addr))


class SocketTests(TestCase):
    """The server on real sockets of the loopback interface."""

    timeout = 5

    async def ask(self, to: Endpoint, change: Change, here: str) -> tuple[bytes, tuple[str, int]]:
        client = Client(stun.encode(request(stun.change_request(change))), to)
        port = reactor.listenUDP(0, client, interface=here)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return await client.answered

    def test_two_addresses(self) -> Deferred[None]:
        """Real answers arrive from the address and port that was asked for."""

        async def run() -> None:
            service = StunServer(reactor, "127.0.0.1", 0, "127.0.0.2")
            service.startService()
            self.addCleanup(service.stopService)
            first, _, _, diagonal = service.endpoints
            for change, source in ((Change.NOTHING, first), (Change(6), diagonal)):
                datagram, addr = await self.ask(first, change, "127.0.0.3")
                mapped = stun.decode(datagram).mapped
                assert mapped is not None
                self.assertEqual((addr, mapped.host), (source, "127.0.0.3"))

        return Deferred.fromCoroutine(run())

    def test_both_families(self) -> Deferred[None]:
        """One server on ``::`` answers over IPv6 and IPv4."""

        async def run() -> None:
            service = StunServer(reactor, "::", 0)
            service.startService()
            self.addCleanup(service.stopService)
            for host in ("::1", "127.0.0.1"):
                to = Endpoint(host, service.endpoints[0].port)
                datagram, _ = await self.ask(to, Change.NOTHING, host)
                mapped = stun.decode(datagram).mapped
                assert mapped is not None
                self.assertEqual(mapped.host, host)

        return Deferred.fromCoroutine(run())

    def test_taken(self) -> None:
        """A port that another program has is named in the error."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            service = StunServer(reactor, "127.0.0.1", port)
            error = self.assertRaises(ListenError, service.startService)
            self.assertIn(f"127.0.0.1:{port}", str(error))

    def test_no_next_port(self) -> None:
        """The last port of all has no next one, which is an error like another."""
        service = StunServer(reactor, "127.0.0.1", 65535)
        self.assertRaises(ListenError, service.startService)
        self.assertEqual(service.endpoints, ())
