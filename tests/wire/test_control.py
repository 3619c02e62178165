"""Tests for :mod:`tunnelmesh.wire.control`."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import control
from tunnelmesh.wire.control import (
    ABILITIES,
    ARRIVALS,
    ECHO_REPLY,
    ECHO_REQUEST,
    STREAM,
    Abilities,
    Arrivals,
    Control,
    Echo,
    Stream,
)

WORD = st.integers(0, 2**64 - 1)


class ControlTests(SynchronousTestCase):
    """Messages between peers inside the tunnel."""

    @given(
        st.one_of(
            st.builds(Echo, st.sampled_from([ECHO_REQUEST, ECHO_REPLY]), WORD),
            st.builds(Abilities, st.integers(0, 255), st.integers(0, 255), st.booleans()),
            st.builds(Arrivals, WORD, WORD),
            st.builds(Stream, st.booleans(), st.binary(max_size=1400)),
        )
    )
    @settings(max_examples=80, derandomize=True)
    def test_round_trip(self, message: Control) -> None:
        """A message survives the padding that WireGuard adds."""
        plaintext = message.encode()
        self.assertTrue(control.is_control(plaintext))
        self.assertEqual(message, control.decode(plaintext + bytes(12)))

    @given(st.binary(min_size=1, max_size=40))
    @settings(max_examples=100, derandomize=True)
    def test_hostile(self, plaintext: bytes) -> None:
        """Arbitrary bytes raise only DecodeError; unknown kinds are None."""
        try:
            message = control.decode(plaintext)
        except DecodeError:
            return
        known = plaintext[0] in (ECHO_REQUEST, ECHO_REPLY, ABILITIES, ARRIVALS, STREAM)
        self.assertEqual(message is not None, known)

    def test_ip_is_no_control(self) -> None:
        """IP packets begin with their version."""
        self.assertFalse(control.is_control(b"\x45"))
        self.assertFalse(control.is_control(b"\x60"))
