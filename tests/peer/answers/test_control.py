"""Tests for :mod:`tunnelmesh.peer.answers`: what the running peer says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.errors import NotRunningError, UnknownPeerError
from tunnelmesh.peer.answers.control import routes
from tunnelmesh.peer.answers.verdict import explain


class ControlTests(WorldTestCase):
    """What the service answers."""

    def setUp(self) -> None:
        """Two peers that have met."""
        super().setUp()
        self.here, self.there = self.pair()
        assert self.here.service is not None
        self.routes = routes(self.here.service, self.here.host)

    def ask(self, path: str, **query: str) -> Any:
        """Ask; a coroutine's answer is waited for."""
        answer = self.routes[path](query)
        if not hasattr(answer, "__await__"):
            return answer
        asking: Deferred[Any] = Deferred.fromCoroutine(answer)  # type: ignore[arg-type]
        self.internet.run(10)
        return self.successResultOf(asking)

    def collect(self, **query: str) -> list[dict[str, Any]]:
        """All lines of a ping."""
        answer = self.routes["/ping"](query)
        assert isinstance(answer, AsyncIterator)

        async def everything() -> list[dict[str, Any]]:
            return [line async for line in answer]

        asking = Deferred.fromCoroutine(everything())
        self.internet.run(30)
        return self.successResultOf(asking)

    def test_status(self) -> None:
        """The contract's fields are there."""
        status = self.ask("/status")
        self.assertEqual((status["role"], status["name"], status["mode"]), ("peer", "here", "tun"))
        [peer] = status["peers"]
        self.assertEqual(
            (peer["name"], peer["online"], peer["path"]["kind"]), ("there", True, "udp")
        )
        self.assertTrue(status["fingerprint"].startswith("SHA256:"))
        self.assertEqual(self.ask("/peers"), status["peers"])

    def test_ping(self) -> None:
        """Each echo is a line with its number, time and path."""
        lines = self.collect(peer="there", count="3")
        self.assertEqual([line["seq"] for line in lines], [1, 2, 3])
        for line in lines:
            self.assertEqual(line["path"]["kind"], "udp")
            self.assertLess(line["rtt_ms"], 50)

    def test_ping_lost(self) -> None:
        """A peer that does not answer costs its patience, and nothing is awaited for ever."""
        self.there.kill()
        self.coordinator.kill()
        lines = self.collect(peer="there", count="2")
        self.assertEqual([line["rtt_ms"] for line in lines], [None, None])

    def test_odd_counts(self) -> None:
        """A number of times that is none is refused in words."""
        for times in ("0", "-1", "1.5", "", "²", "٣", "1" * 5000, "100001"):
            with self.assertRaises(UnknownPeerError, msg=times):
                self.routes["/ping"]({"peer": "there", "count": times})

    def test_unknown_peer(self) -> None:
        """Whoever asks after nobody hears whom there is."""
        for path in ("/ping", "/history", "/explain", "/forget"):
            with self.assertRaises(UnknownPeerError):
                self.ask(path, peer="nobody")
        error = self.assertRaises(UnknownPeerError, self.routes["/history"], {"peer": "nobody"})
        self.assertIn("there", str(error))

    def test_history(self) -> None:
        """Every change is told, with its cause and its time."""
        changes = self.ask("/history", peer="there")
        self.assertEqual((changes[0]["from"], changes[-1]["to"].split()[0]), ("none", "udp"))
        self.assertTrue(all(change["at"] >= 1_767_225_600 for change in changes))

    def test_explain(self) -> None:
        """A direct path needs no advice."""
        answer = self.ask("/explain", peer="there")
        self.assertTrue(answer["summary"].startswith("Direct"))
        self.assertEqual(answer["advice"], [])

    def test_netcheck(self) -> None:
        """The network is looked at anew."""
        answer = self.ask("/netcheck")
        self.assertEqual(answer["flavour"], "port-restricted")
        self.assertIn("port-restricted", answer["in_words"])

    def test_offloads(self) -> None:
        """Of a kernel that has none, each is said to be lacking."""
        offloads = self.ask("/netcheck")["offloads"]
        lacking = offloads.pop("lacking")
        self.assertEqual(set(offloads.values()), {False})
        for words in ("network device", "sent one by one", "read one by one"):
            self.assertEqual(len([each for each in lacking if words in each]), 1, words)

    def test_forget(self) -> None:
        """A pin can be dropped, once."""
        self.assertEqual(self.ask("/forget", peer="there"), {"forgotten": "there"})

    def test_not_joined(self) -> None:
        """Before it has joined, the peer says so."""
        late = self.add("late")
        assert late.service is not None
        self.assertRaises(NotRunningError, routes(late.service, late.host)["/status"], {})


class VerdictTests(WorldTestCase):
    """Why a pair is on the path it is on, in words."""

    def verdict(self, here: str, there: str, way: str) -> tuple[str, str]:
        """The summary for a pair of kinds, and the advice."""
        self.setUp()
        one, _ = self.pair(here, there, way=way)
        self.internet.run(8)
        found = explain(remote(one, "there"), node(one).describe(), node(one).link.failures)
        return found.summary, " ".join(found.advice)

    def test_pairs(self) -> None:
        """Each reason has its sentence."""
        for here, there, way, summary, advice in (
            ("full-cone", "symmetric", "udp", "Direct", ""),
            ("symmetric", "symmetric", "ssh", "both", "forward a UDP port"),
            ("symmetric", "port-restricted", "udp", "Direct", ""),
            ("port-restricted", "symmetric", "udp", "Direct", ""),
            ("symmetric", "symmetric-sequential", "ssh", "both", "forward a UDP port"),
            ("udp-blocked", "full-cone", "tcp", "Direct over TCP", "outbound UDP in your"),
            ("full-cone", "udp-blocked", "tcp", "there's network", "outbound UDP in there's"),
            ("web-only", "web-only", "websocket", "your network", "outbound UDP in there's"),
        ):
            said, advised = self.verdict(here, there, way)
            self.assertIn(summary, said)
            self.assertIn(advice, advised)

    def test_offline(self) -> None:
        """A peer that is away is said to be."""
        here, there = self.pair()
        there.kill()
        self.internet.run(30)
        found = explain(remote(here, "there"), node(here).describe(), {})
        self.assertIn("offline", found.summary)
        self.assertIn("see that there is on", " ".join(found.advice))

    def test_since(self) -> None:
        """How long it has been so is told, with what made it so."""
        here, _ = self.pair()
        self.internet.run(200)
        found = explain(remote(here, "there"), node(here).describe(), {})
        self.assertIn("so for 3 min, because: ", " ".join(found.evidence))
