"""Tests for :mod:`tunnelmesh.peer.reach.tcp_door`: strangers at a peer's TCP port."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.host import Host
from tunnelmesh.peer.reach.tcp_door import STRANGER_DATAGRAMS, STRANGER_SECONDS, STRANGERS, TcpDoor
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.transports.tcp_port import TcpPort
from tunnelmesh.wire import frame


class Stranger(Protocol):
    """Says something, and sees whether it is sent away."""

    transport: Any

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.opened = False
        self.gone_at: float | None = None

    def connectionMade(self) -> None:
        self.opened = True
        self.transport.write(self.says)

    def connectionLost(self, reason: Any) -> None:
        self.gone_at = float(self.transport._sockets.reactor.seconds())


class DoorTests(SynchronousTestCase):
    """A door, and machines that come to it."""

    def setUp(self) -> None:
        """A door on a public machine."""
        self.internet = Internet(seed=7)
        self.internet.install(self)
        self.host = self.internet.host("192.0.2.1", name="here")
        self.peer = self.internet.host("192.0.2.2", name="there")
        self.received: list[list[bytes]] = []
        self.port = TcpPort(self.host)
        self.door = TcpDoor(self.host, self.port, self.take)

    def take(self, datagrams: Any, path: TcpPath) -> None:
        """What came; who says the word is trusted."""
        self.received.append(list(datagrams))
        if b"word" in datagrams:
            path.trust(self.door)

    def knock(self, host: Host, says: bytes = b"", times: int = 1) -> list[Stranger]:
        """Connect, and say something."""
        strangers = [Stranger(says) for _ in range(times)]
        for stranger in strangers:
            factory: Any = ClientFactory.forProtocol(lambda stranger=stranger: stranger)
            factory.noisy = False
            host.connectTCP("192.0.2.1", self.port.number, factory)
        self.internet.run(0.5)
        return strangers

    def test_closed(self) -> None:
        """Nobody gets in while nobody is expected, before and afterwards."""
        self.assertFalse(self.knock(self.peer)[0].opened)
        self.door.expect("192.0.2.2")
        self.door.expect("192.0.2.2")
        self.door.unexpect("192.0.2.2")
        self.assertTrue(self.knock(self.peer)[0].opened)
        self.door.unexpect("192.0.2.2")
        self.assertFalse(self.knock(self.peer)[0].opened)

    def test_from_elsewhere(self) -> None:
        """Only the host that is expected gets in."""
        self.door.expect("192.0.2.2")
        (stranger,) = self.knock(self.internet.host("192.0.2.3"), frame.encode_batch([b"word"]))
        self.assertIsNotNone(stranger.gone_at)
        self.assertEqual((self.received, self.door.turned_away), ([], 1))

    def test_silent(self) -> None:
        """Who says nothing is sent away in seconds."""
        self.door.expect("192.0.2.2")
        began = self.host.seconds()
        (stranger,) = self.knock(self.peer)
        self.internet.run(STRANGER_SECONDS + 1)
        assert stranger.gone_at is not None
        self.assertLess(stranger.gone_at - began, STRANGER_SECONDS + 0.5)
        self.assertEqual(self.door.misled, 1)

    def test_talkative(self) -> None:
        """Who says much, but not the word, is sent away at once."""
        self.door.expect("192.0.2.2")
        says = b"".join(frame.encode_batch([b"no"]) for _ in range(STRANGER_DATAGRAMS + 1))
        (stranger,) = self.knock(self.peer, says)
        self.assertIsNotNone(stranger.gone_at)
        self.assertLessEqual(sum(map(len, self.received)), STRANGER_DATAGRAMS)

    def test_nonsense(self) -> None:
        """Who speaks another protocol is sent away at once."""
        self.door.expect("192.0.2.2")
        (stranger,) = self.knock(self.peer, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        self.assertIsNotNone(stranger.gone_at)
        self.assertEqual(self.received, [])

    def test_crowd(self) -> None:
        """Few strangers are in at a time; when they are gone, others may try."""
        self.door.expect("192.0.2.2")
        strangers = self.knock(self.peer, times=STRANGERS + 5)
        self.assertEqual(sum(s.gone_at is None for s in strangers), STRANGERS)
        self.assertEqual(self.door.turned_away, 5)
        self.internet.run(STRANGER_SECONDS)
        self.assertIsNone(self.knock(self.peer)[0].gone_at)

    def test_trusted(self) -> None:
        """Who says the word stays, also when the door closes."""
        self.door.expect("192.0.2.2")
        (friend,) = self.knock(self.peer, frame.encode_batch([b"word"]))
        (stranger,) = self.knock(self.peer)
        self.door.close()
        self.internet.run(STRANGER_SECONDS * 2)
        self.assertIsNone(friend.gone_at)
        self.assertIsNotNone(stranger.gone_at)

    def test_taken(self) -> None:
        """A port that somebody else listens on meanwhile lets nobody in, and raises nothing."""
        self.host.listenTCP(self.port.number, Factory())
        self.door.expect("192.0.2.2")
        self.door.unexpect("192.0.2.2")
        self.assertEqual(self.door.turned_away, 0)
