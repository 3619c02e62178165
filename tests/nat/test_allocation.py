"""How ports are chosen, told from samples."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat.allocation import HIGHEST, LOWEST, Choice, Sample, allocation
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Allocation

HOST = "198.51.100.1"


def samples(ports: Sequence[int], hosts: Sequence[str] = (HOST,)) -> list[Sample]:
    """Mappings of sockets 50001 and up, in two bursts a tenth of a second apart."""
    half = len(ports) // 2
    return [
        Sample(0.1 * (n >= half), 50001 + n, Endpoint(hosts[n % len(hosts)], port))
        for n, port in enumerate(ports)
    ]


def found(*ports: int) -> Allocation:
    """The verdict on these ports."""
    return allocation(samples(ports))


class SequenceTests(SynchronousTestCase):
    """NATs that count."""

    def test_quiet(self) -> None:
        """Steps of one, nobody else: the sequence, and at most ten others a second."""
        verdict = found(40000, 40001, 40002, 40003, 40004, 40005, 40006, 40007)
        self.assertEqual(verdict.kind, Choice.SEQUENTIAL)
        self.assertEqual((verdict.port, verdict.step), (40007, 1))
        self.assertAlmostEqual(verdict.rate, 10.0)

    def test_steps(self) -> None:
        """Any step, up or down, with others' ports in between."""
        for step in (1, 2, 3, 8, -1, -2):
            ports = [40000 + step * n for n in (0, 1, 2, 4, 9, 10, 12, 13)]
            verdict = found(*ports)
            self.assertEqual((verdict.kind, verdict.step), (Choice.SEQUENTIAL, step))
            self.assertEqual(verdict.port, ports[-1])
            self.assertAlmostEqual(verdict.rate, (13 - 7 + 1) / 0.1)

    def test_begins_again(self) -> None:
        """A sequence at the end of its range is one all the same."""
        verdict = found(65533, 65534, 65535, 1024, 1025, 1026, 1027, 1028)
        self.assertEqual((verdict.kind, verdict.step, verdict.port), (Choice.SEQUENTIAL, 1, 1028))

    def test_overtaken(self) -> None:
        """One packet that overtook another does not hide the sequence."""
        verdict = found(4000, 4001, 4003, 4002, 4004, 4005, 4006, 4007)
        self.assertEqual((verdict.kind, verdict.step), (Choice.SEQUENTIAL, 1))

    @given(st.integers(1, 8), st.lists(st.integers(0, 20), min_size=6, max_size=6), st.booleans())
    @settings(max_examples=100, derandomize=True)
    def test_any(self, step: int, others: list[int], down: bool) -> None:
        """Whatever others do, if they are quiet once, the sequence and its step are found."""
        ports = [30000]
        for between in (*others, 0):
            ports.append(ports[-1] + (-step if down else step) * (1 + between))
        verdict = found(*ports)
        self.assertEqual(verdict.kind, Choice.SEQUENTIAL)
        self.assertEqual(verdict.step, -step if down else step)
        self.assertAlmostEqual(verdict.rate, (sum(others) + 1) / 0.1)


class OtherTests(SynchronousTestCase):
    """NATs that do not."""

    def test_preserving(self) -> None:
        """The sockets' own ports, but for one that was taken."""
        ports = [*range(50001, 50008), 1234]
        self.assertEqual(found(*ports).kind, Choice.PRESERVED)

    def test_random(self) -> None:
        """Ports from everywhere are random, and hardly ever taken for anything else."""
        random = Random(1)
        kinds = [found(*random.sample(range(LOWEST, HIGHEST + 1), 8)).kind for _ in range(20_000)]
        self.assertEqual(kinds.count(Choice.SEQUENTIAL), 0)
        self.assertLess(kinds.count(Choice.BLOCK), 20)

    def test_block(self) -> None:
        """Random ports of a block: most of the block is found, and not much more."""
        random = Random(1)
        mistaken = 0
        for size in (512, 2048, 8192):
            block = range(20480, 20480 + size)
            for _ in range(1000):
                verdict = found(*random.sample(block, 8))
                if verdict.kind == Choice.SEQUENTIAL:
                    mistaken += 1
                    continue
                self.assertEqual(verdict.kind, Choice.BLOCK)
                covered = len(set(block) & set(range(verdict.low, verdict.high + 1)))
                self.assertGreater(covered, 0.3 * size)
                self.assertLess(verdict.high - verdict.low, 1.7 * size)
        self.assertLess(mistaken, 10)

    def test_pool(self) -> None:
        """Several external addresses are counted, those of other sockets as well."""
        ports = [40000 + n for n in range(8)]
        pooled = samples(ports, (HOST, "198.51.100.2", "198.51.100.3"))
        self.assertEqual(allocation(pooled).hosts, 3)
        self.assertEqual(allocation(samples(ports), [Endpoint("198.51.100.9", 1)]).hosts, 2)

    def test_too_few(self) -> None:
        """A few samples are no verdict."""
        self.assertEqual(found(1, 2, 3, 4).kind, Choice.UNKNOWN)
        self.assertEqual(found().kind, Choice.UNKNOWN)

    @given(st.lists(st.integers(1, 65535), max_size=12))
    @settings(max_examples=200, derandomize=True)
    def test_any_ports(self, ports: list[int]) -> None:
        """A server can tell us anything; a range is always one of ports."""
        verdict = found(*ports)
        if verdict.high:
            self.assertTrue(1 <= verdict.low <= verdict.high <= HIGHEST)
