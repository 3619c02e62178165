"""What a coordinator or a peer is told before it starts.

Each setting is declared once, as a field below. It is at the same time an option of
``twistd tunnelmesh`` (``--udp-port=0``), a key of the TOML file given with ``--config``
(``udp-port = 0``) and an attribute (``udp_port``). An option wins over the file.

Nothing here touches the system: the state directory may not exist yet.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal, TypeVar

from tunnelmesh import parse
from tunnelmesh.errors import ConfigError

DEFAULT_POOL = IPv4Network("100.96.0.0/16")
"""Mesh addresses: a part of 100.64.0.0/10 (RFC 6598), which homes and offices do not use."""


def default_state_dir() -> Path:
    """Where a machine keeps its key and what it has learnt: for root, or for a user (XDG).

    :raises ConfigError: if the user has no home directory.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/tunnelmesh")
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # the XDG specification ignores relative paths
        return base / "tunnelmesh"
    try:
        return Path.home() / ".local" / "state" / "tunnelmesh"
    except RuntimeError:
        raise ConfigError("this user has no home directory: give --state-dir=DIR") from None


def default_name() -> str:
    """A peer's name, made from the machine's host name."""
    host = socket.gethostname().split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", host).strip("-")[:63].strip("-") or "peer"


def _told(
    read: Callable[[object], object], metavar: str, help: str, about: str = "", default: str = ""
) -> dict[str, object]:
    """How a field is read, and how it is shown to people. A flag has no metavar.

    :param about: in docs/settings.md, instead of the help; in Markdown.
    :param default: the same for the default, where that is no value of its own.
    """
    return {
        "read": read,
        "metavar": metavar,
        "help": help,
        "about": about or help,
        "default": default,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What both roles are told."""

    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata=_told(
            parse.path,
            "DIR",
            "where keys and state are kept",
            default="`/var/lib/tunnelmesh` for root, else `$XDG_STATE_HOME/tunnelmesh` or "
            "`~/.local/state/tunnelmesh`",
        ),
    )
    metrics: tuple[str, int] | None = field(
        default=None,
        metadata=_told(
            parse.listen,
            "[HOST:]PORT",
            "serve metrics for Prometheus here",
            about="serve [metrics](howto/metrics.md) for Prometheus here; a port alone is on "
            "loopback",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig(Config):
    """What a peer is told."""

    join: str | None = field(
        default=None,
        repr=False,
        metadata=_told(
            parse.text,
            "TOKEN",
            "invitation; needed the first time only",
            about="an invitation, which `tunnelmesh invite` on the coordinator prints; needed the "
            "first time only, and not looked at any more from then on",
        ),
    )
    name: str = field(
        default_factory=default_name,
        metadata=_told(
            parse.name,
            "NAME",
            "this machine's name in the mesh",
            about="this machine's name in the mesh: letters, digits and hyphens, at most 63. It "
            "counts when joining; later there is `tunnelmesh rename`",
            default="the host name",
        ),
    )
    mode: Literal["auto", "tun", "userspace"] = field(
        default="auto",
        metadata=_told(
            parse.mode,
            "MODE",
            "tun (needs rights), userspace, or auto: as possible",
            about="`tun`: a network device, which needs [rights](howto/rights.md); `userspace`: no "
            "device and no rights; `auto`: a device if possible",
        ),
    )
    tun_name: str = field(
        default="tm0",
        metadata=_told(
            parse.interface,
            "NAME",
            "name of the TUN device",
        ),
    )
    udp_port: int = field(
        default=0,
        metadata=_told(
            parse.port,
            "PORT",
            "UDP port of the tunnel; 0: any",
            about="UDP port of the tunnel; 0 lets the system choose. One of your own is for [a "
            "router's port forward](howto/port-forward.md)",
        ),
    )
    proxy: str = field(
        default="auto",
        repr=False,
        metadata=_told(
            parse.proxy,
            "PROXY",
            "auto, none or http://[user:password@]host:port",
            about="`auto`: what the environment says (`https_proxy`, `no_proxy`); `none`; or "
            "`http://user:password@host:port`. See [Behind a proxy](howto/proxy.md)",
        ),
    )
    relay_only: bool = field(
        default=False,
        metadata=_told(
            parse.flag,
            "",
            "send everything through the coordinator",
            about="[send everything through the coordinator](howto/relayed.md), and tell others no "
            "address of this machine",
        ),
    )
    relay_only_peers: frozenset[str] = field(
        default=frozenset(),
        metadata=_told(
            parse.names,
            "NAMES",
            "send what is for these peers by relay only",
            about="send what is for these peers through the coordinator only",
        ),
    )
    direct_only_peers: frozenset[str] = field(
        default=frozenset(),
        metadata=_told(
            parse.names,
            "NAMES",
            "send what is for these peers never by relay",
            about="send what is for these peers never through the coordinator; without a direct "
            "path there is none",
        ),
    )
    advertise: tuple[tuple[str, int], ...] = field(
        default=(),
        metadata=_told(
            parse.endpoints,
            "HOST:PORT",
            "forwarded to this machine's UDP port",
            about="[ports that a router forwards](howto/port-forward.md) to this machine's UDP "
            "port",
        ),
    )
    no_port_mapping: bool = field(
        default=False,
        metadata=_told(
            parse.flag,
            "",
            "do not ask the router for a port",
            about="do not [ask the router for a port](howto/port-forward.md) by PCP, NAT-PMP or "
            "UPnP",
        ),
    )

    bulk: Literal["auto", "segments", "packets"] = field(
        default="auto",
        metadata=_told(
            parse.bulk,
            "FORM",
            "auto, segments, or packets as WireGuard's",
            about="how [super-packets](fast-path.md) are sent: `auto`; `segments`, never whole "
            "records; or `packets`, as WireGuard's",
        ),
    )
    expose: tuple[tuple[int, str, int], ...] = field(
        default=(),
        metadata=_told(
            parse.exposed,
            "PORTS",
            "open to the mesh: 22,8080 or 80=127.0.0.1:8000",
            about="ports that are open to the mesh without a device: `22,8080`, or "
            "`80=127.0.0.1:8000` for a port that others see as another",
        ),
    )
    socks: tuple[str, int] | None = field(
        default=None,
        metadata=_told(
            parse.listen,
            "[HOST:]PORT",
            "a SOCKS5 server into the mesh",
            about="a [SOCKS5 server](howto/browser.md) into the mesh; a port alone is on loopback",
        ),
    )
    http_proxy: tuple[str, int] | None = field(
        default=None,
        metadata=_told(
            parse.listen,
            "[HOST:]PORT",
            "an HTTP proxy into the mesh",
            about="an [HTTP proxy](howto/browser.md) into the mesh; a port alone is on loopback",
        ),
    )
    no_dns: bool = field(
        default=False,
        metadata=_told(parse.flag, "", "do not make NAME.mesh resolve on this machine"),
    )
    user: str | None = field(
        default=None,
        metadata=_told(
            parse.text,
            "NAME",
            "become this user once the device is open",
            about="the user to become once the device is open, if started by root: see "
            "[Rights](howto/rights.md)",
        ),
    )
    no_reports: bool = field(
        default=False,
        metadata=_told(
            parse.flag,
            "",
            "do not tell the coordinator how paths fare",
            about="do not tell the coordinator, for its dashboard, how this machine's paths fare",
        ),
    )

    def __post_init__(self) -> None:
        never = self.direct_only_peers
        both = sorted(never & self.relay_only_peers)
        if both:
            raise ConfigError(f"relay-only-peers and direct-only-peers both name {both[0]}")
        if self.relay_only and never:
            raise ConfigError("relay-only leaves no way to the peers that direct-only-peers names")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorConfig(Config):
    """What a coordinator is told."""

    public_host: str | None = field(
        default=None,
        metadata=_told(
            parse.host,
            "HOST",
            "the name or address that peers reach it by",
            about="the name or address that peers reach the coordinator by; it goes into "
            "invitations",
            default="found out",
        ),
    )
    https_port: int = field(
        default=8443, metadata=_told(parse.port, "PORT", "TCP port of HTTPS and WebSocket")
    )
    ssh_port: int = field(
        default=2222, metadata=_told(parse.port, "PORT", "TCP port of the SSH tunnel")
    )
    stun_port: int = field(
        default=3478,
        metadata=_told(
            parse.port,
            "PORT",
            "UDP port of STUN",
            about="UDP and TCP port of STUN; the next one is used, too",
        ),
    )
    stun_alternate_address: str | None = field(
        default=None,
        metadata=_told(
            parse.address,
            "IP",
            "second address, for NAT tests (RFC 5780)",
            about="a second address of the machine, with which peers can find out more about their "
            "NAT (RFC 5780)",
        ),
    )
    one_port: int | None = field(
        default=None,
        metadata=_told(
            parse.port,
            "PORT",
            "serve HTTPS, WebSocket and SSH on this TCP port",
            about="one TCP port for HTTPS, WebSocket and SSH together, such as 443, instead of "
            "`--https-port` and `--ssh-port`",
        ),
    )
    tls_certificate: Path | None = field(
        default=None,
        metadata=_told(
            parse.path,
            "FILE",
            "PEM chain, if not self-signed",
            about="PEM file of [a certificate that browsers trust](howto/certificate.md), with its "
            "chain",
            default="self-signed, pinned by the invitation",
        ),
    )
    tls_key: Path | None = field(
        default=None,
        metadata=_told(
            parse.path,
            "FILE",
            "PEM key of the certificate",
            about="PEM file of the certificate's key",
        ),
    )
    pool: IPv4Network = field(
        default=DEFAULT_POOL,
        metadata=_told(parse.pool, "NETWORK", "IPv4 network of mesh addresses"),
    )
    policy: Path | None = field(
        default=None,
        metadata=_told(
            parse.path,
            "FILE",
            "TOML file of access rules; without it, none",
            about="TOML file of [access rules](howto/access.md): who may reach whom",
            default="all reach all",
        ),
    )

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigError("tls-certificate and tls-key go together: give both or neither")


C = TypeVar("C", bound=Config)


def settings(role: type[Config]) -> dict[str, Field[Any]]:
    """The settings of a role: its fields, by the name that people type."""
    return {setting.name.replace("_", "-"): setting for setting in fields(role)}


def load(role: type[C], options: Mapping[str, object], file: Path | None = None) -> C:
    """Make a role's configuration from the options that were given and from a TOML file.

    :param role: :class:`PeerConfig` or :class:`CoordinatorConfig`.
    :param options: values by name as typed (``udp-port``), only those that were given.
    :param file: the TOML file; its keys are the same names.
    :raises ConfigError: in one line that names the key, and the file if it is there.
    """
    from_file = _values(role, _read(file), f"{file}: ") if file else {}
    return role(**from_file | _values(role, options, "--"))


def _read(file: Path) -> dict[str, object]:
    import tomllib  # where there is no file, nobody needs it

    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from None


def _values(role: type[Config], given: Mapping[str, object], where: str) -> dict[str, Any]:
    known = settings(role)
    values = {}
    for key, value in given.items():
        if key not in known:
            near = get_close_matches(key, known, 1, 0.8)
            hint = f" (did you mean {near[0]}?)" if near else ""
            name = role.__name__.removesuffix("Config").lower()
            raise ConfigError(f"{where}{key[:40]} is not a setting of a {name}{hint}")
        setting = known[key]
        try:
            values[setting.name] = setting.metadata["read"](value)
        except ValueError as error:
            # What is not shown in a repr is a secret, and is not shown here either.
            found = f", not {str(value)[:80]!r}" if setting.repr else ""
            raise ConfigError(f"{where}{key} {error}{found}") from None
    return values
