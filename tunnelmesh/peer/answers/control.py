"""What the running peer answers on its control socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater

from tunnelmesh.control import stopping
from tunnelmesh.errors import NotRunningError, TunnelMeshError, UnknownPeerError
from tunnelmesh.nat.candidates import behaviour_of
from tunnelmesh.peer.answers import prospects, rules_verdict, status
from tunnelmesh.peer.answers.echo import Echoes
from tunnelmesh.peer.answers.offloads import offloads
from tunnelmesh.peer.answers.prospects import Surveyed
from tunnelmesh.peer.answers.verdict import explain

if TYPE_CHECKING:
    from tunnelmesh.peer.node import Node
    from tunnelmesh.peer.service import Peer

MAX_PINGS = 100_000
"""More than a day's worth."""

CLASSIFY_SECONDS = 6.0
"""Seconds that ``netcheck`` waits for the NAT to be classified."""

Answer = dict[str, Any] | list[Any]
Route = Callable[[dict[str, str]], Answer | Awaitable[Answer] | AsyncIterator[dict[str, Any]]]


def routes(peer: Peer, reactor: Any) -> dict[str, Route]:
    """Everything that can be asked, by the command's name."""
    echoes = Echoes(reactor)

    def joined() -> Node:
        if peer.node is None:
            raise NotRunningError("the peer is still joining the mesh; try again in a moment")
        peer.node.mesh.switch.echoed = echoes.answered
        return peer.node

    def show_status(_: dict[str, str]) -> Answer:
        return status.status(joined())

    def show_peers(_: dict[str, str]) -> Answer:
        here = joined()
        remotes = sorted(here.mesh.members.remotes.items())
        return [status.remote_status(remote, here.now()) for _, remote in remotes]

    def ping(query: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
        remote = joined().mesh.members.find(query.get("peer", ""))
        times = query.get("count", "4")
        if not (times.isascii() and times.isdigit()) or not 0 < int(times[:7]) <= MAX_PINGS:
            raise UnknownPeerError(f"cannot ping {times[:20]!r} times")
        return echoes.ping(remote, int(times))

    def show_history(query: dict[str, str]) -> Answer:
        here = joined()
        remote = here.mesh.members.find(query.get("peer", ""))
        return status.history(remote, here.now(), here.unix_time())

    def show_explain(query: dict[str, str]) -> Answer:
        here = joined()
        remote = here.mesh.members.find(query.get("peer", ""))
        verdict = explain(remote, here.describe(), here.link.failures)
        answer = {"peer": remote.name, "path": remote.path_kind, **verdict.as_dict()}
        name, access = here.membership.name, here.mesh.access
        answer["evidence"] += rules_verdict.sentences(name, remote, access, here.now())
        return answer

    async def netcheck(_: dict[str, str]) -> Answer:
        here = joined()
        here.network.restart()
        here.forwards.look()
        waited = 0.0
        while waited < CLASSIFY_SECONDS and not (
            here.network.classified and here.forwards.is_settled
        ):
            await deferLater(reactor, 0.05)
            waited += 0.05
        found = Surveyed(
            here.describe(),
            here.membership.host,
            here.network.external6 is not None,
            here.forwards.described(),
            not here.config.no_port_mapping,
            here.link.failures,
        )
        return {
            "verdict": prospects.verdict(found),
            "advice": prospects.advice(found),
            **status.status(here)["nat"],
            "in_words": behaviour_of(here.describe()).describe(),
            "addresses": list(here.network.local),
            "coordinator": status.status(here)["coordinator"],
            "proxy": None if here.egress.proxy is None else str(here.egress.proxy),
            "failures": dict(here.link.failures),
            "names": here.naming.status(),
            "offloads": offloads(here.mesh.switch.device, here.udp.four),
        }

    def forget(query: dict[str, str]) -> Answer:
        name = query.get("peer", "")
        joined().mesh.members.forget(name)
        return {"forgotten": name}

    def rename(query: dict[str, str]) -> Awaitable[Answer]:
        if "old" in query:
            raise UnknownPeerError("others are renamed on the coordinator: give one name")
        return joined().standing.rename(query.get("new", ""))

    async def leave(query: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
        yield await joined().standing.leave(force="force" in query)
        reactor.callLater(0, reactor.stop)

    def dashboard(_: dict[str, str]) -> Answer:
        raise TunnelMeshError("this is a peer: 'tunnelmesh dashboard' is for the coordinator")

    return {
        "POST /rename": rename,
        "POST /leave": leave,
        "/status": show_status,
        "/peers": show_peers,
        "/ping": ping,
        "/history": show_history,
        "/explain": show_explain,
        "/netcheck": netcheck,
        "/forget": forget,
        "/dashboard": dashboard,
        "/metrics": lambda _: {"text": status.metrics(joined()).decode()},
        "/stop": stopping(reactor, "peer"),
    }
