"""Strangers who reach the port for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.metrics.server import IDLE_SECONDS, MetricsServer


class StrangerTests(SynchronousTestCase):
    """The port is open to everybody who reaches this machine."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        folder = Path(self.mktemp())
        folder.mkdir()
        MetricsServer(self.reactor, ("0.0.0.0", 9100), folder, lambda: b"#\n").startService()
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    def say(self, words: str) -> tuple[Any, StringTransport]:
        """A connection that begins with something."""
        site = self.reactor.tcpServers[0][1]
        transport = StringTransport()
        protocol = site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived(words.encode())
        return protocol, transport

    def test_idle(self) -> None:
        """Who says nothing is cut off, and leaves no line in the log."""
        _, transport = self.say("")
        self.reactor.advance(IDLE_SECONDS + 1)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.lines, [])

    def test_long(self) -> None:
        """What nobody asked for goes neither into memory nor onto the disk."""
        protocol, transport = self.say("POST /metrics HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n")
        for _ in range(20):
            protocol.dataReceived(b"x" * 1000)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))
        self.assertTrue(transport.disconnecting)
