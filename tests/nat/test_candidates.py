"""Tests for :mod:`tunnelmesh.nat.candidates`."""

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat.behaviour import Filtering, Mapping
from tunnelmesh.nat.candidates import (
    MAX_HOST,
    MAX_HOST6,
    behaviour_of,
    endpoints_to_try,
    gather,
    share_ipv6,
)
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import HOST, MAPPED, REFLEXIVE, Candidate, Describe

EXTERNAL = Endpoint("198.51.100.7", 40000)


def described(*hosts: str, kind: str = HOST, port: int = 4000) -> Describe:
    """A peer with candidates at these addresses."""
    return Describe(tuple(Candidate(kind, Endpoint(host, port)) for host in hosts))


class GatherTests(SynchronousTestCase):
    """What a machine tells of itself."""

    def test_host_and_reflexive(self) -> None:
        """The machine's own addresses, and then what STUN reported."""
        self.assertEqual(
            gather(["192.168.1.2"], 4000, EXTERNAL),
            (
                Candidate(HOST, Endpoint("192.168.1.2", 4000)),
                Candidate(REFLEXIVE, EXTERNAL),
            ),
        )

    def test_without_nat(self) -> None:
        """A public machine's reflexive endpoint is its own: told once."""
        found = gather([EXTERNAL.host], EXTERNAL.port, EXTERNAL)
        self.assertEqual(found, (Candidate(HOST, EXTERNAL),))

    def test_mapped(self) -> None:
        """Each endpoint that a router forwards is told once; the reflexive one only if another."""
        other = Endpoint("198.51.100.7", 5000)
        found = gather(["10.0.0.1"], 4000, EXTERNAL, [other, EXTERNAL, other])
        self.assertEqual(found[1:], (Candidate(MAPPED, other), Candidate(MAPPED, EXTERNAL)))

    def test_useless_addresses(self) -> None:
        """Loopback, link-local and unspecified addresses lead nobody here."""
        self.assertEqual(gather(["127.0.0.1", "169.254.3.4", "0.0.0.0", "::1"], 1, None), ())

    def test_bounded(self) -> None:
        """A machine full of containers tells of a few addresses, the preferred ones."""
        found = gather([f"10.0.0.{n}" for n in range(100)], 1, None)
        self.assertEqual([c.endpoint.host for c in found], [f"10.0.0.{n}" for n in range(MAX_HOST)])


class EndpointsTests(SynchronousTestCase):
    """Where to probe a peer."""

    def test_near_before_far(self) -> None:
        """Host addresses first, then mapped ones, then reflexive ones, then what is unknown."""
        kinds = ("novel", REFLEXIVE, MAPPED, HOST)
        them = Describe(
            tuple(Candidate(kind, Endpoint("198.51.100.1", n)) for n, kind in enumerate(kinds, 1))
        )
        self.assertEqual([e.port for e in endpoints_to_try(them, Describe(()))], [4, 3, 2, 1])

    def test_not_oneself(self) -> None:
        """An endpoint that is one's own, as in two homes with the same addresses, is left out."""
        both = described("192.168.1.2", "198.51.100.9")
        self.assertEqual(
            endpoints_to_try(both, described("192.168.1.2")), [Endpoint("198.51.100.9", 4000)]
        )

    def test_same_address_other_port(self) -> None:
        """The same private address in another home is another machine."""
        them = described("192.168.1.2", port=4001)
        self.assertEqual(len(endpoints_to_try(them, described("192.168.1.2"))), 1)

    def test_avoided(self) -> None:
        """Who is known to be somebody else is left out, and what is told twice tried once."""
        them = described("198.51.100.1", "198.51.100.2", "198.51.100.1")
        avoid = {Endpoint("198.51.100.2", 4000)}
        self.assertEqual(
            endpoints_to_try(them, Describe(()), avoid), [Endpoint("198.51.100.1", 4000)]
        )

    def test_whom_nobody_may_make_us_probe(self) -> None:
        """Loopback, multicast, broadcast, the unspecified and port 0 are left out."""
        odd = described(
            "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "240.0.0.1", "::1"
        )
        self.assertEqual(endpoints_to_try(odd, Describe(())), [])
        self.assertEqual(endpoints_to_try(described("198.51.100.1", port=0), Describe(())), [])


class Ipv6Tests(SynchronousTestCase):
    """Dual-stack peers."""

    ONE = "2001:db8:1::1"
    OTHER = "2001:db8:2::1"

    def test_gather(self) -> None:
        """Global and unique local addresses, on their own socket's port, three at most."""
        own = [
            "192.168.1.2",
            self.ONE,
            "fd01:2:3::1",
            "fe80::1",
            "::1",
            "ff02::1",
            "::ffff:1.2.3.4",
        ]
        found = gather(own, 4000, EXTERNAL, port6=5000)
        self.assertEqual(
            [str(each.endpoint) for each in found],
            ["192.168.1.2:4000", f"[{self.ONE}]:5000", "[fd01:2:3::1]:5000", str(EXTERNAL)],
        )
        many = gather([f"2001:db8::{n:x}" for n in range(1, 9)], 4000, None, port6=5000)
        self.assertEqual(len(many), MAX_HOST6)

    def test_no_socket(self) -> None:
        """Without an IPv6 socket there are no IPv6 candidates."""
        self.assertEqual(gather([self.ONE], 4000, None), ())

    def test_reflexive(self) -> None:
        """A translated IPv6 address is a candidate of its own."""
        seen = Endpoint("2001:db8:9::1", 5000)
        found = gather([self.ONE], 4000, None, port6=5000, external6=seen)
        self.assertEqual(found[1:], (Candidate(REFLEXIVE, seen),))
        same = Endpoint(self.ONE, 5000)
        self.assertEqual(len(gather([self.ONE], 4000, None, port6=5000, external6=same)), 1)

    def test_try(self) -> None:
        """Who has IPv6 tries it; who has none does not."""
        them = described(self.OTHER)
        self.assertEqual(endpoints_to_try(them, described("192.168.1.2")), [])
        self.assertEqual(len(endpoints_to_try(them, described(self.ONE))), 1)

    def test_one_site(self) -> None:
        """Unique local addresses are tried within one site."""
        them = described("fd01:2:3:4::1")
        self.assertEqual(endpoints_to_try(them, described(self.ONE)), [])
        self.assertEqual(endpoints_to_try(them, described("fd01:2:4::1")), [])
        self.assertEqual(len(endpoints_to_try(them, described("fd01:2:3:9::1"))), 1)

    def test_whom_nobody_may_make_us_probe(self) -> None:
        """Loopback, multicast, link-local, disguised IPv4 and translated prefixes are left out."""
        odd = described(
            "::1", "::", "ff02::1", "ff0e::1", "fe80::1", "::ffff:192.0.2.1", "::192.0.2.1",
            "64:ff9b::1", "fec0::1",
        )  # fmt: skip
        self.assertEqual(endpoints_to_try(odd, described(self.ONE, "fd00::1")), [])

    def test_share(self) -> None:
        """Two share IPv6 if each has an address that means something to the other."""
        one, other = described(self.ONE, "192.168.1.2"), described(self.OTHER)
        self.assertTrue(share_ipv6(one, other))
        self.assertFalse(share_ipv6(one, described("192.168.1.3")))
        self.assertFalse(share_ipv6(one, described("fd00::1")))
        self.assertTrue(share_ipv6(described("fd00::1"), described("fd00::2")))


class BehaviourTests(SynchronousTestCase):
    """What a description says of a NAT."""

    def test_known_words(self) -> None:
        """Words that we know are what they say."""
        found = behaviour_of(
            Describe(
                (), mapping="endpoint-independent", filtering="address-dependent", external=EXTERNAL
            )
        )
        self.assertEqual(
            (found.mapping, found.filtering, found.external),
            (Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, EXTERNAL),
        )

    def test_unknown_words(self) -> None:
        """Those that we do not know, as of a newer version, count as unknown."""
        found = behaviour_of(Describe((), mapping="quantum", filtering=""))
        self.assertEqual((found.mapping, found.filtering), (Mapping.UNKNOWN, Filtering.UNKNOWN))

    def test_forwarded(self) -> None:
        """A mapped endpoint on the address that the internet sees is open to everybody."""
        for endpoint, external, forwarded in (
            (Endpoint(EXTERNAL.host, 9), EXTERNAL, True),
            (Endpoint(EXTERNAL.host, 9), None, True),
            (Endpoint("203.0.113.1", 9), EXTERNAL, False),
            (Endpoint("192.168.0.1", 9), None, False),
            (Endpoint("100.64.0.1", 9), Endpoint("100.64.0.1", 8), False),
        ):
            for kind in (MAPPED, HOST):
                found = behaviour_of(Describe((Candidate(kind, endpoint),), external=external))
                self.assertEqual(found.forwarded, forwarded and kind == MAPPED, (kind, endpoint))
