"""What NATs are called, and which pairs can be punched."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.nat.model import Nat, punched
from tunnelmesh.nat.behaviour import Filtering, Flavour, Mapping, NatBehaviour, punchable

EIM, ADM, APDM = (
    Mapping.ENDPOINT_INDEPENDENT,
    Mapping.ADDRESS_DEPENDENT,
    Mapping.ADDRESS_AND_PORT_DEPENDENT,
)
EIF, ADF, APDF = (
    Filtering.ENDPOINT_INDEPENDENT,
    Filtering.ADDRESS_DEPENDENT,
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
)

OPEN = NatBehaviour(Mapping.NONE, EIF)
FIREWALL = NatBehaviour(Mapping.NONE, APDF)
FULL = NatBehaviour(EIM, EIF)
RESTRICTED = NatBehaviour(EIM, ADF)
PORT_RESTRICTED = NatBehaviour(EIM, APDF)
SYMMETRIC = NatBehaviour(APDM, APDF)
BLOCKED = NatBehaviour(Mapping.BLOCKED, Filtering.BLOCKED)
UNKNOWN = NatBehaviour()


class FlavourTests(SynchronousTestCase):
    """Behaviours in one word."""

    def test_table(self) -> None:
        """Every behaviour has the name that the design gives it."""
        for behaviour, name in (
            (OPEN, "open"),
            (FIREWALL, "firewall"),
            (NatBehaviour(Mapping.NONE, ADF), "firewall"),
            (FULL, "full-cone"),
            (RESTRICTED, "restricted-cone"),
            (PORT_RESTRICTED, "port-restricted"),
            (SYMMETRIC, "symmetric"),
            (NatBehaviour(ADM, EIF), "symmetric"),
            (NatBehaviour(APDM), "symmetric"),
            (BLOCKED, "udp-blocked"),
            (UNKNOWN, "unknown"),
            (NatBehaviour(EIM), "unknown"),
            (NatBehaviour(Mapping.NONE), "unknown"),
            (NatBehaviour(Mapping.UNKNOWN, EIF), "unknown"),
        ):
            self.assertEqual(behaviour.flavour, name)

    def test_described(self) -> None:
        """Each flavour has its own words for people."""
        words = {
            behaviour.describe()
            for behaviour in (
                OPEN, FIREWALL, FULL, RESTRICTED, PORT_RESTRICTED, SYMMETRIC, BLOCKED, UNKNOWN
            )
        }  # fmt: skip
        self.assertEqual(len(words), len(Flavour))

    def test_json(self) -> None:
        """The enumerations go into JSON as their plain values."""
        text = json.dumps([SYMMETRIC.mapping, SYMMETRIC.filtering, SYMMETRIC.flavour])
        self.assertEqual(
            json.loads(text),
            ["address-and-port-dependent", "address-and-port-dependent", "symmetric"],
        )


class PunchableTests(SynchronousTestCase):
    """Which pairs are worth a plain punch."""

    def test_every_pair(self) -> None:
        """The predicate agrees with what two modelled NATs do to the packets, for every pair."""
        for am, af, bm, bf in product((Mapping.NONE, EIM, ADM, APDM), (EIF, ADF, APDF), repeat=2):
            does = punched(Nat(am, af, "192.0.2.1"), Nat(bm, bf, "192.0.2.2"))
            self.assertEqual(
                punchable(NatBehaviour(am, af), NatBehaviour(bm, bf)), does, (am, af, bm, bf)
            )

    def test_measured(self) -> None:
        """It agrees with the laboratory: only symmetric against filtering by port fails."""
        kinds = (OPEN, FIREWALL, FULL, RESTRICTED, PORT_RESTRICTED, SYMMETRIC)
        fails = {(a.flavour, b.flavour) for a, b in product(kinds, kinds) if not punchable(a, b)}
        by_port = {Flavour.FIREWALL, Flavour.PORT_RESTRICTED, Flavour.SYMMETRIC}
        expected = {(Flavour.SYMMETRIC, each) for each in by_port}
        self.assertEqual(fails, expected | {(b, a) for a, b in expected})

    def test_blocked(self) -> None:
        """Nothing is tried where UDP is blocked."""
        for other in (OPEN, FULL, BLOCKED, UNKNOWN):
            self.assertFalse(punchable(BLOCKED, other))
            self.assertFalse(punchable(other, BLOCKED))

    def test_unknown_is_tried(self) -> None:
        """What is not known counts as the best case."""
        for other in (OPEN, FIREWALL, PORT_RESTRICTED, SYMMETRIC, UNKNOWN):
            self.assertTrue(punchable(UNKNOWN, other))
        unfiltered = replace(SYMMETRIC, filtering=Filtering.UNKNOWN)
        self.assertTrue(punchable(unfiltered, RESTRICTED))
        self.assertFalse(punchable(unfiltered, PORT_RESTRICTED))

    def test_forwarded_port(self) -> None:
        """Who has a forwarded port is reached by everybody that can send UDP."""
        asked = replace(SYMMETRIC, forwarded=True)
        for other in (OPEN, FIREWALL, FULL, RESTRICTED, PORT_RESTRICTED, SYMMETRIC):
            self.assertTrue(punchable(asked, other))
            self.assertTrue(punchable(other, asked))
        self.assertFalse(punchable(asked, BLOCKED))
