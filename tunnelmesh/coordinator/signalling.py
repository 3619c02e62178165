"""What the coordinator does with its links: signing in, the roster, meetings, and the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.coordinator.admission import Admission
from tunnelmesh.coordinator.heartbeat import Heartbeat
from tunnelmesh.coordinator.presence import IAttendant, Line, Presence
from tunnelmesh.coordinator.relay import RelayHub
from tunnelmesh.coordinator.rendezvous import Rendezvous
from tunnelmesh.coordinator.roster import RosterBook
from tunnelmesh.coordinator.store import Member
from tunnelmesh.errors import DecodeError, SignalError
from tunnelmesh.identity import fingerprint, mesh_address6, mesh_network6
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.wire import frame, signal

SPREAD = 0.0002
"""Seconds between two announcements of changes, for each peer they go to: at most a fifth of the
coordinator's time is spent on them, also when thousands arrive at once."""

MOST_CANDIDATES = 32
MOST_PORTS = 64
"""Of what a peer describes, this much is passed on: no machine has more ways in, and others will
send a packet to each."""

MOST_LINKS = 4
"""Of one member; one more closes the oldest that is not in use. A peer has two while it changes
from one to the other, and perhaps one that is not yet known to be dead."""

_WORD = re.compile(r"[a-z-]{1,32}")
"""What names a behaviour, a flavour or a kind of link: it is shown to people on other machines."""

_log = Logger()


@dataclass(eq=False, slots=True)
class _Attendance:
    """A member's link.

    :ivar roster: what has yet to be sent of the whole roster.
    """

    presence: Presence
    line: Line
    roster: Iterator[bytes]
    heartbeat: Heartbeat


@implementer(ILinkUser)
class Signalling:
    """Uses every link to the coordinator.

    :param key: the coordinator's public key.
    :param pool: the mesh's network.
    :param stun_ports: where the coordinator's STUN server answers.
    :param host6: its IPv6 address, where STUN answers as well; empty without one.
    :param entropy: makes nonces; *random* the numbers of meetings.
    :ivar relay: the hub.
    :ivar malformed: messages that broke the protocol; *unknown*: frames and messages of kinds that
        only a newer version knows.
    :ivar attendants: who else deals with members.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        key: bytes,
        pool: IPv4Network,
        stun_ports: Sequence[int],
        entropy: Callable[[int], bytes],
        random: Random,
        host6: str = "",
    ) -> None:
        self.malformed = 0
        self.unknown = 0
        self.attendants: list[IAttendant] = []
        self._reactor = reactor
        self._random = random
        self._prefix = pool.prefixlen
        self._network6 = mesh_network6(key)
        self._stun_ports = tuple(stun_ports)
        self._host6 = host6
        self._members: dict[bytes, Member] = {}
        self._online: dict[IPv4Address, Presence] = {}
        self._links: dict[ILink, _Attendance] = {}
        self._roster = RosterBook()
        self._announcing: IDelayedCall | None = None
        self._announced = 0.0
        self.admission = Admission(reactor, key, self._members, entropy, self._admitted)
        self.relay = RelayHub(self._online)
        self.rendezvous = Rendezvous(self._online, random)

    def add_members(self, members: Iterable[Member]) -> None:
        """These may sign in from now on."""
        for member in members:
            known = self._members.get(member.key)
            if known is None:
                self.admission.barred.discard(member.key)
                self._members[member.key] = member
                self._roster.put(member, online=False)
        self._announce()

    def update_member(self, member: Member) -> None:
        """Something about a member is different now, but not its key or address."""
        if member.key in self._members:
            self._members[member.key] = member
            presence = self._online.get(member.address)
            if presence is not None:
                presence.member = member
            self._roster.put(member, online=presence is not None)
            self._announce()

    def remove_member(self, member: Member, refusal: signal.Refused) -> None:
        """This is no member any more: tell it, and the others, and carry nothing for it."""
        del self._members[member.key]
        if refusal.code == signal.REVOKED:
            self.admission.barred.add(member.key)
        presence = self._online.get(member.address)
        # The link in use is the last, so that nothing is sent by another in its place.
        for line in presence.lines.copy() if presence else ():
            line.link.send(signal.encode(refusal))
            self._end(line.link, refusal.message)
        self._roster.remove(member.address)
        self._announce()

    @property
    def members(self) -> Mapping[bytes, Member]:
        """Everybody, by public key."""
        return self._members

    def presence_of(self, member: Member) -> Presence | None:
        """A member's presence, if it is online."""
        return self._online.get(member.address)

    def is_expected(self, key: bytes) -> bool:
        """Whether the owner of that Ed25519 key may open a link: as a member, or to hear that it is
        none any more."""
        return key in self._members or key in self.admission.barred

    def stop(self) -> None:
        """Close every link."""
        self.admission.close()
        for link in list(self._links):
            self._end(link, "the coordinator stops")
        if self._announcing is not None:
            self._announcing.cancel()
            self._announcing = None

    def status(self) -> list[dict[str, Any]]:
        """Each member: what ``tunnelmesh status`` shows of it."""
        return [self._status(member) for member in self._members.values()]

    def _status(self, member: Member) -> dict[str, Any]:
        presence = self._online.get(member.address)
        description = presence.description if presence else None
        return {
            "name": member.name,
            "address": str(member.address),
            "address6": str(mesh_address6(self._network6, member.key)),
            "fingerprint": fingerprint(member.key),
            "enrolled": member.enrolled,
            "online": presence is not None,
            "last_seen": None if presence else member.seen or None,
            "mode": "userspace" if member.userspace else "tun",
            "link": presence.link.kind if presence else None,
            "flavour": description.flavour if description else "unknown",
        }

    # ILinkUser

    def link_opened(self, link: ILink) -> None:
        self.admission.opened(link)

    def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        relayed: list[bytes] = []
        for kind, body in frames:
            attendance = self._links.get(link)
            if attendance is None:
                self.admission.frame_received(link, kind, body)
            elif kind == frame.RELAY:
                relayed.append(body)
            elif kind == frame.SIGNAL:
                self._signal_received(attendance, body)
            else:
                self.unknown += 1
        attendance = self._links.get(link)
        if attendance is not None:
            attendance.heartbeat.heard()
            if relayed:
                self.relay.forward(attendance.presence, relayed, self._reactor.seconds())

    def link_paused(self, link: ILink) -> None:
        pass  # the hub finds out when it sends

    def link_resumed(self, link: ILink) -> None:
        attendance = self._links.get(link)
        if attendance is None:
            return
        self._send_roster(attendance)
        if attendance.presence.link is link:
            self.relay.resume(attendance.presence)

    def link_lost(self, link: ILink, reason: str) -> None:
        self.admission.lost(link)
        attendance = self._links.pop(link, None)
        if attendance is None:
            return
        attendance.heartbeat.stop()
        presence = attendance.presence
        was_used = presence.link is link
        presence.lines.remove(attendance.line)
        if presence.lines:
            if was_used:
                self._tell_again(presence)
            self.relay.link_changed(presence)
            return
        member = presence.member
        _log.info("{name} is offline: {reason}", name=member.name, reason=reason)
        del self._online[member.address]
        self.relay.left(presence)
        self.rendezvous.left(presence, self._reactor.seconds())
        for each in self.attendants:
            each.left(presence)
        if member.key in self._members:
            self._roster.put(self._members[member.key], online=False)
            self._announce()

    # Members

    def _admitted(
        self, link: ILink, member: Member, message: signal.SignIn, rtt: float | None
    ) -> None:
        line = Line(link)
        presence = self._online.get(member.address)
        if presence is None or member.userspace != message.userspace:
            presence = self._online.setdefault(member.address, Presence(member))
            self.update_member(replace(member, userspace=message.userspace))
        if len(presence.lines) >= MOST_LINKS:
            oldest = presence.lines[0].link
            self._end(oldest, "too many links")
        presence.lines.insert(-1, line)
        if rtt is not None:
            line.samples.append(rtt)
        heartbeat = Heartbeat(
            self._reactor, link, self._random, lambda: self._end(link, "no answer to a ping")
        )
        attendance = self._links[link] = _Attendance(
            presence, line, self._roster.whole(member.address), heartbeat
        )
        _log.info(
            "{name} is online: {kind} from {remote}",
            name=member.name,
            kind=link.kind,
            remote=link.remote,
        )
        welcome = signal.Welcome(
            member.name, member.address, self._prefix, self._stun_ports, link.remote, self._host6
        )
        link.send(signal.encode(welcome))
        for each in self.attendants:
            each.arrived(presence)
        self._send_roster(attendance)
        heartbeat.start()

    def _signal_received(self, attendance: _Attendance, body: bytes) -> None:
        now = self._reactor.seconds()
        presence = attendance.presence
        try:
            message = signal.decode(body)
            match message:
                case None:
                    self.unknown += 1
                case signal.Describe():
                    self._use(attendance)
                    presence.description = _trimmed(message)
                    self.rendezvous.described(presence, now)
                case signal.Connect(address):
                    self.rendezvous.asked(presence, address, now)
                case signal.Prepared():
                    self.rendezvous.prepared(presence, message, now)
                case signal.Punched():
                    self.rendezvous.punched(presence, message, now)
                case signal.Ping(token):
                    # One that reads no answers gets none, or they would pile up here.
                    if not attendance.line.link.paused:
                        attendance.line.link.send(signal.encode(signal.Pong(token)))
                case signal.Pong(token):
                    rtt = attendance.heartbeat.answered(token)
                    if rtt is not None:
                        attendance.line.samples.append(rtt)
                case _ if not any(each.told(presence, message) for each in self.attendants):
                    raise SignalError(f"a peer does not send {type(message).__name__}")
        except (DecodeError, SignalError) as error:
            self.malformed += 1
            self._end(attendance.line.link, str(error))

    def _end(self, link: ILink, reason: str) -> None:
        """Close a member's link, and hear nothing more from it."""
        self.link_lost(link, reason)
        link.close(reason)

    # The roster

    def _send_roster(self, attendance: _Attendance) -> None:
        """Send as much of the whole roster as the link has room for."""
        link = attendance.line.link
        while not link.paused:
            message = next(attendance.roster, None)
            if message is None:
                return
            link.send(message)

    def _use(self, attendance: _Attendance) -> None:
        """Send to a member by the link on which it describes itself: it reads no other any more.

        A peer that tries two ways in at once is welcome on both, and takes the first.
        """
        presence, line = attendance.presence, attendance.line
        if presence.lines[-1] is not line:
            presence.lines.remove(line)
            presence.lines.append(line)
            self._tell_again(presence)
            self.relay.link_changed(presence)

    def _tell_again(self, presence: Presence) -> None:
        """Send a member the whole roster: changes may be lost that went by another link."""
        attendance = self._links[presence.link]
        attendance.roster = self._roster.whole(presence.member.address)
        self._send_roster(attendance)

    def _announce(self) -> None:
        """Tell everybody what has changed: at once, or as soon as it is not too often."""
        if self._announcing is None:
            due = self._announced + SPREAD * len(self._online)
            delay = max(0.0, due - self._reactor.seconds())
            self._announcing = self._reactor.callLater(delay, self._tell_changes)

    def _tell_changes(self) -> None:
        self._announcing = None
        self._announced = self._reactor.seconds()
        changes = self._roster.take_changes()
        for presence in list(self._online.values()):
            for message in changes.messages(presence.member.address):
                presence.link.send(message)


def _trimmed(description: signal.Describe) -> signal.Describe:
    """As much of a description as is passed on."""
    return replace(
        description,
        candidates=description.candidates[:MOST_CANDIDATES],
        ports=description.ports[:MOST_PORTS],
        mapping=_word(description.mapping),
        filtering=_word(description.filtering),
        flavour=_word(description.flavour),
        link=_word(description.link),
        allocation=replace(description.allocation, kind=_word(description.allocation.kind)),
    )


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else "unknown"
