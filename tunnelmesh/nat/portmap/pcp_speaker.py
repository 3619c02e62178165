"""Ask a router for a port by PCP (RFC 6887)."""

from __future__ import annotations

from collections.abc import Callable

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap import pcp
from tunnelmesh.nat.portmap.epoch import Epoch
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

_ANY = "0.0.0.0"
_UNSUPPORTED_OPCODE = 4


class PcpSpeaker(Speaker):
    """Asks for one port by PCP.

    :param entropy: gives that many random bytes.
    """

    name = "PCP"

    def __init__(self, router: str, own: str, port: int, entropy: Callable[[int], bytes]) -> None:
        super().__init__(router, own, port)
        self._nonce = entropy(pcp.NONCE)
        self._epoch = Epoch()
        self._to = Endpoint(router, pcp.PORT)

    def discover(self, now: float) -> list[Output]:
        return self._begin(Doing.DISCOVERING, [Send(pcp.announce(self.own), self._to)], now)

    def request(self, wanted: Endpoint | None, now: float) -> list[Output]:
        return self._map(Doing.MAPPING, LIFETIME, wanted or Endpoint(_ANY, self.port), now)

    def release(self, now: float) -> list[Output]:
        return self._map(Doing.RELEASING, 0, Endpoint(_ANY, 0), now)

    def _map(self, doing: Doing, lifetime: int, wanted: Endpoint, now: float) -> list[Output]:
        asked = pcp.map_udp(self.own, self._nonce, self.port, lifetime, wanted)
        return self._begin(doing, [Send(asked, self._to)], now)

    def received(self, datagram: bytes, source: Endpoint, now: float) -> list[Output]:
        if source != self._to:
            return []
        if self._doing is Doing.DISCOVERING and pcp.is_version_refused(datagram):
            return self._end(Failed("speaks NAT-PMP only"))
        try:
            answer = pcp.decode(datagram)
        except DecodeError:
            return []
        restarted = self._epoch.restarted(answer.epoch, now)
        if self._doing is Doing.NOTHING:
            return [Restarted()] if restarted else []
        if answer.opcode != (pcp.ANNOUNCE if self._doing is Doing.DISCOVERING else pcp.MAP):
            return []
        if self._doing is Doing.DISCOVERING and answer.result in (0, _UNSUPPORTED_OPCODE):
            return self._end(None)  # whoever cannot announce may map all the same
        if answer.result:
            reason = pcp.RESULTS.get(answer.result, f"refuses with PCP result {answer.result}")
            return self._end(Failed(reason, retry_after=answer.lifetime))
        if (answer.nonce, answer.internal) != (self._nonce, self.port) or answer.external is None:
            return []
        return self._end(Granted(answer.external, answer.lifetime))
