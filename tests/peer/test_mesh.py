"""Tests for :mod:`tunnelmesh.peer.mesh`: hostile rosters, signals and datagrams."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.errors import UnknownPeerError
from tunnelmesh.nat.punch import MAX_CANDIDATES, ROUNDS
from tunnelmesh.paths.ladder import MAX_WAYS
from tunnelmesh.peer.mesh import Mesh
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import MIN_SIZE, PING, ProbeSeal
from tunnelmesh.wire.signal import (
    HOST,
    Candidate,
    Describe,
    Gone,
    Hold,
    Meet,
    Release,
    Roster,
    RosterEntry,
)

STRANGER = IPv4Address("100.96.77.77")
STRANGE = Endpoint("203.0.113.66", 5555)


def key(number: int) -> bytes:
    """Somebody's Ed25519 public key."""
    private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return private.public_key().public_bytes_raw()


def entry(name: str, number: int, address: str = "100.96.9.9", online: bool = True) -> RosterEntry:
    """A member."""
    return RosterEntry(name, key(number), IPv4Address(address), online)


class RosterTests(WorldTestCase):
    """A coordinator says who is a member, and need not be honest."""

    def setUp(self) -> None:
        """One peer that knows nobody."""
        super().setUp()
        self.here = self.add("here")
        self.until(lambda: self.here.node and self.here.node.link.session)
        self.mesh: Mesh = node(self.here).mesh

    def offer(self, *entries: RosterEntry) -> None:
        """The coordinator's word."""
        self.mesh.signal_received(Roster(entries))
        self.internet.run(0.1)

    def test_changed_key(self) -> None:
        """A known name with another key is refused, in words; forgetting accepts it."""
        self.offer(entry("home", 1))
        self.offer(entry("home", 2))
        self.assertNotIn("home", self.mesh.members.remotes)
        error = self.assertRaises(UnknownPeerError, self.mesh.members.find, "home")
        self.assertIn("tunnelmesh forget home", str(error))
        self.assertEqual(list(self.here.status()["refused"]), ["home"])
        self.mesh.members.forget("home")
        self.assertEqual(self.mesh.members.find("home").key, key(2))
        self.assertEqual(self.mesh.members.refused, {})

    def test_old_key_comes_back(self) -> None:
        """The right key, offered again, is welcome without ado."""
        self.offer(entry("home", 1))
        self.offer(entry("home", 2))
        self.offer(entry("home", 1))
        self.assertEqual(self.mesh.members.find("home").key, key(1))
        self.assertEqual(self.mesh.members.refused, {})

    def test_impossible_members(self) -> None:
        """Own key, a key twice, low-order and malformed keys: left out, and the rest is taken."""
        own = node(self.here).identity.public_key
        low = [(1).to_bytes(32, "little"), bytes(32), b"\xff" * 32]
        self.offer(
            RosterEntry("me", own, STRANGER, True),
            *(
                RosterEntry(f"low{n}", k, IPv4Address(f"100.96.2.{n + 1}"), True)
                for n, k in enumerate(low)
            ),
            RosterEntry("short", b"abc", STRANGER, True),
            RosterEntry("empty", b"", STRANGER, True),
            entry("one", 1, "100.96.1.1"),
            entry("twin", 1, "100.96.1.2"),
            entry("last", 2, "100.96.1.3"),
        )
        self.assertEqual(set(self.mesh.members.remotes), {"one", "last"})
        self.assertEqual(node(self.here).link.failures, {})

    def test_names(self) -> None:
        """A name that is no DNS label is not believed: it could forge lines in the pins' file."""
        forged = "x\nhome AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        for name in (forged, "", "Home", "a b", "a" * 64, "\x1b[31m"):
            self.offer(entry(name, 1))
        self.assertEqual(self.mesh.members.remotes, {})
        self.assertEqual(self.mesh.dropped["malformed member"], 6)
        self.here.kill()
        self.here.start()
        self.until(lambda: self.here.node and self.here.node.link.session)

    def test_same_address(self) -> None:
        """A known member's address is not given to another, until the first is forgotten."""
        self.offer(entry("one", 1), entry("two", 2))
        self.assertEqual(set(self.mesh.members.remotes), {"one"})
        self.assertIn("forget one", self.here.status()["refused"]["two"])
        self.mesh.members.forget("one")
        self.offer(entry("two", 2))
        self.assertEqual(set(self.mesh.members.remotes), {"two"})
        self.offer(entry("one", 1, "100.96.1.2"))
        self.assertEqual(set(self.mesh.members.remotes), {"one", "two"})

    def test_addresses_swapped(self) -> None:
        """Two members whose addresses are exchanged are both refused: traffic would go astray."""
        self.offer(entry("one", 1, "100.96.1.1"), entry("two", 2, "100.96.1.2"))
        self.offer(entry("one", 1, "100.96.1.2"), entry("two", 2, "100.96.1.1"))
        self.assertEqual(self.mesh.members.remotes, {})
        self.assertEqual(set(self.mesh.members.refused), {"one", "two"})

    def test_addresses_elsewhere(self) -> None:
        """Our own address, and those outside the mesh, are nobody else's."""
        own = str(node(self.here).membership.address)
        for address in (own, "127.0.0.1", "192.168.1.2", "0.0.0.0", "224.0.0.1"):
            self.offer(entry("home", 1, address))
        self.assertEqual(self.mesh.members.remotes, {})

    def test_pins_cannot_be_written(self) -> None:
        """A full disk costs the memory of new pins, and not the link."""
        (self.folder / "here").rename(self.folder / "elsewhere")
        self.offer(entry("home", 1))
        self.internet.run(5)
        self.assertIn("home", self.mesh.members.remotes)
        self.assertIsNotNone(node(self.here).link.session)

    def test_by_name_and_address(self) -> None:
        """A member is found by its name, with ``.mesh`` or without, and by both addresses."""
        self.offer(entry("home", 1))
        found = self.mesh.members.find("home")
        for name in ("HOME", "home.mesh", "100.96.9.9", str(found.address6)):
            self.assertIs(self.mesh.members.find(name), found)
        self.assertRaises(UnknownPeerError, self.mesh.members.find, "nobody")
        self.assertRaises(UnknownPeerError, self.mesh.members.find, "")


class SignalTests(WorldTestCase):
    """Signals about peers."""

    def setUp(self) -> None:
        """Two peers that have met."""
        super().setUp()
        self.here, self.there = self.pair()
        self.mesh = node(self.here).mesh

    def test_about_strangers(self) -> None:
        """What concerns nobody we know is counted and leaves nothing behind."""
        paths = len(node(self.here).mesh._around.relay._paths)
        for signal in (Hold(STRANGER), Release(STRANGER), Gone(STRANGER)):
            self.mesh.signal_received(signal)
        self.mesh.signal_received(Meet(STRANGER, 1, 0.0, Describe(())))
        for number in range(500):
            self.mesh.switch.relayed(number.to_bytes(4, "big"), [b"\x04" + bytes(40)])
        self.assertEqual(self.mesh.dropped["signal about a stranger"], 4)
        self.assertEqual(self.mesh.dropped["relayed from a stranger"], 500)
        self.assertEqual(len(node(self.here).mesh._around.relay._paths), paths)

    def test_meet_everywhere(self) -> None:
        """A meeting with 32 candidates probes few, none of them ours, loopback or multicast."""
        odd = ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", self.here.host.addresses[0]]
        hosts = odd + [f"10.9.8.{n}" for n in range(32 - len(odd))]
        port = node(self.here).udp.local_port
        candidates = tuple(Candidate(HOST, Endpoint(host, port)) for host in hosts)
        sent: Counter[str] = Counter()
        real = node(self.here).udp.four.send

        def send(datagrams: list[bytes], to: Endpoint) -> None:
            sent[to.host] += len(datagrams)
            real(datagrams, to)

        self.patch(node(self.here).udp.four, "send", send)
        there = remote(self.here, "there")
        self.mesh.signal_received(Meet(there.address, 9, 0.01, Describe(candidates)))
        self.internet.run(10)
        self.assertEqual(set(odd) & set(sent), set())
        probed = sum(count for host, count in sent.items() if host.startswith("10.9.8."))
        self.assertGreater(probed, 0)
        self.assertLessEqual(probed, MAX_CANDIDATES * len(ROUNDS))

    def test_meetings_without_end(self) -> None:
        """A thousand meetings at once are one attempt."""
        there = remote(self.here, "there")
        before = there.pursuit.probes
        for number in range(1000):
            them = Describe((Candidate(HOST, Endpoint("10.1.1.1", number + 1)),))
            self.mesh.signal_received(Meet(there.address, number, 0.0, them))
        self.internet.run(10)
        self.assertLessEqual(there.pursuit.probes - before, 3 * len(ROUNDS))
        self.assertEqual(self.here.path_to("there"), "udp")


class DatagramTests(WorldTestCase):
    """Strangers' datagrams at the socket that everything uses."""

    def setUp(self) -> None:
        """Two peers that have met, the first without a NAT, and somebody who can reach it."""
        super().setUp()
        self.here, self.there = self.pair("open", "port-restricted")
        self.mesh = node(self.here).mesh
        self.sent: list[tuple[bytes, Endpoint]] = []
        udp = node(self.here).udp.four
        real = udp.send

        def send(datagrams: list[bytes], to: Endpoint) -> None:
            self.sent += [(datagram, to) for datagram in datagrams]
            real(datagrams, to)

        self.patch(udp, "send", send)

    def throw(self, datagram: bytes, source: Endpoint = STRANGE) -> list[bytes]:
        """Let it arrive at the first peer; what goes back to where it seems to come from."""
        self.sent.clear()
        self.mesh.switch.datagrams_received([datagram], node(self.here).udp.path_to(source))
        return [datagram for datagram, to in self.sent if to == source]

    def test_every_first_byte(self) -> None:
        """Whatever a stranger's datagram begins with, it is counted and not answered."""
        for first in range(256):
            for size in (1, 2, 4, 32, 92, 148, 1400):
                answers = self.throw((bytes([first]) + self.internet.random.randbytes(size))[:size])
                self.assertEqual(answers, [], (first, size))
        self.assertEqual(self.throw(b""), [])
        self.assertEqual(self.here.path_to("there"), "udp")
        self.assertLess(len(self.mesh.dropped), 12)

    def ping(self, size: int = 0) -> bytes:
        """What the second peer would send."""
        far = node(self.there)
        seal = ProbeSeal(
            far.identity.x25519_private,
            node(self.here).tunnel_device.public_key,
            self.internet.entropy,
        )
        return seal.seal(PING, 4711, size)

    def test_corrupted_probes(self) -> None:
        """A probe with any one byte changed, or cut off anywhere, is dropped."""
        good = self.ping()
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 0x40
            self.assertEqual(self.throw(bytes(bad)), [], at)
            self.assertEqual(self.throw(good[:at]), [], at)

    def test_replayed_probe(self) -> None:
        """A replayed ping earns one pong of its own size, and a check that is bounded."""
        good = self.ping(300)
        for number in range(50):
            answers = self.throw(good, Endpoint("203.0.113.66", 6000 + number))
            self.assertEqual(len(answers[0]), 300)
            self.assertLessEqual(sum(map(len, answers)), 300 + 2 * MIN_SIZE)
        before = remote(self.here, "there").pursuit.probes
        self.internet.run(5)
        sent = remote(self.here, "there").pursuit.probes - before
        self.assertLessEqual(sent, MAX_CANDIDATES * len(ROUNDS))
        self.assertLessEqual(len(remote(self.here, "there").ladder.ways), MAX_WAYS)
        self.assertEqual(self.here.path_to("there"), "udp")

    def test_claimed_size(self) -> None:
        """A pong is never larger than the ping that it answers."""
        for size in (0, 100, 1452, 9000):
            ping = self.ping(size)
            self.assertLessEqual(len(self.throw(ping)[0]), len(ping))

    def test_spoofed_inner_source(self) -> None:
        """A member cannot send packets in another's name."""
        far = remote(self.there, "here")
        assert self.here.inner is not None
        received = self.here.inner.dropped
        packet = bytearray(40)
        packet[0] = 0x45
        packet[2:4] = (40).to_bytes(2, "big")
        packet[12:16] = IPv4Address("100.96.0.99").packed
        packet[16:20] = IPv4Address(self.here.inner.address).packed
        far.send([bytes(packet)])
        far.send([b"\x60" + bytes(3) + b"\0\0" + bytes(34)])
        self.internet.run(1)
        self.assertEqual(self.mesh.dropped["not the peer's own address"], 2)
        self.assertEqual(self.here.inner.dropped, received)

    def test_odd_control_messages(self) -> None:
        """A member's control messages that are cut off or unknown are counted."""
        far = remote(self.there, "here")
        far.send([b"\x01", b"\x0f" + bytes(20)])
        self.internet.run(1)
        self.assertEqual(self.mesh.dropped["unknown control message"], 1)

    def test_nowhere_to_go(self) -> None:
        """A packet to an address that is nobody's is counted."""
        packet = b"\x45" + bytes(15) + STRANGER.packed
        self.mesh.switch.packets_leaving([packet, b"\x60" + bytes(39), b"\x45"])
        self.assertEqual(self.mesh.dropped["no such mesh address"], 3)
