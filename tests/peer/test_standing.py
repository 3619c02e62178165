"""Whole services: members are removed, leave, return and are renamed, while packets flow."""

from __future__ import annotations

from collections.abc import Coroutine
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.peer.test_mesh import entry, key
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh import fatal
from tunnelmesh.coordinator.membership import Membership
from tunnelmesh.coordinator.sqlite import FILE_NAME, SQLiteStore
from tunnelmesh.errors import EnrolmentError, ExpelledError, LinkError, UnknownPeerError
from tunnelmesh.identity import FILE_NAME as IDENTITY
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.peer import membership as memberships
from tunnelmesh.peer.answers.absence import gone_since
from tunnelmesh.wire.administration import Removed, Renamed
from tunnelmesh.wire.signal import Refused, Roster


class StandingTestCase(WorldTestCase):
    """What would end a process is remembered instead, and the process goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.fatal: list[Exception] = []
        self.patch(fatal, "fail", lambda reactor, error: self.fatal.append(error))

    @property
    def owner(self) -> Membership:
        """What the coordinator's owner can do."""
        assert self.coordinator.service is not None
        assert self.coordinator.service.membership is not None
        return self.coordinator.service.membership

    def result_of(self, coroutine: Coroutine[Any, Any, Any], limit: float = 10) -> Any:
        """Let time pass until there is a result, or raise what went wrong."""
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        self.until(lambda: results, limit)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def says(self, error: type[Exception], coroutine: Coroutine[Any, Any, Any]) -> str:
        """What it fails with."""
        return str(self.assertRaises(error, self.result_of, coroutine))

    def pings(self, source: SimulatedPeer, to: SimulatedPeer, times: int = 20) -> int:
        """How many of some echoes through the mesh are answered."""
        assert source.inner is not None
        assert to.inner is not None
        answers: list[float] = []
        for _ in range(times):
            pinged = source.inner.ping(to.inner.address, timeout=1)
            pinged.addCallbacks(answers.append, lambda lost: None)
            self.internet.run(0.1)
        self.internet.run(1.5)
        return len(answers)

    def names(self, peer: SimulatedPeer) -> list[str]:
        """Whom a peer knows."""
        return sorted(node(peer).mesh.members.remotes)


class RevokedTests(StandingTestCase):
    """A member is removed."""

    def test_direct_path(self) -> None:
        """What goes by a direct path ends too, though the removed one would go on."""
        here, there = self.pair()
        third = self.add("third")
        self.until(lambda: third.path_to("here"))
        self.assertEqual(self.pings(here, there), 20)
        self.patch(node(there).standing, "refused", lambda message: None)
        session = remote(here, "there").tunnel
        self.result_of(self.owner.revoke("there"))
        self.internet.run(0.5)
        self.assertEqual((self.names(here), self.names(third)), (["third"], ["here"]))
        self.assertEqual(self.pings(there, here), 0)
        self.assertEqual(self.pings(here, there), 0)
        received = session.rx_bytes
        self.internet.run(200)  # the removed one starts handshakes all the while
        self.assertEqual((session.rx_bytes, self.pings(there, here)), (received, 0))
        self.assertEqual(self.pings(here, third), 20)

    def test_relayed(self) -> None:
        """Nothing is relayed any more, from or to it."""
        here, there = (self.add(name, relay_only=True) for name in ("here", "there"))
        self.until(lambda: here.path_to("there") and there.path_to("here"))
        self.assertEqual(self.pings(here, there), 20)
        self.result_of(self.owner.revoke("there"))
        self.internet.run(0.5)
        self.assertEqual((self.pings(here, there), self.pings(there, here)), (0, 0))

    def test_it_is_told(self) -> None:
        """The removed one ends, in clear words; started again, it ends with the same."""
        here, there = self.pair()
        self.result_of(self.owner.revoke("there"))
        self.internet.run(1)
        for again in (False, True):
            if again:
                there.kill()
                self.coordinator.kill()
                self.coordinator.start()
                there.start()
                self.internet.run(5)
            self.assertIsInstance(self.fatal[-1], ExpelledError)
            [error] = self.fatal
            self.assertIn("was removed from the mesh", str(error))
            self.assertIn("tunnelmesh leave", str(error))
            self.assertIsNone(node(there).link.session)
            self.fatal.clear()
        self.internet.run(60)
        self.assertEqual(self.fatal, [], "it tries again")
        self.assertEqual(self.names(here), [])

    def test_heard_later(self) -> None:
        """Who had no link when somebody was removed learns it from the next whole roster."""
        here, there = self.pair()
        address = node(there).membership.address
        self.coordinator.kill()
        store = SQLiteStore(self.folder / "coordinator" / FILE_NAME)
        key = node(there).identity.public_key
        self.result_of(store.remove(key, 0, barred=True))
        store.close()
        self.internet.run(3)
        self.assertEqual(self.names(here), ["there"])
        self.coordinator.start()
        self.until(lambda: node(here).link.session)
        self.internet.run(1)
        self.assertEqual(self.names(here), [])
        self.assertNotIn(address.packed, node(here).mesh.members.by_address)

    def test_returns(self) -> None:
        """With a new invitation it is back at its old address, and nobody has to forget a key."""
        here, there = self.pair()
        address = node(there).membership.address
        self.result_of(self.owner.revoke("there"))
        self.internet.run(1)
        there.kill()
        memberships.forget(self.folder / "there")
        there.start()
        self.internet.run(10)
        self.assertIn("the token is older than that", str(self.fatal[-1]))
        there.kill()
        again = SimulatedPeer(
            self.internet, there.host, self.folder / "there", self.coordinator.invite()
        )
        again.start()
        self.until(lambda: here.path_to("there") == "udp" and again.path_to("here") == "udp")
        self.assertEqual(node(again).membership.address, address)
        self.assertEqual(self.pings(here, again), 20)


class RenamedTests(StandingTestCase):
    """A member is called something else."""

    def test_while_packets_flow(self) -> None:
        """The session, the path and its history go on under the new name, and no packet is lost."""
        here, there = self.pair()
        self.pings(here, there, 1)
        before, changes = remote(here, "there"), len(remote(here, "there").history.changes)
        done = self.result_of(node(there).standing.rename("attic"))
        self.assertEqual(done, {"name": "attic", "before": "there"})
        self.assertEqual(self.pings(here, there), 20)
        self.assertIs(remote(here, "attic"), before)
        self.assertEqual(before.name, "attic")
        self.assertEqual(len(before.history.changes), changes)
        self.assertRaises(UnknownPeerError, node(here).mesh.members.find, "there")
        kept = memberships.load(self.folder / "there")
        assert kept is not None
        self.assertEqual(kept.name, "attic")
        there.kill()
        there.start()
        self.until(lambda: here.path_to("attic") and there.path_to("here"))
        self.assertEqual(node(there).membership.name, "attic")

    def test_by_the_owner(self) -> None:
        """A member hears of its new name at once, or with its next welcome."""
        here, there = self.pair()
        self.result_of(self.owner.rename("there", "attic"))
        self.internet.run(0.5)
        self.assertEqual(node(there).membership.name, "attic")
        there.kill()
        self.internet.run(0.5)
        self.result_of(self.owner.rename("attic", "cellar"))
        there.start()
        self.until(lambda: there.path_to("here"))
        self.assertEqual(node(there).membership.name, "cellar")
        self.assertEqual(self.names(here), ["cellar"])

    def test_taken(self) -> None:
        """Two who want one name at once: one has it, the other is told why not."""
        here, there = self.pair()
        first = Deferred.fromCoroutine(node(here).standing.rename("best"))
        said = self.says(EnrolmentError, node(there).standing.rename("best"))
        self.assertIn("another machine is called 'best'", said)
        self.assertEqual(self.successResultOf(first)["name"], "best")
        self.assertEqual(node(there).membership.name, "there")
        said = self.says(EnrolmentError, node(there).standing.rename("No Name"))
        self.assertIn("letters, digits", said)

    def test_coordinator_away(self) -> None:
        """Without a coordinator there is no new name."""
        here, _ = self.pair()
        self.coordinator.kill()
        self.until(lambda: node(here).link.session is None)
        self.assertIn("cannot be asked", self.says(LinkError, node(here).standing.rename("x")))

    def test_other_rules(self) -> None:
        """Where the new name is to be reached in another way only, a new session keeps to that."""
        here = self.add("here", relay_only_peers=frozenset({"attic"}))
        there = self.add("there")
        self.until(lambda: here.path_to("there") == "udp")
        self.result_of(self.owner.rename("there", "attic"))
        self.until(lambda: here.path_to("attic") in ("ssh", "websocket"))
        self.assertEqual(self.pings(here, there), 20)
        self.assertNotEqual(here.path_to("attic"), "udp")


class LeaveTests(StandingTestCase):
    """A member goes by itself."""

    def test_told(self) -> None:
        """The coordinator and the others know; the key stays, and any invitation lets it back."""
        here, there = self.pair()
        done = self.result_of(node(there).standing.leave(force=False))
        self.internet.run(0.5)
        self.assertEqual((done, self.fatal), ({"name": "there", "told": True}, []))
        self.assertEqual(self.names(here), [])
        self.assertIsNone(memberships.load(self.folder / "there"))
        self.assertTrue((self.folder / "there" / IDENTITY).exists())
        there.kill()
        there.start()
        self.until(lambda: here.path_to("there") == "udp")
        self.assertEqual(self.pings(here, there), 20)

    def test_coordinator_away(self) -> None:
        """Without a coordinator it stays a member, unless it insists."""
        here, _ = self.pair()
        self.coordinator.kill()
        self.until(lambda: node(here).link.session is None)
        said = self.says(LinkError, node(here).standing.leave(force=False))
        self.assertIn("tunnelmesh revoke here", said)
        self.assertIsNotNone(memberships.load(self.folder / "here"))
        done = self.result_of(node(here).standing.leave(force=True))
        self.assertEqual(done, {"name": "here", "told": False})
        self.assertIsNone(memberships.load(self.folder / "here"))

    def test_no_answer(self) -> None:
        """A coordinator that says nothing is waited for a few seconds."""
        here, _ = self.pair()
        self.nats[0].block(tcp_port=443)
        self.nats[0].block(tcp_port=2222)
        said = self.says(LinkError, node(here).standing.leave(force=False))
        self.assertIn("--force", said)


class SeenTests(StandingTestCase):
    """Since when somebody is gone."""

    def test_offline(self) -> None:
        """A peer that went offline was last seen then, for whoever comes later as well."""
        here, there = self.pair()
        self.assertEqual(remote(here, "there").seen, 0)
        there.kill()
        self.until(lambda: not remote(here, "there").online)
        gone = self.internet.clock.seconds()
        self.internet.run(3 * 3600)
        self.assertLess(abs(remote(here, "there").seen - gone), 2)
        self.assertEqual(gone_since(remote(here, "there"), gone + 10800), "last seen 3 h ago")
        self.coordinator.kill()
        self.coordinator.start()
        third = self.add("third")
        self.until(lambda: third.path_to("here"))
        self.assertLess(abs(remote(third, "there").seen - gone), 2)
        self.assertEqual(third.status()["peers"][1]["last_seen"], remote(third, "there").seen)

    def test_userspace(self) -> None:
        """A machine without a device is known as one."""
        here, there = self.add("here"), self.add("there", mode="userspace")
        self.until(lambda: here.path_to("there") and there.path_to("here"))
        self.assertTrue(remote(here, "there").userspace)
        self.assertFalse(remote(there, "here").userspace)
        self.assertEqual(here.status()["peers"][0]["mode"], "userspace")


class HostileCoordinatorTests(StandingTestCase):
    """What a coordinator can and cannot do with these signals."""

    def setUp(self) -> None:
        super().setUp()
        self.here = self.add("here")
        self.until(lambda: self.here.node and self.here.node.link.session)
        self.internet.run(1)

    def offer(self, *messages: Any) -> None:
        """The coordinator's word."""
        for message in messages:
            node(self.here).signal_received(message)
        self.internet.run(0.1)

    def test_removed_and_replaced(self) -> None:
        """Another key under a removed one's name, or at its address, is refused."""
        old = entry("home", 1)
        self.offer(Roster((old,)), Removed((old.address,)))
        self.assertEqual(self.names(self.here), [])
        self.offer(Roster((entry("home", 2, "100.96.3.3"), entry("new", 3))))
        self.assertEqual(self.names(self.here), [])
        self.assertIn("another key", node(self.here).mesh.members.refused["home"])
        self.assertIn("the address of home", node(self.here).mesh.members.refused["new"])
        self.offer(Roster((old,)))
        self.assertEqual(self.names(self.here), ["home"])

    def test_renamed_and_replaced(self) -> None:
        """Another key under a former name is refused as well."""
        self.offer(Roster((entry("home", 1),)), Roster((entry("attic", 1),)))
        self.assertEqual(self.names(self.here), ["attic"])
        self.offer(Roster((entry("home", 2, "100.96.3.3"),)))
        self.assertEqual(self.names(self.here), ["attic"])
        self.assertIn("another key", node(self.here).mesh.members.refused["home"])

    def test_a_name_that_is_known(self) -> None:
        """A known key does not get a name that was another's."""
        self.offer(Roster((entry("home", 1), entry("bank", 2, "100.96.3.3"))))
        self.offer(Roster((entry("bank", 1),)))
        members = node(self.here).mesh.members
        self.assertEqual(self.names(self.here), ["home"])
        self.assertIn("another key", members.refused["bank"])
        self.assertEqual(members.find("home").key, key(1))

    def test_refused_ones_go_too(self) -> None:
        """Who is refused and then removed is not shown any more."""
        self.offer(Roster((entry("home", 1),)), Roster((entry("home", 2),)))
        self.assertEqual(list(node(self.here).mesh.members.refused), ["home"])
        self.offer(Removed((entry("home", 2).address,)))
        self.assertEqual(node(self.here).mesh.members.refused, {})

    def test_whole_roster(self) -> None:
        """Whom the whole roster names stays, with what it says; the others go."""
        self.offer(Roster((entry("a", 1, "100.96.1.1"), entry("b", 2, "100.96.1.2"))))
        node(self.here).mesh.members.roster_follows()
        self.offer(
            Roster((entry("a", 1, "100.96.1.1"),)),
            Roster((entry("c", 3, "100.96.1.3"),)),
            Removed((IPv4Address("100.96.1.3"),)),
            Roster((), complete=True),
        )
        self.assertEqual(self.names(self.here), ["a"])
        self.offer(Roster((), complete=True))
        self.assertEqual(self.names(self.here), [])

    def test_nonsense(self) -> None:
        """Strangers, our own address and everybody removed a thousand times: nothing grows."""
        own = node(self.here).membership.address
        strangers = tuple(IPv4Address("10.0.0.0") + n for n in range(1000))
        for _ in range(10):
            self.offer(Removed((own, *strangers)))
        self.assertIsNotNone(node(self.here).link.session)
        self.offer(Renamed("\x1b[31m"), Renamed("", "no"), Renamed("here"))
        self.assertEqual(node(self.here).membership.name, "here")

    def test_sent_away_in_odd_words(self) -> None:
        """What a coordinator says at the end is safe to show."""
        node(self.here).expelled(Refused("revoked", "\x1b[31mgo\naway" * 1000))
        [error] = self.fatal
        self.assertNotIn("\x1b", str(error))
        self.assertNotIn("\n", str(error))
        self.assertLess(len(str(error)), 300)
