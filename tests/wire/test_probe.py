"""Tests for :mod:`tunnelmesh.wire.probe`."""

import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError, IdentityError
from tunnelmesh.wire import probe
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import MIN_SIZE, PING, PONG, Probe, ProbeSeal
from tunnelmesh.wire.stun import is_stun


def key(number: int) -> X25519PrivateKey:
    """Somebody's key."""
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def seal(own: int, other: int) -> ProbeSeal:
    """One side's seal."""
    return ProbeSeal(
        key(own).private_bytes_raw(), key(other).public_key().public_bytes_raw(), os.urandom
    )


class ProbeTests(SynchronousTestCase):
    """Sealed pings and pongs."""

    def setUp(self) -> None:
        """Two peers that know each other."""
        self.ours, self.theirs = seal(1, 2), seal(2, 1)

    @given(
        st.sampled_from([PING, PONG]),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2000),
        st.sampled_from([None, Endpoint("192.0.2.9", 1), Endpoint("2001:db8::1", 65535)]),
    )
    @settings(max_examples=60, derandomize=True)
    def test_round_trip(self, kind: int, token: int, size: int, observed: Endpoint | None) -> None:
        """What one seals the other opens, at the size that was asked for."""
        datagram = self.ours.seal(kind, token, size, observed)
        self.assertEqual(max(size, MIN_SIZE), len(datagram))
        self.assertEqual(Probe(kind, token, observed, len(datagram)), self.theirs.open(datagram))

    def test_hint_tells_who(self) -> None:
        """The hint is the one that the receiver expects of this sender, and not its own."""
        datagram = self.ours.seal(PING, 1, 0)
        self.assertTrue(probe.is_probe(datagram))
        self.assertEqual(self.theirs.hint, probe.hint_of(datagram))
        self.assertNotEqual(self.ours.hint, probe.hint_of(datagram))

    def test_reflected(self) -> None:
        """A probe sent back to its sender carries no hint that it knows."""
        self.assertNotEqual(self.ours.hint, probe.hint_of(self.ours.seal(PING, 1, 0)))

    def test_stranger(self) -> None:
        """A third party's probe does not open."""
        self.assertRaises(DecodeError, self.theirs.open, seal(3, 2).seal(PING, 1, 0))

    @given(st.integers(0, MIN_SIZE * 8 - 1))
    @settings(max_examples=120, derandomize=True)
    def test_corrupted(self, bit: int) -> None:
        """One bit changed anywhere, and it does not open."""
        datagram = bytearray(self.ours.seal(PING, 1, 0))
        datagram[bit // 8] ^= 1 << bit % 8
        self.assertRaises(DecodeError, self.theirs.open, bytes(datagram))

    @given(st.binary(max_size=120))
    @settings(max_examples=100, derandomize=True)
    def test_hostile(self, datagram: bytes) -> None:
        """Arbitrary bytes raise only DecodeError."""
        self.assertRaises(DecodeError, self.theirs.open, probe.MAGIC + datagram)

    def test_is_nothing_else(self) -> None:
        """A probe is neither STUN nor WireGuard."""
        datagram = self.ours.seal(PING, 1, 0)
        self.assertFalse(is_stun(datagram))
        self.assertNotIn(datagram[0], (1, 2, 3, 4))

    def test_low_order_key(self) -> None:
        """A remote key that makes every secret the same is refused."""
        private = key(1).private_bytes_raw()
        self.assertRaises(IdentityError, ProbeSeal, private, bytes(32), os.urandom)
