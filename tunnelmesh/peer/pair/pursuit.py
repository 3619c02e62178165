"""The search for a direct path to one remote peer: meetings, and the probes they lead to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, ip_address

from tunnelmesh.identity import is_mesh_address6
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.behaviour import punchable
from tunnelmesh.nat.candidates import behaviour_of, endpoints_to_try, share_ipv6
from tunnelmesh.nat.punch import MAX_CANDIDATES, Punch
from tunnelmesh.paths.retry import Retry
from tunnelmesh.peer.pair.hard_pursuit import HardPursuit
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.pair.tcp_pursuit import TcpPursuit
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import PING, ProbeSeal
from tunnelmesh.wire.signal import Connect, Describe, Meet

LONGEST_WAIT = 2.0
"""Seconds that the coordinator may delay a meeting: it has no reason to exceed one."""


AFTER_HARD = 0.5
"""Seconds after a hard punch's start at which the plain one follows: what it sends makes the NAT
allot ports, which a hard punch has counted on."""


class Pursuit:
    """Looks for a direct path, as long as its owner wants one.

    :param address: the remote peer's mesh address.
    :param seal: for probes between the two.
    :param lost: told when a TCP connection closes that was a path.
    :param relay_only: whether none is wanted.

    :ivar them: what the remote peer last described of its network, as a meeting told.
    :ivar met_at: when the last meeting was.
    :ivar probes: punching probes sent.
    :ivar attempts: attempts to punch.
    :ivar hard: the search where that cannot find one.
    :ivar tcp: the search over TCP, for want of UDP.
    :ivar curious: whether to meet though a direct path is in use: there may be a shorter one now.
    :ivar left_out: candidates that were told but not probed.
    """

    def __init__(
        self,
        address: IPv4Address,
        seal: ProbeSeal,
        around: Surroundings,
        now: float,
        lost: Callable[[IPath], None],
        *,
        relay_only: bool = False,
    ) -> None:
        self.them: Describe | None = None
        self.met_at: float | None = None
        self.probes = 0
        self.attempts = 0
        self.curious = False
        self.left_out = 0
        self._address = address
        self._seal = seal
        self._around = around
        self._relay_only = relay_only
        self.hard = HardPursuit(seal, around)
        self.tcp = TcpPursuit(seal, around, lost)
        self._punch: Punch | None = None
        self._retry = Retry(now, around.random)

    @property
    def hopeful(self) -> bool:
        """Whether a direct path is possible, as far as both sides' behaviour is known."""
        if self.punchable or self.them is None:
            return True
        return not self.them.relay_only and self.tcp.hopeful(self._around.own(), self.them)

    @property
    def punchable(self) -> bool:
        """Whether one over UDP is."""
        if self.them is None:
            return True
        if self.them.relay_only:
            return False
        own = self._around.own()
        if share_ipv6(own, self.them):
            return True
        plain = punchable(behaviour_of(own), behaviour_of(self.them))
        return plain or self.hard.hopeful(own, self.them)

    def deadline(self, wanted: bool) -> float | None:
        """When to call :meth:`expire`."""
        punching = None if self._punch is None else self._punch.deadline
        meeting = self._retry.deadline if wanted and not self.hard.running else None
        return min((at for at in (punching, meeting) if at is not None), default=None)

    def expire(self, now: float, wanted: bool) -> None:
        """Time has come.

        :param wanted: whether to ask for a meeting, if it is time for one.
        """
        if self._punch is not None:
            self._probe(self._punch.expire(now))
        if wanted and not self.hard.running and now >= self._retry.deadline:
            self._retry.tried(now, self.hopeful)
            self._around.signal(Connect(self._address))

    def used(self, now: float) -> None:
        """Traffic passes: a better path would be worth something."""
        self._retry.used(now)

    def hint(self, now: float) -> None:
        """Something changed: look again soon."""
        self._retry.hint(now)

    def network_changed(self, now: float) -> None:
        """This machine is in another network: meet once, whatever path there is."""
        self.curious = True
        self.hint(now)

    def meet(self, meet: Meet, now: float) -> None:
        """The coordinator has told both sides to punch."""
        self.them = meet.them
        self.met_at = now
        self.curious = False
        if self._relay_only or meet.them.relay_only:
            return
        own = self._around.own()
        start = now + min(max(meet.after, 0.0), LONGEST_WAIT)
        if self.hard.meet(meet, own, start):
            start += AFTER_HARD
        else:
            self._around.met()
        candidates = endpoints_to_try(meet.them, own, self._around.avoid())
        outer = [endpoint for endpoint in candidates if not self.is_inner(endpoint)]
        self.left_out += len(meet.them.candidates) - len(outer[:MAX_CANDIDATES])
        self._begin(outer, start)
        self.tcp.meet(own, meet.them, start)
        self.attempts += 1
        self._retry.met(now, self.hopeful)

    def seen(self, endpoint: Endpoint, now: float) -> None:
        """The peer shows up at an endpoint that is new: see whether it can be reached there."""
        if self._punch is None or self._punch.deadline is None:
            self._begin([endpoint], now)
        else:
            self._probe(self._punch.seen(endpoint, now))

    def ponged(self, token: int, path: IPath, now: float) -> float | None:
        """A pong came in.

        :returns: its round trip in seconds, if it answers a probe of the search.
        """
        if isinstance(path, TcpPath):
            return self.tcp.ponged(token, path, now)
        rtt = None if self._punch is None else self._punch.ponged(token, now)
        if rtt is None:
            rtt = self.hard.ponged(token, path, now)
            if rtt is not None:
                self._retry.tried(now, hopeful=True)  # not again while the path is being proven
        return rtt

    def stop(self) -> None:
        """A direct path is in use; more probes would only burden the routers."""
        if self._punch is not None:
            self._punch.stop()
        self.tcp.stop()
        self.hard.found()

    def is_inner(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is in the mesh itself: that path would run through the tunnel, and
        the tunnel through that path, without end."""
        address = ip_address(endpoint.host)
        return address in self._around.interface.network or is_mesh_address6(address)

    def _begin(self, candidates: Sequence[Endpoint], start: float) -> None:
        self._punch = Punch(candidates, start, self._around.tokens)

    def _probe(self, pings: Sequence[tuple[int, Endpoint]]) -> None:
        for token, endpoint in pings:
            self._around.udp.send([self._seal.seal(PING, token, 0)], endpoint)
        self.probes += len(pings)
