"""The messages of PCP, NAT-PMP and SSDP, byte by byte; and bytes that are none."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap import natpmp, pcp, ssdp
from tunnelmesh.nat.portmap.epoch import Epoch
from tunnelmesh.wire.endpoint import Endpoint

NONCE = bytes(range(12))
CLIENT = "00000000000000000000ffffc0a80102"

GRANTED = bytes.fromhex(
    "0281000000000e10000000640000000000000000" + "00000000"
    "000102030405060708090a0b" + "11000000" + "a2a9" + "c001" + "00000000000000000000ffffc6336407"
)
"""192.168.1.2's UDP port 41641 is port 49153 of 198.51.100.7 for an hour."""


class PcpTests(SynchronousTestCase):
    """RFC 6887."""

    def test_requests(self) -> None:
        """They are laid out as in sections 7.1 and 11.1."""
        self.assertEqual(pcp.announce("192.168.1.2").hex(), "0200000000000000" + CLIENT)
        wanted = Endpoint("198.51.100.7", 49153)
        self.assertEqual(
            pcp.map_udp("192.168.1.2", NONCE, 41641, 3600, wanted).hex(),
            "0201000000000e10" + CLIENT + NONCE.hex() + "11000000a2a9c001"
            "00000000000000000000ffffc6336407",
        )

    def test_granted(self) -> None:
        """A mapping is read whole."""
        external = Endpoint("198.51.100.7", 49153)
        self.assertEqual(
            pcp.decode(GRANTED), pcp.Answer(pcp.MAP, 0, 3600, 100, NONCE, 41641, external)
        )

    def test_refused(self) -> None:
        """An error needs no more than the header."""
        refused = bytes.fromhex("028100020000001e00000064") + bytes(12)
        self.assertEqual(pcp.decode(refused), pcp.Answer(pcp.MAP, 2, 30, 100))

    def test_nonsense(self) -> None:
        """What is cut short, a request, of TCP, over IPv6, or of NAT-PMP is no answer."""
        tcp = GRANTED[:36] + b"\6" + GRANTED[37:]
        six = GRANTED[:44] + b"\x20" + GRANTED[45:]
        request = pcp.announce("192.168.1.2")
        for wrong in (GRANTED[:-1], GRANTED[:23], b"", tcp, six, request, bytes(1200)):
            self.assertRaises(DecodeError, pcp.decode, wrong)
        self.assertTrue(pcp.is_version_refused(b"\0\x80\0\1" + bytes(4)))
        self.assertFalse(pcp.is_version_refused(GRANTED))

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.binary(max_size=80).map(lambda tail: b"\2\x81\0\0" + tail) | st.binary(max_size=80))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are an answer or a DecodeError."""
        try:
            pcp.decode(data)
        except DecodeError:
            pass


class NatPmpTests(SynchronousTestCase):
    """RFC 6886."""

    def test_requests(self) -> None:
        """They are laid out as in sections 3.2 and 3.3."""
        self.assertEqual(natpmp.ADDRESS_REQUEST, b"\0\0")
        self.assertEqual(natpmp.map_udp(41641, 3600, 49153).hex(), "00010000a2a9c00100000e10")

    def test_answers(self) -> None:
        """The address and the mapping, and errors without the rest."""
        for text, answer in (
            ("0080000000000064c6336407", natpmp.Address(0, 100, "198.51.100.7")),
            (
                "0081000000000064a2a9c00100000e10",
                natpmp.Mapped(0, 100, 41641, 49153, 3600),
            ),
            ("0081000200000064", natpmp.Mapped(2, 100, 0, 0, 0)),
            ("0080000300000064", natpmp.Address(3, 100, "0.0.0.0")),
        ):
            self.assertEqual(natpmp.decode(bytes.fromhex(text)), answer)

    def test_nonsense(self) -> None:
        """What is cut short, a request, or of PCP is no answer."""
        for text in ("", "00800000", "0080000000000064c633", "0081000000000064a2a9", "0000" * 6):
            self.assertRaises(DecodeError, natpmp.decode, bytes.fromhex(text))
        self.assertRaises(DecodeError, natpmp.decode, GRANTED)

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.sampled_from((b"", b"\0\x80\0\0", b"\0\x81\0\0")), st.binary(max_size=24))
    def test_anything(self, head: bytes, tail: bytes) -> None:
        """Any bytes are an answer or a DecodeError."""
        try:
            natpmp.decode(head + tail)
        except DecodeError:
            pass


class SsdpTests(SynchronousTestCase):
    """UPnP's search."""

    def answer(self, location: str, target: str = ssdp.TARGETS[0]) -> bytes:
        """What a device at 192.168.1.1 says."""
        lines = ["HTTP/1.1 200 OK", f"St: {target}", f"lOCATION:{location}", "EXT:", "", ""]
        return "\r\n".join(lines).encode()

    def test_search(self) -> None:
        """It asks everybody, or one."""
        asked = ssdp.search(ssdp.TARGETS[1], ssdp.GROUP)
        self.assertTrue(asked.startswith(b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"))
        self.assertTrue(asked.endswith(b"InternetGatewayDevice:2\r\n\r\n"))

    def test_location(self) -> None:
        """Where the description is, whatever the case of the headers; not of other devices."""
        url = "http://192.168.1.1:5000/rootDesc.xml"
        self.assertEqual(ssdp.location(self.answer(url), "192.168.1.1"), url)
        self.assertIsNone(ssdp.location(self.answer(url, "upnp:rootdevice"), "192.168.1.1"))

    def test_elsewhere(self) -> None:
        """A description on another host, by another scheme, or with a trick in it is refused."""
        for url in (
            "http://192.168.1.2:5000/",
            "http://example.org/",
            "https://192.168.1.1/",
            "file:///etc/passwd",
            "http://192.168.1.1@evil.example/",
            "http://user@192.168.1.1/",
            "http://192.168.1.1:99999/",
            "http://192.168.1.1:0/",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/\x01b",
            "http://192.168.1.1/\u2028b",
            "http://[::1",
            "//192.168.1.1/",
            "",
        ):
            self.assertRaises(DecodeError, ssdp.location, self.answer(url), "192.168.1.1")

    def test_nonsense(self) -> None:
        """What is no answer is none."""
        for data in (b"", b"\xff", b"NOTIFY * HTTP/1.1\r\n", b"HTTP/1.1 404 No\r\n", b"HTTP/1."):
            self.assertRaises(DecodeError, ssdp.location, data, "192.168.1.1")

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.binary(max_size=200), st.booleans())
    @example(b"ST: " + ssdp.TARGETS[0].encode() + b"\r\nLOCATION: http://[", True)
    def test_anything(self, data: bytes, headed: bool) -> None:
        """Any bytes are an answer or a DecodeError."""
        try:
            ssdp.location((b"HTTP/1.1 200 OK\r\n" if headed else b"") + data, "192.168.1.1")
        except DecodeError:
            pass


class EpochTests(SynchronousTestCase):
    """RFC 6887 §8.5."""

    def test_clock(self) -> None:
        """Time that passes for both alike is no restart, even if a clock is a little off."""
        epoch = Epoch()
        self.assertFalse(epoch.restarted(500, 100.0))
        for now, value in ((100.0, 499), (160.0, 560), (1160.0, 1560), (1161.0, 1563)):
            self.assertFalse(epoch.restarted(value, now), value)

    def test_restart(self) -> None:
        """Going back is one, and so is going much slower or faster."""
        for value in (90, 0, 505, 700):
            epoch = Epoch()
            epoch.restarted(500, 100.0)
            self.assertTrue(epoch.restarted(value, 200.0), value)
            self.assertFalse(epoch.restarted(value + 10, 210.0))
