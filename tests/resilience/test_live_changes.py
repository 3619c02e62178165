"""Each change of the network, once, while datagrams and a stream are under way.

Deadlines are those of a busy machine; the figures are those of ``bench.resilience``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from bench.traffic import Probe
from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel.mesh import Peer, wait_until

HOLD = 1.2
"""Seconds that a path must hold: one that is in doubt is left within one."""

LIMIT = 30.0


class LiveChangesTests(ResilienceTestCase):
    """Traffic moves to what works, and back."""

    def settles(self, probe: Probe, condition: Callable[[], bool], what: str) -> None:
        """Check that a condition comes to hold, with answers coming."""
        seconds = probe.settle(condition, time.monotonic(), HOLD, LIMIT)
        self.assertLess(seconds, math.inf, f"not in {LIMIT:g} s: {what}")

    def both(self, one: Peer, other: Peer, *kinds: str) -> Callable[[], bool]:
        """Whether both ends use a way of these kinds."""
        return lambda: one.path_to(other.name) in kinds and other.path_to(one.name) in kinds

    def test_udp_blocked_and_unblocked(self) -> None:
        """The relay takes over within moments, the direct path when it can; no byte is lost."""
        home, _, laptop, server = self.pair("port-restricted", "restricted-cone")
        self.until_direct(laptop, server)
        probe, stream = self.probe(laptop, server), self.stream(laptop, server)
        self.settles(probe, self.both(laptop, server, "udp"), "direct")
        blocked = time.monotonic()
        home.block(udp=True)
        self.settles(probe, self.both(laptop, server, "ssh"), "relayed")
        self.assertLess(probe.silence(blocked), 2.5)
        (change,) = [c for c in laptop.ask("history", peer="server") if c["to"] == "ssh relay"][-1:]
        self.assertEqual(change["cause"], "the path stopped answering")
        self.assertLess(change["outage_ms"], 2500)
        unblocked = time.monotonic()
        home.unblock()
        self.settles(probe, self.both(laptop, server, "udp"), "direct again")
        self.assertLess(probe.silence(unblocked), 1.0)
        delivery = stream.finish(LIMIT)
        self.assertTrue(delivery.whole, delivery)

    def test_another_nat_and_another_place(self) -> None:
        """A changed gateway, a new outside address and a new LAN end in a direct path again."""
        home, office, laptop, server = self.pair("port-restricted", "full-cone")
        self.until_direct(laptop, server)
        probe, stream = self.probe(laptop, server), self.stream(laptop, server)
        direct = self.both(laptop, server, "udp")
        self.settles(probe, direct, "direct")
        changes: list[tuple[str, Callable[[], object]]] = [
            ("another kind of NAT", lambda: home.change("symmetric")),
            ("another outside address", home.roam),
            ("another LAN", lambda: laptop.host.move_to(office)),
            ("back again", lambda: laptop.host.move_to(home)),
        ]
        for what, change in changes:
            change()
            self.settles(probe, direct, what)
        delivery = stream.finish(LIMIT)
        self.assertTrue(delivery.whole, delivery)

    def test_link(self) -> None:
        """SSH blocked: WebSocket; unblocked: SSH; the coordinator killed: direct pairs do not
        notice, and relayed ones talk again soon after it is back."""
        hotel = self.world.add_site("hotel", "udp-blocked")
        tablet = self.join(hotel, "tablet", "--relay-only")
        _, _, laptop, server = self.pair("port-restricted", "full-cone")
        self.until_direct(laptop, server)
        self.until_path(tablet, server)
        relayed = self.probe(tablet, server)
        self.settles(relayed, lambda: tablet.link == "ssh", "SSH")
        hotel.block(tcp_port=2222)
        self.settles(relayed, lambda: tablet.link == "websocket", "WebSocket")
        unblocked = time.monotonic()
        hotel.unblock()
        self.settles(relayed, lambda: tablet.link == "ssh", "SSH again")
        self.assertLess(relayed.silence(unblocked), 1.0)

        direct = self.probe(laptop, server)
        wait_until(lambda: direct.answers, "answers")
        killed = time.monotonic()
        self.mesh.coordinator.kill()
        wait_until(lambda: tablet.link is None, "the tablet to notice")
        self.mesh.coordinator.start()
        self.settles(relayed, self.both(tablet, server, "ssh", "websocket"), "relayed again")
        self.assertEqual(direct.lost(killed, time.monotonic() - 0.5), 0)

    def test_loss(self) -> None:
        """A line that loses one packet in twenty is still the way to go."""
        home, _, laptop, server = self.pair("port-restricted", "full-cone")
        self.until_direct(laptop, server)
        probe, stream = self.probe(laptop, server), self.stream(laptop, server)
        self.settles(probe, self.both(laptop, server, "udp"), "direct")
        before = len(laptop.ask("history", peer="server"))
        home.lose(5)
        time.sleep(3)
        home.lose(0)
        self.assertEqual(len(laptop.ask("history", peer="server")), before)
        delivery = stream.finish(LIMIT)
        self.assertTrue(delivery.whole, delivery)
