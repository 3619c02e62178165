"""Ask a router for a port by NAT-PMP (RFC 6886)."""

from __future__ import annotations

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap import natpmp
from tunnelmesh.nat.portmap.epoch import Epoch
from tunnelmesh.nat.portmap.pcp import PORT
from tunnelmesh.nat.portmap.speaker import (
    LIFETIME,
    Doing,
    Failed,
    Granted,
    Output,
    Restarted,
    Speaker,
)
from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

_UNSUPPORTED_VERSION = 1


class NatPmpSpeaker(Speaker):
    """Asks for one port by NAT-PMP: first for the address, which may have changed, then for it."""

    name = "NAT-PMP"

    def __init__(self, router: str, own: str, port: int) -> None:
        super().__init__(router, own, port)
        self._epoch = Epoch()
        self._to = Endpoint(router, PORT)
        self._host: str | None = None
        self._awaited = natpmp.ADDRESS
        self._wanted = port

    def discover(self, now: float) -> list[Output]:
        return self._ask_address(Doing.DISCOVERING, now)

    def request(self, wanted: Endpoint | None, now: float) -> list[Output]:
        self._wanted = self.port if wanted is None else wanted.port
        return self._ask_address(Doing.MAPPING, now)

    def release(self, now: float) -> list[Output]:
        return self._map(Doing.RELEASING, 0, 0, now)

    def received(self, datagram: bytes, source: Endpoint, now: float) -> list[Output]:
        if source != self._to:
            return []
        try:
            answer = natpmp.decode(datagram)
        except DecodeError:
            return []
        if answer.result == _UNSUPPORTED_VERSION:
            return []  # this was PCP's question: nobody refuses the only version there is
        restarted = self._epoch.restarted(answer.epoch, now)
        if self._doing is Doing.NOTHING:
            moved = isinstance(answer, natpmp.Address) and answer.host != self._host
            return [Restarted()] if restarted or moved else []
        expected = isinstance(answer, natpmp.Address) == (self._awaited == natpmp.ADDRESS)
        if not expected:
            return []
        if answer.result:
            reason = natpmp.RESULTS.get(
                answer.result, f"refuses with NAT-PMP result {answer.result}"
            )
            return self._end(Failed(reason))
        if isinstance(answer, natpmp.Address):
            self._host = answer.host
            if self._doing is Doing.DISCOVERING:
                return self._end(None)
            return self._map(Doing.MAPPING, LIFETIME, self._wanted, now)
        if answer.internal != self.port or self._host is None:
            return []
        return self._end(Granted(Endpoint(self._host, answer.external), answer.lifetime))

    def _ask_address(self, doing: Doing, now: float) -> list[Output]:
        self._awaited = natpmp.ADDRESS
        return self._begin(doing, [Send(natpmp.ADDRESS_REQUEST, self._to)], now)

    def _map(self, doing: Doing, lifetime: int, wanted: int, now: float) -> list[Output]:
        self._awaited = natpmp.MAPPED
        return self._begin(
            doing, [Send(natpmp.map_udp(self.port, lifetime, wanted), self._to)], now
        )
