"""What a hostile coordinator, or a hostile member, can do to a peer: nothing that lasts."""

# Twisted's test cases are without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, IPv6Network
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.coordinator.fakes import FakeLink
from tunnelmesh.identity import Identity, mesh_address6, x25519_public
from tunnelmesh.interfaces import ITunnelDevice
from tunnelmesh.nat.punch import MAX_CANDIDATES, ROUNDS
from tunnelmesh.noise.ciphers import PREFERRED
from tunnelmesh.noise.device import Device
from tunnelmesh.noise.outputs import Transmit
from tunnelmesh.peer import members
from tunnelmesh.peer.access import Access
from tunnelmesh.peer.known_peers import KnownPeers
from tunnelmesh.peer.link.coordinator_link import CoordinatorLink
from tunnelmesh.peer.link.egress import Route, Whereabouts
from tunnelmesh.peer.link.session import Session
from tunnelmesh.peer.mesh import MEETINGS_BURST, Mesh
from tunnelmesh.peer.pair.bulk import abilities
from tunnelmesh.peer.pair.hard_punch import HardPunching
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.reach.network import MOST_SERVERS, Network
from tunnelmesh.peer.reach.tcp_reach import TcpReach
from tunnelmesh.peer.switch import STRAYS
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.tun.offload import ordinary_packets
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import MAGIC, PING, ProbeSeal
from tunnelmesh.wire.signal import (
    HOST,
    Candidate,
    Describe,
    Meet,
    Refused,
    Roster,
    RosterEntry,
    Welcome,
)

NETWORK6 = IPv6Network("fd74:6d01:203::/48")
OWN, MALLORY = Identity.generate(), Identity.generate()
OWN_ADDRESS, MALLORY_ADDRESS = IPv4Address("100.96.0.1"), IPv4Address("100.96.0.2")
OWN_ENDPOINTS = Endpoint("192.168.1.2", 4242), Endpoint("2001:db8:1::2", 4242)
COORDINATOR = Endpoint("203.0.113.10", 3478)
ENTRY = RosterEntry("mallory", MALLORY.public_key, MALLORY_ADDRESS, True)


class _Udp(DualStack):
    """Sockets that remember what they were to send."""

    def __init__(self) -> None:
        super().__init__(self)  # type: ignore[arg-type]  # nothing arrives
        self.sent: list[Endpoint] = []

    local_port = 4242

    def send(self, datagrams: Sequence[bytes], remote: Endpoint) -> None:
        self.sent += [remote] * len(datagrams)


@implementer(ITunnelDevice)
class _Kernel:
    """A tunnel device that keeps what it is given."""

    name = "tm0"
    mtu = 1420
    offloads = udp_offload = False
    lacking = "it is a fake"

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def start(self, user: object) -> None:
        """There is nothing to deliver."""

    def stop(self) -> None:
        """There is nothing to close."""

    def write(self, packets: Sequence[bytes]) -> None:
        self.packets += packets

    def write_bulk(self, packet: memoryview) -> None:
        self.packets += ordinary_packets(packet)


class HostileTestCase(SynchronousTestCase):
    """A mesh with one other member, who does as the test likes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.udp, self.link, self.relay = _Udp(), FakeLink(), RelayTransport()
        self.relay.use(self.link)
        token = count(1)
        state = Path(self.mktemp())
        state.mkdir()
        around = Surroundings(
            reactor=self.clock,
            random=Random(1),
            entropy=os.urandom,
            tokens=lambda: next(token),
            private_key=OWN.x25519_private,
            interface=IPv4Interface((OWN_ADDRESS, 16)),
            interface6=IPv6Interface((mesh_address6(NETWORK6, OWN.public_key), 48)),
            device=self.device(OWN),
            udp=self.udp,
            relay=self.relay,
            signal=lambda message: None,
            met=lambda: None,
            path_failed=lambda: None,
            avoid=lambda: [COORDINATOR],
            own=lambda: Describe(tuple(Candidate(HOST, each) for each in OWN_ENDPOINTS)),
            received=lambda datagrams, path: None,
            tcp=self.tcp(),
            hard=self.hard(),
            access=Access(state),
            relay_only=False,
            abilities=abilities(PREFERRED, form="auto"),
            whole_records=True,
        )
        self.mesh = Mesh(around, KnownPeers(state), lambda datagrams, path: None)
        self.kernel = _Kernel()
        self.mesh.switch.use(self.kernel)
        self.mesh.members.linked(True)

    def tcp(self) -> TcpReach:
        """TCP, of which nothing is known."""
        return TcpReach(self.clock, list, os.urandom, lambda: None, lambda datagrams, path: None)

    def hard(self) -> HardPunching:
        """Hard punches, of which there are none here."""
        user = self.udp
        return HardPunching(
            self.clock, user, user, count(1).__next__, Random(3), lambda: None, lambda: None
        )

    def device(self, identity: Identity) -> Device:
        """The WireGuard side of a machine."""
        return Device(
            identity.x25519_private, entropy=os.urandom, random=Random(2), wall=lambda: 1e9
        )

    @property
    def mallory(self) -> Remote:
        """As our side sees it."""
        return self.mesh.members.remotes["mallory"]


class RosterTests(HostileTestCase):
    """A coordinator that offers impossible members."""

    def test_impossible_members(self) -> None:
        """They are left out and nothing else happens; a good one among them is taken."""
        bad = [
            replace(ENTRY, name="a\nb AAAA"),
            replace(ENTRY, name="../../x"),
            replace(ENTRY, name="\ud800"),
            replace(ENTRY, key=b"short"),
            replace(ENTRY, name="low-order", key=b"\1" + bytes(31), address=OWN_ADDRESS + 8),
            replace(ENTRY, name="myself", key=OWN.public_key, address=OWN_ADDRESS + 9),
            replace(ENTRY, name="my-address", address=OWN_ADDRESS),
            replace(ENTRY, name="localhost", address=IPv4Address("127.0.0.1")),
            replace(ENTRY, name="router", address=IPv4Address("192.168.1.1")),
        ]
        self.mesh.signal_received(Roster((*bad, ENTRY)))
        self.assertEqual(list(self.mesh.members.remotes), ["mallory"])

    def test_one_key_or_address_for_two(self) -> None:
        """Two names with one key, or one address, leave one; later changes find all in order."""
        twin = replace(ENTRY, name="twin", address=MALLORY_ADDRESS + 1)
        other = replace(ENTRY, name="other", key=Identity.generate().public_key)
        for entries in ((ENTRY, twin), (ENTRY, other), (other, ENTRY), (ENTRY, twin, other)):
            self.mesh.signal_received(Roster(entries))
            self.assertEqual(len(self.mesh.members.remotes), 1)

    def test_unused_members(self) -> None:
        """Members nobody speaks with are not pinged, however long, so that they may be many."""
        self.patch(members, "EAGER", 0)
        self.mesh.signal_received(Roster((ENTRY,)))
        self.clock.pump([1.0] * 600)
        self.assertEqual(self.link.bulk, [])
        self.mallory.send([b"\x45" + bytes(19)])
        self.clock.pump([0.01] * 100)
        self.assertIn(MAGIC, b"".join(body for _, body in self.link.bulk))

    def test_relayed_from_nobody(self) -> None:
        """Nothing is kept for senders that are no members."""
        for number in range(100):
            self.mesh.switch.relayed(number.to_bytes(4, "big"), [b"x"])
        self.assertEqual(self.mesh.dropped["relayed from a stranger"], 100)


class MeetingTests(HostileTestCase):
    """Meetings that serve somebody else's ends."""

    def setUp(self) -> None:
        super().setUp()
        self.mesh.signal_received(Roster((ENTRY,)))

    def meet(self, *endpoints: Endpoint, after: float = 0.0) -> None:
        """The coordinator says so."""
        them = Describe(tuple(Candidate(HOST, endpoint) for endpoint in endpoints))
        self.mesh.signal_received(Meet(MALLORY_ADDRESS, 1, after, them))

    def test_storm(self) -> None:
        """Only so many meetings are held."""
        for _ in range(1000):
            self.meet(Endpoint("203.0.113.7", 53))
        self.assertEqual(self.mallory.pursuit.attempts, MEETINGS_BURST)
        self.assertEqual(self.mesh.dropped["too many meetings"], 1000 - MEETINGS_BURST)

    def test_distant_meeting(self) -> None:
        """A meeting in a thousand years, or long ago, is held now."""
        for after in (1e15, -1e15):
            self.meet(Endpoint("203.0.113.7", 53), after=after)
            self.clock.pump([0.1] * 50)
            self.assertIn(Endpoint("203.0.113.7", 53), self.udp.sent)
            self.udp.sent.clear()

    def test_path_inside_the_tunnel(self) -> None:
        """A path to a mesh address would run through itself: neither sought nor answered."""
        for address in (MALLORY_ADDRESS, mesh_address6(NETWORK6, MALLORY.public_key)):
            inner = Endpoint(str(address), 4242)
            self.meet(inner)
            seal = ProbeSeal(MALLORY.x25519_private, x25519_public(OWN.public_key), os.urandom)
            self.mesh.switch.datagrams_received([seal.seal(PING, 1, 0)], self.udp.path_to(inner))
            self.clock.pump([0.1] * 50)
        self.assertEqual(self.udp.sent, [])

    def test_whom_nobody_may_make_us_probe(self) -> None:
        """Ourselves, the coordinator, and what is not one machine are left out and counted."""
        odd = ("127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1", "fe80::1", "::")
        endpoints = [Endpoint(host, 4242) for host in (*odd, "::ffff:192.0.2.1", "fd01::1")]
        self.meet(*endpoints, *OWN_ENDPOINTS, COORDINATOR)
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.udp.sent, [])
        self.assertEqual(self.mallory.pursuit.left_out, len(endpoints) + 3)

    def test_thousands(self) -> None:
        """Of thousands of candidates a dozen are probed, and the rest is counted."""
        self.meet(*(Endpoint(f"2001:db8::{n:x}", 4242) for n in range(1, 5000)))
        self.clock.pump([0.1] * 50)
        self.assertEqual(len(set(self.udp.sent)), MAX_CANDIDATES)
        self.assertLessEqual(len(self.udp.sent), MAX_CANDIDATES * len(ROUNDS))
        self.assertEqual(self.mallory.pursuit.left_out, 4999 - MAX_CANDIDATES)

    def test_forgotten(self) -> None:
        """A peer that is not believed any more is not spoken to, whoever still holds it."""
        mallory = self.mallory
        self.mesh.signal_received(Roster((replace(ENTRY, key=OWN.public_key),)))
        self.assertEqual(self.mesh.members.remotes, {})
        self.link.bulk.clear()
        mallory.send([b"\x45" + bytes(19)])
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.link.bulk, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PacketTests(HostileTestCase):
    """A member with a session, that sends packets it should not."""

    def setUp(self) -> None:
        super().setUp()
        self.mesh.signal_received(Roster((ENTRY,)))
        theirs = self.device(MALLORY)
        self.tunnel = theirs.add_peer(x25519_public(OWN.public_key))
        self.relayed(self.tunnel.initiate(self.clock.seconds()))
        for _, body in self.link.bulk:
            theirs.receive(frame.decode_relay(body)[1], b"relay", self.clock.seconds())
        self.assertTrue(self.tunnel.established)

    def relayed(self, outputs: Sequence[object]) -> None:
        """What mallory's tunnel sends reaches us by the relay."""
        for output in outputs:
            if isinstance(output, Transmit):
                self.mesh.switch.relayed(MALLORY_ADDRESS.packed, output.datagrams)

    def packet(self, source: str, to: str) -> bytes:
        """An IPv4 packet without content."""
        ends = IPv4Address(source).packed + IPv4Address(to).packed
        return b"\x45\0\0\x14" + bytes(8) + ends

    def test_addresses(self) -> None:
        """Only what is from its own address to ours reaches the kernel: not our other addresses,
        our loopback or our neighbours."""
        own, ours = str(MALLORY_ADDRESS), str(OWN_ADDRESS)
        good = self.packet(own, ours)
        bad = [self.packet(own, to) for to in ("127.0.0.1", "192.168.1.1", "100.96.0.3")]
        spoofed = [self.packet(source, ours) for source in ("127.0.0.1", ours, "100.96.0.3")]
        self.relayed(self.tunnel.send([*bad, good, *spoofed], self.clock.seconds()))
        self.assertEqual(self.kernel.packets, [good])
        self.assertEqual(self.mesh.dropped["not to this machine's own address"], 3)
        self.assertEqual(self.mesh.dropped["not the peer's own address"], 3)

    def test_strays(self) -> None:
        """Messages of no session, which anybody can send, cause a search now and then."""
        searched = []

        def is_at(remote: Remote, path: object) -> bool:
            searched.append(path)
            return False

        self.patch(Remote, "is_at", is_at)
        path = self.udp.path_to(Endpoint("203.0.113.7", 53))
        for number in range(1000):
            self.mesh.switch.datagrams_received([b"\4\0\0\0" + number.to_bytes(28, "big")], path)
        self.assertEqual(len(searched), STRAYS)


class WelcomeTests(HostileTestCase):
    """A coordinator whose welcome is odd."""

    def test_ports(self) -> None:
        """Impossible STUN ports are not asked, and of many only a few."""
        network = Network(self.clock, self.udp, list, os.urandom, lambda: None)
        network.use_servers(["192.0.2.9"], (0, -1, 70000, 1 << 53))
        self.assertEqual(self.udp.sent, [])
        network.use_servers(["192.0.2.9"], tuple(range(1, 500)))
        self.assertEqual(len(set(self.udp.sent)), MOST_SERVERS)
        network.stop()

    def test_refused_and_welcome(self) -> None:
        """What follows a refusal in the same breath does not count."""
        lost: list[str] = []

        class LinkUser:
            def session_lost(self, session: Session, reason: str) -> None:
                lost.append(reason)

        user: Any = LinkUser()
        key = Identity.generate().public_key
        session = Session(self.clock, OWN, key, "test", lambda: 1, user)
        awaited = session.until_welcome()
        session.link_opened(self.link)
        said = (Refused("no", "go \x1b[2Jaway"), Welcome("own", OWN_ADDRESS, 16, ()))
        bodies = [frame.FrameDecoder().receive(signal.encode(each))[0] for each in said]
        session.frames_received(self.link, bodies)
        self.failureResultOf(awaited)
        self.assertIsNone(session.welcome)
        self.assertEqual(lost, ["the coordinator refuses: go \N{REPLACEMENT CHARACTER}[2Jaway"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_welcome_and_gone(self) -> None:
        """Welcomed and dropped again and again, a peer does not come back as fast as it can."""
        clock, opened = self.clock, []

        class Short:
            """A coordinator, by the one way there is."""

            routes = (Route("ssh", None),)

            def open(
                self, route: Route, identity: Identity, session: Session
            ) -> Deferred[FakeLink]:
                link = FakeLink("ssh")
                opened.append(clock.seconds())
                session.link_opened(link)
                welcome = signal.encode(Welcome("own", OWN_ADDRESS, 16, ()))
                session.frames_received(link, frame.FrameDecoder().receive(welcome))
                clock.callLater(0.01, session.link_lost, link, "go away")
                return succeed(link)

        class LinkUser:
            def link_up(self, *_: object) -> None:
                """Nothing follows."""

            link_down = link_up

        egress: Any = Short()
        user: Any = LinkUser()
        where = Whereabouts("192.0.2.9", 8443, 2222, OWN.public_key, False)
        link = CoordinatorLink(
            clock, OWN, where, egress, "test", lambda: 1, self.relay, user, lambda: 1.0
        )
        link.startService()
        clock.pump([0.005] * 12_000)
        self.assertGreater(len(opened), 20)
        self.assertLess(len(opened), 60)
        link.stopService()
        clock.advance(0.01)
        self.assertEqual(clock.getDelayedCalls(), [])
