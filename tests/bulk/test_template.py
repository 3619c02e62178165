"""Super-packets in template segments, of which any may be lost."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import contents, super_packet, super_packets, template, whole
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.template import assemble
from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.virtio import EMPTY, HEADER_SIZE


def arrived(packet: SuperPacket, first: int, count: int) -> tuple[bytearray, int, int]:
    """A buffer with *count* segments from *first* on behind their template, and where they are."""
    begin = first * packet.segment_size
    payload = contents(packet)[begin : begin + count * packet.segment_size]
    buffer = bytearray(b"before" + template(packet) + payload + b"after")
    return buffer, 6, len(buffer) - 5


class AssembleTests(SynchronousTestCase):
    """What has arrived becomes a packet."""

    @settings(max_examples=80, derandomize=True, deadline=None, database=None)
    @given(super_packets(), st.data())
    def test_any_run(self, packet: SuperPacket, data: st.DataObject) -> None:
        """Any run of segments becomes the packets that the kernel would have sent for them."""
        first = data.draw(st.integers(0, packet.count - 1))
        count = data.draw(st.integers(1, packet.count - first))
        buffer, start, stop = arrived(packet, first, count)
        result = assemble(buffer, start, stop, first)
        if result is None:
            self.assertEqual(count, 1)
            self.assertEqual(buffer[start : start + HEADER_SIZE], EMPTY)
            packets = [bytes(buffer[start + HEADER_SIZE : stop])]
        else:
            self.assertEqual((result.start, result.stop, result.count), (start, stop, count))
            packets = result.packets()
        self.assertEqual(packets, packet.packets()[first : first + count])
        self.assertEqual((buffer[:6], buffer[stop:]), (b"before", b"after"))

    def test_complete(self) -> None:
        """Nothing is changed where nothing is lost."""
        headers = IP(src="100.96.0.1", dst="100.96.0.2") / TCP(flags="CPA")
        packet = super_packet(headers, bytes(range(250)) * 100, 1400)
        buffer, start, stop = arrived(packet, 0, packet.count)
        assemble(buffer, start, stop, 0)
        self.assertEqual(bytes(buffer[start:stop]), whole(packet))

    def test_refused(self) -> None:
        """A payload of no whole segments, none, or more than there was, is not believed."""
        headers = IP(src="100.96.0.1", dst="100.96.0.2") / TCP(flags="A")
        packet = super_packet(headers, bytes(3500), 1000)
        for first, missing in [(0, 1), (1, 501), (2, 1), (0, 3500), (1, 0), (4, 500), (255, 2500)]:
            buffer, start, stop = arrived(packet, 0, 4)
            with self.assertRaises(DecodeError, msg=f"{first} {missing}"):
                assemble(buffer, start, stop - missing, first)

    @settings(max_examples=150, derandomize=True, deadline=None, database=None)
    @given(super_packets(), st.data())
    def test_hostile(self, packet: SuperPacket, data: st.DataObject) -> None:
        """Whatever comes is refused, or left as a super-packet that is what it says."""
        buffer, start, stop = arrived(packet, 0, packet.count)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(start, start + HEADER_SIZE + packet.headers - 1))
            buffer[at] = data.draw(st.integers(0, 255))
        stop = data.draw(st.integers(start, stop) | st.just(stop))
        try:
            result = assemble(buffer, start, stop, data.draw(st.integers(0, 255)))
        except DecodeError:
            return
        if result is not None:
            SuperPacket.read(buffer, start, stop)
        self.assertEqual(buffer[:6], b"before")
        self.assertEqual(buffer[-5:], b"after")
