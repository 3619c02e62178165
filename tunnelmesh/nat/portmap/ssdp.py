"""Find an Internet gateway device: SSDP's search (UPnP Device Architecture §1.3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.endpoint import Endpoint

PORT = 1900

GROUP = Endpoint("239.255.255.250", PORT)
"""Where everybody on the LAN hears a search."""

TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)
"""What is searched for. A device of version 2 has to answer to both, and some do not."""

_WAIT = 1
"""Seconds over which devices spread their answers: the least there is."""

_MAX = 2048
"""Bytes of the longest answer read; real ones have about 500."""


def search(target: str, to: Endpoint) -> bytes:
    """A search, to the group or to one device."""
    lines = [
        "M-SEARCH * HTTP/1.1",
        f"HOST: {to}",
        'MAN: "ssdp:discover"',
        f"MX: {_WAIT}",
        f"ST: {target}",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def location(datagram: bytes, host: str) -> str | None:
    """Where the description of the device that answered is.

    :param host: who sent the answer: the description must be there, and nowhere else.
    :returns: the URL, or None if the answer is of another kind of device.
    :raises DecodeError: if it is no answer to a search, or points elsewhere.
    """
    try:
        first, *lines = datagram[:_MAX].decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise DecodeError("SSDP answer is not text") from None
    if not first.startswith("HTTP/1.") or first.split(" ")[1:2] != ["200"]:
        raise DecodeError("not an answer to a search")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    if headers.get("st") not in TARGETS:
        return None
    return on_host(headers.get("location", ""), host)


def on_host(url: str, host: str) -> str:
    """Make sure of a URL that a router names.

    :raises DecodeError: if it is not plain HTTP on *host*: a router that names another host might
        have us speak to any server that trusts this machine.
    """
    try:
        parts = urlsplit(url)
        there = parts.scheme == "http" and parts.hostname == host and parts.port != 0
    except ValueError:
        there = False
    if not there or not url.isascii() or not url.isprintable() or " " in url or "@" in url:
        raise DecodeError(f"{url[:80]!r} is not a web page on {host}")
    return url
