"""Tests for :mod:`tunnelmesh.policy.ports`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.policy import ports
from tunnelmesh.policy.ports import HIGHEST, Reach


class ReadTests(SynchronousTestCase):
    """What people write."""

    def test_forms(self) -> None:
        """Each form is read, and gets its protocol."""
        for written, read in [
            ("tcp/22", ("tcp/22",)),
            ("TCP/22", ("tcp/22",)),
            ("udp/5000-5100", ("udp/5000-5100",)),
            ("22", ("tcp/22", "udp/22")),
            (22, ("tcp/22", "udp/22")),
            ("80-81", ("tcp/80-81", "udp/80-81")),
            ("tcp/*", ("tcp/*",)),
            ("tcp/007", ("tcp/7",)),
            ("udp/7-7", ("udp/7",)),
            ("icmp", ("icmp",)),
            ("*", ("*",)),
        ]:
            self.assertEqual(ports.read(written), read)

    def test_mistakes(self) -> None:
        """What is none of them is refused."""
        for wrong in (
            *("", "tcp", "tcp/", "tcp/0", "0", "65536", "tcp/9-8", "sctp/1", "tcp/ssh", "-1"),
            *("22-", "tcp/1-2-3", "tcp/22 ", "22\n", "tcp/٣", "icmp/8", "999999", "tcp/*-9"),
            *(True, None, 2.0, [], {}, -1, 65536),
        ):
            self.assertRaises(ValueError, ports.read, wrong)


words = st.builds(
    lambda protocol, low, more: f"{protocol}{low}-{min(low + more, HIGHEST)}",
    st.sampled_from(["tcp/", "udp/"]),
    st.integers(1, HIGHEST),
    st.sampled_from([0, 1, 5, 60000]),
)


class ReachTests(SynchronousTestCase):
    """What the words allow."""

    @settings(derandomize=True, max_examples=150, deadline=None)
    @given(st.lists(words, max_size=6), st.integers(0, HIGHEST))
    def test_as_each_word_says(self, some: list[str], port: int) -> None:
        """A port is allowed if it lies in one of the ranges: at their ends, too."""
        reach = Reach.of(some)
        asked = {port}
        allowed: dict[str, set[int]] = {"tcp": set(), "udp": set()}
        for word in some:
            protocol, _, span = word.partition("/")
            low, high = map(int, span.split("-"))
            allowed[protocol].update(range(low, high + 1))
            asked |= {low - 1, low, high, min(high + 1, HIGHEST)}
        for each in asked:
            self.assertEqual(reach.takes_tcp(each), each in allowed["tcp"], (some, each))
            self.assertEqual(reach.takes_udp(each), each in allowed["udp"], (some, each))

    def test_all(self) -> None:
        """A star allows all; a protocol's star all of its ports."""
        self.assertTrue(Reach.of(["*"]).everything)
        self.assertTrue(Reach.of(["*"]).takes_tcp(1) and Reach.of(["*"]).icmp)
        reach = Reach.of(["tcp/*"])
        self.assertTrue(reach.takes_tcp(HIGHEST) and reach.takes_tcp(1))
        self.assertFalse(reach.takes_udp(1) or reach.icmp or reach.everything)
        self.assertTrue(Reach.of(["icmp"]).icmp)

    def test_unknown_word(self) -> None:
        """A word of a newer version allows nothing, and takes nothing away."""
        reach = Reach.of(["sctp/5", "tcp/x", "22", "tcp/22"])
        self.assertTrue(reach.takes_tcp(22))
        self.assertFalse(reach.takes_tcp(5) or reach.takes_udp(22))

    def test_in_words(self) -> None:
        """For people."""
        self.assertEqual(str(Reach.of([])), "nothing")
        self.assertEqual(str(Reach.of(["tcp/22", "icmp", "tcp/22"])), "tcp/22, icmp")
        self.assertEqual(str(Reach.of(["tcp/22", "*"])), "everything")
