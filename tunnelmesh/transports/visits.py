"""TLS connections from strangers: few together, few from one place, and short.

The web site's own timeout begins anew with every byte, so that a few bytes a minute keep a
connection for ever. Here the whole visit is limited, until it turns out to be a link, for which
signing in has limits of its own.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from tunnelmesh.transports.strangers import Strangers

VISIT_SECONDS = 30.0
"""For all that is done over one connection that is no link: TLS, a few pages, an enrolment. The
slowest satellite needs ten."""


class Visit(BufferingTLSTransport):
    """One connection."""

    factory: VisitFactory
    _limit: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        """Somebody is there."""
        reactor = self.factory.reactor
        self._limit = reactor.callLater(VISIT_SECONDS, self.abortConnection)
        super().makeConnection(transport)

    def settled(self) -> None:
        """It is a link, or is gone."""
        self.factory.strangers.settled(self)
        if self._limit is not None and self._limit.active():
            self._limit.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self.settled()
        super().connectionLost(reason)


class VisitFactory(TLSMemoryBIOFactory):
    """Makes the connections of a TLS server.

    :param reactor: the clock.
    :param tls: how it speaks TLS.
    :param site: what it serves.
    :ivar turned_away: connections that were not taken.
    """

    protocol = Visit
    noisy = False

    def __init__(self, reactor: Any, tls: CertificateOptions, site: IProtocolFactory) -> None:
        super().__init__(tls, False, site, clock=reactor)
        self.reactor = reactor
        self.strangers = Strangers()
        self.turned_away = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Take a connection, unless too many strangers are connected already."""
        if not self.strangers.admits(addr):
            self.turned_away += 1
            return None
        visit = super().buildProtocol(addr)
        if visit is not None:
            self.strangers.add(visit, addr)
        return visit
