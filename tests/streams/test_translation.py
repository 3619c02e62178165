"""Tests for :mod:`tunnelmesh.streams.translation`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.streams import translation
from tunnelmesh.streams.translation import (
    BOTH,
    LINGER,
    LISTENER,
    PATIENCE,
    PROGRAM,
    WAITING,
    Flow,
    Flows,
)

HERE = bytes([100, 96, 0, 1])
PEER, OTHER = HERE + bytes([100, 96, 0, 7]), HERE + bytes([100, 96, 0, 8])


class FlowsTestCase(SynchronousTestCase):
    """A table at time 0."""

    def setUp(self) -> None:
        self.flows = Flows()

    def begin(self, program: int = 40000, service: int = 22, now: float = 0.0) -> Flow:
        """A flow that waits for its stream."""
        flow = self.flows.begin(PEER, program, service, 1, b"syn", now)
        assert flow is not None
        return flow

    def connected(self, program: int = 40000, now: float = 0.0) -> Flow:
        """A flow that the listener has a connection of."""
        flow = self.begin(program, now=now)
        self.flows.open(flow, now)
        self.assertIs(self.flows.take_up(PEER, flow.alias, 0.0), flow)
        return flow


class LifeTests(FlowsTestCase):
    """From a SYN until nobody remembers."""

    def test_both_ways(self) -> None:
        """A flow is found by the program's ports and by its alias, with the peer's address."""
        flow = self.begin()
        self.assertIs(self.flows.find(PEER, 40000, 22), flow)
        self.assertIs(self.flows.known_as(PEER, flow.alias), flow)
        self.assertIsNone(self.flows.find(PEER, 22, 40000))
        self.assertIsNone(self.flows.find(OTHER, 40000, 22))
        self.assertIsNone(self.flows.known_as(OTHER, flow.alias))

    def test_one_port_to_many(self) -> None:
        """One port of a program has connections to several ports and peers, each its own alias."""
        flows = [self.begin(service=service) for service in (22, 80, 443)]
        self.assertEqual(len({flow.alias for flow in flows}), 3)

    def test_taken_up_once(self) -> None:
        """The listener's connection is believed once, and not before the stream is open."""
        flow = self.begin()
        self.assertIsNone(self.flows.take_up(PEER, flow.alias, 0.0))
        self.assertEqual(self.flows.open(flow, 0.0), b"syn")
        self.assertIsNone(self.flows.take_up(OTHER, flow.alias, 0.0))
        self.assertIs(self.flows.take_up(PEER, flow.alias, 0.0), flow)
        self.assertIsNone(self.flows.take_up(PEER, flow.alias, 0.0))

    def test_waits_for_stream(self) -> None:
        """A flow whose stream does not open is given back when its time is over."""
        flow = self.begin(now=10.0)
        self.assertEqual(self.flows.deadline, 10.0 + PATIENCE)
        self.assertEqual(self.flows.expire(10.0 + PATIENCE - 0.1), [])
        self.assertEqual(self.flows.expire(10.0 + PATIENCE), [flow])
        self.assertEqual((len(self.flows), self.flows.deadline), (0, None))

    def test_waits_for_kernel(self) -> None:
        """From when the stream is open, the kernel has as long again."""
        flow = self.begin()
        later = self.begin(40001, now=1.0)
        self.flows.open(flow, 4.0)
        self.assertEqual(self.flows.deadline, 1.0 + PATIENCE)
        self.assertEqual(self.flows.expire(1.0 + PATIENCE), [later])
        self.assertEqual(self.flows.expire(4.0 + PATIENCE), [flow])

    def test_connected_for_long(self) -> None:
        """A connection has no deadline: the kernel knows how long it lives."""
        flow = self.connected()
        self.assertIsNone(self.flows.deadline)
        self.assertEqual(self.flows.expire(1e9), [])
        self.assertIs(self.flows.find(PEER, 40000, 22), flow)

    def test_lingers(self) -> None:
        """A closed connection is remembered while the kernel still sends of it, a half-closed
        one for as long as it likes."""
        flow = self.connected()
        self.flows.end(flow, PROGRAM, 50.0)
        self.assertIsNone(self.flows.deadline)
        self.flows.end(flow, LISTENER, 100.0)
        flow.active = True
        self.assertEqual(self.flows.deadline, 100.0 + LINGER)
        self.assertEqual(self.flows.expire(100.0 + LINGER), [])
        self.assertIs(self.flows.known_as(PEER, flow.alias), flow)
        self.assertEqual(self.flows.expire(100.0 + 2 * LINGER), [])
        self.assertEqual(len(self.flows), 0)

    def test_reset_before_taken_up(self) -> None:
        """A program that gives up before the listener looks is not remembered for ever."""
        flow = self.begin()
        self.flows.open(flow, 0.0)
        self.flows.end(flow, BOTH, 1.0)
        self.assertEqual(self.flows.deadline, PATIENCE)
        self.assertIs(self.flows.take_up(PEER, flow.alias, 2.0), flow)
        self.assertEqual(self.flows.deadline, 2.0 + LINGER)

    def test_removed_lingers_not(self) -> None:
        """What was removed is not remembered again when its connection closes, nor is another
        that took its place disturbed."""
        flow = self.connected()
        self.flows.remove(flow)
        again = self.connected()
        self.flows.end(flow, BOTH, 1.0)
        self.flows.remove(flow)
        self.assertIsNone(self.flows.deadline)
        self.assertIs(self.flows.find(PEER, 40000, 22), again)

    def test_alias_rests(self) -> None:
        """An alias that has become free is the last to be taken again."""
        first = self.connected()
        self.flows.remove(first)
        for number in range(translation.ALIASES - 1):
            flow = self.connected(number)
            self.assertNotEqual(flow.alias, first.alias)
            self.flows.remove(flow)
        self.assertEqual(self.connected().alias, first.alias)


class BoundTests(FlowsTestCase):
    """Whoever opens many connections meets a limit."""

    def test_waiting(self) -> None:
        """Only so many wait at a time."""
        for program in range(WAITING):
            self.begin(program)
        self.assertIsNone(self.flows.begin(PEER, WAITING, 22, 1, b"", 0.0))
        self.flows.expire(PATIENCE)
        self.begin()

    def test_full(self) -> None:
        """In a full table the one that lingers longest makes room; without one there is none."""
        self.patch(translation, "FLOWS", 3)
        flows = [self.connected(program) for program in range(3)]
        self.assertIsNone(self.flows.begin(PEER, 9, 22, 1, b"", 0.0))
        self.flows.end(flows[1], BOTH, 1.0)
        self.flows.end(flows[0], BOTH, 2.0)
        self.begin(9)
        self.assertEqual(
            [self.flows.find(PEER, program, 22) for program in range(3)], [flows[0], None, flows[2]]
        )

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(0, 100))))
    @settings(max_examples=100, derandomize=True, deadline=None)
    def test_any_order(self, steps: list[tuple[int, int, float]]) -> None:
        """Whatever happens in whatever order, the table agrees with itself and ends empty."""
        flows, now = Flows(), 0.0
        known: list[Flow] = []
        for what, which, passed in steps:
            now += passed
            flow = known[which] if which < len(known) else None
            if what == 0:
                if flows.find(PEER, which, 22) is None:
                    begun = flows.begin(PEER, which, 22, 1, b"", now)
                    assert begun is not None
                    known.insert(0, begun)
            elif flow is None:
                continue
            elif what == 1 and flows.find(PEER, flow.program, 22) is flow and flow.syn is not None:
                flows.open(flow, now)
            elif what == 2 and flows.take_up(PEER, flow.alias, 0.0) is None:
                flow.active = True
            elif what == 3:
                flows.end(flow, BOTH, now)
            elif what == 4:
                flows.remove(flow)
            elif what == 5:
                flows.expire(now)
            for each in flows:
                self.assertIs(flows.find(PEER, each.program, each.service), each)
                self.assertIs(flows.known_as(PEER, each.alias), each)
        for each in flows:
            flows.end(each, BOTH, now)
        flows.expire(now + LINGER)
        self.assertEqual(len(flows), 0)
        self.assertIsNone(flows.deadline)
