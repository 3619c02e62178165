"""A transport address: where a datagram comes from or goes to."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from tunnelmesh.errors import DecodeError


class Endpoint(NamedTuple):
    """An IP address and a UDP or TCP port.

    A tuple, so that it goes into a socket call and compares with what comes out of one.

    :ivar host: an IPv4 or IPv6 address in its shortest text form, never a name.
    :ivar port: 0 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``192.0.2.1:51820`` or ``[2001:db8::1]:51820``.

        :raises DecodeError: if it is neither.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
            raise DecodeError(f"{text[:80]!r} is not an address and port")
        if "%" in host:  # a zone, which means something on one machine only
            raise DecodeError(f"{text[:80]!r} is not an address and port")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            raise DecodeError(f"{text[:80]!r} is not an address and port") from None
        if bracketed != (address.version == 6) or int(port) > 65535:
            raise DecodeError(f"{text[:80]!r} is not an address and port")
        return cls(str(address), int(port))
