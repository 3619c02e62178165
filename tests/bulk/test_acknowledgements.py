"""Tests for :mod:`tunnelmesh.bulk.acknowledgements`: only what others include is left out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import TIMESTAMPS
from tunnelmesh.bulk.acknowledgements import without_superseded

V4 = IP(src="100.96.0.1", dst="100.96.0.2", flags="DF")
V6 = IPv6(src="fd00::1", dst="fd00::2")


def ack(number: int, carrier: Packet = V4, **tcp: Any) -> bytes:
    """An acknowledgement of *number*."""
    fields: dict[str, Any] = {"flags": "A", "sport": 5201, "options": TIMESTAMPS} | tcp
    return bytes(carrier / TCP(ack=number & 0xFFFFFFFF, **fields))


class SupersededTests(SynchronousTestCase):
    """Batches, and what is left of them."""

    def assertKept(self, packets: list[bytes], kept: list[int]) -> None:
        """Only these are left, by their places."""
        self.assertEqual(list(without_superseded(packets)), [packets[at] for at in kept])

    def test_last_one_says_all(self) -> None:
        """Over both versions of IP, with timestamps and without."""
        for carrier in V4, V6:
            for options in TIMESTAMPS, []:
                acks = [ack(n, carrier, options=options) for n in (1000, 2368, 3736)]
                self.assertKept(acks, [2])

    def test_numbers_wrap(self) -> None:
        """After 2**32 comes 0."""
        self.assertKept([ack(0xFFFFFF00), ack(0x500)], [1])

    def test_older_one_follows(self) -> None:
        """What was overtaken supersedes nothing."""
        self.assertKept([ack(3000), ack(1000)], [0, 1])

    def test_duplicates(self) -> None:
        """They tell TCP of a loss: all of them are left."""
        self.assertKept([ack(1000)] * 4, [0, 1, 2, 3])

    def test_flows(self) -> None:
        """Each flow has acknowledgements of its own."""
        packets = [ack(1000), ack(9000, sport=22), ack(2000, V6), ack(2000), ack(9500, sport=22)]
        self.assertKept(packets, [2, 3, 4])

    def test_what_says_more(self) -> None:
        """Payload, other flags, other options, ECN marks, fragments, other protocols: all stay."""
        options = [("NOP", None), ("NOP", None), ("SAck", (2000, 3000))]
        for more in (
            bytes(V4 / TCP(flags="A", sport=5201, ack=1000, options=TIMESTAMPS) / Raw(b"x")),
            *(ack(1000, flags=flags) for flags in ("PA", "FA", "RA", "SA", "EA", "CA", "UA")),
            ack(1000, options=options),
            ack(1000, options=[*options, *TIMESTAMPS]),
            ack(1000, IP(src="100.96.0.1", dst="100.96.0.2", tos=3)),
            ack(1000, IP(src="100.96.0.1", dst="100.96.0.2", flags="MF")),
            ack(1000, IP(src="100.96.0.1", dst="100.96.0.2", frag=2)),
            bytes(V4 / UDP(sport=1) / Raw(bytes(24))),
            bytes(V4 / UDP(sport=1) / Raw(bytes(12))),
        ):
            self.assertKept([more, ack(2000)], [0, 1])

    def test_data_between(self) -> None:
        """What else there is stays, in order."""
        data = bytes(V4 / TCP(flags="PA", sport=5201) / Raw(b"data"))
        self.assertKept([data, ack(1000), data, ack(2000), data], [0, 2, 3, 4])

    @settings(max_examples=150, derandomize=True, deadline=None, database=None)
    @given(
        st.lists(
            st.binary(max_size=80)
            | st.builds(ack, st.integers(0, 2**32), st.sampled_from([V4, V6])),
            max_size=12,
        )
    )
    def test_anything(self, packets: list[bytes]) -> None:
        """Whatever is in a batch: what is left is in order, and the last one is among it."""
        left = list(without_superseded(packets))
        rest = iter(packets)
        self.assertTrue(all(packet in rest for packet in left))
        self.assertEqual(left[-1:], packets[-1:])
