"""What the story needs of the place where it plays."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

NAMES = ("laptop", "homeserver")
"""The two machines."""

PLACES = ("home", "office")
"""Where they are: each behind a gateway of its own."""

FILE_NAME = "backup.img"
"""The file that the first machine fetches from the second."""

HTTP_PORT = 8000
"""Where the second machine serves it."""

PING_EVERY = 0.05
"""Seconds between pings: short enough to feel an outage."""

SSH_PORT = 2222
"""Where the coordinator has its SSH tunnel."""


@dataclass(frozen=True)
class Machine:
    """One of the two.

    :ivar name: its name in the mesh.
    :ivar place: where it is.
    :ivar kind: the kind of its gateway.
    :ivar address: its own address there.
    :ivar outside: its gateway's address on the internet.
    """

    name: str
    place: str
    kind: str
    address: str
    outside: str


@dataclass(frozen=True)
class Transfer:
    """How far the file is.

    :ivar received: bytes so far.
    :ivar seconds: how long it took; None until it is there.
    :ivar sha256: of what arrived, in hexadecimal; empty until it is there.
    """

    received: int
    seconds: float | None = None
    sha256: str = ""


class Stage(Protocol):
    """A coordinator, two gateways and two machines. A context manager; nothing of it stays behind.

    :ivar about: what it is made of, in a sentence.
    :ivar coordinator: the coordinator's address.
    :ivar machines: who reaches whom; there once it is entered.
    :ivar size: bytes of the file.
    :ivar sha256: of the file, in hexadecimal.
    """

    about: str
    coordinator: str
    machines: tuple[Machine, Machine]
    size: int
    sha256: str

    def __enter__(self) -> Stage: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def now(self) -> float:
        """Unix time there, in seconds."""

    def let_pass(self) -> None:
        """Let a moment pass: a fraction of the time in which people see changes."""

    def start_coordinator(self) -> None:
        """Run the coordinator; it serves when this returns."""

    def start_peers(self) -> None:
        """Invite both machines, and run their peers."""

    def ask(self, name: str, question: str, **query: str) -> Any:
        """Ask a peer what a ``tunnelmesh`` command would; None while it does not answer."""

    def fetch(self, address: str) -> None:
        """Serve the file on the second machine's mesh *address*, and fetch it on the first."""

    def transfer(self) -> Transfer:
        """How far that is.

        :raises LabError: it has failed.
        """

    def ping(self, address: str) -> None:
        """Begin to ping a mesh address from the first machine."""

    def answers(self) -> list[tuple[int, float]]:
        """The pings that were answered: their numbers, and the round trips in milliseconds."""

    def cut(self, carrier: str) -> None:
        """Drop what carries the traffic (``udp`` or ``ssh``) at the first machine's gateway."""

    def restore(self) -> None:
        """Drop nothing more."""
