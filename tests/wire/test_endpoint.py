"""Tests for :mod:`tunnelmesh.wire.endpoint`."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.endpoint import Endpoint

ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)


class EndpointTests(SynchronousTestCase):
    """Text form of a transport address."""

    @given(ADDRESSES.map(str), st.integers(0, 65535))
    @settings(max_examples=100, derandomize=True)
    def test_round_trip(self, host: str, port: int) -> None:
        """What is written is read as the same, IPv6 in brackets."""
        endpoint = Endpoint(host, port)
        self.assertEqual(endpoint, Endpoint.parse(str(endpoint)))

    @given(st.text(max_size=40))
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, text: str) -> None:
        """Anything else raises DecodeError and nothing more."""
        try:
            Endpoint.parse(text)
        except DecodeError:
            pass

    def test_refused(self) -> None:
        """Names, missing or wild ports, and misplaced brackets are no endpoints."""
        for text in (
            "example.com:80",
            "192.0.2.1",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:-1",
            "[192.0.2.1]:80",
            "2001:db8::1:80",
            "192.0.2.1:٣",
            "[fe80::1%eth0]:80",
        ):
            self.assertRaises(DecodeError, Endpoint.parse, text)

    def test_is_a_socket_address(self) -> None:
        """It equals what a socket reports."""
        self.assertEqual(("192.0.2.1", 80), Endpoint("192.0.2.1", 80))
