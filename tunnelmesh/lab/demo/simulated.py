"""The stage in memory: the real coordinator and peers on a simulated internet."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from twisted.web.client import Agent, ResponseDone
from twisted.web.iweb import IResponse
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tunnelmesh.errors import LabError, TunnelMeshError
from tunnelmesh.lab.demo.stage import (
    FILE_NAME,
    HTTP_PORT,
    NAMES,
    PING_EVERY,
    PLACES,
    SSH_PORT,
    Machine,
    Transfer,
)
from tunnelmesh.lab.kernel import KINDS
from tunnelmesh.lab.sim import Host, InnerHost, Internet, Nat
from tunnelmesh.lab.sim.mesh import COORDINATOR, SimulatedCoordinator, SimulatedPeer
from tunnelmesh.peer.answers.control import Route, routes

FILE_SIZE = 2 << 20
"""Bytes: all of TCP inside the mesh is Python here."""

MOMENT = 0.02
"""Simulated seconds between two looks at the services."""

LOGIN = ("ada", "lovelace")
"""User and password of a proxy that asks for one."""


class SimulatedStage:
    """See :class:`~tunnelmesh.lab.demo.stage.Stage`.

    :param kinds: of the two gateways.
    :param paced: let simulated time pass no faster than people's.
    :param why: what real NATs lack here.
    :param seed: where all randomness comes from.
    """

    coordinator = COORDINATOR[0]

    def __init__(self, kinds: tuple[str, str], paced: bool, why: str, seed: int = 0) -> None:
        self.about = (
            f"Real NATs cannot be had here: {why}.\n"
            "So the real coordinator and peers run on an internet simulated in memory."
        )
        self._internet = Internet(seed)
        self._stack = ExitStack()
        self._paced = paced
        self._kinds = kinds
        self._nats: list[Nat] = []
        self._peers: dict[str, SimulatedPeer] = {}
        self._routes: dict[str, dict[str, Route]] = {}
        self._answers: list[tuple[int, float]] = []
        self._fetching = _Fetching()
        self._data = self._internet.entropy(FILE_SIZE)
        self.size, self.sha256 = FILE_SIZE, hashlib.sha256(self._data).hexdigest()

    def __enter__(self) -> SimulatedStage:
        with ExitStack() as stack:
            patcher = MonkeyPatcher(*self._internet.patches())
            patcher.patch()
            stack.callback(patcher.restore)
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._hosts = [self._host(number) for number in (1, 2)]
            self._stack = stack.pop_all()
        self._ahead = self.now() - time.monotonic()
        one, other = (
            Machine(name, place, kind, host.addresses[0], nat.address)
            for name, place, kind, host, nat in zip(
                NAMES, PLACES, self._kinds, self._hosts, self._nats, strict=True
            )
        )
        self.machines = (one, other)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def now(self) -> float:
        return self._internet.clock.seconds()

    def let_pass(self) -> None:
        self._internet.run(MOMENT)
        early = self.now() - time.monotonic() - self._ahead
        if self._paced and early > 0:
            time.sleep(early)

    def start_coordinator(self) -> None:
        self._coordinator = SimulatedCoordinator(self._internet, self._folder / "coordinator")
        self._coordinator.start()

    def start_peers(self) -> None:
        token = self._coordinator.invite()
        for number, host in enumerate(self._hosts, 1):
            proxy = self._proxy(number)
            peer = SimulatedPeer(self._internet, host, self._folder / host.name, token, proxy=proxy)
            peer.start()
            assert peer.service is not None
            self._peers[host.name] = peer
            self._routes[host.name] = routes(peer.service, host)

    def ask(self, name: str, question: str, **query: str) -> Any:
        try:
            return self._routes[name][f"/{question}"](query)
        except TunnelMeshError:
            return None

    def fetch(self, address: str) -> None:
        root = Resource()
        root.putChild(FILE_NAME.encode(), Data(self._data, "application/octet-stream"))
        one, other = self._inner
        other.listenTCP(HTTP_PORT, Site(root, reactor=other))
        url = f"http://{address}:{HTTP_PORT}/{FILE_NAME}"
        self._asked = self.now()
        asking: Deferred[IResponse] = Agent(one).request(b"GET", url.encode())
        asking.addCallback(lambda response: response.deliverBody(self._fetching))
        asking.addErrback(self._fetching.fail)

    def transfer(self) -> Transfer:
        fetching = self._fetching
        if fetching.error is not None:
            raise LabError(f"the file was not fetched: {fetching.error}")
        if not fetching.done:
            return Transfer(len(fetching.data))
        sha256 = hashlib.sha256(fetching.data).hexdigest()
        return Transfer(len(fetching.data), self.now() - self._asked, sha256)

    def ping(self, address: str, number: int = 1) -> None:
        one, _ = self._inner
        pinging = one.ping(address)
        pinging.addCallbacks(lambda rtt: self._answers.append((number, rtt * 1000)), lambda _: None)
        one.callLater(PING_EVERY, self.ping, address, number + 1)

    def answers(self) -> list[tuple[int, float]]:
        return self._answers

    def cut(self, carrier: str) -> None:
        if carrier == "udp":
            self._nats[0].block(udp=True)
        else:
            self._nats[0].block(tcp_port=SSH_PORT)

    def restore(self) -> None:
        self._nats[0].unblock(udp=True, tcp_port=SSH_PORT)

    @property
    def _inner(self) -> list[InnerHost]:
        return [peer.inner for peer in self._peers.values() if peer.inner is not None]

    def _host(self, number: int) -> Host:
        nat = self._internet.nat(f"198.51.100.{number}", self._kinds[number - 1])
        self._nats.append(nat)
        lan = [f"192.168.{number}.2"] if nat.behaviour.translates else []
        return nat.host(*lan, name=NAMES[number - 1])

    def _proxy(self, number: int) -> str:
        kind = KINDS[self._kinds[number - 1]]
        if not kind.proxied:
            return "none"
        login = LOGIN if kind.name == "proxy-auth" else None
        proxy = self._nats[number - 1].proxy(f"192.168.{number}.1", login=login)
        user = "" if login is None else "{}:{}@".format(*login)
        return f"http://{user}{proxy.host.addresses[0]}:{proxy.port}"


class _Fetching(Protocol):
    """The body of an HTTP response, as it arrives."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.done = False
        self.error: str | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.done = True
        else:
            self.fail(reason)

    def fail(self, reason: Failure) -> None:
        """It will not arrive."""
        self.error = reason.getErrorMessage()
