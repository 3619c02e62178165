"""Tests for :mod:`tunnelmesh.transports.intake`: order, and records that are joined."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.bulk.worth import LARGE
from tunnelmesh.transports.intake import KEPT, Intake
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.record import prefix

Arrival = tuple[Endpoint, bytes]


class Sink:
    """Keeps what it is handed, datagram by datagram.

    :ivar calls: how many datagrams came with each call.
    """

    def __init__(self) -> None:
        self.got: list[Arrival] = []
        self.calls: list[int] = []
        self.whole: list[Arrival] = []

    def record_received(self, record: memoryview, segment: int, source: Endpoint) -> None:
        """All of a whole record."""
        self.whole.append((source, bytes(record)))

    def batch_received(self, datagrams: list[bytes], source: Endpoint) -> None:
        """Datagrams that are neither records nor large ones of WireGuard's."""
        assert datagrams
        assert not any(datagram[:1] == b"\5" for datagram in datagrams)
        self._take(datagrams, source)

    def run_received(self, messages: memoryview, segment: int, source: Endpoint) -> None:
        """Messages of one kind and length, the last excepted."""
        cut = [bytes(messages[at : at + segment]) for at in range(0, len(messages), segment)]
        assert {message[0] for message in cut} in ({4}, {5})
        assert segment >= LARGE or cut[0][0] == 5
        self._take(cut, source)

    def _take(self, datagrams: list[bytes], source: Endpoint) -> None:
        self.got += [(source, datagram) for datagram in datagrams]
        self.calls.append(len(datagrams))


ONE, OTHER = Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 2)


def read(intake: Intake, datagrams: list[bytes], source: Endpoint) -> None:
    """One read brings these: of one length, the last excepted."""
    data = b"".join(datagrams)
    intake.room[: len(data)] = data
    intake.add(len(data), len(datagrams[0]), source)


@st.composite
def reads(draw: st.DrawFn) -> tuple[list[bytes], Endpoint]:
    """What one read may bring."""
    size = draw(st.sampled_from([1, 20, 100, 1400]))
    kinds = draw(st.lists(st.sampled_from([4, 5, 5]), min_size=1, max_size=45))
    datagrams = [
        bytes([kind]) + number.to_bytes(2, "big") * 700 for number, kind in enumerate(kinds)
    ]
    datagrams = [datagram[:size] for datagram in datagrams]
    datagrams[-1] = datagrams[-1][: draw(st.integers(1, size))]
    return datagrams, draw(st.sampled_from([ONE, ONE, ONE, OTHER]))


class IntakeTests(SynchronousTestCase):
    """Reads, one after the other."""

    def setUp(self) -> None:
        self.sink = Sink()
        self.intake = Intake(self.sink)

    def test_whole_record(self) -> None:
        """All parts of one that come together are handed over at once; a part less, and they are
        records like others."""
        parts = [prefix(n, 3, 0, b"rite") + bytes(8) + bytes(1000) for n in range(3)]
        parts[-1] = parts[-1][:700]
        read(self.intake, parts, ONE)
        self.assertEqual(self.sink.whole, [(ONE, b"".join(parts))])
        self.assertEqual(self.sink.got, [])
        for some in parts[1:], parts[:2], [parts[1], parts[0], parts[2]]:
            read(self.intake, some, ONE)
        self.intake.hand_over()
        self.assertEqual(len(self.sink.whole), 1)
        self.assertEqual(len(self.sink.got), 7)

    @settings(max_examples=80, derandomize=True, deadline=None, database=None)
    @given(st.lists(reads(), max_size=12))
    def test_all_in_order(self, arriving: list[tuple[list[bytes], Endpoint]]) -> None:
        """Whatever comes is handed over once, whole, in order and under its sender's name."""
        self.setUp()
        expected: list[Arrival] = []
        for datagrams, source in arriving:
            read(self.intake, datagrams, source)
            expected += [(source, datagram) for datagram in datagrams]
        self.intake.hand_over()
        self.assertEqual(self.sink.got, expected)

    def test_joined(self) -> None:
        """Records that come one by one are handed over together, as if the kernel had joined."""
        for number in range(40):
            read(self.intake, [b"\5" + bytes([number]) * 1400], ONE)
        read(self.intake, [b"\5last"], ONE)
        read(self.intake, [b"\5" + bytes(1400)], ONE)
        self.intake.hand_over()
        self.assertEqual(self.sink.calls, [41, 1])

    def test_large_messages_joined(self) -> None:
        """So are WireGuard's, if they are large; a smaller one ends a run, but begins none."""
        for size in (LARGE, LARGE, LARGE - 1, LARGE - 1, LARGE - 1, LARGE):
            read(self.intake, [b"\4" * size], ONE)
        read(self.intake, [b"\5" * LARGE], ONE)
        self.intake.hand_over()
        self.assertEqual(self.sink.calls, [3, 2, 1, 1])

    def test_not_joined(self) -> None:
        """A longer record, another sender or another kind ends a run."""
        for size, source in (100, ONE), (101, ONE), (101, OTHER), (101, OTHER):
            read(self.intake, [b"\5" * size], source)
        read(self.intake, [b"\4"], OTHER)
        read(self.intake, [b"\5" * 101], OTHER)
        self.intake.hand_over()
        self.assertEqual(self.sink.calls, [1, 1, 2, 1, 1])

    def test_room(self) -> None:
        """There is always room for the longest read, and not much is kept."""
        for _ in range(20):
            self.assertGreaterEqual(len(self.intake.room), 65535)
            read(self.intake, [b"\5" * 1400] * 45, ONE)
        self.intake.hand_over()
        self.assertEqual(sum(self.sink.calls), 20 * 45)
        self.assertTrue(all(calls * 1400 < KEPT + 65535 for calls in self.sink.calls))
        self.assertTrue(all(calls * 1400 > KEPT for calls, _ in pairwise(self.sink.calls)))
