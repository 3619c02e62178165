"""Tests for :mod:`tunnelmesh.wire.control`."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import control
from tunnelmesh.wire.control import ECHO_REPLY, ECHO_REQUEST, Echo


class ControlTests(SynchronousTestCase):
    """Messages between peers inside the tunnel."""

    @given(st.sampled_from([ECHO_REQUEST, ECHO_REPLY]), st.integers(0, 2**64 - 1))
    @settings(max_examples=50, derandomize=True)
    def test_round_trip(self, kind: int, token: int) -> None:
        """An echo survives the padding that WireGuard adds."""
        plaintext = Echo(kind, token).encode()
        self.assertTrue(control.is_control(plaintext))
        self.assertEqual(Echo(kind, token), control.decode(plaintext + bytes(4)))

    @given(st.binary(min_size=1, max_size=40))
    @settings(max_examples=100, derandomize=True)
    def test_hostile(self, plaintext: bytes) -> None:
        """Arbitrary bytes raise only DecodeError; unknown kinds are None."""
        try:
            message = control.decode(plaintext)
        except DecodeError:
            return
        self.assertEqual(message is not None, plaintext[0] in (ECHO_REQUEST, ECHO_REPLY))

    def test_ip_is_no_control(self) -> None:
        """IP packets begin with their version."""
        self.assertFalse(control.is_control(b"\x45"))
        self.assertFalse(control.is_control(b"\x60"))
