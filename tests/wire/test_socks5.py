"""Tests for :mod:`tunnelmesh.wire.socks5`."""

from ipaddress import IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.socks5 import CONNECT, Negotiation, RefusalError, Reply, Request

GREETING = bytes((5, 1, 0))
NAMES = st.from_regex(r"[a-z0-9.-]{1,255}", fullmatch=True)


def ask(host: str, port: int, command: int = CONNECT) -> bytes:
    """A client's request."""
    try:
        address = ip_address(host)
    except ValueError:
        where = bytes((3, len(host))) + host.encode()
    else:
        where = bytes((4 if isinstance(address, IPv6Address) else 1,)) + address.packed
    return bytes((5, command, 0)) + where + port.to_bytes(2, "big")


class NegotiationTests(SynchronousTestCase):
    """What a client says, however it arrives."""

    @given(
        NAMES | st.ip_addresses().map(str),
        st.integers(0, 65535),
        st.binary(max_size=40),
        st.lists(st.integers(1, 60), max_size=12),
    )
    @settings(max_examples=100, derandomize=True)
    def test_any_cutting(self, host: str, port: int, rest: bytes, cuts: list[int]) -> None:
        """However it is cut, the request and what comes after it are the same."""
        stream = GREETING + ask(host, port) + rest
        negotiation = Negotiation()
        answer = b""
        for cut in [*cuts, len(stream)]:
            answer += negotiation.receive(stream[:cut])
            stream = stream[cut:]
        self.assertEqual(negotiation.request, Request(host, port))
        self.assertEqual((answer, negotiation.rest), (b"\x05\x00", rest))

    @given(st.lists(st.binary(max_size=300), max_size=6), st.sampled_from([b"", GREETING]))
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, pieces: list[bytes], first: bytes) -> None:
        """Arbitrary bytes raise only DecodeError, and little is held back before a request."""
        negotiation = Negotiation()
        try:
            for piece in [first, *pieces]:
                negotiation.receive(piece)
                if negotiation.request is not None:
                    break
                self.assertLessEqual(len(negotiation.rest), 262)
        except DecodeError:
            pass

    def test_nonsense(self) -> None:
        """What is not SOCKS5 is known by its first byte; what is no name, when it is there."""
        for words in (b"\x04", b"GET / HTTP/1.1\r\n", b"\x16\x03", GREETING + b"\x04"):
            self.assertRaises(DecodeError, Negotiation().receive, words)
        for name in (b"", b"home\nlab", b"h\xf6me"):
            where = bytes((5, CONNECT, 0, 3, len(name))) + name + b"\x00\x50"
            error = self.assertRaises(DecodeError, Negotiation().receive, GREETING + where)
            self.assertNotIsInstance(error, RefusalError)

    def test_refusals(self) -> None:
        """Who wants what is not done here is told so, in the protocol's words."""
        for words, answer in (
            (bytes((5, 1, 2)), b"\x05\xff"),
            (bytes((5, 0)), b"\x05\xff"),
            (GREETING + ask("homelab", 80, command=2), b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
            (GREETING + ask("homelab", 53, command=3), b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
            (GREETING + bytes((5, 1, 0, 2, 0)), b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        ):
            error = self.assertRaises(RefusalError, Negotiation().receive, words)
            self.assertEqual(error.answer, answer)

    def test_one_method_of_many(self) -> None:
        """A client that could sign in, too, need not."""
        self.assertEqual(Negotiation().receive(bytes((5, 3, 1, 2, 0))), b"\x05\x00")

    def test_reply(self) -> None:
        """A reply is ten bytes, as clients expect."""
        self.assertEqual(Reply.REFUSED.encode(), bytes((5, 5, 0, 1, 0, 0, 0, 0, 0, 0)))
