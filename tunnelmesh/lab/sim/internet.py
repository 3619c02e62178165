"""The simulated internet: where a scenario begins."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import autobahn.websocket.protocol
import txaio
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.internet import task
from twisted.protocols import tls

from tunnelmesh.errors import LabError
from tunnelmesh.lab.sim.link import Link
from tunnelmesh.lab.sim.network import Network, World
from tunnelmesh.lab.sim.packet import Packet

#: Packets of the trace that a failure shows.
TAIL = 40


class NotReachedError(LabError, AssertionError):
    """What a scenario waited for did not happen in the simulated time that it was given."""


class _Unseeded(Random):
    """A generator that nobody seeds from the operating system's."""

    def seed(self, *args: Any) -> None:
        if args:
            super().seed(*args)


class _Patches(Protocol):
    def patch(self, obj: object, attribute: str, value: object) -> object: ...


class Internet(Network):
    """Public addresses, lines, NATs and machines, all in this process and under one clock.

    The same seed gives the same packets at the same times (as long as the programs in it take
    their randomness from :attr:`random`, and their time from their host).

    :param seed: where all randomness comes from.
    :param link: the line of each host and NAT that has none of its own; change it at any time.

    :ivar clock: the time.
    :ivar random: for the programs in the simulation; the networks have their own.
    :ivar trace: the last packets.
    :ivar names: host names and their addresses.
    """

    def __init__(self, seed: int = 0, link: Link | None = None) -> None:
        world = World(seed)
        super().__init__(world, link or Link())
        self.clock = world.clock
        self.random = world.random_for("programs")
        self.trace = world.trace
        self.names = world.names

    def entropy(self, length: int) -> bytes:
        """Random bytes, for what would ask the operating system."""
        return self.random.randbytes(length)

    def forward(self, packet: Packet) -> None:
        node = self._nodes.get(packet.destination.host)
        if node is None:
            self.world.note("internet", "no route", packet)
        else:
            node.hand_down(packet)

    # Time.

    def run(self, seconds: float) -> None:
        """Let *seconds* of simulated time pass."""
        self.clock.advance(seconds)

    def run_until(self, predicate: Callable[[], object], limit: float) -> float:
        """Let time pass until *predicate* is true.

        :param limit: simulated seconds to wait at most.
        :returns: the simulated seconds that it took.
        :raises NotReachedError: if it takes longer; the message has the seed and the last packets.
        """
        start = self.clock.seconds()
        while not predicate():
            if not self.clock.step(start + limit) and not predicate():
                raise NotReachedError(self._report(limit))
        return self.clock.seconds() - start

    def _report(self, limit: float) -> str:
        return (
            f"not reached in {limit} simulated seconds (seed {self.world.seed}); "
            f"the last packets:\n{self.trace.tail(TAIL)}"
        )

    # Libraries that do not take a reactor.

    def install(self, testcase: _Patches) -> None:
        """Put libraries that keep a clock of their own under this one's, until the test ends.

        :param testcase: a trial test case, or whatever has its ``patch`` method.
        """
        for target, attribute, value in self.patches():
            testcase.patch(target, attribute, value)

    def patches(self) -> list[tuple[object, str, object]]:
        """What :meth:`install` changes, for ``twisted.python.monkey.MonkeyPatcher``."""
        clock = self.clock
        cooperator = task.Cooperator(scheduler=lambda work: clock.callLater(0, work))
        return [
            # autobahn's timers, whatever reactor its factories are given.
            (txaio.config, "loop", clock),  # type: ignore[attr-defined]
            # autobahn seeds the global generator, and draws from it.
            (autobahn.websocket.protocol, "random", _Unseeded(f"{self.world.seed} autobahn")),
            # TLS over a transport whose factory was given no clock (startTLS).
            (tls, "_get_default_clock", lambda: clock),
            # conch's limit on the time to log in.
            (SSHUserAuthServer, "clock", clock),
            # Pull producers: files and request bodies of twisted.web.
            (task, "_theCooperator", cooperator),
        ]
