"""The socket by which commands of this machine open streams."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tunnelmesh.errors import OfflineError
from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.entrance import Entrance
from tunnelmesh.streams.local import Command


@implementer(IStreams, IStreamClientEndpoint)
class Offline:
    """Everybody is offline.

    :ivar asked: who was asked for, with what.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bytes]] = []

    def endpoint(self, host: str, port: int, first: bytes = b"") -> Offline:
        self.asked.append((host, port, first))
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return fail(OfflineError("homelab is offline (last seen 3 h ago)"))


class LocalTests(SynchronousTestCase):
    """What is asked is done, or refused in one line."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.streams = Offline()
        entrance = Entrance(lambda: Command(self.clock, self.streams))
        client = entrance.buildProtocol(None)
        assert client is not None
        self.client = client
        self.transport = StringTransport()
        client.makeConnection(self.transport)

    def test_why_not(self) -> None:
        """The line that says why not is the answer's body; what came with the request is passed."""
        self.client.dataReceived(b"CONNECT homelab:22 HTT")
        self.client.dataReceived(b"P/1.1\r\n\r\nSSH-2.0")
        self.assertEqual(self.streams.asked, [("homelab", 22, b"SSH-2.0")])
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 504 "))
        self.assertEqual(body, b"homelab is offline (last seen 3 h ago)\n")
        self.assertTrue(self.transport.disconnecting)

    def test_nonsense(self) -> None:
        """Anything else is refused, and nobody is asked for."""
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"CONNECT homelab HTTP/1.1\r\n\r\n",
            b"CONNECT homelab:0 HTTP/1.1\r\n\r\n",
            b"\x05\x01\x00\r\n\r\n",
            b"x" * 100_000,
        ):
            self.setUp()
            self.client.dataReceived(request)
            self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 400 "), request[:30])
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.streams.asked, [])
