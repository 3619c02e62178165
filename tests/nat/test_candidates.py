"""Tests for :mod:`tunnelmesh.nat.candidates`."""

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat.behaviour import Filtering, Mapping
from tunnelmesh.nat.candidates import MAX_HOST, behaviour_of, endpoints_to_try, gather
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

    def test_whom_nobody_may_make_us_probe(self) -> None:
        """Loopback, multicast, broadcast, the unspecified, IPv6 and port 0 are left out."""
        odd = described(
            "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "240.0.0.1", "::1"
        )
        self.assertEqual(endpoints_to_try(odd, Describe(())), [])
        self.assertEqual(endpoints_to_try(described("198.51.100.1", port=0), Describe(())), [])


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
