"""Tests for :mod:`tunnelmesh.names.server`, on this machine's loopback with real sockets."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.names import dns, error
from twisted.names.client import Resolver
from twisted.trial.unittest import TestCase

from tests.names.directory import NETWORK, zone
from tests.names.test_message import query
from tunnelmesh.errors import ListenError
from tunnelmesh.names import server as module
from tunnelmesh.names.server import NameServer
from tunnelmesh.wire.endpoint import Endpoint

HOST = f"127.{1 + os.getpid() % 250}.{1 + os.getpid() // 250 % 250}.53"
"""An address of our own, where nobody else listens."""


class ServerTestCase(TestCase):
    """A server that listens."""

    def setUp(self) -> None:
        self.patch(module, "PORTS", (10053,))
        self.server = NameServer(reactor, zone(), NETWORK)
        self.server.listen(HOST)
        self.addCleanup(self.closed)

    async def closed(self) -> None:
        """Stop it, and wait until its sockets are closed."""
        self.server.stop()
        await deferLater(reactor, 0)

    def connect(self) -> socket.socket:
        """A TCP connection to it."""
        opened = socket.create_connection((HOST, 10053))
        opened.settimeout(5)
        self.addCleanup(opened.close)
        return opened


class ResolverTests(ServerTestCase):
    """Twisted's own resolver asks."""

    async def test_both(self) -> None:
        """UDP and TCP give the same answers."""
        resolver = Resolver(servers=[(HOST, 10053)], timeout=(5,))
        for ask in (resolver.queryUDP, resolver.queryTCP):
            for name, kind, found in (
                ("homelab.mesh", dns.A, "100.96.0.2"),
                ("2.0.96.100.in-addr.arpa", dns.PTR, "homelab.mesh"),
            ):
                message = await ask([dns.Query(name, kind)])
                (record,) = message.answers
                self.assertIn(found.encode(), _told(record.payload))
        self.assertEqual(self.server.counters["answered"], 4)

    async def test_lookup(self) -> None:
        """A name that nobody has is an error as of any server."""
        resolver = Resolver(servers=[(HOST, 10053)], timeout=(5,))
        answers, _, _ = await resolver.lookupIPV6Address("homelab.mesh")
        self.assertEqual(answers[0].type, dns.AAAA)
        with self.assertRaises(error.DNSNameError):
            await resolver.lookupAddress("office.mesh")
        with self.assertRaises(error.DNSQueryRefusedError):
            await resolver.lookupAddress("example.com")


class HostileTests(ServerTestCase):
    """Whoever asks oddly harms nobody else."""

    def test_strangers(self) -> None:
        """Who is neither on this machine nor in the mesh gets no answer."""
        for host, served in (
            ("127.0.0.1", True),
            (HOST, True),
            ("100.96.7.7", True),
            ("100.97.0.1", False),
            ("192.168.1.2", False),
        ):
            self.assertIs(self.server.serves(host), served, host)
            taken = module._Connections(self.server).buildProtocol(Endpoint(host, 1))
            self.assertIs(taken is not None, served, host)
        self.assertEqual(self.server.counters["strangers"], 4)

    async def test_noise(self) -> None:
        """Noise over UDP is counted, and a question to answer at port 0 is no error."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            for noise in (b"", b"x", b"\xff" * 100, b"\0" * 5000):
                opened.sendto(noise, (HOST, 10053))
        while sum(self.server.counters.values()) < 4:
            await deferLater(reactor, 0.01)
        (datagrams, _) = self.server._ports
        datagrams.protocol.datagramReceived(query("homelab.mesh"), (HOST, 0))  # type: ignore[attr-defined]
        self.assertEqual(self.server.counters["answered"], 2)

    async def test_long(self) -> None:
        """A message longer than any question ends a TCP connection, as noise does."""
        for message in (struct.pack("!H", 60000) + b"x" * 10, struct.pack("!H", 5) + b"noise"):
            opened = self.connect()
            opened.sendall(message)
            self.assertEqual(await deferToThread(opened.recv, 10), b"")

    async def test_many_questions(self) -> None:
        """A connection has an end, also for who never reads."""
        opened = self.connect()
        question = query("homelab.mesh")
        opened.sendall((struct.pack("!H", len(question)) + question) * 100)
        came = await deferToThread(_all, opened)
        length = 2 + struct.unpack_from("!H", came)[0]
        self.assertEqual(len(came), module.MOST_QUESTIONS * length)

    async def test_many_connections(self) -> None:
        """More connections than there may be are closed, and the others go on."""
        opened = [self.connect() for _ in range(module.MOST_CONNECTIONS + 5)]
        while self.server.counters["too many connections"] < 5:
            await deferLater(reactor, 0.01)
        self.assertEqual(len(self.server.connections), module.MOST_CONNECTIONS)
        opened[0].close()
        while len(self.server.connections) == module.MOST_CONNECTIONS:
            await deferLater(reactor, 0.01)
        late = self.connect()
        question = query("homelab.mesh")
        late.sendall(struct.pack("!H", len(question)) + question)
        self.assertTrue(await deferToThread(late.recv, 100))

    async def test_silence(self) -> None:
        """A connection on which nothing is asked is closed."""
        self.patch(module, "IDLE", 0.05)
        self.assertEqual(await deferToThread(self.connect().recv, 10), b"")


class PortTests(TestCase):
    """Where it listens."""

    async def test_another_port(self) -> None:
        """Where another server has the port, it takes the next, over UDP and TCP alike."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as taken:
                taken.bind((HOST, 10153))
                if kind == socket.SOCK_STREAM:
                    taken.listen()
                self.patch(module, "PORTS", (10153, 10154))
                server = NameServer(reactor, zone(), NETWORK)
                server.listen(HOST)
                self.assertEqual(server.where, Endpoint(HOST, 10154))
                server.stop()
                self.assertIsNone(server.where)
            await deferLater(reactor, 0)  # its sockets are closed now

    def test_none(self) -> None:
        """Where it can have none, it says so in a line."""
        server = NameServer(reactor, zone(), NETWORK)
        with self.assertRaises(ListenError) as raised:
            server.listen("192.0.2.1")
        self.assertIn("192.0.2.1", str(raised.exception))
        self.assertIsNone(server.where)


def _told(payload: Any) -> bytes:
    told: bytes = payload.name.name if payload.TYPE == dns.PTR else payload.dottedQuad().encode()
    return told


def _all(opened: socket.socket) -> bytes:
    came = b""
    while part := opened.recv(65536):
        came += part
    return came
