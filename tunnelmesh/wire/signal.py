"""Signalling: what a peer and its coordinator say to each other over a link.

Each message is a JSON object in a ``SIGNAL`` frame; its ``type`` is the class's name in lower case.

Signing in. The coordinator opens every link with a :class:`Challenge`. Over WebSocket the peer
answers with a :class:`SignIn` that signs the nonce together with the coordinator's key, so that
nobody can pass the challenge on. Over SSH the connection has authenticated the key already: the
peer sends :class:`SignIn` at once, unsigned. The coordinator answers :class:`Welcome` or
:class:`Refused`. A member may sign in on a second link: what the coordinator has to send goes by
the newest, and the older ones are listened to until they close.

Then: the :class:`Roster`, at first whole and afterwards whatever changed; :class:`Describe` from
the peer whenever what it knows of its own network changes; :class:`Connect` to ask for a meeting,
and a :class:`Meet` to both sides of it; :class:`Hold`, :class:`Release` and :class:`Gone` about the
relay; :class:`Ping` and :class:`Pong` both ways. A meeting of hard NATs may begin with
:class:`Prepare` and :class:`Prepared`, and ends with :class:`Punched`. What concerns the mesh as a
whole is in :mod:`tunnelmesh.wire.administration`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import frame, schema
from tunnelmesh.wire.administration import Administration
from tunnelmesh.wire.endpoint import Endpoint

VERSION_MAJOR = 1
"""Two ends whose major versions differ cannot talk."""

VERSION_MINOR = 2
"""Minor versions only add fields and kinds."""

SIGN_IN_CONTEXT = b"tunnelmesh sign-in v1\0"
"""Keeps a sign-in's signature from meaning anything elsewhere."""

MAX_SIGNAL = 64 * 1024
"""Longest message in bytes; a roster of :data:`ROSTER_CHUNK` entries is a quarter of it."""

ROSTER_CHUNK = 100
"""Peers in one :class:`Roster` message."""

HOST = "host"
REFLEXIVE = "reflexive"
MAPPED = "mapped"
"""Kinds of candidate (RFC 8445 §5.1.1): an address of the machine's own, one that STUN reported,
one that the router mapped on request."""


REVOKED = "revoked"
LEFT = "left"
"""Codes of :class:`Refused`: removed from the mesh by its owner, or by the member's own wish."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address at which a peer might be reached."""

    kind: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Allocation:
    """How a NAT chooses the external port of a new mapping (RFC 4787 §4.2).

    :ivar kind: as :class:`tunnelmesh.nat.allocation.Choice` spells it.
    :ivar hosts: how many external addresses it was seen to choose from.
    :ivar port: the last one it was seen to choose.
    :ivar step: from one to the next, where they are in sequence; 0 otherwise.
    :ivar low: the ports that it chooses from, where they are not, up to *high*, inclusive.
    :ivar rate: mappings a second that it makes for others.
    """

    kind: str = "unknown"
    hosts: int = 1
    port: int = 0
    step: int = 0
    low: int = 0
    high: int = 0
    rate: float = 0.0


UNSAMPLED = Allocation()
"""What is known of a NAT before its ports were looked at."""


@dataclass(frozen=True, slots=True)
class Tactic:
    """One side's part in a hard punch: what it sends to the other's external address.

    :ivar style: as :class:`tunnelmesh.nat.tactics.Approach` spells it.
    :ivar sockets: fresh ones to open and to send from; 0 means from the socket that there is.
    :ivar ports: to aim at.
    :ivar low: or, without any: aim at random ones from here to *high*, inclusive.
    """

    style: str
    sockets: int = 0
    ports: tuple[int, ...] = ()
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Challenge:
    """Coordinator: prove that you hold your key.

    :ivar nonce: 32 fresh random bytes.
    """

    nonce: bytes
    major: int = VERSION_MAJOR
    minor: int = VERSION_MINOR


@dataclass(frozen=True, slots=True)
class SignIn:
    """Peer: this is my key.

    :ivar key: the peer's Ed25519 public key.
    :ivar signature: over :func:`sign_in_text`; empty over SSH.
    :ivar userspace: whether the peer has no network device, so that it takes streams only.
    """

    key: bytes
    signature: bytes
    major: int = VERSION_MAJOR
    minor: int = VERSION_MINOR
    software: str = ""
    userspace: bool = False


@dataclass(frozen=True, slots=True)
class Welcome:
    """Coordinator: you are signed in.

    :ivar address: the peer's mesh address, in a mesh of this prefix length.
    :ivar stun_ports: UDP ports, on the coordinator's own host, where its STUN server answers.
    :ivar observed: the peer's address and port as this link's TCP connection shows it.
    :ivar host6: the coordinator's IPv6 address, where the same STUN ports are, if it has one.
    """

    name: str
    address: IPv4Address
    prefix: int
    stun_ports: tuple[int, ...]
    observed: str = ""
    host6: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Coordinator: no, and why; the link closes after it.

    :ivar code: for programs. After :data:`REVOKED` and :data:`LEFT` there is no use in coming back.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One member of the mesh.

    :ivar userspace: whether it has no network device, so that it takes streams only.
    :ivar seen: when it was last online, in Unix time; 0 if it is, or if that is not known.
    """

    name: str
    key: bytes
    address: IPv4Address
    online: bool
    userspace: bool = False
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Roster:
    """Coordinator: members, the receiver excepted.

    After signing in the whole mesh comes in one or more of these, ``complete`` in the last; later
    ones hold what changed.
    """

    peers: tuple[RosterEntry, ...]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """Peer: what I know of my own network.

    :ivar mapping: RFC 4787 mapping behaviour, as :class:`tunnelmesh.nat.behaviour.Mapping` spells
        it; likewise *filtering*.
    :ivar external: the reflexive address.
    :ivar ports: external ports seen towards different destinations, in the order made.
    :ivar allocation: how the NAT chooses them, as far as it matters.
    :ivar tcp: where TCP connections from the peer seem to come from, while it holds such a port.
    :ivar link: ``ssh`` or ``websocket``; *proxied*: whether the link goes through a proxy.
    """

    candidates: tuple[Candidate, ...]
    mapping: str = "unknown"
    filtering: str = "unknown"
    flavour: str = "unknown"
    external: Endpoint | None = None
    ports: tuple[int, ...] = ()
    link: str = ""
    proxied: bool = False
    relay_only: bool = False
    allocation: Allocation = UNSAMPLED
    tcp: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Connect:
    """Peer: let me meet this peer."""

    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Meet:
    """Coordinator, to both at once: punch, so many seconds after this arrives.

    :ivar address: the other one.
    :ivar meeting: the same number on both sides.
    :ivar after: seconds; chosen so that both fire at one moment in spite of different delays.
    :ivar them: what the other one last described.
    :ivar tactic: what to do beside plain punching, if anything.
    """

    address: IPv4Address
    meeting: int
    after: float
    them: Describe
    tactic: Tactic | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Coordinator: see which port your NAT will choose next, for a meeting is near."""

    meeting: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Peer: the answer to :class:`Prepare`.

    :ivar external: the reflexive address, as it is now.
    :ivar allocation: likewise how the NAT chooses ports.
    :ivar age: seconds since it chose the last of them.
    """

    meeting: int
    external: Endpoint | None
    allocation: Allocation = UNSAMPLED
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Punched:
    """Peer: a hard punch is over.

    :ivar direct: whether it found a way.
    :ivar probes: packets that it took on this side.
    :ivar whole: whether it was tried to the end, and not broken off.
    """

    meeting: int
    direct: bool
    probes: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """Coordinator: that peer's link is full; send it nothing by relay until :class:`Release`."""

    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Release:
    """Coordinator: there is room again towards that peer."""

    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Gone:
    """Coordinator: what you sent to that address was dropped; it is not online."""

    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Ping:
    """Either: answer with a :class:`Pong` of the same token, at once."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Either: the answer to a :class:`Ping`."""

    token: int


Signal = (
    Challenge | SignIn | Welcome | Refused | Roster | Describe | Connect | Meet | Prepare | Prepared
    | Punched | Hold | Release | Gone | Ping | Pong | Administration
)  # fmt: skip

_TYPES: dict[str, type[Signal]] = {cls.__name__.lower(): cls for cls in Signal.__args__}


def sign_in_text(nonce: bytes, coordinator_key: bytes) -> bytes:
    """What a :class:`SignIn` over WebSocket signs."""
    return SIGN_IN_CONTEXT + coordinator_key + nonce


def encode(signal: Signal) -> bytes:
    """A whole ``SIGNAL`` frame."""
    values = schema.dump(signal)
    values["type"] = type(signal).__name__.lower()
    return frame.encode(frame.SIGNAL, json.dumps(values, separators=(",", ":")).encode())


def decode(body: bytes) -> Signal | None:
    """Read the body of a ``SIGNAL`` frame.

    :returns: the message, or None if its type is not known (a newer version's: count and go on).
    :raises DecodeError: if it is malformed.
    """
    if len(body) > MAX_SIGNAL:
        raise DecodeError(f"signal of {len(body)} bytes")
    values = schema.parse(body)
    if not isinstance(values, dict) or not isinstance(values.get("type"), str):
        raise DecodeError("signal without a type")
    cls = _TYPES.get(values["type"])
    return None if cls is None else schema.load(cls, values)
