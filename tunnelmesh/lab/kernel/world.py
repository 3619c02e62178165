"""A small internet of network namespaces."""

from __future__ import annotations

import atexit
import itertools
import os
import re
import signal
import sys
import threading
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import FrameType, TracebackType

from ...errors import LabError
from .cable import Cable
from .host import DEVICE, Host
from .kinds import KINDS, Kind, kind_named
from .namespaces import ip, shell
from .nat import WEB_PORTS
from .programs import end
from .proxy import CONNECT_PORTS
from .record import Record
from .rights import available
from .segments import Internet, Segment
from .site import LIFETIME, ROUTER, ROUTER6, Site

HOSTED = IPv4Network("203.0.113.0/24")
"""Where public machines are, the coordinator first (all three networks: RFC 5737)."""

ACCESS = IPv4Network("198.51.100.0/24")
"""Outside addresses of sites."""

ROUTED = IPv4Network("192.0.2.0/24")
"""Networks behind sites that translate nothing."""

ROUTED_PREFIX = 29
"""Room for five hosts behind each, and for 32 such sites."""

HOSTED6, ACCESS6 = IPv6Network("2001:db8::/64"), IPv6Network("2001:db8:0:1::/64")
"""The IPv6 addresses beside those of public machines and of sites (all of IPv6: RFC 3849)."""

ROUTED6 = IPv6Network("2001:db8:1::/48")
"""Where the networks of sites with IPv6 are taken from, a /64 each."""

LANS = IPv4Network("192.168.0.0/16")
"""Where the LANs of sites are taken from, a /24 each."""

SMALLEST = 30
"""The longest prefix of a LAN: a gateway and one host."""

IPV6_AT_ONCE = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"
"""Addresses are used without looking for a second or two whether another machine has them."""

FIRST_HOST = 10
"""The coordinator is 203.0.113.10 and 2001:db8::a (and .11, and ::b)."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}", re.ASCII)

_serial = itertools.count(1)


class World:
    """A small internet, with a coordinator's machine in it. Use it as a context manager.

    Everything in it is gone when it ends: by leaving the ``with``, by SIGTERM, or at exit of the
    process; and by ``tunnelmesh lab down`` if the process was killed.

    :param name: what the names of its namespaces begin with.
    :raises LabError: there can be no laboratory here; the message says why.
    """

    kinds: dict[str, Kind] = KINDS

    def __init__(self, name: str = "tm") -> None:
        _check(name)
        self.prefix = f"{name}-{os.getpid()}-{next(_serial)}"
        self.hosts: dict[str, Host] = {}
        self.sites: dict[str, Site] = {}
        self._record = Record.own(self.prefix)
        self._taken: set[str] = set()
        self._ports = (f"port{n}" for n in itertools.count(1))
        self._lans = LANS.subnets(new_prefix=24)
        next(self._lans)  # 192.168.0.0/24 reads badly

    def __enter__(self) -> World:
        missing = available()
        if missing:
            raise LabError(f"no NAT laboratory here: {missing}")
        self._record.write()
        atexit.register(self.down)
        self._end_on_sigterm()
        try:
            self._build()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def folder(self) -> Path:
        """Where files that belong to this world can be put."""
        return self._record.folder

    def add_host(self, name: str, addresses: int = 1) -> Host:
        """Put a machine on the public internet.

        :param addresses: how many public addresses it gets.
        """
        return self.connect(name, self._hosted, addresses)

    def add_site(
        self,
        name: str,
        kind: str = "port-restricted",
        *,
        behind: Site | None = None,
        network: str | None = None,
        lifetime: int = LIFETIME,
        hairpin: bool = False,
        ipv6: bool = False,
        web_ports: tuple[int, ...] = WEB_PORTS,
        connect_ports: tuple[int, ...] = CONNECT_PORTS,
    ) -> Site:
        """Add a gateway with a LAN behind it.

        :param kind: a name out of :attr:`kinds`.
        :param behind: another site that this one is a customer of (carrier-grade NAT).
        :param network: the LAN's private network; two sites may have the same one.
        :param lifetime: seconds that an unused UDP mapping lives.
        :param hairpin: hosts reach each other by the gateway's outside address.
        :param ipv6: hosts have public IPv6 addresses as well, behind a firewall.
        :param web_ports: TCP ports that kind web-only passes.
        :param connect_ports: ports that the proxy of a proxied kind connects to.
        :raises LabError: the kind does not exist, or the name is taken.
        """
        described = kind_named(kind)
        ipv6 = ipv6 or described.ipv6
        if (described.routed or ipv6) and behind:
            raise LabError(f"{name} is behind another site: it cannot have public addresses")
        try:
            lan = IPv4Network(network) if network else next(self._lans)
        except (ValueError, StopIteration):
            raise LabError(f"{network or 'one more LAN'}: not a network to be had") from None
        if lan.prefixlen > SMALLEST:
            raise LabError(
                f"{lan} has no room for a gateway and a host: use a /{SMALLEST} or larger"
            )
        namespace = self._namespace(f"{name}-gateway")
        segment = behind.lan if behind else self._access
        site = Site(
            self,
            name,
            described,
            Cable(namespace, "wan", segment, next(self._ports)),
            lan,
            behind=behind,
            lifetime=lifetime,
            hairpin=hairpin,
            ipv6=ipv6,
            web_ports=web_ports,
            connect_ports=connect_ports,
        )
        self.sites[name] = site
        return site

    def connect(self, name: str, segment: Segment, addresses: int = 1) -> Host:
        """Make a machine and plug it in."""
        namespace = self._namespace(name)
        cable = Cable(namespace, DEVICE, segment, next(self._ports), addresses)
        host = self.hosts[name] = Host(name, cable)
        return host

    def down(self) -> None:
        """End every program and remove every namespace. It may be called again."""
        machines = [*self.hosts.values(), *(site.gateway for site in self.sites.values())]
        end([program for machine in machines for program in machine.programs])
        self._record.clear()
        atexit.unregister(self.down)

    def _build(self) -> None:
        namespace = self._namespace("internet")
        shell(ROUTER + ROUTER6, namespace)
        self._hosted = Internet(namespace, HOSTED, HOSTED6, leave_out=FIRST_HOST - 1)
        self._access = Internet(
            namespace,
            ACCESS,
            ACCESS6,
            networks=ROUTED.subnets(new_prefix=ROUTED_PREFIX),
            networks6=ROUTED6.subnets(new_prefix=64),
        )
        self.coordinator = self.add_host("coordinator", addresses=2)

    def _namespace(self, name: str) -> str:
        _check(name)
        if name in self._taken:
            raise LabError(f"there is already a {name!r} in this laboratory")
        self._taken.add(name)
        namespace = f"{self.prefix}-{name}"
        ip([f"netns add {namespace}"])
        ip(["link set dev lo up"], namespace)
        shell(IPV6_AT_ONCE, namespace)
        return namespace

    def _end_on_sigterm(self) -> None:
        """Let SIGTERM run what SIGINT runs anyway: the ``with`` and the exit functions."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _leave)


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is not a name: use up to 31 of a-z, 0-9 and '-'")


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
