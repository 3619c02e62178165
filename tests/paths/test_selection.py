"""Tests for :mod:`tunnelmesh.paths.selection`."""

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths.health import Health, State
from tunnelmesh.paths.selection import RELAY, Way, better, is_local, usable
from tunnelmesh.wire.endpoint import Endpoint

NEAR = Endpoint("192.168.1.7", 4000)
FAR = Endpoint("203.0.113.7", 4000)
SIX = Endpoint("2001:db8::7", 4000)


def way(where: Way, rtt: float | None = None, state: State = State.GOOD) -> tuple[Way, Health]:
    """A way and its health."""
    health = Health(0.0, count().__next__)
    health.rtt, health.state = rtt, state
    return where, health


class BetterTests(SynchronousTestCase):
    """Which of two ways to use."""

    def test_direct_before_relayed(self) -> None:
        """A slow direct path beats a fast relay, and never the other way round."""
        direct, relay = way(FAR, 0.5), way(RELAY, 0.001)
        self.assertTrue(better(direct, relay))
        self.assertFalse(better(relay, direct))

    def test_clearly_shorter(self) -> None:
        """A tenth of the round trip, and two milliseconds, are worth a switch."""
        self.assertTrue(better(way(FAR, 0.080), way(FAR, 0.100)))
        self.assertFalse(better(way(FAR, 0.095), way(FAR, 0.100)))
        self.assertFalse(better(way(FAR, 0.0005), way(FAR, 0.0020)))

    def test_local_breaks_the_tie(self) -> None:
        """Of two like ways, the one that stays in the local network."""
        self.assertTrue(better(way(NEAR, 0.010), way(FAR, 0.010)))
        self.assertFalse(better(way(FAR, 0.010), way(NEAR, 0.010)))
        self.assertFalse(better(way(NEAR, 0.050), way(FAR, 0.010)))

    def test_ipv6_breaks_the_tie(self) -> None:
        """Of two like ways over the internet, the one over IPv6; a shorter one over either."""
        self.assertTrue(better(way(SIX, 0.010), way(FAR, 0.010)))
        self.assertFalse(better(way(FAR, 0.010), way(SIX, 0.010)))
        self.assertFalse(better(way(SIX, 0.010), way(NEAR, 0.010)))
        self.assertTrue(better(way(FAR, 0.010), way(SIX, 0.050)))
        self.assertFalse(better(way(SIX, 0.050), way(FAR, 0.010)))

    def test_unmeasured(self) -> None:
        """A way without a measured round trip replaces none of its like."""
        self.assertFalse(better(way(FAR), way(FAR, 1.0)))

    @settings(derandomize=True, max_examples=200)
    @given(
        st.sampled_from([NEAR, FAR, SIX, RELAY]),
        st.sampled_from([NEAR, FAR, SIX, RELAY]),
        st.none() | st.floats(0, 10),
        st.none() | st.floats(0, 10),
    )
    def test_no_flapping(self, a: Way, b: Way, rtt_a: float | None, rtt_b: float | None) -> None:
        """No two ways are each better than the other, and none is better than itself."""
        one, other = way(a, rtt_a), way(b, rtt_b)
        self.assertFalse(better(one, other) and better(other, one))
        self.assertFalse(better(one, one))


class UsableTests(SynchronousTestCase):
    """Which ways may carry traffic."""

    def test_states(self) -> None:
        """A good way always; a doubtful one as long as it is the one in use; no other."""
        for state, elsewhere, in_use in (
            (State.GOOD, True, True),
            (State.SUSPECT, False, True),
            (State.PROVING, False, False),
            (State.DEAD, False, False),
        ):
            _, health = way(FAR, state=state)
            self.assertEqual(usable(FAR, health, RELAY), elsewhere)
            self.assertEqual(usable(FAR, health, FAR), in_use)


class LocalTests(SynchronousTestCase):
    """What counts as a local network."""

    def test_networks(self) -> None:
        """RFC 1918, RFC 4193, RFC 6598 link-local; not the relay, nor documentation."""
        for host in (
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "fd00::1",
            "fe80::1",
        ):
            self.assertTrue(is_local(Endpoint(host, 1)), host)
        for host in ("8.8.8.8", "172.32.0.1", "198.51.100.1", "2001:db8::1"):
            self.assertFalse(is_local(Endpoint(host, 1)), host)
        self.assertFalse(is_local(RELAY))
