"""The rules of a gateway, as text."""

from __future__ import annotations

import re
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.kernel.kinds import KINDS
from tunnelmesh.lab.kernel.nat import PORTS, PORTS_IN_USE, TABLE6, Block, block_rules, rules, rules6

OUTSIDE = "198.51.100.7"


def outer_ports(text: str) -> list[int]:
    """Return the ports that rules hand out, in order."""
    return [int(port) for port in re.findall(rf"\d+ : {re.escape(OUTSIDE)} \. (\d+)", text)]


class RuleTests(SynchronousTestCase):
    """Rules for every kind, without a kernel."""

    def test_early_packets_leave_no_flow(self) -> None:
        """Every gateway drops what arrives for itself from outside."""
        for kind in KINDS.values():
            self.assertIn("hook input priority 0; policy drop", rules(kind, OUTSIDE))
            self.assertIn("hook forward priority 0; policy drop", rules(kind, OUTSIDE))

    def test_ports(self) -> None:
        """Cones hand out each of many ports once, shuffled; a sequential gateway counts."""
        shuffled = outer_ports(rules(KINDS["full-cone"], OUTSIDE, random=Random(1)))
        self.assertEqual(len(set(shuffled)), PORTS_IN_USE)
        self.assertTrue(set(shuffled) <= set(PORTS))
        self.assertNotEqual(shuffled, sorted(shuffled))
        sequential = outer_ports(rules(KINDS["symmetric-sequential"], OUTSIDE, random=Random(1)))
        self.assertEqual(sequential, list(PORTS[:PORTS_IN_USE]))
        self.assertEqual(outer_ports(rules(KINDS["symmetric"], OUTSIDE)), [])

    def test_routed(self) -> None:
        """A gateway that routes translates nothing."""
        for kind in KINDS.values():
            self.assertEqual("nat hook" not in rules(kind, OUTSIDE), kind.routed, kind.name)

    def test_lifetime(self) -> None:
        """The lifetime of mappings is the one asked for."""
        text = rules(KINDS["port-restricted"], OUTSIDE, lifetime=7)
        self.assertEqual(re.findall(r"timeout (\d+)s", text), ["7", "7", "7"])

    def test_blocks(self) -> None:
        """What is blocked is in the rules, and can be changed alone."""
        blocks = [Block(), Block(2222)]
        whole = rules(KINDS["linux"], OUTSIDE, blocks=blocks)
        for text in (whole, block_rules(blocks)):
            self.assertIn("meta l4proto udp drop", text)
            self.assertIn("tcp dport 2222 drop", text)
        self.assertNotIn("drop", block_rules([]))
        for text in (rules6(blocks=blocks), block_rules(blocks, TABLE6)):
            self.assertIn("meta l4proto udp drop", text)
            self.assertIn(TABLE6, text)
        self.assertEqual([str(each) for each in blocks], ["UDP", "TCP 2222"])
