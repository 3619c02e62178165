"""Tests for :mod:`tunnelmesh.paths.keepalive`."""

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths import keepalive
from tunnelmesh.paths.keepalive import Keepalive


class KeepaliveTests(SynchronousTestCase):
    """An idle path's interval follows what the NATs on it bear."""

    def setUp(self) -> None:
        """A path of which nothing is known."""
        self.learned = Keepalive()

    def test_begins_below_the_common_lifetime(self) -> None:
        """The first interval keeps a mapping of thirty seconds alive."""
        self.assertEqual(self.learned.interval, keepalive.FIRST)
        self.assertLess(keepalive.FIRST, 30.0)

    def test_grows_to_the_longest(self) -> None:
        """Gaps that are survived grow, up to what RFC 4787 promises and no further."""
        for _ in range(20):
            self.learned.survived(self.learned.interval)
        self.assertEqual(self.learned.interval, keepalive.LONGEST)

    def test_short_gaps_teach_nothing(self) -> None:
        """A ping after a short silence says nothing of longer ones."""
        self.learned.survived(keepalive.FIRST / 2)
        self.assertEqual(self.learned.interval, keepalive.FIRST)

    def test_stays_below_what_killed(self) -> None:
        """After a gap that the mapping did not survive, the interval never comes near it again."""
        self.learned.survived(keepalive.FIRST)
        fatal = self.learned.interval
        self.learned.failed(fatal)
        for _ in range(20):
            self.learned.survived(self.learned.interval)
        self.assertAlmostEqual(self.learned.interval, keepalive.MARGIN * fatal)

    def test_never_shorter_than_is_sensible(self) -> None:
        """A NAT that forgets in ten seconds does not make a phone ping every few."""
        for _ in range(5):
            self.learned.failed(10.0)
        self.assertEqual(self.learned.interval, keepalive.SHORTEST)

    def test_death_under_traffic_teaches_nothing(self) -> None:
        """A path that died without having been silent says nothing of mappings."""
        self.learned.failed(1.0)
        self.assertEqual(self.learned.interval, keepalive.FIRST)
