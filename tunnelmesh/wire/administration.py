"""Signals about the mesh itself: who leaves it, what members may do, and how they fare.

A peer says :class:`Rename` or :class:`Leave`, and is answered with :class:`Renamed` or, being no
member any more, with :class:`~tunnelmesh.wire.signal.Refused`. The coordinator says
:class:`Removed` to everybody, :class:`Rules` to each peer after it has signed in and whenever they
change, and :class:`Watch` while somebody looks at the mesh: peers then send :class:`Report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Removed:
    """Coordinator: these are no members any more."""

    addresses: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Rename:
    """Peer: call me so from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """Coordinator: so be it.

    :ivar name: what the peer is called now.
    :ivar refusal: why it is still its old name; empty if it is not.
    """

    name: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """Peer: I am no member any more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What some members may reach.

    :ivar peers: the other ends, by mesh address.
    :ivar ports: ``tcp/22``, ``udp/5000-5100``, ``tcp/*``, ``icmp`` or ``*``. A word that the
        receiver does not know allows nothing.
    :ivar everybody: whether all members are meant, also those to come; *peers* is empty then.
    """

    peers: tuple[IPv4Address, ...]
    ports: tuple[str, ...]
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Coordinator: what is allowed.

    What is too long for one signal comes in several, and is in force once all are there
    (:mod:`tunnelmesh.policy.parts`).

    :ivar restricted: whether anything is forbidden at all; without it the rest is empty.
    :ivar inbound: who may reach which ports of the receiver, which enforces it.
    :ivar outbound: which ports of whom the receiver may reach, for it to explain.
    :ivar part: which of so many *parts* this is, from 0.
    :ivar whole: the same number in all parts of one whole, another one in those of another.
    """

    restricted: bool = False
    inbound: tuple[Rule, ...] = ()
    outbound: tuple[Rule, ...] = ()
    part: int = 0
    parts: int = 1
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Coordinator: somebody looks at the mesh.

    :ivar every: seconds between two reports of what goes on changing; 0 means nobody looks.
    """

    every: float


@dataclass(frozen=True, slots=True)
class PathReport:
    """How one peer sees its path to another.

    :ivar address: the other one.
    :ivar kind: as status has it: ``udp``, ``tcp``, ``ssh``, ``websocket``; empty without a path.
    :ivar rtt: round trip in seconds; 0 while it is not known.
    :ivar received: bytes of packets since the peer's start; likewise *sent*.
    """

    address: IPv4Address
    kind: str
    rtt: float
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Report:
    """Peer: these paths have changed since I last told, or carry something."""

    paths: tuple[PathReport, ...]


Administration = Removed | Rename | Renamed | Leave | Rules | Watch | Report
