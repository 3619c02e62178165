"""What happened to each packet, kept for the moment when a scenario fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tunnelmesh.lab.sim.packet import Packet

#: Events kept: enough to see several seconds of two peers, and a bounded amount of memory.
TRACE_LENGTH = 2000


class Event(NamedTuple):
    """One thing that happened to one packet.

    :ivar time: seconds since the simulation began.
    :ivar place: the name of the host or NAT.
    :ivar what: 'sent', 'received', or why it went no further.
    """

    time: float
    place: str
    what: str
    packet: Packet

    def __str__(self) -> str:
        packet = self.packet
        return (
            f"{self.time:11.6f}  {self.place:<16} {packet.source} > {packet.destination}  "
            f"{packet.describe()}: {self.what}"
        )


class Trace:
    """The last events, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=TRACE_LENGTH)

    def add(self, time: float, place: str, what: str, packet: Packet) -> None:
        """Remember an event."""
        self._events.append(Event(time, place, what, packet))

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def tail(self, length: int) -> str:
        """The last *length* events as text, one a line."""
        return "\n".join(str(event) for event in list(self._events)[-length:])

    def mermaid(self, length: int = 60) -> str:
        """The last *length* events as a Mermaid sequence diagram."""
        lines = ["sequenceDiagram"]
        places: dict[str, str] = {}
        senders: dict[int, str] = {}

        def participant(place: str) -> str:
            if place not in places:
                places[place] = f"p{len(places)}"
                lines.append(f"    participant {places[place]} as {place}")
            return places[place]

        for event in list(self._events)[-length:]:
            here = participant(event.place)
            # A NAT replaces the addresses but hands on the payload: that is what tells a packet.
            payload = id(event.packet.payload)
            if event.what == "sent":
                senders[payload] = event.place
                continue
            text = f"{event.time:.3f} {event.packet.describe()}"
            sender = participant(senders.get(payload, str(event.packet.source)))
            if event.what == "received":
                lines.append(f"    {sender}->>{here}: {text}")
            else:
                lines.append(f"    {sender}-x{here}: {text}, {event.what}")
        return "\n".join(lines)
