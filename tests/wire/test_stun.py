"""STUN messages as bytes."""

from __future__ import annotations

import hmac
from hashlib import md5

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Attribute, Change, Class, Message
from tunnelmesh.wire.stun_integrity import is_authentic

SHORT_TERM = b"VOkJxbRl1RmTxUk/WvJxBt"
LONG_TERM = md5("マトリックス:example.org:TheMatrIX".encode()).digest()

REQUEST = bytes.fromhex(  # RFC 5769 §2.1
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014"
    "9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf"
)
IPV4_RESPONSE = bytes.fromhex(  # §2.2
    "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008"
    "0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96"
)
IPV6_RESPONSE = bytes.fromhex(  # §2.3
    "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014"
    "0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275"
    "bfe3ed41 80280004 c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(  # §2.4
    "00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3"
    "82b90000 0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341 0014000b"
    "6578616d 706c652e 6f726700 00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666"
)
VECTORS = (REQUEST, IPV4_RESPONSE, IPV6_RESPONSE, LONG_TERM_REQUEST)
TRANSACTION = bytes(range(12))

ENDPOINTS = st.builds(Endpoint, st.ip_addresses().map(str), st.integers(0, 65535))
ATTRIBUTES = st.tuples(
    st.integers(0, 0xFFFF).filter(lambda kind: kind != Attribute.FINGERPRINT),
    st.binary(max_size=40),
)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Class),
    transaction=st.binary(min_size=12, max_size=12)
    | st.binary(min_size=16, max_size=16).filter(lambda t: t[:4] != stun.COOKIE),
    attributes=st.lists(ATTRIBUTES, max_size=6).map(tuple),
    method=st.integers(0, 0xFFF),
    fingerprint=st.booleans(),
)


def read_all(message: Message) -> None:
    """Look at everything a message may say."""
    for name in ("mapped", "origin", "other", "change", "error", "unknown", "software"):
        getattr(message, name)


class VectorTests(SynchronousTestCase):
    """The messages of RFC 5769."""

    def test_request(self) -> None:
        """The sample request is read, signed and fingerprinted as the RFC says."""
        message = stun.decode(REQUEST)
        self.assertEqual((message.kind, message.method), (Class.REQUEST, stun.BINDING))
        self.assertEqual(message.software, "STUN test client")
        self.assertEqual(message.get(Attribute.USERNAME), b"evtj:h6vY")
        self.assertTrue(message.fingerprint)
        self.assertTrue(is_authentic(REQUEST, SHORT_TERM))

    def test_responses(self) -> None:
        """Both sample responses carry the mapped address that the RFC names."""
        for response, host in (
            (IPV4_RESPONSE, "192.0.2.1"),
            (IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677"),
        ):
            message = stun.decode(response)
            self.assertEqual(message.kind, Class.SUCCESS)
            self.assertEqual(message.mapped, Endpoint(host, 32853))
            self.assertEqual(message.software, "test vector")
            self.assertTrue(is_authentic(response, SHORT_TERM))

    def test_xored_as_in_the_vectors(self) -> None:
        """Our own XOR-MAPPED-ADDRESS is the vectors', bit by bit."""
        for response in (IPV4_RESPONSE, IPV6_RESPONSE):
            message = stun.decode(response)
            assert message.mapped is not None
            self.assertIn(
                stun.xor_mapped_address(message.mapped, message.transaction), message.attributes
            )

    def test_long_term_request(self) -> None:
        """The long-term sample is authentic under its key and no other, and has no FINGERPRINT."""
        self.assertFalse(stun.decode(LONG_TERM_REQUEST).fingerprint)
        self.assertTrue(is_authentic(LONG_TERM_REQUEST, LONG_TERM))
        self.assertFalse(is_authentic(LONG_TERM_REQUEST, SHORT_TERM))

    def test_one_bit_is_noticed(self) -> None:
        """Whatever bit of a sample is flipped, fingerprint or signature or the decoder object."""
        for vector, key in ((IPV6_RESPONSE, SHORT_TERM), (LONG_TERM_REQUEST, LONG_TERM)):
            for bit in range(len(vector) * 8):
                broken = bytearray(vector)
                broken[bit // 8] ^= 1 << bit % 8
                try:
                    message = stun.decode(bytes(broken))
                except DecodeError:
                    continue
                believed = is_authentic(bytes(broken), key)
                # A flipped bit in FINGERPRINT's own type leaves an unknown attribute behind a
                # signature that does not cover it.
                self.assertFalse(believed and message.fingerprint)
                self.assertFalse(believed and vector is LONG_TERM_REQUEST)


class IntegrityTests(SynchronousTestCase):
    """MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256."""

    def sign(self, digest: str, kind: Attribute, size: int) -> bytes:
        """A request signed with a signature of *size* bytes."""
        request = stun.encode(Message(Class.REQUEST, TRANSACTION, ((kind, bytes(size)),)))
        signature = hmac.digest(b"key", request[:20], digest)
        return request[:24] + signature[:size]

    def test_sha256(self) -> None:
        """A SHA-256 signature is accepted whole and cut to 16 bytes, not shorter."""
        kind = Attribute.MESSAGE_INTEGRITY_SHA256
        self.assertTrue(is_authentic(self.sign("sha256", kind, 32), b"key"))
        self.assertTrue(is_authentic(self.sign("sha256", kind, 16), b"key"))
        self.assertFalse(is_authentic(self.sign("sha256", kind, 12), b"key"))
        self.assertFalse(is_authentic(self.sign("sha256", kind, 32), b"yek"))

    def test_sha1_is_never_cut(self) -> None:
        """A SHA-1 signature shorter than 20 bytes is refused."""
        kind = Attribute.MESSAGE_INTEGRITY
        self.assertTrue(is_authentic(self.sign("sha1", kind, 20), b"key"))
        self.assertFalse(is_authentic(self.sign("sha1", kind, 16), b"key"))

    def test_unsigned(self) -> None:
        """A message without a signature is not authentic."""
        unsigned = stun.encode(Message(Class.REQUEST, TRANSACTION))
        self.assertFalse(is_authentic(unsigned, b"key"))


class MessageTests(SynchronousTestCase):
    """Messages and their attributes, there and back."""

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(MESSAGES)
    def test_round_trip(self, message: Message) -> None:
        """Every message, of today's and of the classic protocol, survives its encoding."""
        self.assertEqual(stun.decode(stun.encode(message)), message)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(ENDPOINTS, st.binary(min_size=12, max_size=12))
    def test_addresses(self, endpoint: Endpoint, transaction: bytes) -> None:
        """Every address attribute gives back its endpoint."""
        attributes = (
            stun.xor_mapped_address(endpoint, transaction),
            stun.address(Attribute.RESPONSE_ORIGIN, endpoint),
            stun.address(Attribute.OTHER_ADDRESS, endpoint),
        )
        message = Message(Class.SUCCESS, transaction, attributes)
        self.assertEqual((message.mapped, message.origin, message.other), (endpoint,) * 3)

    def test_mapped_address_alone(self) -> None:
        """A server of the classic protocol says MAPPED-ADDRESS; the XORed one is preferred."""
        seen, rewritten = Endpoint("192.0.2.1", 7), Endpoint("10.0.0.1", 7)
        plain = stun.address(Attribute.MAPPED_ADDRESS, rewritten)
        self.assertEqual(Message(Class.SUCCESS, TRANSACTION, (plain,)).mapped, rewritten)
        both = (plain, stun.xor_mapped_address(seen, TRANSACTION))
        self.assertEqual(Message(Class.SUCCESS, TRANSACTION, both).mapped, seen)

    def test_small_attributes(self) -> None:
        """CHANGE-REQUEST, ERROR-CODE and UNKNOWN-ATTRIBUTES give back what they were made of."""
        change = stun.change_request(Change.ADDRESS | Change.PORT)
        self.assertEqual(change, (0x0003, b"\0\0\0\6"))
        message = Message(
            Class.ERROR,
            TRANSACTION,
            (change, stun.error_code(420, "no"), stun.unknown_attributes([2, 0x26])),
        )
        self.assertEqual(message.change, Change.ADDRESS | Change.PORT)
        self.assertEqual(message.error, (420, "no"))
        self.assertEqual(message.unknown, (2, 0x26))

    def test_absent_attributes(self) -> None:
        """A bare message says nothing."""
        bare = Message(Class.SUCCESS, TRANSACTION)
        self.assertEqual((bare.mapped, bare.other, bare.origin), (None, None, None))
        self.assertEqual((bare.change, bare.error, bare.unknown), (Change.NOTHING, None, ()))
        self.assertIsNone(bare.software)

    def test_first_of_two_counts(self) -> None:
        """Of an attribute given twice, the first is read."""
        twice = ((Attribute.SOFTWARE, b"first"), (Attribute.SOFTWARE, b"second"))
        self.assertEqual(Message(Class.SUCCESS, TRANSACTION, twice).software, "first")


class HostileTests(SynchronousTestCase):
    """Bytes from anybody."""

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(st.binary(max_size=80) | MESSAGES.map(stun.encode), st.data())
    def test_only_decode_errors(self, datagram: bytes, data: st.DataObject) -> None:
        """Noise, and messages with some bytes changed or cut off, raise DecodeError or nothing."""
        broken = bytearray(datagram[: data.draw(st.integers(0, len(datagram)))])
        for at, value in data.draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)))):
            if at < len(broken):
                broken[at] = value
        try:
            read_all(stun.decode(bytes(broken)))
            is_authentic(bytes(broken), b"key")
        except DecodeError:
            pass

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(st.sampled_from(Attribute), st.binary(max_size=24))
    def test_malformed_attributes(self, kind: Attribute, value: bytes) -> None:
        """Any value in any attribute raises DecodeError or nothing."""
        try:
            read_all(Message(Class.SUCCESS, TRANSACTION, ((kind, value),)))
        except DecodeError:
            pass

    def test_malformed(self) -> None:
        """Cut, lengthened, misfingerprinted and overrunning messages are refused."""
        bare = stun.encode(Message(Class.REQUEST, TRANSACTION))
        marked = stun.encode(Message(Class.REQUEST, TRANSACTION, fingerprint=True))
        for broken in (
            b"",
            bare[:-1],
            bare + b"\0\0\0\0",
            b"\x40" + bare[1:],
            marked[:-1] + bytes([marked[-1] ^ 1]),
            bare[:2] + b"\0\4" + bare[4:] + b"\x80\x22\0\1",
            marked[:2] + b"\0\x0c" + marked[4:] + b"\x80\x22\0\0",
        ):
            with self.assertRaises(DecodeError):
                stun.decode(broken)
        with self.assertRaises(DecodeError):
            read_all(Message(Class.SUCCESS, TRANSACTION, ((0x0020, bytes(24)),)))


class DemultiplexTests(SynchronousTestCase):
    """Which datagrams are STUN at all."""

    def test_messages_are(self) -> None:
        """The RFC's own messages are STUN."""
        self.assertTrue(all(map(stun.is_stun, VECTORS)))

    def test_others_are_not(self) -> None:
        """WireGuard's messages, short ones, classic ones and lying lengths are not."""
        wireguard = [bytes([kind, 0, 0, 0]) + bytes(28) for kind in (1, 2, 3, 4)]
        classic = stun.encode(Message(Class.REQUEST, bytes(16)))
        for datagram in (*wireguard, b"", REQUEST[:19], REQUEST[:-4], classic):
            self.assertFalse(stun.is_stun(datagram))
