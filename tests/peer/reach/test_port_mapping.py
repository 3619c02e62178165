"""Tests for :mod:`tunnelmesh.peer.reach.port_mapping` and :mod:`tunnelmesh.peer.reach.forwards`."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.nat.portmap.router import ADDRESS, OUTSIDE, OWN, PORT, Router
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim import Internet
from tunnelmesh.nat.candidates import behaviour_of
from tunnelmesh.nat.portmap.speaker import Fetch
from tunnelmesh.nat.query import Send
from tunnelmesh.peer.reach.default_route import DefaultRoute
from tunnelmesh.peer.reach.forwards import Forwards
from tunnelmesh.peer.reach.port_mapping import RELEASE_PATIENCE, PortMapping
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import MAPPED, Candidate

ROUTE = DefaultRoute(ADDRESS, OWN)


class MappingTestCase(SynchronousTestCase):
    """A machine of the simulation, with a router played by hand."""

    def setUp(self) -> None:
        self.internet = Internet(seed=1)
        self.internet.install(self)
        self.host = self.internet.nat("198.51.100.1", kind="symmetric").host(name="here")
        self.router = Router("PCP")
        self.route: DefaultRoute | None = ROUTE
        self.changes: list[Endpoint | None] = []
        self.mapping = PortMapping(
            self.host, lambda: self.route, self.internet.entropy, Random(1), self.changed
        )
        self.patch(self.mapping._socket, "send", self.send)
        self.patch(self.mapping._web, "fetch", self.fetch)

    def changed(self) -> None:
        """The mapping has."""
        self.changes.append(self.mapping.external)

    def send(self, datagrams: list[bytes], to: Endpoint) -> None:
        """To the router, and back a moment later."""
        for datagram in datagrams:
            for data, source in self.router.answer(Send(datagram, to), self.host.seconds()):
                self.host.callLater(0.001, self.mapping.received, data, source)

    async def fetch(self, asked: Fetch) -> bytes | None:
        """From its web server."""
        waiting: Deferred[None] = Deferred()
        self.host.callLater(0.01, waiting.callback, None)
        await waiting
        return self.router.page(asked)


class PortMappingTests(MappingTestCase):
    """The shell around a lease."""

    def start(self, *languages: str) -> None:
        """Begin, with a router that speaks these."""
        self.router.languages = languages
        self.mapping.start(PORT)
        self.internet.run(5)

    def test_told(self) -> None:
        """A mapping is told when it comes, with all that people want to know."""
        for language in ("PCP", "NAT-PMP", "UPnP-IGD"):
            self.setUp()
            self.start(language)
            self.assertEqual(self.changes, [Endpoint(OUTSIDE, PORT)])
            told = self.mapping.described()
            self.assertEqual(
                (told["protocol"], told["external"], told["router"]),
                (language, f"{OUTSIDE}:{PORT}", ADDRESS),
            )
            self.assertTrue(3590 < told["lifetime_s"] <= 3600)
            self.assertTrue(self.mapping.is_settled)

    def test_given_back(self) -> None:
        """At the end the router is as it was, and nothing is left that could wake up."""
        for language in ("PCP", "NAT-PMP", "UPnP-IGD"):
            self.setUp()
            self.start(language)
            stopped = self.mapping.stop()
            self.assertNoResult(stopped)
            self.internet.run(0.1)
            self.successResultOf(stopped)
            self.assertEqual(self.router.mappings, {})
            self.assertEqual(self.host.getDelayedCalls(), [])
            self.successResultOf(self.mapping.stop())

    def test_router_gone_at_the_end(self) -> None:
        """A router that does not answer any more delays the end by a second, not longer."""
        self.start("PCP")
        self.router.languages = ()
        stopped = self.mapping.stop()
        self.internet.run(RELEASE_PATIENCE - 0.1)
        self.assertNoResult(stopped)
        self.internet.run(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.host.getDelayedCalls(), [])

    def test_stopped_before_anything(self) -> None:
        """Stopped before it began, or without a router, it is over at once."""
        self.successResultOf(self.mapping.stop())
        self.setUp()
        self.route = None
        self.start("PCP")
        self.successResultOf(self.mapping.stop())

    def test_another_network(self) -> None:
        """Another router is asked anew, what the old one mapped is told to be gone."""
        self.start("PCP")
        self.route = DefaultRoute("192.168.9.1", "192.168.9.2")
        self.mapping.restart()
        self.internet.run(5)
        self.assertEqual(self.changes, [Endpoint(OUTSIDE, PORT), None])
        self.assertEqual(set(self.mapping.described()["why_not"].values()), {"no answer"})
        self.route = ROUTE
        self.mapping.restart()
        self.internet.run(5)
        self.assertEqual(self.changes[2:], [Endpoint(OUTSIDE, PORT)])

    def test_same_network(self) -> None:
        """A change that leaves the router where it is only has it asked whether all is well."""
        self.start("PCP")
        self.internet.run(5)
        before = list(self.router.asked)
        self.mapping.restart()
        self.internet.run(1)
        self.assertEqual(self.router.asked[len(before) :], ["map"])
        self.assertEqual(len(self.changes), 1)

    def test_nobody_to_ask(self) -> None:
        """Without a router, or with a public address, nothing is sent, and why is told."""
        for route, why in (
            (None, "there is no router"),
            (DefaultRoute("203.0.113.1", "203.0.113.7"), "this machine has a public address"),
        ):
            self.setUp()
            self.route = route
            self.start("PCP")
            self.assertEqual(self.router.asked, [])
            self.assertEqual(self.mapping.described()["why_not"], {"router": why})
            self.assertTrue(self.mapping.is_settled)

    def test_double_nat(self) -> None:
        """A router that has no public address itself is named as the reason."""
        self.router.outside = "100.64.3.2"
        self.start("PCP")
        self.assertEqual(self.mapping.external, Endpoint("100.64.3.2", PORT))
        self.assertIn("behind another NAT", self.mapping.described()["why_not"]["internet"])


class ForwardsTests(MappingTestCase):
    """What is mapped, and what was forwarded by hand."""

    def forwards(self, *advertised: tuple[str, int], ask: bool = True) -> Forwards:
        """Started."""
        made = Forwards(self.host, self.mapping if ask else None, advertised, lambda: None)
        made.start(PORT)
        self.internet.run(5)
        return made

    def test_both(self) -> None:
        """The router's comes first, then the user's, by address or name; each of them once."""
        self.internet.names["home.example"] = ("203.0.113.9",)
        made = self.forwards(("home.example", 1), ("203.0.113.9", 1), ("203.0.113.8", 2))
        by_hand = [Endpoint("203.0.113.9", 1), Endpoint("203.0.113.8", 2)]
        self.assertEqual(list(made.endpoints), [Endpoint(OUTSIDE, PORT), *by_hand])
        self.assertEqual(made.described()["advertised"], list(map(str, by_hand)))

    def test_names_change(self) -> None:
        """On another network a name is looked up again; one without address is left out."""
        made = self.forwards(("home.example", 1), ask=False)
        self.assertEqual(made.endpoints, ())
        self.internet.names["home.example"] = ("203.0.113.9",)
        made.restart()
        self.internet.run(5)
        self.assertEqual(made.endpoints, (Endpoint("203.0.113.9", 1),))
        self.successResultOf(made.stop())

    def test_not_asked(self) -> None:
        """Told not to, the router is not asked."""
        made = self.forwards(ask=False)
        self.assertEqual(self.router.asked, [])
        self.assertIn("--no-port-mapping", made.described()["why_not"]["router"])
        self.assertTrue(made.is_settled)


class NodeTests(WorldTestCase):
    """A peer with a port forwarded by hand."""

    def test_described(self) -> None:
        """Everybody is told, and counts it as reachable; the coordinator hears of changes."""
        here = self.add("here", "symmetric", advertise=(("198.51.100.1", 7),))
        self.until(lambda: here.node and node(here).network.classified)
        own = node(here).describe()
        self.assertIn(Candidate(MAPPED, Endpoint("198.51.100.1", 7)), own.candidates)
        self.assertTrue(behaviour_of(own).forwarded)
        there = self.add("there", "symmetric")
        self.until(lambda: there.path_to("here"))
        there.inner.ping(here.inner.address).addErrback(lambda _: None)
        self.until(lambda: remote(there, "here").pursuit.them is not None)
        self.assertIn(
            Candidate(MAPPED, Endpoint("198.51.100.1", 7)),
            remote(there, "here").pursuit.them.candidates,
        )
        sent: list[object] = []
        self.patch(node(here).link, "send", sent.append)
        node(here).forwards._found = ()
        node(here)._forwards_changed()
        self.assertNotIn(MAPPED, [each.kind for each in sent[-1].candidates])

    def test_end(self) -> None:
        """The service ends when the router has heard of it."""
        here = self.add("here")
        self.until(lambda: here.node)
        released: Deferred[None] = Deferred()
        self.patch(node(here).forwards, "stop", lambda: released)
        assert here.service is not None
        stopped = here.service.stopService()
        self.internet.run(1)
        self.assertNoResult(stopped)
        released.callback(None)
        self.internet.run(1)
        self.successResultOf(stopped)
        self.patch(node(here).forwards, "stop", lambda: succeed(None))
