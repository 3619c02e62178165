"""A member that does not keep to the protocol."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.wires import Pair, reader
from tunnelmesh.wire.control import Stream


class HostileTests(SynchronousTestCase):
    """Nothing that arrives harms anybody but its sender."""

    def still_works(self, pair: Pair) -> None:
        """A stream can be opened from here to there."""
        pair.accepted.clear()
        pair.here.open(b"hello")
        pair.until(lambda: pair.accepted)
        self.assertEqual(reader(pair.accepted.pop()).data, b"hello")

    @settings(derandomize=True, max_examples=60, deadline=None)
    @given(st.booleans(), st.binary(max_size=200))
    def test_any_bytes(self, by_opener: bool, datagram: bytes) -> None:
        """Any bytes in place of a datagram, before a connection and while there is one."""
        pair = Pair()
        pair.there.received(Stream(by_opener, datagram))
        self.still_works(pair)
        pair.there.received(Stream(by_opener, datagram))
        pair.here.received(Stream(by_opener, datagram))
        self.still_works(pair)

    def test_damaged(self) -> None:
        """Datagrams with a bit flipped are dropped, those of the handshake too."""
        pair = Pair()
        random = Random(4)
        deliver = pair._deliver

        def damage(from_here: bool, message: bytes) -> None:
            if random.random() < 0.3:
                at = random.randrange(4, len(message))
                message = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
            deliver(from_here, message)

        pair._deliver = damage  # type: ignore[method-assign]
        pair.here.open(b"hello")
        pair.until(lambda: pair.accepted)
        self.assertEqual(reader(pair.accepted.pop()).data, b"hello")

    def test_beginnings(self) -> None:
        """Thousands of first packets make a few connections, of which one is kept."""
        pair = Pair()
        random = Random(5)
        begins = b"\xc3\x00\x00\x00\x01\x08"
        for _ in range(2000):
            pair.there.received(Stream(True, begins + random.randbytes(1150)))
        self.assertLess(len(pair.clock.getDelayedCalls()), 10)
        pair.run(1)
        self.still_works(pair)

    def test_silent_openers(self) -> None:
        """An answer to what is not known is short, and is not answered itself."""
        pair = Pair()
        pair.there.received(Stream(True, b"\x40" + bytes(1000)))
        pair.there.received(Stream(False, b"\x40" + bytes(1000)))
        pair.run(1)
        self.assertEqual(pair.line.messages, 2)
