"""Tests for :mod:`tunnelmesh.wire.frame`."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import frame
from tunnelmesh.wire.frame import BATCH, MAX_BODY, RELAY, SIGNAL, FrameDecoder

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8)


class FrameTests(SynchronousTestCase):
    """Frames in a byte stream."""

    @given(FRAMES, st.lists(st.integers(1, 400), max_size=12))
    @settings(max_examples=100, derandomize=True)
    def test_any_cutting(self, frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
        """However the stream is cut, the same frames come out, and nothing is left over."""
        stream = b"".join(frame.encode(kind, body) for kind, body in frames)
        decoder = FrameDecoder()
        found = []
        for cut in cuts:
            found += decoder.receive(stream[:cut])
            stream = stream[cut:]
        found += decoder.receive(stream)
        self.assertEqual(frames, found)
        self.assertEqual(0, decoder.unfinished)

    @given(st.lists(st.binary(max_size=100), max_size=10))
    @settings(max_examples=100, derandomize=True)
    def test_hostile(self, pieces: list[bytes]) -> None:
        """Arbitrary bytes raise only DecodeError, and little is held back."""
        decoder = FrameDecoder(max_body=256)
        try:
            for piece in pieces:
                decoder.receive(piece)
                self.assertLessEqual(decoder.unfinished, 256 + frame.HEADER)
        except DecodeError:
            pass

    def test_too_long(self) -> None:
        """A frame that announces too much is refused before it arrives; none is made either."""
        head = bytes((SIGNAL,)) + (MAX_BODY + 1).to_bytes(3, "big")
        self.assertRaises(DecodeError, FrameDecoder().receive, head)
        self.assertRaises(ValueError, frame.encode, SIGNAL, bytes(MAX_BODY + 1))


class RelayTests(SynchronousTestCase):
    """Batches of datagrams for one peer."""

    @given(st.binary(min_size=4, max_size=4), st.lists(st.binary(min_size=1, max_size=200)))
    @settings(max_examples=100, derandomize=True)
    def test_round_trip(self, address: bytes, datagrams: list[bytes]) -> None:
        """A batch comes out as it went in."""
        ((kind, body),) = FrameDecoder().receive(frame.encode_relay(address, datagrams))
        self.assertEqual(RELAY, kind)
        self.assertEqual((address, datagrams), frame.decode_relay(body))

    @given(st.binary(max_size=200))
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, body: bytes) -> None:
        """Arbitrary bodies raise only DecodeError; what is taken is whole."""
        try:
            address, datagrams = frame.decode_relay(body)
        except DecodeError:
            return
        self.assertEqual(body, address + b"".join(len(d).to_bytes(2, "big") + d for d in datagrams))

    def test_empty_datagram(self) -> None:
        """An empty datagram would let a frame carry any number of them: refused."""
        self.assertRaises(DecodeError, frame.decode_relay, bytes(4) + bytes(2))


class BatchTests(SynchronousTestCase):
    """Batches of datagrams between two peers."""

    @given(st.lists(st.binary(min_size=1, max_size=200)))
    @settings(max_examples=100, derandomize=True)
    def test_round_trip(self, datagrams: list[bytes]) -> None:
        """A batch comes out as it went in."""
        ((kind, body),) = FrameDecoder().receive(frame.encode_batch(datagrams))
        self.assertEqual((kind, frame.decode_batch(body)), (BATCH, datagrams))

    @given(st.binary(max_size=60))
    @settings(max_examples=150, derandomize=True)
    def test_hostile(self, body: bytes) -> None:
        """Arbitrary bytes are datagrams, of which none is empty, or raise DecodeError."""
        try:
            self.assertNotIn(b"", frame.decode_batch(body))
        except DecodeError:
            pass

    @given(st.lists(st.binary(min_size=1, max_size=200)), st.integers(1, 500))
    @settings(max_examples=100, derandomize=True)
    def test_split(self, datagrams: list[bytes], size: int) -> None:
        """Parts are short, unless one datagram is not; nothing is lost or out of order."""
        parts = frame.split(datagrams, size)
        self.assertEqual([each for part in parts for each in part], datagrams)
        for part in parts:
            self.assertTrue(len(part) <= 1 or sum(map(len, part)) <= size)
