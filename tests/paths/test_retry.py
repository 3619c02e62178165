"""Tests for :mod:`tunnelmesh.paths.retry`."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths import retry
from tunnelmesh.paths.retry import Retry


class RetryTests(SynchronousTestCase):
    """When to ask for a meeting again."""

    def setUp(self) -> None:
        """A peer just met."""
        self.retry = Retry(0.0, Random(1))

    def delays(self, times: int, *, used: bool, hopeful: bool = True) -> list[float]:
        """Make attempts as they come due; the pauses between them."""
        now, found = max(0.0, self.retry.deadline), []
        for _ in range(times):
            if used:
                self.retry.used(now)
            self.retry.tried(now, hopeful)
            found.append(self.retry.deadline - now)
            now = self.retry.deadline
        return found

    def assertAbout(self, found: list[float], expected: list[float]) -> None:
        """Each is as expected but for the jitter."""
        for one, other in zip(found, expected, strict=True):
            self.assertApproximates(one, other, other * retry.JITTER + 1e-9)

    def test_first_at_once(self) -> None:
        """The first attempt waits for nothing."""
        self.assertEqual(self.retry.deadline, 0.0)

    def test_often_under_traffic(self) -> None:
        """Under traffic the pauses are short, and stay so."""
        longest = retry.ACTIVE[-1]
        expected = [*retry.ACTIVE, longest, longest]
        self.assertAbout(self.delays(5, used=True), expected)

    def test_rarely_when_idle(self) -> None:
        """Without traffic they double, up to five minutes."""
        self.retry.deadline = 2 * retry.IN_USE
        found = self.delays(12, used=False)
        self.assertAbout(found[:3], [6.0, 12.0, 24.0])
        self.assertAbout(found[-1:], [retry.IDLE_LONGEST])

    def test_seldom_when_hopeless(self) -> None:
        """A pair that cannot punch is tried now and then, even under traffic."""
        self.assertAbout(self.delays(3, used=True, hopeful=False), [retry.HOPELESS_ACTIVE] * 3)

    def test_traffic_after_a_pause_hurries(self) -> None:
        """When somebody uses the pair again, the long pause in progress is cut short."""
        self.retry.deadline = 100.0
        self.delays(10, used=False)
        late = self.retry.deadline - 1
        tried = self.retry.deadline
        self.retry.used(late)
        self.assertLess(self.retry.deadline, tried)

    def test_hint_comes_soon(self) -> None:
        """After a change somewhere, the next attempt comes at once and the delays begin anew."""
        self.delays(5, used=True)
        self.retry.used(50.0)
        self.retry.hint(50.0)
        self.assertLessEqual(self.retry.deadline, 50.0 + retry.SETTLE)
        self.retry.tried(50.0, True)
        self.assertAbout([self.retry.deadline - 50.0], [retry.ACTIVE[0]])

    def test_ten_years_of_trying(self) -> None:
        """The count of attempts overflows nothing."""
        self.retry.deadline = 100.0
        self.assertAbout(self.delays(3000, used=False)[-1:], [retry.IDLE_LONGEST])

    def test_peers_do_not_ask_in_step(self) -> None:
        """Two peers with different randomness ask at different times."""
        other = Retry(0.0, Random(2))
        for each in (self.retry, other):
            each.tried(0.0, True)
        self.assertNotEqual(self.retry.deadline, other.deadline)
