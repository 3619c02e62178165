"""Links and what is said on them, with a clock that only we move."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.coordinator.fakes import FakeLink
from tunnelmesh.coordinator.admission import LONGEST_SIGN_IN, MOST_STRANGERS, PATIENCE
from tunnelmesh.coordinator.heartbeat import INTERVAL
from tunnelmesh.coordinator.heartbeat import PATIENCE as PING_PATIENCE
from tunnelmesh.coordinator.signalling import (
    MOST_CANDIDATES,
    MOST_LINKS,
    MOST_PORTS,
    Signalling,
)
from tunnelmesh.coordinator.store import Member
from tunnelmesh.identity import Identity, mesh_address6, mesh_network6
from tunnelmesh.interfaces import ILinkUser
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import (
    HOST,
    VERSION_MAJOR,
    Candidate,
    Challenge,
    Connect,
    Describe,
    Gone,
    Hold,
    Meet,
    Ping,
    Pong,
    Refused,
    Release,
    Roster,
    SignIn,
    Welcome,
    sign_in_text,
)

COORDINATOR = Identity.generate()
ALICE, BOB, STRANGER = Identity.generate(), Identity.generate(), Identity.generate()
ADDRESS = {ALICE: IPv4Address("100.96.0.1"), BOB: IPv4Address("100.96.0.2")}


class SignallingTestCase(SynchronousTestCase):
    """A coordinator's signalling with two members, alice and bob."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.signalling = Signalling(
            self.clock,
            COORDINATOR.public_key,
            IPv4Network("100.96.0.0/16"),
            [3478, 3479],
            os.urandom,
            Random(1),
        )
        self.signalling.add_members(
            [
                Member("alice", ALICE.public_key, ADDRESS[ALICE], 0),
                Member("bob", BOB.public_key, ADDRESS[BOB], 0),
            ]
        )
        self.clock.advance(0.001)

    def receive(self, link: FakeLink, *messages: signal.Signal | tuple[int, bytes]) -> None:
        """The link brings those messages or frames, together."""
        frames: list[tuple[int, bytes]] = []
        for message in messages:
            if isinstance(message, tuple):
                frames.append(message)
            else:
                frames += frame.FrameDecoder().receive(signal.encode(message))
        self.signalling.frames_received(link, frames)

    def sign_in_message(self, link: FakeLink, who: Identity) -> SignIn:
        """The right answer to the link's challenge."""
        (challenge,) = link.take(Challenge)
        assert isinstance(challenge, Challenge)
        text = sign_in_text(challenge.nonce, COORDINATOR.public_key)
        return SignIn(who.public_key, who.sign(text))

    def open(self) -> FakeLink:
        """A WebSocket link has been opened."""
        link = FakeLink()
        self.signalling.link_opened(link)
        return link

    def sign_in(self, who: Identity) -> FakeLink:
        """Somebody signs in over a link of its own."""
        link = self.open()
        self.receive(link, self.sign_in_message(link, who))
        self.clock.advance(0.001)
        return link

    def lose(self, link: FakeLink) -> None:
        """The link breaks."""
        self.signalling.link_lost(link, "the cable was cut")
        self.clock.advance(0.001)


class SignInTests(SignallingTestCase):
    """Strangers."""

    def refused(self, link: FakeLink) -> str:
        """The code that the link was refused with, and closed after."""
        (refused,) = link.take(Refused)
        assert isinstance(refused, Refused)
        self.assertEqual(link.closed, refused.message)
        self.assertEqual(len(self.signalling.admission), 0)
        return refused.code

    def test_interface(self) -> None:
        """The signalling is a user of links."""
        verifyObject(ILinkUser, self.signalling)

    def test_welcome(self) -> None:
        """A member is told its address and name, and then the whole roster."""
        link = self.open()
        self.receive(link, self.sign_in_message(link, ALICE))
        welcome, *rosters = link.take()[:3]
        self.assertEqual(
            welcome, Welcome("alice", ADDRESS[ALICE], 16, (3478, 3479), "192.0.2.1:4711")
        )
        entries = [entry for roster in rosters for entry in roster.peers]  # type: ignore[union-attr]
        self.assertEqual(
            [(e.name, e.key, e.online) for e in entries], [("bob", BOB.public_key, False)]
        )
        self.assertEqual(rosters[-1], Roster((), complete=True))
        self.assertEqual(link.key, ALICE.public_key)

    def test_fresh_nonces(self) -> None:
        """Each link has a challenge of its own."""
        (one,), (two,) = self.open().take(), self.open().take()
        self.assertNotEqual(one, two)

    def test_ssh(self) -> None:
        """Over SSH the key is known: the sign-in is not signed, and must name the same key."""
        link = FakeLink("ssh", key=ALICE.public_key)
        self.signalling.link_opened(link)
        self.receive(link, SignIn(ALICE.public_key, b""))
        self.assertEqual(len(link.take(Welcome)), 1)
        samples = self.signalling._online[ADDRESS[ALICE]].lines[0].samples
        self.assertEqual(len(samples), 0, "an unasked sign-in was taken for a round trip")
        link = FakeLink("ssh", key=ALICE.public_key)
        self.signalling.link_opened(link)
        self.receive(link, SignIn(BOB.public_key, b""))
        self.assertEqual(self.refused(link), "key")

    def test_unsigned_over_websocket(self) -> None:
        """Without a connection that knows the key, a name is not enough."""
        link = self.open()
        self.receive(link, SignIn(ALICE.public_key, b""))
        self.assertEqual(self.refused(link), "signature")

    def test_replayed(self) -> None:
        """A sign-in that was overheard elsewhere opens nothing."""
        link = self.open()
        message = self.sign_in_message(link, ALICE)
        other = self.open()
        self.receive(other, message)
        self.lose(link)
        self.assertEqual(self.refused(other), "signature")

    def test_not_a_member(self) -> None:
        """A machine that never enrolled is told what to do."""
        link = self.open()
        self.receive(link, self.sign_in_message(link, STRANGER))
        self.assertEqual(self.refused(link), "unknown-key")

    def test_enrolled_since(self) -> None:
        """A machine that enrols while the coordinator runs can sign in, and the others hear."""
        alice = self.sign_in(ALICE)
        alice.take()
        new = Member("new", STRANGER.public_key, IPv4Address("100.96.0.3"), 0)
        self.signalling.add_members([new])
        self.clock.advance(1)
        (roster,) = alice.take(Roster)
        self.assertEqual([e.name for e in roster.peers], ["new"])  # type: ignore[union-attr]
        self.assertEqual(len(self.sign_in(STRANGER).take(Welcome)), 1)

    def test_version(self) -> None:
        """Another major version is refused by name, another minor one is welcome."""
        link = self.open()
        message = self.sign_in_message(link, ALICE)
        self.receive(link, replace(message, major=VERSION_MAJOR + 1))
        self.assertEqual(self.refused(link), "version")
        link = self.open()
        message = self.sign_in_message(link, ALICE)
        self.receive(link, replace(message, minor=99))
        self.assertEqual(len(link.take(Welcome)), 1)

    def test_patience(self) -> None:
        """Who does not sign in is gone after a while, and who did is not."""
        silent, alice = self.open(), self.sign_in(ALICE)
        self.clock.advance(PATIENCE)
        self.assertEqual(silent.closed, "no sign-in in time")
        self.assertIsNone(alice.closed)
        self.assertEqual(len(self.signalling.admission), 0)

    def test_something_else_first(self) -> None:
        """Whatever a stranger sends but a sign-in closes the link: also a relay frame."""
        long = SignIn(bytes(LONGEST_SIGN_IN), b"")
        for first in [Ping(1), Connect(ADDRESS[BOB]), long, (frame.RELAY, bytes(9)), (9, b"")]:
            link = self.open()
            self.receive(link, first, Ping(2))
            self.assertEqual(link.closed, "sign in first")
            self.assertEqual(link.take(Pong), [])

    @settings(max_examples=60, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), min_size=1, max_size=4))
    def test_hostile_stranger(self, frames: list[tuple[int, bytes]]) -> None:
        """Any frames at all from a stranger end in a closed link, and nothing is kept."""
        self.setUp()
        link = self.open()
        self.signalling.frames_received(link, frames)
        self.assertIsNotNone(link.closed)
        self.assertEqual(len(self.signalling.admission), 0)

    def test_many_strangers(self) -> None:
        """Links that do not sign in are bounded, and somebody honest still gets in."""
        links = [self.open() for _ in range(MOST_STRANGERS + 100)]
        self.assertEqual(len(self.signalling.admission), MOST_STRANGERS)
        self.assertEqual(sum(link.closed is not None for link in links), 100)
        self.assertEqual(len(self.sign_in(ALICE).take(Welcome)), 1)

    def test_stranger_hangs_up(self) -> None:
        """A stranger that goes leaves nothing behind."""
        self.lose(self.open())
        self.assertEqual(len(self.signalling.admission), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MemberTests(SignallingTestCase):
    """Members."""

    def online(self, link: FakeLink) -> list[tuple[str, bool]]:
        """Changes of the roster that the link was told of since the last call."""
        return [
            (entry.name, entry.online)
            for roster in link.take(Roster)
            for entry in roster.peers  # type: ignore[union-attr]
        ]

    def test_coming_and_going(self) -> None:
        """Members hear of each other's coming and going, and not of their own."""
        alice = self.sign_in(ALICE)
        alice.take()
        bob = self.sign_in(BOB)
        self.clock.advance(1)
        self.assertEqual(self.online(alice), [("bob", True)])
        self.assertEqual(self.online(bob), [("alice", True)])
        self.lose(bob)
        self.clock.advance(1)
        self.assertEqual(self.online(alice), [("bob", False)])

    def test_first_change_is_told_at_once(self) -> None:
        """In a small mesh, a change waits for nothing."""
        alice = self.sign_in(ALICE)
        self.clock.advance(1)
        alice.take()
        self.sign_in(BOB)
        self.assertEqual(self.online(alice), [("bob", True)])

    def test_large_roster_to_slow_reader(self) -> None:
        """The whole roster waits while the link is full, and goes on when there is room."""
        self.signalling.add_members(
            Member(f"m{n}", n.to_bytes(32, "big"), ADDRESS[BOB] + n, 0) for n in range(1, 1001)
        )
        link = self.open()
        message = self.sign_in_message(link, ALICE)
        link.paused = True
        self.receive(link, message)
        self.assertEqual(link.take(Roster), [])
        link.paused = False
        self.signalling.link_resumed(link)
        rosters = [roster for roster in link.take() if isinstance(roster, Roster)]
        self.assertEqual(sum(len(roster.peers) for roster in rosters), 1001)
        self.assertEqual([roster.complete for roster in rosters[-2:]], [False, True])
        self.signalling.link_resumed(link)
        self.assertEqual(link.take(), [])

    def test_second_link(self) -> None:
        """A member with two links is sent to by the one where it describes itself, and is heard on
        both; without one of them it stays online."""
        bob = self.sign_in(BOB)
        old, new = self.sign_in(ALICE), self.sign_in(ALICE)
        self.assertEqual(len(new.take(Welcome)), 1)
        self.receive(bob, Describe(()))
        for used, spare in ((old, new), (new, old), (old, new)):
            self.clock.advance(3)
            self.receive(used, Describe(()))
            self.receive(bob, Connect(ADDRESS[ALICE]))
            self.assertEqual((len(used.take(Meet)), len(spare.take(Meet))), (1, 0))
        bob.take()
        self.lose(old)
        self.assertEqual(self.online(bob), [])
        self.lose(new)
        self.assertEqual(self.online(bob), [("alice", False)])

    def test_newer_link_breaks(self) -> None:
        """The older link serves again when the newer one breaks."""
        bob, old, new = self.sign_in(BOB), self.sign_in(ALICE), self.sign_in(ALICE)
        self.lose(new)
        old.take()
        self.receive(bob, (frame.RELAY, ADDRESS[ALICE].packed + b"\0\1x"))
        self.assertEqual(len(old.bulk), 1)

    def test_news_lost_with_a_link(self) -> None:
        """What was told on one link is told again on the next one in use, for whichever reason."""
        first, second, third = (self.sign_in(ALICE) for _ in range(3))
        self.sign_in(BOB)
        self.online(second)
        self.receive(second, Describe(()))
        self.assertEqual(self.online(second), [("bob", True)])
        third.take()
        self.lose(second)
        told = self.online(first) + self.online(third)
        self.assertIn(("bob", True), told)

    def test_meeting(self) -> None:
        """Two that have described themselves meet when one asks."""
        alice, bob = self.sign_in(ALICE), self.sign_in(BOB)
        candidate = Candidate(HOST, Endpoint("10.0.0.1", 5))
        self.receive(alice, Describe((candidate,)))
        self.receive(bob, Describe(()), Connect(ADDRESS[ALICE]))
        (to_alice,), (to_bob,) = alice.take(Meet), bob.take(Meet)
        assert isinstance(to_alice, Meet)
        assert isinstance(to_bob, Meet)
        self.assertEqual(to_alice.meeting, to_bob.meeting)
        self.assertEqual(to_bob.them.candidates, (candidate,))

    def test_measured_links(self) -> None:
        """The one whose pongs come sooner is told to wait for half of the difference."""
        links = {ALICE: self.open(), BOB: self.open()}
        delays = {ALICE: 0.25, BOB: 0.75}
        for who in (ALICE, BOB):
            self.clock.advance(delays[who] - self.clock.seconds() + 1000)
            self.receive(links[who], self.sign_in_message(links[who], who), Describe(()))
        self.receive(links[ALICE], Connect(ADDRESS[BOB]))
        (to_alice,), (to_bob,) = links[ALICE].take(Meet), links[BOB].take(Meet)
        assert isinstance(to_alice, Meet)
        assert isinstance(to_bob, Meet)
        self.assertEqual((to_alice.after, to_bob.after), (0.25, 0))

    def test_pongs_measure(self) -> None:
        """A pong measures the link; one that nobody asked for does not."""
        alice = self.sign_in(ALICE)
        presence = self.signalling._online[ADDRESS[ALICE]]
        presence.lines[0].samples.clear()
        (ping,) = alice.take(Ping)
        assert isinstance(ping, Ping)
        self.receive(alice, Pong(ping.token + 1))
        self.clock.advance(0.125)
        self.receive(alice, Pong(ping.token), Pong(ping.token))
        self.assertAlmostEqual(presence.rtt, 0.126)
        self.assertEqual(len(presence.lines[0].samples), 1)

    def test_pinged_while_alive(self) -> None:
        """A link that answers is kept, and pinged about four times a minute."""
        alice = self.sign_in(ALICE)
        pings = 0
        for _ in range(600):
            for ping in alice.take(Ping):
                pings += 1
                self.receive(alice, Pong(ping.token))  # type: ignore[union-attr]
            self.clock.advance(0.5)
        self.assertIsNone(alice.closed)
        self.assertLess(abs(pings - 300 / INTERVAL), 5)

    def test_dead_link(self) -> None:
        """A link that is silent after a ping is given up, and the member is offline."""
        alice, bob = self.sign_in(ALICE), self.sign_in(BOB)
        for _ in range(400):
            for ping in bob.take(Ping):
                self.receive(bob, Pong(ping.token))  # type: ignore[union-attr]
            self.clock.advance(0.1)
        self.assertEqual(alice.closed, "no answer to a ping")
        self.assertIsNone(bob.closed)
        status = {peer["name"]: peer["online"] for peer in self.signalling.status()}
        self.assertEqual(status, {"alice": False, "bob": True})

    def test_slow_answer(self) -> None:
        """A peer that takes long to answer, or sends other things first, is not given up."""
        alice = self.sign_in(ALICE)
        (ping,) = alice.take(Ping)
        self.clock.pump([0.1] * int(10 * PING_PATIENCE - 10))
        self.receive(alice, Describe(()))
        self.clock.pump([0.1] * int(10 * PING_PATIENCE - 10))
        self.assertIsNone(alice.closed)
        self.receive(alice, Pong(ping.token))  # type: ignore[union-attr]
        self.clock.pump([0.1] * int(10 * INTERVAL))
        self.assertEqual(len(alice.take(Ping)), 1)

    def test_ping_is_answered(self) -> None:
        """A peer's ping has its pong, unless the peer does not read them."""
        alice = self.sign_in(ALICE)
        alice.take()
        self.receive(alice, Ping(7))
        self.assertEqual(alice.take(), [Pong(7)])
        alice.paused = True
        self.receive(alice, *[Ping(number) for number in range(100)])
        self.assertEqual(alice.take(), [])

    def test_relay(self) -> None:
        """Relayed batches reach the other member, and what is held back is told."""
        alice, bob = self.sign_in(ALICE), self.sign_in(BOB)
        alice.take()
        batch = frame.encode_relay(ADDRESS[BOB].packed, [b"x"])[frame.HEADER :]
        self.receive(alice, (frame.RELAY, batch), (frame.RELAY, batch))
        self.assertEqual(len(bob.bulk), 2)
        bob.paused = True
        large = frame.encode_relay(ADDRESS[BOB].packed, [bytes(60_000)])[frame.HEADER :]
        self.receive(alice, (frame.RELAY, large), (frame.RELAY, large))
        self.assertEqual(alice.take(), [Hold(ADDRESS[BOB])])
        bob.paused = False
        self.signalling.link_resumed(bob)
        self.assertEqual(len(bob.bulk), 4)
        self.assertEqual(alice.take(), [Release(ADDRESS[BOB])])

    def test_long_description(self) -> None:
        """A peer cannot make others send to hundreds of addresses."""
        alice, bob = self.sign_in(ALICE), self.sign_in(BOB)
        many = tuple(Candidate(HOST, Endpoint("10.0.0.1", port)) for port in range(1, 500))
        self.receive(alice, Describe(many, ports=tuple(range(500))))
        self.receive(bob, Describe(()), Connect(ADDRESS[ALICE]))
        (meet,) = bob.take(Meet)
        assert isinstance(meet, Meet)
        self.assertEqual(len(meet.them.candidates), MOST_CANDIDATES)
        self.assertEqual(len(meet.them.ports), MOST_PORTS)

    def test_strange_description(self) -> None:
        """What a peer says of itself cannot write to the terminals of others."""
        alice, bob = self.sign_in(ALICE), self.sign_in(BOB)
        self.receive(alice, Describe((), mapping="\x1b[2J", flavour="a" * 999, link="ssh"))
        self.receive(bob, Describe(()), Connect(ADDRESS[ALICE]))
        (meet,) = bob.take(Meet)
        assert isinstance(meet, Meet)
        them = meet.them
        self.assertEqual((them.mapping, them.flavour, them.link), ("unknown", "unknown", "ssh"))
        self.assertEqual(self.signalling.status()[0]["flavour"], "unknown")

    def test_many_links(self) -> None:
        """A member that opens link after link loses the oldest ones, but not the one in use."""
        bob = self.sign_in(BOB)
        bob.take()
        links = [self.sign_in(ALICE) for _ in range(MOST_LINKS + 2)]
        self.assertEqual(
            [link.closed for link in links],
            [None, *["too many links"] * 2, *[None] * (MOST_LINKS - 1)],
        )
        self.clock.advance(0.01)
        self.assertEqual(self.online(bob), [("alice", True)])

    def test_breaks_the_protocol(self) -> None:
        """A member that talks nonsense is cut off at once, and its later frames are not heard."""
        nonsense: Sequence[signal.Signal | tuple[int, bytes]] = [
            (frame.SIGNAL, b"{"),
            (frame.SIGNAL, b'{"type": "connect"}'),
            Welcome("x", ADDRESS[BOB], 16, ()),
            SignIn(ALICE.public_key, b""),
        ]
        for number, message in enumerate(nonsense):
            alice = self.sign_in(ALICE)
            alice.take()
            self.receive(alice, message, Connect(IPv4Address("100.96.9.9")))
            self.assertIsNotNone(alice.closed)
            self.assertEqual(alice.take(Gone), [])
            self.assertEqual(self.signalling.malformed, number + 1)
            self.assertFalse(self.signalling.status()[0]["online"])

    def test_newer_kinds(self) -> None:
        """What only a newer version knows is counted and passed over."""
        alice = self.sign_in(ALICE)
        alice.take()
        self.receive(alice, (77, b"?"), (frame.SIGNAL, b'{"type": "sing"}'), Ping(1))
        self.assertEqual(alice.take(), [Pong(1)])
        self.assertEqual(self.signalling.unknown, 2)

    @settings(max_examples=60, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=60)), max_size=6))
    def test_hostile_member(self, frames: list[tuple[int, bytes]]) -> None:
        """Any frames at all from a member raise nothing."""
        self.setUp()
        self.signalling.frames_received(self.sign_in(ALICE), frames)

    def test_status(self) -> None:
        """Each member is shown with its key, its link and its NAT's flavour."""
        alice = self.sign_in(ALICE)
        self.receive(alice, Describe((), flavour="symmetric"))
        network6 = mesh_network6(COORDINATOR.public_key)
        self.assertEqual(
            self.signalling.status(),
            [
                {
                    "name": "alice",
                    "address": "100.96.0.1",
                    "address6": str(mesh_address6(network6, ALICE.public_key)),
                    "fingerprint": ALICE.fingerprint,
                    "enrolled": 0,
                    "last_seen": None,
                    "mode": "tun",
                    "online": True,
                    "link": "websocket",
                    "flavour": "symmetric",
                },
                {
                    "name": "bob",
                    "address": "100.96.0.2",
                    "address6": str(mesh_address6(network6, BOB.public_key)),
                    "fingerprint": BOB.fingerprint,
                    "enrolled": 0,
                    "last_seen": None,
                    "mode": "tun",
                    "online": False,
                    "link": None,
                    "flavour": "unknown",
                },
            ],
        )

    def test_stop(self) -> None:
        """Stopping closes every link and leaves no timer behind."""
        links = [self.open(), self.sign_in(ALICE), self.sign_in(ALICE), self.sign_in(BOB)]
        self.signalling.stop()
        self.assertEqual({link.closed for link in links}, {"the coordinator stops"})
        for link in links:
            self.signalling.link_lost(link, "gone")
        self.assertEqual(self.clock.getDelayedCalls(), [])
