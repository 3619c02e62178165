"""Tests for :mod:`tunnelmesh.peer.service` and joining."""

from __future__ import annotations

from typing import Any

from tests.peer.world import WorldTestCase, node
from tunnelmesh import fatal
from tunnelmesh.errors import ConfigError, TokenError, TunnelMeshError
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.peer import membership


class JoiningTests(WorldTestCase):
    """From an invitation to a membership."""

    def setUp(self) -> None:
        """Whatever would end the process is remembered instead."""
        super().setUp()
        self.fatal: list[Exception] = []
        self.patch(fatal, "fail", lambda reactor, error: self.fatal.append(error))

    def newcomer(self, token: str | None, kind: str = "linux") -> SimulatedPeer:
        """A machine with a token."""
        nat = self.internet.nat(f"198.51.100.{len(self.nats) + 1}", kind=kind)
        self.nats.append(nat)
        name = f"new{len(self.nats)}"
        return SimulatedPeer(
            self.internet,
            nat.host(name=name),
            self.folder / name,
            token,  # type: ignore[arg-type]
        )

    def test_joins_once(self) -> None:
        """The second start needs no token, and takes the same one as well."""
        peer = self.newcomer(self.token)
        peer.start()
        self.until(lambda: peer.node)
        address = node(peer).membership.address
        peer.kill()
        peer.start()
        self.until(lambda: peer.node)
        self.assertEqual(node(peer).membership.address, address)

    def test_no_token(self) -> None:
        """A machine that was never invited is told what to do."""
        error = self.assertRaises(ConfigError, self.newcomer(None).start)
        self.assertIn("tunnelmesh invite", str(error))

    def test_broken_token(self) -> None:
        """A token that is cut off is refused before anything is connected."""
        self.assertRaises(TokenError, self.newcomer(self.token[:-5]).start)

    def test_unknown_token(self) -> None:
        """The coordinator's refusal ends the start, in its words."""
        self.coordinator.kill()
        (self.folder / "coordinator" / "coordinator.db").unlink(missing_ok=True)
        for file in (self.folder / "coordinator").glob("*.sqlite*"):
            file.unlink()
        self.coordinator.start()
        peer = self.newcomer(self.token)
        peer.start()
        self.internet.run(20)
        self.assertIsNone(peer.node)
        self.assertEqual(len(self.fatal), 1)
        self.assertIsInstance(self.fatal[0], TunnelMeshError)

    def test_nobody_there(self) -> None:
        """A coordinator that cannot be reached is named, within a quarter of a minute."""
        self.coordinator.kill()
        peer = self.newcomer(self.token)
        peer.start()
        self.internet.run(16)
        [error] = self.fatal
        self.assertIn("203.0.113.10", str(error))

    def test_stopped_while_joining(self) -> None:
        """Stopping a machine that is joining is no failure, and leaves nothing."""
        for wait in (0.0, 0.01, 0.05, 0.1, 0.15):
            peer = self.newcomer(self.token, "proxy-only")
            peer.start()
            self.internet.run(wait)
            assert peer.service is not None
            peer.service.stopService()
            self.internet.run(20)
            self.assertEqual((peer.host.getDelayedCalls(), self.fatal), ([], []))

    def test_other_mesh(self) -> None:
        """A token of another mesh is refused: one state directory is one mesh."""
        peer = self.newcomer(self.token)
        peer.start()
        self.until(lambda: peer.node)
        other = bytearray(node(peer).membership.coordinator_key)
        other[0] ^= 1
        peer.kill()
        folder = self.folder / "new1"
        member: Any = membership.load(folder)
        membership.save(
            folder,
            membership.Membership(
                member.host,
                member.https_port,
                member.ssh_port,
                bytes(other),
                member.tls_by_name,
                member.name,
                member.address,
                member.prefix,
            ),
        )
        self.assertIn("belongs to the mesh", str(self.assertRaises(ConfigError, peer.start)))

    def test_damaged_files(self) -> None:
        """Damaged state is an error that names the file; nothing is overwritten."""
        peer = self.newcomer(self.token)
        peer.start()
        self.until(lambda: peer.node)
        peer.kill()
        pins = self.folder / "new1" / "known_peers"
        pins.write_text("nonsense\n")
        peer.start()
        self.internet.run(1)
        [error] = self.fatal
        self.assertIn(str(pins), str(error))
        self.assertEqual(pins.read_text(), "nonsense\n")
        (self.folder / "new1" / "membership.json").write_text("{")
        self.assertRaises(ConfigError, peer.start)
