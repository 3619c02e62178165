"""Tests for :mod:`tunnelmesh.peer.pair.remote`: one pair and its ways."""

from __future__ import annotations

from twisted.internet.error import TimeoutError

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.paths.selection import RELAY
from tunnelmesh.peer.answers.verdict import explain
from tunnelmesh.wire.wireguard import TRANSPORT


class PairTests(WorldTestCase):
    """Two peers."""

    def ping(self, here: SimulatedPeer, there: SimulatedPeer) -> float:
        """One echo through the mesh; the round trip in seconds."""
        assert here.inner is not None
        assert there.inner is not None
        pinged = here.inner.ping(there.inner.address)
        self.internet.run(5)
        return self.successResultOf(pinged)

    def test_direct_on_both_ends(self) -> None:
        """A pair that can punch does, unasked, and with few probes."""
        here, there = self.pair("port-restricted", "restricted-cone")
        self.assertLess(self.ping(here, there), 0.05)
        self.assertLess(remote(here, "there").pursuit.probes, 60)

    def test_hopeless_pair(self) -> None:
        """Two symmetric NATs stay on the relay, and try seldom."""
        here, there = self.pair("symmetric", "symmetric", way="ssh")
        for _ in range(12):
            self.ping(here, there)
        self.assertFalse(remote(here, "there").pursuit.hopeful)
        self.assertLessEqual(remote(here, "there").pursuit.attempts, 12)

    def test_relay_only(self) -> None:
        """Told to use the relay only, a peer shows no address and takes no direct path."""
        here, there = self.add("here", "open", relay_only=True), self.add("there", "open")
        self.until(lambda: here.path_to("there") == "ssh" and there.path_to("here") == "ssh")
        for _ in range(6):
            self.ping(there, here)
        self.assertEqual((here.path_to("there"), there.path_to("here")), ("ssh", "ssh"))
        self.assertEqual(node(here).describe().candidates, ())
        self.assertLessEqual(
            remote(there, "here").pursuit.attempts + remote(here, "there").pursuit.attempts, 4
        )

    def test_one_by_relay_only(self) -> None:
        """One peer can be told to be reached by relay, while the others are direct."""
        here = self.add("here", "open", relay_only_peers=frozenset({"there"}))
        there, _ = self.add("there", "open"), self.add("other", "open")
        self.until(lambda: here.path_to("other") == "udp" and there.path_to("other") == "udp")
        self.until(lambda: here.path_to("there") == "ssh" and there.path_to("here") == "ssh")
        for _ in range(6):
            self.ping(there, here)
        self.assertEqual((here.path_to("there"), there.path_to("here")), ("ssh", "ssh"))
        self.assertEqual(remote(here, "there").pursuit.attempts, 0)
        told = explain(remote(here, "there"), node(here).describe(), {}).summary
        self.assertIn("--relay-only-peers names there", told)

    def test_one_never_by_relay(self) -> None:
        """What is for a peer that is never to be relayed waits for a direct path."""
        never = frozenset({"there"})
        here = self.add("here", "symmetric", direct_only_peers=never, no_port_mapping=True)
        there = self.add("there", "symmetric", direct_only_peers=frozenset({"here"}))
        self.until(lambda: all("coordinator" in p.status() for p in (here, there)))
        self.until(lambda: "there" in node(here).mesh.members.remotes)
        relayed: list[bytes] = []
        write = remote(here, "there")._carrier.relay.write
        self.patch(
            remote(here, "there")._carrier.relay,
            "write",
            lambda datagrams: (relayed.extend(datagrams), write(datagrams)),
        )
        pinged = here.inner.ping(there.inner.address)
        self.internet.run(10)
        self.failureResultOf(pinged, TimeoutError)
        self.assertEqual([each for each in relayed if each.startswith(TRANSPORT)], [])
        self.assertIsNone(here.path_to("there"))
        told = explain(remote(here, "there"), node(here).describe(), {}).summary
        self.assertIn("--direct-only-peers forbids others", told)
        self.nats[0].change("full-cone")
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"))
        self.ping(here, there)

    def test_cut_and_healed(self) -> None:
        """UDP goes and comes: relayed at once, direct again, and the history tells both."""
        here, there = self.pair()
        self.ping(here, there)
        self.nats[0].block(udp=True)
        for port in (3478, 3479):  # STUN over TCP, without which no direct path over TCP is sought
            self.nats[0].block(tcp_port=port)
        assert here.inner is not None
        assert there.inner is not None
        here.inner.ping(there.inner.address).addErrback(lambda _: None)  # is lost with the path
        self.until(lambda: here.path_to("there") == "ssh" == there.path_to("here"))
        self.nats[0].unblock(udp=True)
        for _ in range(3):
            self.ping(here, there)
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"))
        told = [change.after.split()[0] for change in remote(here, "there").history.changes]
        self.assertEqual(told[-2:], ["ssh", "udp"])

    def test_outlives_the_coordinator(self) -> None:
        """A direct path needs no coordinator."""
        here, there = self.pair()
        self.coordinator.kill()
        self.internet.run(30)
        self.ping(here, there)
        self.assertEqual(here.path_to("there"), "udp")
        self.assertNotIn(RELAY, remote(here, "there").ladder.ways)

    def test_far_end_restarts(self) -> None:
        """A peer that restarted is reached again within seconds, over slow lines as well."""
        for latency in (0.01, 0.15):
            self.setUp()
            here, there = self.pair("symmetric", "symmetric", way="ssh")
            self.internet.link.latency = latency
            self.ping(here, there)
            there.kill()
            there.start()
            self.until(lambda there=there: there.path_to("here") is not None)
            for _ in range(2):
                assert here.inner is not None
                assert there.inner is not None
                pinged = here.inner.ping(there.inner.address)
                pinged.addErrback(lambda _: None)
                self.internet.run(5)
            self.assertIsNotNone(self.successResultOf(pinged), latency)

    def test_forgotten(self) -> None:
        """What is told about a peer that is no member any more makes no work."""
        here, _ = self.pair()
        dismissed = remote(here, "there")
        dismissed.forget()
        before = len(here.host.getDelayedCalls())
        dismissed.presence(online=True, linked=False)
        dismissed.network_changed()
        dismissed.look_again()
        self.assertEqual(len(here.host.getDelayedCalls()), before)

    def test_idle_pair_is_quiet(self) -> None:
        """A direct path that nobody uses costs a few packets a minute, and stays open."""
        here, there = self.pair()
        self.internet.run(120)
        sent: list[object] = []
        real = node(here).udp.four.send

        def send(datagrams: list[bytes], to: object) -> None:
            sent.extend(datagrams)
            real(datagrams, to)

        self.patch(node(here).udp.four, "send", send)
        self.internet.run(600)
        self.assertLess(len(sent), 60)
        self.assertLess(self.ping(here, there), 0.1)  # with a handshake before it
        self.assertEqual(here.path_to("there"), "udp")
