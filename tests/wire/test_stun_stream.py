"""Tests for :mod:`tunnelmesh.wire.stun_stream`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import stun
from tunnelmesh.wire.stun_stream import MAX_MESSAGE, StunStream

MESSAGES = st.lists(
    st.builds(
        lambda transaction, value: stun.encode(
            stun.Message(stun.Class.REQUEST, transaction, ((0x8022, value),))
        ),
        st.binary(min_size=12, max_size=12),
        st.binary(max_size=60),
    ),
    max_size=5,
)


class StunStreamTests(SynchronousTestCase):
    """Messages in a byte stream."""

    @given(MESSAGES, st.lists(st.integers(1, 90), max_size=12))
    @settings(max_examples=100, derandomize=True)
    def test_any_cutting(self, messages: list[bytes], cuts: list[int]) -> None:
        """However the stream is cut, the same messages come out."""
        data = b"".join(messages)
        stream = StunStream()
        found = []
        for cut in cuts:
            found += stream.receive(data[:cut])
            data = data[cut:]
        found += stream.receive(data)
        self.assertEqual(found, messages)

    @given(st.lists(st.binary(max_size=60), max_size=10))
    @settings(max_examples=100, derandomize=True)
    def test_hostile(self, pieces: list[bytes]) -> None:
        """Arbitrary bytes raise only DecodeError."""
        stream = StunStream()
        try:
            for piece in pieces:
                stream.receive(piece)
        except DecodeError:
            pass

    def test_refused(self) -> None:
        """What is no STUN, or announces too much, is refused by its first twenty bytes."""
        head = b"\x00\x01" + (MAX_MESSAGE - 19).to_bytes(2, "big") + stun.COOKIE + bytes(12)
        for data in (b"GET / HTTP/1.1\r\nHost: x", head):
            self.assertRaises(DecodeError, StunStream().receive, data)
