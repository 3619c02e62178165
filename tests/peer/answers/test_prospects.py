"""What ``netcheck`` says of a network, and what one can do about it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat.behaviour import Filtering, Mapping
from tunnelmesh.peer.answers.prospects import Surveyed, advice, verdict
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Candidate, Describe

EXTERNAL = Endpoint("198.51.100.7", 4242)
INDEPENDENT = Mapping.ENDPOINT_INDEPENDENT
BY_PORT = Filtering.ADDRESS_AND_PORT_DEPENDENT


def described(
    mapping: Mapping = INDEPENDENT, filtering: Filtering = BY_PORT, **more: Any
) -> Describe:
    """What a machine tells of its network."""
    told = {"link": "ssh", "external": EXTERNAL, "mapping": str(mapping)} | more
    return Describe(told.pop("candidates", ()), filtering=str(filtering), **told)


def said(own: Describe, **known: Any) -> tuple[str, str]:
    """The verdict and the advice of a network."""
    found = Surveyed(own, "vpn.example", **known)
    return verdict(found), "\n".join(advice(found))


class ProspectsTests(SynchronousTestCase):
    """Only what is true, and only what applies."""

    def test_everybody(self) -> None:
        """Where nothing filters by address and port, nothing needs to be done."""
        for mapping, filtering in (
            (Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT),
            (INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT),
            (INDEPENDENT, Filtering.ADDRESS_DEPENDENT),
        ):
            told, do = said(described(mapping, filtering))
            self.assertIn("with everybody who can send UDP", told)
            self.assertEqual(do, "")

    def test_most(self) -> None:
        """Behind a usual NAT: most others, and the router can help."""
        told, do = said(described())
        self.assertIn("with most others", told)
        self.assertIn("UPnP", do)
        self.assertIn("--advertise=198.51.100.7:51820", do)
        self.assertIn("IPv6", do)

    def test_ipv6(self) -> None:
        """With IPv6, that is told and not asked for."""
        told, do = said(described(), six=True)
        self.assertIn("Over IPv6", told)
        self.assertNotIn("IPv6", do)

    def test_symmetric(self) -> None:
        """Behind a symmetric NAT: some, and slower with the rest."""
        told, do = said(described(Mapping.ADDRESS_AND_PORT_DEPENDENT))
        self.assertIn("with some others", told)
        self.assertIn("forward a UDP port", do)

    def test_firewall(self) -> None:
        """Without a NAT there is no router to ask, but a firewall to open."""
        told, do = said(described(Mapping.NONE))
        self.assertIn("with most others", told)
        self.assertIn("--udp-port=51820", do)
        self.assertNotIn("router", do)

    def test_forwarded(self) -> None:
        """With a port forwarded, everybody gets in, whatever the NAT is."""
        forward = Candidate("mapped", EXTERNAL)
        told, do = said(
            described(Mapping.ADDRESS_AND_PORT_DEPENDENT, candidates=(forward,)),
            forwards={"external": str(EXTERNAL), "why_not": {}},
        )
        self.assertIn("with everybody", told)
        self.assertEqual(do, "")

    def test_routers(self) -> None:
        """Advice about a router fits what is known of it."""
        _, do = said(described(), asked=False)
        self.assertIn("leave out --no-port-mapping", do)
        _, do = said(described(), forwards={"why_not": {"internet": "behind another NAT"}})
        self.assertIn("public IPv4 address", do)
        self.assertNotIn("--advertise", do)

    def test_blocked(self) -> None:
        """Where UDP does not get out: TCP if that does, and what to allow."""
        own = described(Mapping.BLOCKED, external=None)
        told, do = said(own)
        self.assertIn("No direct connections", told)
        self.assertIn("allow outbound UDP", do)
        told, _ = said(described(Mapping.BLOCKED, external=None, tcp=EXTERNAL))
        self.assertIn("over TCP", told)

    def test_told_so(self) -> None:
        """Where the relay is wanted, the setting is named."""
        told, do = said(described(relay_only=True))
        self.assertIn("--relay-only", told)
        self.assertIn("leave out --relay-only", do)

    def test_no_link(self) -> None:
        """Without a coordinator, that is what matters."""
        told, do = said(described(link=""))
        self.assertIn("coordinator is not reached", told)
        self.assertIn("vpn.example", do)
        self.assertIn("--proxy", do)

    def test_slower_relay(self) -> None:
        """A WebSocket because SSH is blocked can be bettered, everywhere."""
        own = described(INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT, link="websocket")
        _, do = said(own, failures={"ssh to vpn.example:2222": "no answer"})
        self.assertIn("SSH port", do)
        _, do = said(own)
        self.assertEqual(do, "")

    def test_unknown(self) -> None:
        """What is not known yet is not made up."""
        told, do = said(described(Mapping.UNKNOWN, Filtering.UNKNOWN, external=None))
        self.assertIn("not known yet", told)
        self.assertEqual(do, "")
