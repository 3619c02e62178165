"""What an Internet gateway device says of itself (UPnP InternetGatewayDevice:1 and :2)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap.markup import parse, text_of
from tunnelmesh.nat.portmap.ssdp import on_host

KINDS = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""The services that map ports."""

MOST = 4
"""Connections tried: a router has one or two."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One of a router's connections to the internet.

    :ivar kind: one of :data:`KINDS`.
    :ivar control: the URL that its actions are sent to.
    """

    kind: str
    control: str


def connections(document: bytes, location: str, host: str) -> list[Connection]:
    """Find the connections in a device's description.

    :param location: where the description came from.
    :param host: the device, which every URL must stay on.
    :raises DecodeError: if there is none, or the description is malformed.
    """
    root = parse(document)
    base = text_of(root, "URLBase") or location
    found = []
    for service in root.iter("service"):
        kind, control = text_of(service, "serviceType"), text_of(service, "controlURL")
        if kind in KINDS and control:
            try:
                found.append(Connection(kind, on_host(urljoin(base, control), host)))
            except ValueError:
                raise DecodeError(f"{control[:80]!r} is not an address") from None
    if not found:
        raise DecodeError("a device without a connection to the internet")
    return found[:MOST]
