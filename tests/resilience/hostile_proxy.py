"""A program: a proxy that one would rather not have.

Arguments: what it does (``hang``, ``babble`` or ``intercept``), and the port to listen on.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from tunnelmesh.transports.tls import certificate_chain, server_tls


class Hang(Protocol):
    """Listens, and never says a word."""


class Babble(Protocol):
    """Answers in no known language, without end."""

    def dataReceived(self, data: bytes) -> None:
        """Whatever it was."""
        self.transport.write(b"\x00\xff how do you do? " * 5000)


class Inside(Protocol):
    """What an intercepting proxy sees of what it has opened."""

    def dataReceived(self, data: bytes) -> None:
        """Tell whoever watches."""
        print("TOLD", data, flush=True)


class Intercept(Protocol):
    """Agrees to every CONNECT, and opens TLS with a certificate of its own."""

    def dataReceived(self, data: bytes) -> None:
        """Agree, and be the server."""
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        company = certificate_chain(Ed25519PrivateKey.generate(), [], datetime.now(UTC))
        inside = Factory.forProtocol(Inside)
        secured = TLSMemoryBIOFactory(server_tls(company), False, inside, reactor)
        server = secured.buildProtocol(None)
        self.dataReceived = server.dataReceived
        self.connectionLost = server.connectionLost
        server.makeConnection(self.transport)


if __name__ == "__main__":
    kind = {"hang": Hang, "babble": Babble, "intercept": Intercept}[sys.argv[1]]
    reactor.listenTCP(int(sys.argv[2]), Factory.forProtocol(kind))
    print("ready", flush=True)
    reactor.run()
