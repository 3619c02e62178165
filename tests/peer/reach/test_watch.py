"""Tests for :mod:`tunnelmesh.peer.reach.watch` and :mod:`~tunnelmesh.peer.reach.route_monitor`."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.peer.reach import watch as module
from tunnelmesh.peer.reach.route_monitor import SETTLE
from tunnelmesh.peer.reach.watch import Watch, routes


class FakeReactor(Clock):
    """A clock that remembers who reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """Somebody wants to read."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """No more."""
        self.readers.remove(reader)


class WatchTests(SynchronousTestCase):
    """When the network counts as changed."""

    def setUp(self) -> None:
        """A watch on a network of two addresses."""
        self.reactor = FakeReactor()
        self.asleep = 0.0
        self.network = ["192.168.1.2"]
        self.changes = 0
        self.watch = Watch(
            self.reactor,
            lambda: tuple(self.network),
            lambda: self.reactor.seconds() + self.asleep,
            self.changed,
        )
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def changed(self) -> None:
        """The network changed."""
        self.changes += 1

    def rouse(self, times: int = 1) -> None:
        """The kernel says that something changed."""
        for reader in self.reactor.readers:
            for _ in range(times):
                reader.doRead()
        self.reactor.advance(SETTLE)

    def test_quiet(self) -> None:
        """Nothing happens while nothing happens."""
        self.reactor.pump([1.0] * 100)
        self.assertEqual(self.changes, 0)

    def test_another_network(self) -> None:
        """Another address counts once, however many messages tell of it."""
        self.network[0] = "10.0.0.2"
        self.rouse(20)
        self.assertEqual(self.changes, 1)
        self.rouse()
        self.assertEqual(self.changes, 1)

    def test_much_ado(self) -> None:
        """Messages without a change are nothing."""
        self.rouse(20)
        self.assertEqual(self.changes, 0)

    def test_sleep(self) -> None:
        """A machine that was asleep sees the wall clock jump: everything is doubtful."""
        self.reactor.pump([1.0] * 20)
        self.asleep += 3600
        self.reactor.pump([1.0] * 6)
        self.assertEqual(self.changes, 1)
        self.reactor.pump([1.0] * 60)
        self.assertEqual(self.changes, 1)

    def test_clock_set_back(self) -> None:
        """A clock that is set back is no sleep."""
        self.asleep -= 3600
        self.reactor.pump([1.0] * 60)
        self.assertEqual(self.changes, 0)

    def test_stop(self) -> None:
        """It leaves neither a timer nor a reader."""
        self.network[0] = "10.0.0.2"
        for reader in self.reactor.readers:
            reader.doRead()
        self.watch.stop()
        self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.readers), ([], []))
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.changes, 0)

    def test_without_netlink(self) -> None:
        """Where there is no rtnetlink, waking up is noticed all the same."""
        self.watch.stop()
        self.patch(socket, "AF_NETLINK", None)
        self.watch.start()
        self.assertEqual(self.reactor.readers, [])
        self.reactor.pump([1.0] * 20)
        self.asleep += 3600
        self.reactor.pump([1.0] * 6)
        self.assertEqual(self.changes, 1)


class RoutesTests(SynchronousTestCase):
    """The kernel's routes as text."""

    def test_leaves_out(self) -> None:
        """One's own interface does not count."""
        file = self.mktemp()
        with open(file, "w", encoding="ascii") as table:
            table.write("Iface\tDestination\neth0\t0000\ntm0\t0064\n")
        self.patch(module, "_ROUTES", module.Path(file))
        self.assertEqual(routes("tm0"), "Iface\tDestination\neth0\t0000")

    def test_missing(self) -> None:
        """Where there is no such file, there are no routes to compare."""
        self.patch(module, "_ROUTES", module.Path(self.mktemp()))
        self.assertEqual(routes("tm0"), "")
