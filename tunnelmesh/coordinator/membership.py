"""What changes about members: that they leave or are removed, their names, when they were seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.control import Answer, Query, Route
from tunnelmesh.coordinator.admission import REVOCATION
from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.presence import IAttendant, Presence
from tunnelmesh.coordinator.signalling import Signalling
from tunnelmesh.coordinator.store import IStore, Member, RefusalError
from tunnelmesh.errors import NotRunningError, StoreError, TunnelMeshError, UnknownPeerError
from tunnelmesh.wire import signal
from tunnelmesh.wire.administration import Leave, Rename, Renamed
from tunnelmesh.wire.enrol import is_name

RENAMES = 5
RENAME_INTERVAL = 600.0
"""How often a member may ask for another name at once, and seconds until it may again. Everybody
is told of a name, and pins it, so that a flood of them would fill the others' files."""

RENAMERS_KEPT = 4096
"""Members whose asking is remembered."""

WRITE_DELAY = 5.0
"""Seconds within which comings and goings are put into the store together: each transaction waits
for the disk, and thousands may come at once."""

BAD_NAME = "a name must be 1 to 63 letters, digits and inner hyphens, in lower case"

LEAVING = signal.Refused(signal.LEFT, "this machine has left the mesh")
"""The answer to who leaves."""

_log = Logger()


@implementer(IAttendant)
class Membership:
    """Keeps the store and the signalling in step.

    :param unix_time: seconds since the epoch.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        store: IStore,
        signalling: Signalling,
        unix_time: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._signalling = signalling
        self._unix_time = unix_time
        self._renames = TokenBuckets(RENAMES, RENAME_INTERVAL, RENAMERS_KEPT)
        self._seen: dict[bytes, Member] = {}
        self._writing: IDelayedCall | None = None
        signalling.attendants.append(self)

    async def load(self) -> None:
        """Let those sign in who are in the store."""
        self._signalling.admission.barred |= await self._store.barred()
        self._signalling.add_members(await self._store.members())

    def find(self, name: str) -> Member:
        """A member, by name (with or without ``.mesh``) or mesh address.

        :raises UnknownPeerError: if there is none.
        """
        plain = name.lower().removesuffix(".mesh")
        members = self._signalling.members.values()
        for member in members:
            if plain in (member.name, str(member.address)):
                return member
        near = get_close_matches(plain, [member.name for member in members], 1)
        advice = f"did you mean {near[0]!r}?" if near else "see 'tunnelmesh members'"
        raise UnknownPeerError(f"there is no member {name!r}: {advice}")

    async def revoke(self, name: str) -> dict[str, Any]:
        """Remove a member; it comes back only by an invitation that is made afterwards.

        :returns: who it was, whether it was online, and how many invitations are open: who had one
            of those for several machines can join again, with another key.
        :raises UnknownPeerError: if there is none of that name.
        """
        member = self.find(name)
        online = self._signalling.presence_of(member) is not None
        now = int(self._unix_time())
        await self._remove(member, REVOCATION, barred=True)
        open_ones = await self._store.invitations(now)
        return {
            "name": member.name,
            "address": str(member.address),
            "online": online,
            "invitations": len(open_ones),
        }

    async def rename(self, name: str, new: str) -> dict[str, Any]:
        """Give a member another name, and tell it.

        :raises UnknownPeerError: if there is none of that name.
        :raises RefusalError: if the new one is another's, or cannot be one.
        """
        member = await self._rename(self.find(name), new)
        presence = self._signalling.presence_of(member)
        if presence is not None:
            presence.send(Renamed(new))
        return {"name": new, "address": str(member.address), "online": presence is not None}

    async def stop(self) -> None:
        """Write down what is not yet."""
        if self._writing is not None:
            self._writing.cancel()
        await self._write()

    # IAttendant

    def arrived(self, presence: Presence) -> None:
        self._saw(presence.member)

    def told(self, presence: Presence, message: signal.Signal) -> bool:
        match message:
            case Leave():
                leaving = self._remove(presence.member, LEAVING, barred=False)
                self._later(leaving, "cannot remove {name}", presence)
            case Rename(name):
                self._later(self._asked(presence, name), "cannot rename {name}", presence)
            case _:
                return False
        return True

    def left(self, presence: Presence) -> None:
        self._signalling.update_member(self._saw(presence.member))

    # Inside

    async def _remove(self, member: Member, refusal: signal.Refused, *, barred: bool) -> None:
        await self._store.remove(member.key, int(self._unix_time()), barred=barred)
        if member.key in self._signalling.members:
            self._signalling.remove_member(member, refusal)
            what = "was removed from" if barred else "has left"
            _log.info("{name} {what} the mesh", name=member.name, what=what)

    async def _rename(self, member: Member, new: str) -> Member:
        if not is_name(new):
            raise RefusalError("name", BAD_NAME)
        await self._store.rename(member.key, new)
        # Not as it was before the store was asked: it may have come or gone since.
        renamed = replace(self._signalling.members.get(member.key, member), name=new)
        self._signalling.update_member(renamed)
        _log.info("{old} is called {new} now", old=member.name, new=new)
        return renamed

    async def _asked(self, presence: Presence, name: str) -> None:
        """A member wants another name."""
        try:
            if not self._renames.take(presence.member.key, self._reactor.seconds()):
                raise RefusalError("slow-down", "too many new names: wait ten minutes")
            await self._rename(presence.member, name)
            refusal = ""
        except RefusalError as error:
            refusal = str(error)
        except StoreError as error:
            _log.error("cannot rename {name}: {e}", name=presence.member.name, e=error)
            refusal = "the coordinator's database fails: tell its owner"
        # One that reads no answers gets none, or they would pile up here.
        if presence.lines and not presence.link.paused:
            presence.send(Renamed(presence.member.name, refusal))

    def _later(self, task: Coroutine[Any, Any, None], trouble: str, presence: Presence) -> None:
        def failed(failure: Any) -> None:
            _log.failure(trouble, failure, name=presence.member.name)

        Deferred.fromCoroutine(task).addErrback(failed)

    def _saw(self, member: Member) -> Member:
        """Somebody is there, or was until now."""
        seen = self._seen[member.key] = replace(member, seen=int(self._unix_time()))
        if self._writing is None:
            self._writing = self._reactor.callLater(WRITE_DELAY, self._write_now)
        return seen

    def _write_now(self) -> None:
        Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        self._writing = None
        seen, self._seen = list(self._seen.values()), {}
        try:
            if seen:
                await self._store.saw(seen)
        except StoreError as error:
            _log.error("when members were seen is not remembered: {error}", error=error)


def routes(membership: Callable[[], Membership | None]) -> dict[str, Route]:
    """What the control socket is told to do with members.

    :param membership: gives it, once the coordinator has started.
    """

    def started() -> Membership:
        here = membership()
        if here is None:
            raise NotRunningError("the coordinator is still starting; try again in a moment")
        return here

    def revoke(query: Query) -> Awaitable[Answer]:
        return started().revoke(query.get("name", ""))

    def rename(query: Query) -> Awaitable[Answer]:
        if "old" not in query:
            raise TunnelMeshError(
                "this is the coordinator: say whom, as in 'tunnelmesh rename OLD NEW'"
            )
        return started().rename(query["old"], query.get("new", ""))

    return {"POST /revoke": revoke, "POST /rename": rename}
