"""The actions of an Internet gateway device, and its answers: SOAP, as UPnP has it (UDA §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap.markup import parse, text_of

INVALID_ACTION = 401
ACTION_FAILED = 501
WILDCARD_NOT_PERMITTED = 716
CONFLICT = 718
SAME_PORT_ONLY = 724
PERMANENT_ONLY = 725
"""UPnP's error codes that ask for something else to be tried (WANIPConnection:1 §2.4.16)."""

ERRORS = {
    INVALID_ACTION: "does not know how to map ports",
    402: "calls the request malformed",
    ACTION_FAILED: "failed to",
    606: "does not allow it",
    CONFLICT: "has given the port to another machine",
    SAME_PORT_ONLY: "wants the same port inside and outside",
    PERMANENT_ONLY: "makes permanent mappings only",
    728: "has no port left",
}
"""What a router that refuses says, as the end of a sentence."""

_ENVELOPE = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
    '<s:Body><u:{action} xmlns:u="{kind}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)


def request(kind: str, action: str, arguments: Mapping[str, object]) -> bytes:
    """The body of a request.

    :param kind: the service's type.
    """
    written = "".join(
        f"<{name}>{escape(str(v), quote=False)}</{name}>" for name, v in arguments.items()
    )
    return _ENVELOPE.format(action=action, kind=kind, arguments=written).encode()


@dataclass(frozen=True, slots=True)
class Fault:
    """A router did not do what it was asked to.

    :ivar code: UPnP's number for the reason, 0 if it gave none.
    """

    code: int

    def __str__(self) -> str:
        return ERRORS.get(self.code, f"refuses with UPnP error {self.code}")


def answer(document: bytes, action: str) -> dict[str, str] | Fault:
    """What an action returned, by name, or why it failed.

    :raises DecodeError: if it is no answer to that action.
    """
    root = parse(document)
    for fault in root.iter("UPnPError"):
        code = text_of(fault, "errorCode")
        return Fault(int(code) if code.isascii() and code.isdigit() and len(code) < 5 else 0)
    for found in root.iter(f"{action}Response"):
        return {each.tag: (each.text or "").strip() for each in found}
    raise DecodeError(f"no answer to {action}")
