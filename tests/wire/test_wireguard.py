"""The messages of the WireGuard protocol."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.wireguard import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TRANSPORT_HEADER_SIZE,
    TRANSPORT_OVERHEAD,
    CookieReply,
    Initiation,
    Response,
    decode_transport_header,
    transport_header,
)

MESSAGES = (Initiation, Response, CookieReply)


def sized(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


class MessageTests(SynchronousTestCase):
    """Encoding, decoding and refusing."""

    def test_initiation_layout(self) -> None:
        """Every field of an initiation is where the paper's figure puts it."""
        message = Initiation(
            sender=b"a" * 4,
            ephemeral=b"b" * 32,
            static=b"c" * 48,
            timestamp=b"d" * 28,
            mac1=b"e" * 16,
            mac2=b"f" * 16,
        )
        expected = (
            b"\x01\0\0\0" + b"a" * 4 + b"b" * 32 + b"c" * 48 + b"d" * 28 + b"e" * 16 + b"f" * 16
        )
        self.assertEqual(message.encode(), expected)
        self.assertEqual(len(expected), INITIATION_SIZE)
        self.assertEqual(Initiation.decode(expected), message)

    def test_response_layout(self) -> None:
        """Every field of a response is where the paper's figure puts it."""
        message = Response(
            sender=b"a" * 4,
            receiver=b"b" * 4,
            ephemeral=b"c" * 32,
            empty=b"d" * 16,
            mac1=b"e" * 16,
            mac2=b"f" * 16,
        )
        expected = b"\x02\0\0\0aaaabbbb" + b"c" * 32 + b"d" * 16 + b"e" * 16 + b"f" * 16
        self.assertEqual(message.encode(), expected)
        self.assertEqual(len(expected), RESPONSE_SIZE)
        self.assertEqual(Response.decode(expected), message)

    def test_cookie_reply_layout(self) -> None:
        """Every field of a cookie reply is where the paper's figure puts it."""
        message = CookieReply(receiver=b"a" * 4, nonce=b"b" * 24, cookie=b"c" * 32)
        expected = b"\x03\0\0\0aaaa" + b"b" * 24 + b"c" * 32
        self.assertEqual(message.encode(), expected)
        self.assertEqual(len(expected), COOKIE_REPLY_SIZE)
        self.assertEqual(CookieReply.decode(expected), message)

    def test_transport_header_layout(self) -> None:
        """A transport header is the type, the receiver and a little-endian counter."""
        header = transport_header(b"abcd", 258)
        self.assertEqual(header, b"\x04\0\0\0abcd\x02\x01\0\0\0\0\0\0")
        self.assertEqual(len(header), TRANSPORT_HEADER_SIZE)
        self.assertEqual(decode_transport_header(header + bytes(16)), (b"abcd", 258))

    def test_reserved_bytes_are_zero(self) -> None:
        """A message whose reserved bytes are used is none of this version's."""
        for message, size in zip(
            MESSAGES, (INITIATION_SIZE, RESPONSE_SIZE, COOKIE_REPLY_SIZE), strict=True
        ):
            type_ = MESSAGES.index(message) + 1
            message.decode(bytes([type_]) + bytes(size - 1))
            with self.assertRaises(DecodeError):
                message.decode(bytes([type_, 0, 0, 1]) + bytes(size - 4))

    def test_short_transport(self) -> None:
        """A transport message holds at least an authentication tag."""
        header = transport_header(b"abcd", 0)
        with self.assertRaises(DecodeError):
            decode_transport_header(header + bytes(TRANSPORT_OVERHEAD - len(header) - 1))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.builds(Initiation, sized(4), sized(32), sized(48), sized(28), sized(16), sized(16)))
    def test_initiation_round_trip(self, message: Initiation) -> None:
        """What was encoded is decoded to the same."""
        self.assertEqual(Initiation.decode(message.encode()), message)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.binary(max_size=200)
        | st.builds(
            lambda type_, size, fill: (bytes([type_, 0, 0, 0]) + fill * size)[:size],
            st.integers(0, 5),
            st.sampled_from([4, 31, 32, 63, 64, 65, 91, 92, 93, 147, 148, 149]),
            sized(1),
        )
    )
    def test_hostile_bytes(self, datagram: bytes) -> None:
        """Any bytes are either a message, which encodes to them again, or a DecodeError."""
        for message in MESSAGES:
            try:
                decoded = message.decode(datagram)
            except DecodeError:
                continue
            self.assertEqual(decoded.encode(), datagram)
        try:
            receiver, counter = decode_transport_header(datagram)
        except DecodeError:
            return
        self.assertTrue(datagram.startswith(transport_header(receiver, counter)))
