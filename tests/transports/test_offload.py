"""Tests for :mod:`tunnelmesh.transports.offload`."""

import random
import socket
import sys
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.bulk.run import MAX_PAYLOAD, MAX_SEGMENTS, Run
from tunnelmesh.transports import offload
from tunnelmesh.transports.offload import (
    UDP_GRO,
    by_kind,
    cut,
    runs,
    segment_of,
)

BATCHES = st.lists(
    st.sampled_from([0, 1, 32, 100, 1452, 9000]).map(lambda size: bytes([size % 251]) * size),
    max_size=200,
)


class RunsTests(SynchronousTestCase):
    """Cutting a batch into what one call can send."""

    @given(BATCHES)
    @settings(max_examples=100, derandomize=True)
    def test_every_run_can_be_sent(self, batch: list[bytes]) -> None:
        """Nothing is lost or reordered, and each run is within the kernel's rules."""
        found = runs(batch)
        self.assertEqual(batch, [datagram for run in found for datagram in run.buffers])
        for run in found:
            sizes = [len(datagram) for datagram in run.buffers]
            self.assertEqual({run.segment}, {*sizes[:-1], run.segment})
            self.assertEqual(run.count, len(sizes))
            if run.count > 1:
                self.assertEqual(run.parts(), [run])
            self.assertTrue(run.count == 1 or 0 < sizes[-1] <= run.segment)
            self.assertLessEqual(run.count, MAX_SEGMENTS)
            self.assertTrue(run.count == 1 or sum(sizes) <= MAX_PAYLOAD)

    def test_equal_datagrams_go_together(self) -> None:
        """A batch of equal datagrams with a short last one is one run."""
        self.assertEqual(1, len(runs([bytes(1452)] * 20 + [bytes(40)])))

    @given(st.integers(1, 20_000), st.integers(1, 150_000), st.integers(0, 150_000))
    @settings(max_examples=100, derandomize=True)
    def test_parts(self, segment: int, size: int, parted: int) -> None:
        """A run of any length leaves in calls that the kernel takes, without a byte lost."""
        data = random.Random(size).randbytes(size)
        buffers = [memoryview(data)[:parted], memoryview(data)[parted:]]
        for run in (
            Run(buffers, segment, -(-size // segment)),
            Run([data], segment, -(-size // segment)),
        ):
            datagrams = [data[at : at + segment] for at in range(0, size, segment)]
            self.assertEqual(datagrams, run.datagrams())
            parts = run.parts()
            self.assertEqual(datagrams, [each for part in parts for each in part.datagrams()])
            for part in parts:
                self.assertEqual((part.segment, part.count), (segment, len(part.datagrams())))
                self.assertLessEqual(part.count, MAX_SEGMENTS)
                self.assertLessEqual(sum(map(len, part.buffers)), MAX_PAYLOAD)


class CutTests(SynchronousTestCase):
    """Taking apart what one call has received."""

    @given(st.integers(0, 3000), st.integers(0, 3000))
    @settings(max_examples=100, derandomize=True)
    def test_cut(self, size: int, reported: int) -> None:
        """What came together is cut at the segment size, the last piece being what is left."""
        data = bytes(range(256)) * 12
        ancillary = [(socket.IPPROTO_UDP, UDP_GRO, reported.to_bytes(4, sys.byteorder))]
        segment = segment_of(size, ancillary)
        pieces = cut(memoryview(data)[:size], segment)
        self.assertEqual(data[:size], b"".join(pieces))
        self.assertEqual({segment}, {segment, *map(len, pieces[:-1])} if reported else {segment})
        self.assertEqual(segment, reported or size)

    def test_cut_without_offload(self) -> None:
        """Without word from the kernel it is one datagram."""
        self.assertEqual([b"abc"], cut(memoryview(b"abc"), segment_of(3, [])))
        self.assertEqual([b""], cut(memoryview(b""), segment_of(0, [])))

    @given(st.lists(st.sampled_from([4, 5, 9]), max_size=64), st.integers(1, 40), st.data())
    @settings(max_examples=100, derandomize=True)
    def test_by_kind(self, kinds: list[int], segment: int, drawn: st.DataObject) -> None:
        """Datagrams of one kind are told from others, in order and whole."""
        datagrams = [bytes([kind]) * segment for kind in kinds]
        if datagrams:
            datagrams[-1] = datagrams[-1][: drawn.draw(st.integers(1, segment))]
        data = b"".join(datagrams)
        found = by_kind(memoryview(data), segment, b"\4\5")
        self.assertEqual(data, b"".join(part for _, part in found))
        for kind, part in found:
            firsts = {each[0] for each in cut(part, segment)} if part else set()
            self.assertTrue(firsts <= ({9} if kind is None else {kind}))
        sides = [kind for kind, _ in found]
        self.assertTrue(all(one != other for one, other in pairwise(sides)))


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
        if not (offload.receive_runs(receiver) and offload.can_segment(sender)):
            raise SkipTest("this kernel has no UDP_GRO, or no UDP_SEGMENT")
        run = [bytes([number]) * 1000 for number in range(20)] + [b"short"]
        offload.send_run(sender, Run(run, 1000, len(run)), receiver.getsockname())
        buffer = memoryview(bytearray(1 << 16))
        found: list[bytes] = []
        while len(found) < len(run):
            size, ancillary, _, _ = receiver.recvmsg_into([buffer], offload.ANCILLARY)
            found += cut(buffer[:size], segment_of(size, ancillary))
        self.assertEqual(run, found)

    def test_a_system_without(self) -> None:
        """A socket that cannot is told by asking it."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(stream.close)
        self.assertFalse(offload.can_segment(stream))
        self.assertFalse(offload.receive_runs(stream))
