"""Ask a router for a port by UPnP-IGD (WANIPConnection:1 and :2)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from math import inf

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap import soap, ssdp
from tunnelmesh.nat.portmap.description import Connection, connections
from tunnelmesh.nat.portmap.speaker import (
    LIFETIME,
    SILENCE,
    Doing,
    Failed,
    Fetch,
    Granted,
    Output,
    Speaker,
)
from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

PORTS = range(20000, 60000)
"""External ports tried where the one that was wanted is another machine's."""

MOST_ATTEMPTS = 6
"""Times that a mapping is asked for, each time differently, before a router's no is believed."""

DESCRIPTION = "TunnelMesh"
"""What the router's own pages show the mapping as."""

_ADDRESS = "GetExternalIPAddress"
_ADD = "AddPortMapping"
_ADD_ANY = "AddAnyPortMapping"
_DELETE = "DeletePortMapping"


class IgdSpeaker(Speaker):
    """Asks for one port by UPnP-IGD.

    :param entropy: gives that many random bytes.
    """

    name = "UPnP-IGD"

    def __init__(self, router: str, own: str, port: int, entropy: Callable[[int], bytes]) -> None:
        super().__init__(router, own, port)
        self._entropy = entropy
        self._location: str | None = None
        self._connections: list[Connection] = []
        self._untried: list[Connection] = []
        self._number = 0
        self._action = ""
        self._attempts = 0
        self._host = ""
        self._external = port
        self._add = _ADD
        self._lifetime = LIFETIME
        self._is_ours = False

    def discover(self, now: float) -> list[Output]:
        self._location = None
        unicast = Endpoint(self.router, ssdp.PORT)  # where a switch or a firewall eats multicast
        sends = [Send(ssdp.search(t, to), to) for to in (ssdp.GROUP, unicast) for t in ssdp.TARGETS]
        return self._begin(Doing.DISCOVERING, sends, now)

    def request(self, wanted: Endpoint | None, now: float) -> list[Output]:
        self._doing = Doing.MAPPING
        self._is_ours = False
        self._external = self.port if wanted is None else wanted.port
        self._untried = list(self._connections)
        return self._use_next(Failed("has no connection that maps ports"))

    def release(self, now: float) -> list[Output]:
        self._doing = Doing.RELEASING
        if not self._is_ours:
            return self._end(None)  # what may be another machine's is not ours to remove
        return self._act(
            _DELETE,
            {"NewRemoteHost": "", "NewExternalPort": self._external, "NewProtocol": "UDP"},
        )

    def received(self, datagram: bytes, source: Endpoint, now: float) -> list[Output]:
        searching = self._doing is Doing.DISCOVERING and self._location is None
        if not searching or source.host != self.router:
            return []
        try:
            self._location = ssdp.location(datagram, self.router)
        except DecodeError as error:
            self.trouble = str(error)
        if self._location is None:
            return []
        self._question = None
        return [self._fetch(self._location)]

    def fetched(self, number: int, document: bytes | None) -> list[Output]:
        if number != self._number or not self.busy:
            return []
        if document is None:
            return self._end(Failed(SILENCE, answered=False))
        try:
            if self._doing is Doing.DISCOVERING:
                assert self._location is not None
                self._connections = connections(document, self._location, self.router)
                return self._end(None)
            answer = soap.answer(document, self._action)
        except DecodeError as error:
            return self._end(Failed(f"makes no sense: {error}"))
        if self._doing is Doing.RELEASING:
            return self._end(None)
        if self._action == _ADDRESS:
            return self._address_told(answer)
        if isinstance(answer, soap.Fault):
            return self._asked_otherwise(answer)
        return self._mapped(answer)

    def _use_next(self, failed: Failed) -> list[Output]:
        """Try the next of the router's connections; *failed* is the outcome if there is none."""
        if not self._untried:
            return self._end(failed)
        self._attempts = 0
        self._lifetime = LIFETIME
        self._add = _ADD_ANY if self._untried[0].kind.endswith(":2") else _ADD
        return self._act(_ADDRESS, {})

    def _address_told(self, answer: dict[str, str] | soap.Fault) -> list[Output]:
        if isinstance(answer, soap.Fault):
            failed = Failed(str(answer))
        else:
            try:
                self._host = str(IPv4Address(answer.get("NewExternalIPAddress", "")))
                return self._try()
            except AddressValueError:
                failed = Failed("has no connection of its own")
        self._untried.pop(0)
        return self._use_next(failed)

    def _try(self) -> list[Output]:
        self._attempts += 1
        return self._act(
            self._add,
            {
                "NewRemoteHost": "",
                "NewExternalPort": self._external,
                "NewProtocol": "UDP",
                "NewInternalPort": self.port,
                "NewInternalClient": self.own,
                "NewEnabled": 1,
                "NewPortMappingDescription": DESCRIPTION,
                "NewLeaseDuration": self._lifetime,
            },
        )

    def _asked_otherwise(self, fault: soap.Fault) -> list[Output]:
        """The router would rather be asked in another way."""
        if self._attempts >= MOST_ATTEMPTS:
            return self._end(Failed(str(fault)))
        if fault.code == soap.PERMANENT_ONLY and self._lifetime:
            self._lifetime = 0
        elif fault.code == soap.SAME_PORT_ONLY and self._external != self.port:
            self._external = self.port
        elif fault.code == soap.CONFLICT:
            self._external = PORTS[int.from_bytes(self._entropy(4)) % len(PORTS)]
        elif self._add == _ADD_ANY:
            self._add = _ADD
        else:
            return self._end(Failed(str(fault)))
        return self._try()

    def _mapped(self, answer: dict[str, str]) -> list[Output]:
        reserved = answer.get("NewReservedPort", str(self._external))
        if not (reserved.isascii() and reserved.isdigit()) or not 0 < int(reserved[:6]) < 65536:
            return self._end(Failed("makes no sense: it names no port"))
        self._external = int(reserved)
        self._is_ours = True
        lifetime = float(self._lifetime or inf)
        return self._end(Granted(Endpoint(self._host, self._external), lifetime))

    def _act(self, action: str, arguments: dict[str, object]) -> list[Output]:
        self._action = action
        connection = self._untried[0]
        body = soap.request(connection.kind, action, arguments)
        return [self._fetch(connection.control, f"{connection.kind}#{action}", body)]

    def _fetch(self, url: str, action: str = "", body: bytes = b"") -> Fetch:
        self._number += 1
        return Fetch(self._number, url, action, body)
