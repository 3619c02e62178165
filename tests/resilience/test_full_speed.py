"""A TCP stream at full speed: what it leaves to others, and what it makes of another path."""

from __future__ import annotations

import re
import time

from bench.traffic import Answer
from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel.mesh import wait_until

LATE = 1.0
"""Seconds within which everything is answered beside the stream, also on a busy machine."""

PINGS = 30
INTERVAL = 0.05
"""Pings, and seconds between them."""

AMOUNT = 8_000_000
"""Bytes that must have come by a path before it is changed."""


class FullSpeedTests(ResilienceTestCase):
    """Records are under way all the time."""

    def test_beside_it_and_under_it(self) -> None:
        """Pings and datagrams beside it are answered; it survives UDP blocked and unblocked."""
        home, _, laptop, server = self.pair("port-restricted", "full-cone")
        self.until_direct(laptop, server)
        stream = self.stream(laptop, server, rate=0)

        def came() -> None:
            enough = stream.received() + AMOUNT
            wait_until(lambda: stream.received() > enough, "the stream to go on")

        came()
        probe = self.probe(laptop, server)
        wait_until(lambda: probe.answers, "answers")
        begun = time.monotonic()
        ping = ["ping", f"-i{INTERVAL}", f"-c{PINGS}", f"-W{LATE:g}", server.address]
        said = laptop.host.run(ping).stdout
        answered = [float(ms) / 1000 for ms in re.findall(r"time=([\d.]+) ms", said)]
        self.assertEqual(len(answered), PINGS, said)
        self.assertLess(max(answered), LATE)
        ended = time.monotonic()
        wait_until(lambda: probe.answers[-1].sent > ended, "the last answers")
        self.assertEqual(probe.lost(begun, ended), 0)
        self.assertLess(max(map(late, probe.answers)), LATE)

        home.block(udp=True)
        wait_until(
            lambda: laptop.path_to("server") == "ssh" == server.path_to("laptop"), "the relay"
        )
        came()
        home.unblock()
        self.until_direct(laptop, server)
        came()
        delivery = stream.finish()
        self.assertTrue(delivery.whole, delivery)
        for peer in laptop, server:
            tunnel = peer.status()["tunnel"]
            bad = [tunnel[each] for each in ("malformed", "malformed_packets", "forged_packets")]
            self.assertEqual(bad, [0, 0, 0], tunnel)


def late(answer: Answer) -> float:
    """How long it took, in seconds."""
    return answer.arrived - answer.sent
