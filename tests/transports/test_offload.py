"""Tests for :mod:`tunnelmesh.transports.offload`."""

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.transports import offload
from tunnelmesh.transports.offload import MAX_PAYLOAD, MAX_SEGMENTS, UDP_GRO, cut, runs

BATCHES = st.lists(
    st.sampled_from([1, 32, 100, 1452, 9000]).map(lambda size: bytes([size % 251]) * size),
    max_size=200,
)


class RunsTests(SynchronousTestCase):
    """Cutting a batch into what one call can send."""

    @given(BATCHES)
    @settings(max_examples=100, derandomize=True)
    def test_every_run_can_be_sent(self, batch: list[bytes]) -> None:
        """Nothing is lost or reordered, and each run is within the kernel's rules."""
        found = runs(batch)
        self.assertEqual(batch, [datagram for run in found for datagram in run])
        for run in found:
            sizes = {len(datagram) for datagram in run[:-1]}
            self.assertLessEqual(len(sizes), 1)
            self.assertTrue(all(len(run[-1]) <= size for size in sizes))
            self.assertLessEqual(len(run), MAX_SEGMENTS)
            self.assertTrue(len(run) == 1 or sum(map(len, run)) <= MAX_PAYLOAD)

    def test_equal_datagrams_go_together(self) -> None:
        """A batch of equal datagrams with a short last one is one run."""
        self.assertEqual(1, len(runs([bytes(1452)] * 20 + [bytes(40)])))

    @given(st.integers(1, 3000), st.integers(0, 3000))
    @settings(max_examples=100, derandomize=True)
    def test_cut(self, size: int, segment: int) -> None:
        """What came together is cut at the segment size, the last piece being what is left."""
        data = bytes(range(256)) * 12
        ancillary = [(socket.IPPROTO_UDP, UDP_GRO, segment.to_bytes(4, "little"))]
        pieces = cut(memoryview(data)[:size], ancillary)
        self.assertEqual(data[:size], b"".join(pieces))
        if segment:
            self.assertTrue(all(len(piece) == segment for piece in pieces[:-1]))

    def test_cut_without_offload(self) -> None:
        """Without word from the kernel it is one datagram."""
        self.assertEqual([b"abc"], cut(memoryview(b"abc"), []))


class KernelTests(SynchronousTestCase):
    """The kernel does what the manual says."""

    def test_round_trip(self) -> None:
        """A run sent in one call arrives as the datagrams that it was made of."""
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        self.addCleanup(sender.close)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        if not offload.receive_runs(receiver):
            raise SkipTest("this kernel has no UDP_GRO")
        run = [bytes([number]) * 1000 for number in range(20)] + [b"short"]
        offload.send_run(sender, run, receiver.getsockname())
        buffer = memoryview(bytearray(1 << 16))
        found: list[bytes] = []
        while len(found) < len(run):
            size, ancillary, _, _ = receiver.recvmsg_into([buffer], offload.ANCILLARY)
            found += cut(buffer[:size], ancillary)
        self.assertEqual(run, found)
