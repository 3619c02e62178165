"""Tests for :mod:`tunnelmesh.paths.history`."""

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths.history import CAPACITY, History


class HistoryTests(SynchronousTestCase):
    """What a change of path cost."""

    def test_switch_before_breaking_costs_nothing(self) -> None:
        """A change to a better path has no outage."""
        history = History()
        history.heard(1.0)
        history.record(2.0, "ssh relay", "udp 192.0.2.1:1", "proven", None)
        self.assertEqual([0.0], [change.outage for change in history.changes])

    def test_outage_ends_with_the_next_sign_of_life(self) -> None:
        """A failed path's outage is the silence around the change."""
        history = History()
        history.heard(1.0)
        history.record(1.8, "udp 192.0.2.1:1", "ssh relay", "silent", 1.0)
        self.assertIsNone(history.changes[0].outage)
        history.heard(2.5)
        self.assertEqual(1.5, history.changes[0].outage)
        history.heard(9.0)
        self.assertEqual(1.5, history.changes[0].outage)

    def test_doubled_traffic_shortens_the_outage(self) -> None:
        """What arrived by the relay while the path was in doubt has ended the silence already."""
        history = History()
        history.heard(1.0)
        for at in (1.3, 1.35, 1.4, 1.8):
            history.heard(at)
        history.record(1.81, "udp 192.0.2.1:1", "ssh relay", "silent", 1.0)
        outage = history.changes[0].outage
        assert outage is not None
        self.assertAlmostEqual(0.4, outage)

    def test_idle_silence_is_no_outage(self) -> None:
        """What nobody waited for does not count: only the time since traffic went unanswered."""
        history = History()
        history.heard(1.0)
        history.record(60.0, "udp 192.0.2.1:1", "ssh relay", "silent", None)
        history.record(90.0, "ssh relay", "none", "gone", 89.5)
        history.heard(91.0)
        self.assertEqual([0.0, 1.5], [change.outage for change in history.changes])

    def test_bounded(self) -> None:
        """A restless path does not fill the memory."""
        history = History()
        for at in range(CAPACITY * 2):
            history.record(float(at), "a", "b", "c", None)
        self.assertEqual(CAPACITY, len(history.changes))
