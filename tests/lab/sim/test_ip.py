"""IPv4, ICMP and TCP as bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.lab.sim.ip import (
    Echo,
    IPPacket,
    checksum,
    decode_echo,
    decode_ip,
    decode_tcp,
    encode_echo,
    encode_ip,
    encode_tcp,
)
from tunnelmesh.lab.sim.segment import ACK, SYN, Segment
from tunnelmesh.wire.endpoint import Endpoint

HERE, THERE = Endpoint("100.96.0.1", 1234), Endpoint("100.96.0.2", 80)

_segments = st.builds(
    Segment,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 63).filter(lambda flags: not flags & SYN),
    st.integers(0, 65535),
    st.binary(max_size=300),
    st.just(0),
)


class CodecTests(SynchronousTestCase):
    """What is written can be read, and nothing else can."""

    def test_known_packet(self) -> None:
        """A header worked out elsewhere (the example that Wikipedia gives) has its checksum."""
        header = bytes.fromhex("450000730000400040110000c0a80001c0a800c7")
        self.assertEqual(checksum(header), 0xB861)

    def test_checksum_of_zeros(self) -> None:
        """Zeros sum up to zero, whose complement is all ones."""
        self.assertEqual(checksum(bytes(8) + b"\xff\xff"), 0)

    @settings(derandomize=True, max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_checksum_by_the_book(self, data: bytes) -> None:
        """The quick sum is RFC 1071's loop over words."""
        padded = data + b"\0" * (len(data) % 2)
        total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        self.assertEqual(checksum(data) % 0xFFFF, (~total & 0xFFFF) % 0xFFFF)

    @settings(derandomize=True, max_examples=100, deadline=None)
    @given(_segments)
    def test_tcp_round_trip(self, segment: Segment) -> None:
        """A segment survives its bytes."""
        packet = decode_ip(encode_ip(encode_tcp(HERE, THERE, segment)))
        self.assertEqual((packet.source, packet.destination), (HERE.host, THERE.host))
        self.assertEqual(decode_tcp(packet), (1234, 80, segment))

    def test_mss(self) -> None:
        """A SYN carries the largest segment; unknown options are passed over."""
        packet = encode_tcp(HERE, THERE, Segment(1, 0, SYN, 5000, mss=1380))
        self.assertEqual(decode_tcp(packet)[2].mss, 1380)

    @settings(derandomize=True, max_examples=50, deadline=None)
    @given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=100))
    def test_echo_round_trip(self, identifier: int, sequence: int, data: bytes) -> None:
        """An echo survives its bytes."""
        echo = Echo(8, identifier, sequence, data)
        self.assertEqual(decode_echo(encode_echo(echo)), echo)

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.data())
    def test_any_flipped_bit_is_noticed(self, data: st.DataObject) -> None:
        """One wrong bit anywhere does not pass for the packet that was sent."""
        segment = data.draw(_segments)
        whole = bytearray(encode_ip(encode_tcp(HERE, THERE, segment)))
        bit = data.draw(st.integers(0, len(whole) * 8 - 1))
        whole[bit // 8] ^= 1 << bit % 8
        with self.assertRaises(DecodeError):
            decode_tcp(decode_ip(bytes(whole)))

    @settings(derandomize=True, max_examples=300, deadline=None)
    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        """Arbitrary bytes raise DecodeError and nothing else."""
        for decode in (
            decode_ip,
            decode_echo,
            lambda d: decode_tcp(IPPacket(HERE.host, THERE.host, 6, d)),
        ):
            try:
                decode(data)
            except DecodeError:
                pass

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.binary(max_size=40))
    def test_any_options(self, options: bytes) -> None:
        """Arbitrary options of a SYN raise DecodeError or are read."""
        padded = options[: len(options) // 4 * 4]
        body = bytearray(encode_tcp(HERE, THERE, Segment(1, 2, SYN | ACK, 3)).payload)
        body[12] = (20 + len(padded)) << 2
        body[16:18] = b"\0\0"
        body += padded
        pseudo = bytes([100, 96, 0, 1, 100, 96, 0, 2, 0, 6, 0, len(body)])
        body[16:18] = checksum(pseudo + bytes(body)).to_bytes(2, "big")
        try:
            decode_tcp(IPPacket(HERE.host, THERE.host, 6, bytes(body)))
        except DecodeError as error:
            self.assertIn("option", str(error))
