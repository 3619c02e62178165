"""Which HTTP proxy, if any, leads to the coordinator: ``--proxy`` and the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tunnelmesh.errors import ConfigError

DEFAULT_PORT = 80
"""HTTP's own, for a URL without a port."""

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""First come, first served. Both ways of writing them are common; lower case is the older."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. As text it shows no password.

    :ivar username: None where none is given; so for the password.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.username}@" if self.username is not None else ""
        return f"{user}{host}:{self.port}"


def proxy_for(setting: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy to reach *host* and *port* through.

    :param setting: ``auto`` (as the environment says), ``none``, or the proxy's URL.
    :param environment: the process's environment, of which ``HTTPS_PROXY``, ``ALL_PROXY`` and
        ``NO_PROXY`` count, in upper or lower case.
    :raises ConfigError: naming the option or variable that is not an HTTP proxy's URL.
    """
    if setting == "none":
        return None
    if setting != "auto":
        return parse_proxy(setting, "--proxy")
    name = next((name for name in _VARIABLES if environment.get(name)), None)
    if name is None:
        return None
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return None if _excepted(exceptions, host, port) else parse_proxy(environment[name], name)


def parse_proxy(url: str, origin: str) -> Proxy:
    """Read ``http://[user[:password]@]host[:port]``; ``http://`` may be missing.

    :param origin: where the URL comes from, for the message.
    :raises ConfigError: if it is not that. The message does not show the URL: it may hold a
        password.
    """
    problem = ConfigError(f"{origin} must be http://[user:password@]host:port, or --proxy=none")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme != "http":
        raise ConfigError(f"{origin} names a proxy other than http://, which cannot be used")
    username, password = (
        None if part is None else unquote(part) for part in (parts.username, parts.password)
    )
    told = f"{url}{username}{password}"
    if not parts.hostname or port == 0 or not told.isprintable() or " " in url:
        raise problem
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise problem
    return Proxy(parts.hostname, port or DEFAULT_PORT, username, password)


def _excepted(exceptions: str, host: str, port: int) -> bool:
    """Whether ``NO_PROXY`` says to go there directly.

    Its entries, separated by commas or blanks, are ``*``, addresses, networks, and names, which
    stand for all that end in them as well; each but ``*`` may end in a port.
    """
    host = host.lower().rstrip(".").strip("[]")
    address = _address(host)
    for entry in exceptions.lower().replace(",", " ").split():
        if entry == "*":
            return True
        wanted, wanted_port = _split_port(entry)
        if wanted_port not in (None, str(port)):
            continue
        if address is None:
            name = wanted.removeprefix("*").strip(".")
            if name and (host == name or host.endswith("." + name)):
                return True
        elif _contains(wanted, address):
            return True
    return False


def _split_port(entry: str) -> tuple[str, str | None]:
    """Take ``name:port``, ``address:port`` and ``[address]:port`` apart."""
    if entry.startswith("["):
        wanted, _, rest = entry[1:].partition("]")
        return wanted, rest.removeprefix(":") or None
    if entry.count(":") == 1:
        wanted, _, port = entry.partition(":")
        return wanted, port
    return entry, None


def _contains(wanted: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
