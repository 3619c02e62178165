"""Tests for :mod:`tunnelmesh.peer.link.coordinator_link`, against the real coordinator."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel, globalLogPublisher

from tests.peer.world import WorldTestCase, node
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.identity import FILE_NAME as IDENTITY
from tunnelmesh.lab.sim.mesh import SimulatedPeer


class LinkTests(WorldTestCase):
    """One peer and its link."""

    def start(self, kind: str = "port-restricted", **config: Any) -> SimulatedPeer:
        """A peer whose link is open."""
        peer = self.add("here", kind, **config)
        self.until(lambda: self.link(peer) is not None)
        return peer

    @staticmethod
    def link(peer: SimulatedPeer) -> str | None:
        """What its link is made of."""
        return peer.status()["coordinator"]["link"] if peer.node else None

    def log(self) -> list[dict[str, Any]]:
        """What the coordinator links say from now on."""
        events: list[dict[str, Any]] = []

        def observe(event: dict[str, Any]) -> None:
            if event["log_namespace"] == "tunnelmesh.peer.link.coordinator_link":
                events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return events

    def test_ssh_first(self) -> None:
        """Where both ways work, SSH is used, and the attempt that was not needed is no failure."""
        peer = self.start()
        self.internet.run(5)
        self.assertEqual(self.link(peer), "ssh")
        self.assertEqual(node(peer).link.failures, {})
        self.assertEqual(len(node(peer).link._routes), 1)

    def test_websocket_then_ssh(self) -> None:
        """Where SSH is blocked the WebSocket is used; once it is not, the link becomes SSH."""
        peer = self.start("linux")
        self.nats[0].block(tcp_port=2222)
        self.until(lambda: self.link(peer) == "websocket", 40)
        self.internet.run(10)
        self.assertIn("ssh", node(peer).link.failures)
        self.nats[0].unblock(tcp_port=2222)
        self.until(lambda: self.link(peer) == "ssh", 70)
        self.assertEqual(node(peer).link.failures, {})

    def test_coordinator_returns(self) -> None:
        """A coordinator that was away is found again within seconds, and cost no tight loop."""
        peer = self.start()
        self.coordinator.kill()
        self.until(lambda: self.link(peer) is None)
        before = len(self.internet.trace._events)
        events = self.log()
        self.internet.run(60)
        self.assertLess(len(events), 5)
        self.assertLess(len(self.internet.trace._events) - before, 60 * 20)
        self.coordinator.start()
        self.until(lambda: self.link(peer) is not None, 5)

    def test_not_a_member(self) -> None:
        """A machine that was removed is told so, by either way, again and again but gently."""
        peer = self.start()
        self.coordinator.kill()
        (self.folder / "coordinator" / DATABASE).unlink()
        events = self.log()
        self.coordinator.start()
        self.internet.run(60)
        failures = self.coordinator_failures(peer)
        self.assertEqual(set(failures), {"ssh", "websocket"})
        for reason in failures.values():
            self.assertIn("invitation", reason)
        self.assertLess(len(events), 10)
        self.assertIsNone(self.link(peer))

    @staticmethod
    def coordinator_failures(peer: SimulatedPeer) -> dict[str, str]:
        """Why there is no link, as status tells."""
        failures: dict[str, str] = peer.status()["coordinator"]["failures"]
        return failures

    def test_another_coordinator(self) -> None:
        """Somebody else at the coordinator's address is not believed, by either way."""
        peer = self.start()
        self.coordinator.kill()
        (self.folder / "coordinator" / IDENTITY).unlink()
        for file in (self.folder / "coordinator").glob("*.pem"):
            file.unlink()
        self.coordinator.start()
        self.internet.run(20)
        self.assertIsNone(self.link(peer))
        self.assertIn("not the pinned", self.coordinator_failures(peer)["ssh"])

    def test_stop(self) -> None:
        """A stopped peer does nothing more, whatever it was just trying."""
        for blocked, wait in ((False, 5.0), (True, 0.5), (True, 4.1), (True, 9.0)):
            self.setUp()
            peer = self.add("here")
            self.until(lambda peer=peer: peer.node is not None)
            if blocked:
                self.nats[0].block(tcp_port=2222)
                self.nats[0].block(udp=True)
            self.internet.run(wait)
            assert peer.service is not None
            peer.service.stopService()
            self.internet.run(15)
            self.assertEqual(peer.host.getDelayedCalls(), [])

    def test_network_change_hurries(self) -> None:
        """A machine that comes into a network with its connections dead does not wait for them."""
        peer = self.start()
        elsewhere = self.internet.nat("198.51.100.99")
        peer.host.unplug()
        self.internet.run(30)
        self.assertIsNone(self.link(peer))
        elsewhere.host("192.168.1.9", name="neighbour")
        peer.host.addresses = ("192.168.1.77",)
        elsewhere.attach(peer.host)
        for watcher in list(peer.host.watchers):
            watcher()
        self.until(lambda: self.link(peer) is not None, 2)

    def test_nothing_critical(self) -> None:
        """No failure goes unhandled while links come and go."""
        critical: list[dict[str, Any]] = []

        def observe(event: dict[str, Any]) -> None:
            if event["log_level"] is LogLevel.critical:
                critical.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        peer = self.start()
        for _ in range(10):
            self.coordinator.kill()
            self.internet.run(0.7)
            self.coordinator.start()
            self.internet.run(0.7)
        self.until(lambda: self.link(peer) is not None)
        self.assertEqual(critical, [])
        self.assertLessEqual(len(node(peer).link._routes), 2)
