"""Tests for :mod:`tunnelmesh.streams.answering`: how what becomes of a request is told."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.streams.wires import Pair
from tunnelmesh.errors import NotAllowedError, StreamError
from tunnelmesh.streams.answering import Answering
from tunnelmesh.streams.endpoint import StreamEndpoint


@implementer(IStreamClientEndpoint)
class Unreachable:
    """A service that is not there, as a reactor says it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Fail, after telling the factory as a reactor does."""
        protocolFactory.doStart()
        protocolFactory.doStop()
        return fail(self._error)


class AnsweringTests(SynchronousTestCase):
    """One peer asks for a port of another."""

    def refusal(self, error: Exception, allowed: bool = True) -> StreamError:
        """What the one who asks is told, if the service cannot be had."""
        pair = Pair()
        answering = Answering(
            pair.clock, lambda port: Unreachable(error), lambda port: allowed, Counter()
        )
        pair.accept = answering.incoming
        endpoint = StreamEndpoint(pair.clock, lambda first: ("there", pair.here.open(first)), 22)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        pair.until(lambda: answering.counts)
        pair.run(1)
        told = self.failureResultOf(connecting, StreamError).value
        assert isinstance(told, StreamError)
        return told

    def test_unknown_host(self) -> None:
        """A service on a host that has no address is not there: nothing is logged as an error."""
        told = self.refusal(DNSLookupError("no such host"))
        self.assertIn("nothing answers on port 22 of there: its host is not found", str(told))

    def test_last_words(self) -> None:
        """What the other side says when it ends everything cannot steer a terminal."""
        pair = Pair()
        pair.accept = lambda transport: None
        endpoint = StreamEndpoint(pair.clock, lambda first: ("there", pair.here.open(first)), 22)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        pair.run(1)
        pair.there.close("\x1b]0;evil\x07\r\n" + 900 * "x")
        pair.run(1)
        told = str(self.failureResultOf(connecting, StreamError).value)
        self.assertIn("evil", told)
        self.assertTrue(told.isprintable(), told)
        self.assertLess(len(told), 500)

    def test_log(self) -> None:
        """Streams leave no lines in the log: another peer could fill it."""
        lines: list[LogEvent] = []
        observer: ILogObserver = lines.append  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.refusal(ConnectionRefusedError())
        self.assertEqual(lines, [])

    def test_not_allowed(self) -> None:
        """That the access rules forbid it is an error of its own, which proxies tell apart."""
        told = self.refusal(ConnectionRefusedError(), allowed=False)
        self.assertIsInstance(told, NotAllowedError)
        self.assertIn("access rules", str(told))
