"""Tests for :mod:`tunnelmesh.peer.reach.default_route`."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.peer.reach import default_route
from tunnelmesh.peer.reach.default_route import router_in

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def line(
    name: str, router: str, *, to: str = "00000000", flags: str = "0003", metric: int = 0
) -> str:
    """One line of the kernel's table, the router as hexadecimal digits."""
    mask = "00000000" if to == "00000000" else "00FFFFFF"
    return f"{name}\t{to}\t{router}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


class TableTests(SynchronousTestCase):
    """Linux's table."""

    def setUp(self) -> None:
        """It is written in the machine's own byte order."""
        if sys.byteorder != "little":
            raise SkipTest("the tables here are those of a little-endian machine")

    def test_lowest_metric(self) -> None:
        """Of several default routes, the kernel's own choice."""
        table = HEAD + line("wlan0", "0102A8C0", metric=600) + line("eth0", "0101A8C0", metric=100)
        self.assertEqual(router_in(table, "tm0"), "192.168.1.1")

    def test_not_ours(self) -> None:
        """A way out by our own device is none, nor is one without a router, or down."""
        for other in (
            line("tm0", "01006064"),
            line("ppp0", "00000000", flags="0001"),
            line("eth0", "0101A8C0", flags="0002"),
            line("eth0", "0101A8C0", to="0002A8C0"),
        ):
            self.assertIsNone(router_in(HEAD + other, "tm0"))

    def test_no_table(self) -> None:
        """Where the kernel has none, there is no way out that we know of."""
        self.patch(default_route, "ROUTES", Path(self.mktemp()))
        self.assertIsNone(default_route.default_route("tm0"))
        self.assertIsNone(router_in("", "tm0"))

    def test_own_address(self) -> None:
        """The kernel says by which of our addresses a router is reached."""
        table = Path(self.mktemp())
        table.write_text(HEAD + line("lo", "0100007F"))
        self.patch(default_route, "ROUTES", table)
        self.assertEqual(
            default_route.default_route("tm0"),
            default_route.DefaultRoute("127.0.0.1", "127.0.0.1"),
        )
