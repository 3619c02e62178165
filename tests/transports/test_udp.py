"""Tests for :mod:`tunnelmesh.transports.udp` on the loopback interface."""

# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tunnelmesh.transports.udp import UdpTransport


class _Stumbling:
    """Trips over what begins with an exclamation mark."""

    def __init__(self) -> None:
        self.taken: Deferred[bytes] = Deferred()

    def datagrams_received(self, datagrams: Sequence[bytes], path: Any) -> None:
        if datagrams[0].startswith(b"!"):
            raise RuntimeError("a fault of ours")
        self.taken.callback(datagrams[0])


class FaultTests(TestCase):
    """A fault of whoever takes the datagrams."""

    async def test_socket_survives(self) -> None:
        """It costs the batch, and not the socket, without which the peer would be deaf."""
        user = _Stumbling()
        transport = UdpTransport(user)
        transport.open(reactor, 0)
        self.addCleanup(transport.close)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in (b"!", b"next"):
                sender.sendto(datagram, ("127.0.0.1", transport.local_port))
                if datagram == b"!":
                    while not transport.failed:
                        await _turn()
        self.assertEqual(b"next", await user.taken.addTimeout(5, reactor))
        self.assertEqual(1, transport.failed)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


def _turn() -> Deferred[None]:
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn
