"""Read the values that people type, on a command line or in a TOML file.

Each function takes what was given (text from the command line, any type from TOML) and returns what
the program works with, or raises ValueError with a text that completes "--key ...".
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

SMALLEST_POOL = 29
"""Longest prefix of a pool: six addresses, below which a mesh is a mistake."""

MOST_ITEMS = 64
"""Names or endpoints in one setting."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 §2.1
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # Linux: IFNAMSIZ is 16 with the NUL


def name(value: object) -> str:
    """Read a peer's name: one DNS label of at most 63 letters, digits and hyphens.

    :returns: the name in lower case.
    :raises ValueError: if it is not such a label.
    """
    if isinstance(value, str) and _LABEL.fullmatch(value.lower()):
        return value.lower()
    raise ValueError("must be 1 to 63 letters, digits and inner hyphens")


def text(value: object) -> str:
    """Read a text of one line.

    :raises ValueError: if it is empty, has control characters or is no text.
    """
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ValueError("must be a text of one line")


def port(value: object) -> int:
    """Read a UDP or TCP port; 0 lets the system choose.

    :raises ValueError: if it is not a number from 0 to 65535.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:6])
    if type(value) is int and 0 <= value <= 65535:
        return value
    raise ValueError("must be a port number, 0 to 65535")


def flag(value: object) -> bool:
    """Read a yes or no.

    :raises ValueError: if it is neither true nor false.
    """
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def path(value: object) -> Path:
    """Read a path; it is made absolute because a daemon changes its directory.

    :raises ValueError: if it is empty or names a home that does not exist.
    """
    try:
        return Path(text(value)).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"cannot be expanded: {error}") from None


def mode(value: object) -> Literal["auto", "tun", "userspace"]:
    """Read how packets reach the system: a TUN device, or port forwards without privileges.

    :raises ValueError: if there is no such mode.
    """
    match value:
        case "auto" | "tun" | "userspace":
            return value
    raise ValueError("must be auto, tun or userspace")


def bulk(value: object) -> Literal["auto", "segments", "packets"]:
    """Read how the kernel's super-packets are sent.

    :raises ValueError: if there is no such form.
    """
    match value:
        case "auto" | "segments" | "packets":
            return value
    raise ValueError("must be auto, segments or packets")


def interface(value: object) -> str:
    """Read a network interface's name.

    :raises ValueError: if Linux would not take it.
    """
    if isinstance(value, str) and _INTERFACE.fullmatch(value):
        return value
    raise ValueError("must be an interface name of at most 15 characters, such as tm0")


def proxy(value: object) -> str:
    """Read ``auto``, ``none`` or the URL of an HTTP proxy.

    :raises ValueError: if it is none of them.
    """
    if value in ("auto", "none"):
        return str(value)
    try:
        url = urlsplit(text(value))
        if url.scheme == "http" and url.hostname and url.port and url.path in ("", "/"):
            return url.geturl()
    except ValueError:
        pass
    raise ValueError("must be auto, none or http://[user:password@]host:port")


def host(value: object) -> str:
    """Read a DNS name or an IP address, without a port.

    :raises ValueError: if it is neither.
    """
    given = text(value).lower()
    try:
        return str(ip_address(given))
    except ValueError:
        labels = given.removesuffix(".").split(".")
    # An all-numeric last label is an address written wrongly, not a name (RFC 3696 §2).
    if len(given) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit():
        return given
    raise ValueError("must be a host name or an IP address, without a port")


def endpoints(value: object) -> tuple[tuple[str, int], ...]:
    """Read ``HOST:PORT``, or several with commas, or a list of them.

    :returns: hosts, as names or addresses, with ports.
    :raises ValueError: if one is malformed, or there are too many.
    """
    try:
        return tuple(map(_endpoint, _several(value)))
    except ValueError:
        raise ValueError("must be HOST:PORT, or several of them with commas") from None


def listen(value: object) -> tuple[str, int]:
    """Read where to listen: ``[HOST:]PORT``, on this machine's loopback without a host.

    :raises ValueError: if it is neither.
    """
    try:
        if type(value) is int or (isinstance(value, str) and value.isdigit()):
            return "127.0.0.1", port(value)
        return _endpoint(value)
    except ValueError:
        raise ValueError("must be a port, or HOST:PORT") from None


def exposed(value: object) -> tuple[tuple[int, str, int], ...]:
    """Read which ports are open to the mesh: ``22``, ``80=127.0.0.1:8000``, several with commas.

    :returns: for each the port that others see, and the host and port that it leads to.
    :raises ValueError: if one is malformed, is there twice, or there are too many.
    """
    try:
        given = tuple(map(_exposed, [value] if type(value) is int else _several(value)))
    except ValueError:
        raise ValueError("must be PORT or PORT=HOST:PORT, or several of them with commas") from None
    if len({port for port, _, _ in given}) < len(given):
        raise ValueError("must name each port once")
    return given


def names(value: object) -> frozenset[str]:
    """Read the names of peers: one, several with commas, or a list of them.

    :raises ValueError: if one is no name.
    """
    try:
        return frozenset(map(name, _several(value)))
    except ValueError:
        raise ValueError("must be names of peers, with commas") from None


def _exposed(value: object) -> tuple[int, str, int]:
    seen, _, target = str(value).partition("=")
    number = port(seen)
    if not number:
        raise ValueError
    return (number, *_endpoint(target)) if target else (number, "127.0.0.1", number)


def _endpoint(value: object) -> tuple[str, int]:
    url = urlsplit(f"//{value}")
    if not url.port or url.path or url.query or url.fragment or url.username is not None:
        raise ValueError
    return host(url.hostname), url.port


def _several(value: object) -> list[object]:
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not 0 < len(given) <= MOST_ITEMS:
        raise ValueError
    return [each.strip() if isinstance(each, str) else each for each in given]


def address(value: object) -> str:
    """Read an IP address.

    :raises ValueError: if it is not one.
    """
    try:
        return str(ip_address(text(value)))
    except ValueError:
        raise ValueError("must be an IP address") from None


def pool(value: object) -> IPv4Network:
    """Read the network that mesh addresses are taken from.

    :raises ValueError: if it is not an IPv4 network, or too small for a mesh.
    """
    try:
        network = IPv4Network(text(value))
    except ValueError:
        raise ValueError("must be an IPv4 network such as 100.96.0.0/16") from None
    if network.prefixlen > SMALLEST_POOL:
        raise ValueError(f"must be a network of at least 8 addresses (/{SMALLEST_POOL})")
    return network
