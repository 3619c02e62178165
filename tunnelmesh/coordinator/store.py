"""What the coordinator remembers: its members and its invitations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address

from zope.interface import Interface

from tunnelmesh.errors import EnrolmentError


@dataclass(frozen=True, slots=True)
class Member:
    """A machine that has enrolled.

    :ivar key: its Ed25519 public key (32 bytes).
    :ivar address: its mesh address.
    :ivar enrolled: when, in Unix time.
    :ivar userspace: whether it had no network device when it was last online.
    :ivar seen: when it was last known to be online, in Unix time; 0 if it never was.
    """

    name: str
    key: bytes
    address: IPv4Address
    enrolled: int
    userspace: bool = False
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that lets somebody in still.

    :ivar number: what it is called; a later one has a higher number.
    :ivar uses_left: how many machines it lets in.
    :ivar expires: its end, in Unix time.
    """

    number: int
    uses_left: int
    expires: int


class RefusalError(EnrolmentError):
    """A machine is not let in.

    :ivar code: for programs, as :class:`tunnelmesh.wire.enrol.NotEnrolled` lists them.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class IStore(Interface):
    """Durable memory. Once a method has returned, what it did survives a crash.

    Every method raises :exc:`~tunnelmesh.errors.StoreError` when the database fails.
    """

    async def members() -> list[Member]:
        """Everybody, in the order of their addresses."""

    async def invite(secret: bytes, uses: int, expires: int, now: int) -> int:
        """Remember an invitation, by its secret's hash only.

        :param uses: how many machines it lets in.
        :param expires: Unix time of its end; *now* is the time at present.
        :returns: its number.
        """

    async def invitations(now: int) -> list[Invitation]:
        """Those that let somebody in still, the oldest first."""

    async def cancel(number: int) -> bool:
        """End an invitation.

        :returns: whether there was one of that number.
        """

    async def enrol(secret: bytes, name: str, key: bytes, now: int) -> Member:
        """Make a machine a member, in one transaction: use the invitation, allot an address.

        A member that asks again, under its own name and with an invitation that has not expired,
        gets what it has already, and no use is taken: its first answer may have been lost.

        Who comes back gets the address that it had.

        :raises RefusalError: if it may not, or cannot.
        """

    async def remove(key: bytes, now: int, *, barred: bool) -> None:
        """Forget a member. Its address is given to others only when no fresh one is left.

        :param barred: whether it may not come back by an invitation that exists already.
        """

    async def barred() -> set[bytes]:
        """The keys of those who were removed so."""

    async def rename(key: bytes, name: str) -> None:
        """Give a member another name.

        :raises RefusalError: if that is another's.
        """

    async def saw(members: Sequence[Member]) -> None:
        """Remember when these were seen, and whether they had a network device."""

    def close() -> None:
        """Let go of the database."""


def secret_digest(secret: bytes) -> bytes:
    """What is kept of an invitation's secret. It is random, so a plain hash hides it."""
    return sha256(b"tunnelmesh invitation\0" + secret).digest()
