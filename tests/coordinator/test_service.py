"""The whole coordinator: on a simulated internet, and on this machine's loopback."""

from __future__ import annotations

import resource
import socket
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.coordinator.machine import Machine
from tunnelmesh.config import CoordinatorConfig
from tunnelmesh.coordinator.advertised import FILE_NAME as ADVERTISED
from tunnelmesh.coordinator.advertised import Advertised
from tunnelmesh.coordinator.public_host import guess, is_public
from tunnelmesh.coordinator.service import Coordinator, System, make_coordinator
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.errors import ConfigError, IdentityError, ListenError, StoreError, TunnelMeshError
from tunnelmesh.identity import FILE_NAME as IDENTITY
from tunnelmesh.identity import Identity
from tunnelmesh.lab.sim import Internet, Link
from tunnelmesh.wire import frame
from tunnelmesh.wire.enrol import Enrolled, NotEnrolled
from tunnelmesh.wire.signal import Connect, Meet, Roster, Welcome
from tunnelmesh.wire.token import Token

PUBLIC = "203.0.113.10"
SECRET = b"s" * 16


class SimulatedTests(SynchronousTestCase):
    """Machines behind NATs enrol, sign in, meet and are relayed, over the real transports."""

    def setUp(self) -> None:
        self.internet = Internet(seed=11)
        self.internet.install(self)
        self.state = Path(self.mktemp())
        self.server = self.internet.host(PUBLIC, name="coordinator")
        self.start()
        self.addCleanup(self.stop)

    def start(self, **settings: Any) -> None:
        """Start a coordinator."""
        system = System(
            addresses=lambda: [PUBLIC],
            unix_time=self.server.seconds,
            entropy=self.internet.entropy,
            random=self.internet.random,
        )
        config = CoordinatorConfig(state_dir=self.state, public_host=PUBLIC, **settings)
        service = make_coordinator(config, self.server, system)
        assert isinstance(service, Coordinator)
        self.coordinator = service
        service.startService()

    def stop(self) -> None:
        """Stop it, and let its last timers pass."""
        self.result_of(self.coordinator.stopService())
        self.internet.run(30)

    def result_of(self, waiting: Deferred[Any]) -> Any:
        """Let time pass until there is a result."""
        results: list[Any] = []
        waiting.addBoth(results.append)
        self.internet.run_until(lambda: results, 20)
        return results[0]

    def token(self, uses: int = 1, secret: bytes = SECRET) -> Token:
        """An invitation."""
        now = int(self.server.seconds())
        store = SQLiteStore(self.state / DATABASE)
        self.addCleanup(store.close)
        inviting: Coroutine[Any, Any, None] = store.invite(secret, uses, now + 600, now)
        self.successResultOf(Deferred.fromCoroutine(inviting))
        key = Identity.load(self.state / IDENTITY).public_key
        where = Advertised.load(self.state)
        return Token(
            where.host, where.https_port, where.ssh_port, where.tls_by_name, key, secret, now + 600
        )

    def pair(self) -> tuple[Machine, Machine]:
        """Two members behind NATs of their own, near and far, signed in over SSH and WebSocket."""
        token = self.token(uses=2)
        nats = [self.internet.nat("198.51.100.1"), self.internet.nat("198.51.100.2")]
        nats[0].uplink, nats[1].uplink = Link(latency=0.01), Link(latency=0.2)
        machines = (
            Machine(nats[0].host(name="near"), token, "near"),
            Machine(nats[1].host(name="far"), token, "far"),
        )
        for machine, kind in zip(machines, ("ssh", "websocket"), strict=True):
            self.assertIsInstance(self.result_of(machine.enrol()), Enrolled)
            self.result_of(machine.open(kind))
            self.internet.run_until(lambda m=machine: m.signals(Welcome), 5)
        self.internet.run(5)
        return machines

    def test_joining(self) -> None:
        """An invitation lets one machine in, once, and a wrong one nobody."""
        token = self.token()
        host = self.internet.nat("198.51.100.1").host(name="laptop")
        wrong = Machine(host, replace(token, secret=b"x" * 16), "laptop")
        answer = self.result_of(wrong.enrol())
        self.assertIsInstance(answer, NotEnrolled)
        self.assertEqual(answer.error, "unknown-token")
        machine = Machine(host, token, "laptop")
        answer = self.result_of(machine.enrol())
        self.assertIsInstance(answer, Enrolled)
        self.assertEqual(answer.address, IPv4Address("100.96.0.1"))
        self.assertEqual(self.result_of(Machine(host, token, "other").enrol()).error, "used-up")

    def test_two_links(self) -> None:
        """Members over SSH and over WebSocket see each other come online."""
        near, far = self.pair()
        for machine, other in ((near, "far"), (far, "near")):
            roster = {e.name: e.online for r in machine.signals(Roster) for e in r.peers}
            self.assertEqual(roster, {other: True})
        (welcome,) = near.signals(Welcome)
        self.assertEqual(welcome.stun_ports, (3478, 3479))
        status = self.coordinator.status({})
        self.assertEqual([peer["link"] for peer in status["peers"]], ["ssh", "websocket"])
        self.assertEqual(
            status["listen"], {"host": PUBLIC, "https": 8443, "ssh": 2222, "stun": [3478, 3479]}
        )

    def test_same_moment(self) -> None:
        """Two whose links differ by 190 ms each way are signalled so that both fire at once."""
        near, far = self.pair()
        near.say(Connect(IPv4Address("100.96.0.2")))
        self.internet.run_until(lambda: near.signals(Meet) and far.signals(Meet), 5)
        moments = [
            when + message.after
            for machine in (near, far)
            for when, message in machine.heard
            if isinstance(message, Meet)
        ]
        self.assertEqual(len(moments), 2)
        self.assertLess(abs(moments[0] - moments[1]), 0.005)

    def test_relay(self) -> None:
        """What enters by SSH leaves by WebSocket, and the other way."""
        near, far = self.pair()
        for sender, receiver, to, source in ((near, far, 2, 1), (far, near, 1, 2)):
            address = IPv4Address("100.96.0.0") + to
            assert sender.link is not None
            self.assertTrue(sender.link.send_bulk(frame.encode_relay(address.packed, [b"a", b"b"])))
            self.internet.run_until(lambda r=receiver: r.relayed, 5)
            origin = (IPv4Address("100.96.0.0") + source).packed
            self.assertEqual(receiver.relayed, [(origin, [b"a", b"b"])])
        self.assertEqual(self.coordinator.signalling.relay.counters.frames, 2)

    def test_one_port(self) -> None:
        """Enrolment, WebSocket and SSH are all served on one port if wanted."""
        self.stop()
        self.start(one_port=443)
        near, far = self.pair()
        assert near.link is not None
        assert far.link is not None
        self.assertEqual((near.link.kind, far.link.kind), ("ssh", "websocket"))
        self.assertEqual(near.link.remote, far.link.remote)
        self.assertTrue(near.link.remote.endswith(":443"))

    def test_restart(self) -> None:
        """After a restart the members are there, and sign in again without a token."""
        near, _ = self.pair()
        self.stop()
        self.assertIsNotNone(near.lost)
        self.start()
        near.heard.clear()
        self.result_of(near.open("websocket"))
        self.internet.run_until(lambda: near.signals(Welcome), 5)
        self.assertEqual(near.signals(Welcome)[0].address, IPv4Address("100.96.0.1"))


class StartTests(TestCase):
    """Starting on the machine itself, and failing to."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp()) / "state"

    def make(self, **settings: Any) -> Coordinator:
        """A coordinator on free ports, stopped at the end of the test."""
        ports = {"https_port": 0, "ssh_port": 0, "stun_port": 0, "public_host": "127.0.0.1"}
        config = CoordinatorConfig(**{"state_dir": self.state, **ports, **settings})
        service = make_coordinator(config, reactor)
        assert isinstance(service, Coordinator)
        self.addCleanup(service.stopService)
        return service

    async def fails(self, error: type[TunnelMeshError], **settings: Any) -> str:
        """The one line that starting ends in; nothing stays open or is advertised."""
        service = self.make(**settings)
        message = str(self.assertRaises(error, service.startService))
        self.assertNotIn("\n", message)
        self.assertFalse((self.state / ADVERTISED).exists())
        # Twisted closes ports in the reactor's next turns.
        for _ in range(3):
            await deferLater(reactor, 0)
        self.assertFalse((self.state / "control.sock").exists())
        return message

    def test_advertised(self) -> None:
        """What was opened is written down for ``tunnelmesh invite``."""
        service = self.make()
        service.startService()
        advertised = Advertised.load(self.state)
        self.assertEqual(advertised, service.advertised)
        self.assertNotIn(0, (advertised.https_port, advertised.ssh_port))

    def test_many_descriptors(self) -> None:
        """The coordinator may have as many connections as the system lets it."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        most = before[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, most), most))
        self.make().startService()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (most, most))

    async def test_taken_ports(self) -> None:
        """A port that somebody has is named, with the option that changes it."""
        with closing(socket.create_server(("0.0.0.0", 0))) as taken:
            port = taken.getsockname()[1]
            self.assertIn("--https-port", await self.fails(ListenError, https_port=port))
            self.assertIn("--ssh-port", await self.fails(ListenError, ssh_port=port))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind(("0.0.0.0", 0))
            port = taken.getsockname()[1]
            self.assertIn("--stun-port", await self.fails(ListenError, stun_port=port))

    async def test_everything_closed_after_failure(self) -> None:
        """What had been opened before the failure is free again: a second try can have it."""
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            https = probe.getsockname()[1]
        with closing(socket.create_server(("0.0.0.0", 0))) as taken:
            await self.fails(ListenError, https_port=https, ssh_port=taken.getsockname()[1])
        self.make(https_port=https).startService()

    def test_already_running(self) -> None:
        """A second coordinator on the same state directory says so, and harms nothing."""
        first = self.make()
        first.startService()
        error = self.assertRaises(ListenError, self.make().startService)
        self.assertIn("already running", str(error))
        self.assertTrue((self.state / "control.sock").exists())

    async def test_damaged_state(self) -> None:
        """A damaged key or database is one clear line."""
        self.state.mkdir(parents=True)
        (self.state / DATABASE).write_bytes(b"garbage" * 1000)
        self.assertIn("damaged", await self.fails(StoreError))
        (self.state / IDENTITY).write_bytes(b"garbage")
        (self.state / IDENTITY).chmod(0o600)
        self.assertIn("not an OpenSSH private key", await self.fails(IdentityError))

    async def test_certificate(self) -> None:
        """A certificate that is missing, or without the name it is for, is one clear line."""
        files = {"tls_certificate": self.state / "none.pem", "tls_key": self.state / "none.key"}
        self.assertIn("none.pem", await self.fails(ConfigError, **files))
        self.assertIn("--public-host", await self.fails(ConfigError, public_host=None, **files))

    def test_alternate_address(self) -> None:
        """With a second address, STUN listens on the public one and on that."""
        service = self.make(stun_alternate_address="127.0.0.2")
        service._system = replace(service._system, addresses=lambda: ["127.0.0.2", "127.0.0.1"])
        service.startService()
        for port in service.status({})["listen"]["stun"]:
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
                self.assertRaises(OSError, other.bind, ("127.0.0.2", port))


class PublicHostTests(SynchronousTestCase):
    """Which of its own addresses a coordinator gives out, if nobody says."""

    def test_guess(self) -> None:
        """A public address is best, then a LAN's, IPv4 before IPv6, and loopback last."""
        everything = ["127.0.0.1", "fe80::1", "192.168.1.5", "2001:4860::1", "8.8.4.4"]
        order = ["8.8.4.4", "2001:4860::1", "192.168.1.5", "127.0.0.1"]
        for expected in order:
            self.assertEqual(guess(everything), expected)
            everything.remove(expected)
        self.assertEqual(guess([]), "127.0.0.1")

    def test_is_public(self) -> None:
        """Names are taken to be public; private addresses are not."""
        self.assertTrue(is_public("vpn.example.org"))
        self.assertTrue(is_public("8.8.8.8"))
        self.assertFalse(is_public("192.168.1.5"))
