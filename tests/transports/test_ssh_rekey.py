"""Rekeying the SSH tunnel, by volume and by time, started by either end."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.transports.ssh_pair import Tunnel
from tunnelmesh.transports.ssh.transport import EXCHANGE_SECONDS, MAX_BACKLOG, REKEY_SECONDS
from tunnelmesh.wire.frame import RELAY, SIGNAL, encode


def numbered(count: int) -> list[tuple[int, bytes]]:
    """Bulk frames that differ."""
    return [(RELAY, b"%06d plainly visible" % number * 50) for number in range(count)]


class RekeyTests(SynchronousTestCase):
    """New keys while data flows."""

    def check_data(self, tunnel: Tunnel) -> None:
        """Send both ways, wherever the exchanges fall; all arrives, sealed, and once."""
        frames = numbered(200)
        for frame in frames:
            for user in (tunnel.client_user, tunnel.server_user):
                self.assertTrue(user.link.send_bulk(encode(*frame)))
            if frame[1][5] % 3:
                tunnel.pump()
        tunnel.pump()
        self.assertEqual(tunnel.server_user.frames, frames)
        self.assertEqual(tunnel.client_user.frames, frames)
        for pipe in (tunnel.at_client, tunnel.at_server):
            self.assertNotIn(b"visible", pipe.sent)

    def test_by_the_client_volume(self) -> None:
        """The client starts an exchange for each so many bytes; sign-in is not repeated."""
        tunnel = Tunnel()
        tunnel.client.rekey_bytes = 10_000
        self.check_data(tunnel)
        self.assertGreater(tunnel.client.exchanges, 10)
        self.assertEqual(tunnel.client.exchanges, tunnel.server.exchanges)
        self.assertEqual(tunnel.client_user.events, ["opened"])

    def test_by_the_server_volume(self) -> None:
        """So does the server."""
        tunnel = Tunnel()
        tunnel.server.rekey_bytes = 10_000
        self.check_data(tunnel)
        self.assertGreater(tunnel.server.exchanges, 10)

    def test_by_both_at_once(self) -> None:
        """Two ends that start at the same moment make one exchange of it."""
        tunnel = Tunnel()
        tunnel.client.rekey_bytes = tunnel.server.rekey_bytes = 10_000
        self.check_data(tunnel)
        self.assertEqual(tunnel.client.exchanges, tunnel.server.exchanges)

    def test_smaller_than_one_write(self) -> None:
        """A limit that each write exceeds rekeys after each, and still delivers."""
        tunnel = Tunnel()
        tunnel.client.rekey_bytes = 1
        self.check_data(tunnel)

    def test_by_time(self) -> None:
        """An idle link gets new keys every hour, and stays open for days."""
        tunnel = Tunnel()
        for hour in range(48):
            self.assertEqual(tunnel.client.exchanges, 1 + hour)
            tunnel.clock.advance(REKEY_SECONDS)
            tunnel.pump()
        self.assertEqual(tunnel.client_user.events, ["opened"])
        self.check_data(tunnel)

    def test_new_keys_are_new(self) -> None:
        """An exchange changes the keys, and not the session."""
        tunnel = Tunnel()
        session, old = tunnel.client.sessionID, tunnel.client.currentEncryptions
        tunnel.client.sendKexInit()
        tunnel.pump()
        self.assertNotEqual(tunnel.client.currentEncryptions.outMAC.key, old.outMAC.key)
        self.assertEqual(tunnel.client.sessionID, session)

    def test_stalled_exchange(self) -> None:
        """Data that waits for an exchange is bounded; bulk is paused; the stall ends the link."""
        tunnel = Tunnel()
        tunnel.at_server.stalled = True
        tunnel.client.sendKexInit()
        taken = 0
        while tunnel.client_user.link.send_bulk(encode(RELAY, b"b" * 10_000)):
            taken += 10_000
        self.assertLess(taken, MAX_BACKLOG)
        self.assertEqual(tunnel.client_user.events, ["opened", "paused"])
        tunnel.pump()
        self.assertEqual(tunnel.server_user.frames, [])
        tunnel.clock.advance(EXCHANGE_SECONDS)
        tunnel.pump()
        self.assertEqual(tunnel.client_user.lost, "the key exchange has stalled")

    def test_slow_exchange(self) -> None:
        """What waited for an exchange arrives after it, and the pause ends."""
        tunnel = Tunnel()
        tunnel.at_server.stalled = True
        tunnel.client.sendKexInit()
        while tunnel.client_user.link.send_bulk(encode(RELAY, b"b" * 10_000)):
            pass
        tunnel.client_user.link.send(encode(SIGNAL, b"last"))
        tunnel.at_server.stalled = False
        tunnel.pump()
        self.assertEqual(tunnel.server_user.frames[-1], (SIGNAL, b"last"))
        self.assertEqual(tunnel.client_user.events, ["opened", "paused", "resumed"])
        self.assertEqual(tunnel.client.backlog, 0)

    def test_endless_signals_in_an_exchange(self) -> None:
        """Signals that wait for an exchange end the link before they fill the memory."""
        tunnel = Tunnel()
        tunnel.at_server.stalled = True
        tunnel.client.sendKexInit()
        for _ in range(2 * MAX_BACKLOG // 1000):
            tunnel.client_user.link.send(encode(SIGNAL, b"s" * 1000))
        tunnel.pump()
        self.assertEqual(tunnel.client_user.lost, "the other end does not read")
