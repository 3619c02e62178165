"""A mesh of made-up members: a real coordinator, and links in memory that say what peers say.

For measuring and testing what the coordinator does with many members, without their processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from zope.interface import implementer

from tunnelmesh.config import CoordinatorConfig
from tunnelmesh.coordinator.service import Coordinator, System
from tunnelmesh.coordinator.signalling import Signalling
from tunnelmesh.coordinator.sqlite import FILE_NAME, SQLiteStore
from tunnelmesh.coordinator.store import Member
from tunnelmesh.identity import FILE_NAME as IDENTITY
from tunnelmesh.identity import Identity
from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.administration import PathReport, Report
from tunnelmesh.wire.endpoint import Endpoint

FLAVOURS = ("port-restricted", "full-cone", "restricted-cone", "symmetric", "firewall", "open")


@implementer(ILink)
class MemoryLink:
    """A member's link, as the coordinator sees it.

    :ivar watched: seconds between reports that the coordinator wants; 0 for none.
    :ivar closed: why the coordinator closed it, or None.
    """

    paused = False
    proxy = None

    def __init__(self, kind: str, remote: str, key: bytes) -> None:
        self.kind = kind
        self.remote = remote
        self.key: bytes | None = key
        self.watched = 0.0
        self.closed: str | None = None

    def send(self, frames: bytes) -> None:
        """Look for what is wanted of the member, and forget the rest."""
        if b'"watch"' in frames:
            for _, body in frame.FrameDecoder().receive(frames):
                message = signal.decode(body)
                self.watched = getattr(message, "every", self.watched)

    def send_bulk(self, frames: bytes) -> bool:
        """Take it."""
        return True

    def close(self, reason: str) -> None:
        """Remember why."""
        self.closed = self.closed or reason

    def pauseProducing(self) -> None:
        """There is nothing to stop."""

    resumeProducing = pauseProducing
    stopProducing = pauseProducing


@dataclass(eq=False)
class Peer:
    """A member that is made up.

    :ivar link: while it is online.
    :ivar paths: by the other one's mesh address: the last it has told.
    """

    member: Member
    link: MemoryLink | None = None
    paths: dict[IPv4Address, PathReport] = field(default_factory=dict)


class Mesh:
    """A coordinator and its made-up members.

    :param names: of the members, in the order of their addresses.
    :param config: fields of :class:`CoordinatorConfig`.
    """

    def __init__(self, reactor: Any, folder: Path, names: list[str], **config: Any) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.random = Random(7)
        self.peers = _enrol(folder, names)
        ports = {"https_port": 0, "ssh_port": 0, "stun_port": 0}
        self.coordinator = Coordinator(
            CoordinatorConfig(state_dir=folder, public_host="127.0.0.1", **(ports | config)),
            reactor,
            System(),
        )
        self.coordinator.startService()

    @property
    def signalling(self) -> Signalling:
        """Where links end."""
        assert self.coordinator.signalling is not None
        return self.coordinator.signalling

    def __getitem__(self, name: str) -> Peer:
        return next(peer for peer in self.peers if peer.member.name == name)

    @property
    def names(self) -> list[str]:
        """Everybody's, in the order of their addresses."""
        members = self.signalling.members.values()
        return [member.name for member in sorted(members, key=lambda each: each.address)]

    @property
    def key(self) -> bytes:
        """The coordinator's public key."""
        return Identity.load(self._folder / IDENTITY).public_key

    def link(self) -> str:
        """An address that signs a browser in."""
        return str(self.coordinator.dashboard_link({})["url"])

    def come(self, peer: Peer, kind: str = "ssh", flavour: str = "port-restricted") -> None:
        """Let a member sign in and describe itself."""
        number = int(peer.member.address) & 0xFF
        remote = Endpoint(f"198.51.100.{number}", 40_000 + number)
        link = peer.link = MemoryLink(kind, str(remote), peer.member.key)
        self.signalling.link_opened(link)
        self.say(peer, signal.SignIn(peer.member.key, b""))
        mapping = "address-dependent" if flavour == "symmetric" else "endpoint-independent"
        described = signal.Describe(
            (), mapping=mapping, filtering="address-dependent", flavour=flavour, external=remote
        )
        self.say(peer, described)

    def go(self, peer: Peer) -> None:
        """Let a member's link break."""
        assert peer.link is not None
        self.signalling.link_lost(peer.link, "gone")
        peer.link = None

    def say(self, peer: Peer, message: signal.Signal) -> None:
        """Let a member send a message."""
        assert peer.link is not None
        for kind, body in frame.FrameDecoder().receive(signal.encode(message)):
            self.signalling.frames_received(peer.link, [(kind, body)])

    def path(
        self, one: Peer, other: Peer, kind: str, rtt: float = 0.02, *, carried: int = 0
    ) -> None:
        """Let both ends of a pair tell that they have this path, and what it has carried since."""
        for here, there, part in ((one, other, carried), (other, one, carried // 8)):
            back = carried + carried // 8 - part
            before = here.paths.get(there.member.address)
            received, sent = (before.received, before.sent) if before else (0, 0)
            path = PathReport(there.member.address, kind, rtt, received + back, sent + part)
            here.paths[there.member.address] = path
            if here.link is not None and here.link.watched:
                self.say(here, Report((path,)))

    def tell_all(self, peer: Peer) -> None:
        """Let a member tell of all its paths, as it does when somebody begins to look."""
        if peer.link is not None and peer.link.watched:
            self.say(peer, Report(tuple(peer.paths.values())))


def _enrol(folder: Path, names: list[str]) -> list[Peer]:
    store = SQLiteStore(folder / FILE_NAME)
    now, secret = 1_780_000_000, bytes(16)
    _now(store.invite(secret, len(names), now + 1, now))
    members = [
        _now(store.enrol(secret, name, sha256(name.encode()).digest(), now)) for name in names
    ]
    _now(store.cancel(1))
    store.close()
    return [Peer(member) for member in members]


def _now(asked: Any) -> Any:
    """What the store returns; SQLite waits for nothing."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the store waits")
