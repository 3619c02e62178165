"""A place with a gateway of some kind, a LAN behind it and hosts on the LAN."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from random import Random
from typing import TYPE_CHECKING

from ...errors import LabError
from .cable import Cable
from .host import Host
from .kinds import Kind, kind_named
from .namespaces import ip, nft, shell
from .nat import TABLE6, WEB_PORTS, Block, block_rules, rules, rules6
from .proxy import CONNECT_PORTS, Proxy
from .segments import Internet, Lan

if TYPE_CHECKING:
    from .world import World

LIFETIME = 120
"""Seconds that an unused UDP mapping lives: the least that RFC 4787 REQ-5 allows."""

ROUTER = """
cd /proc/sys/net/ipv4
echo 1 >ip_forward
for f in conf/*/rp_filter conf/*/send_redirects; do echo 0 >$f; done
for f in conf/*/accept_local; do echo 1 >$f; done
"""
"""Settings of every namespace that forwards. A hairpinned packet comes back from the provider with
the gateway's own address as its source, which only accept_local lets in."""

ROUTER6 = "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"

HAIRPIN = (
    "rule add pref 20 lookup local",
    "rule del pref 0",
    "rule add pref 10 iif lan not to {network} lookup main",
)
"""A hairpin made of the simplest thing: what hosts send to the gateway's outside address goes out
to the provider, translated as ever, and comes back in, filtered as ever (RFC 4787 §6)."""

ZONES = range(1, 65536)
"""Conntrack zones, used one after the other."""

EXPIRY = """
cd /proc/sys/net/netfilter
for f in nf_conntrack_udp_timeout nf_conntrack_udp_timeout_stream; do echo {seconds} >$f; done
"""


class Site:
    """A gateway and its LAN. Made by :meth:`World.add_site`.

    :ivar name: its name in its world.
    :ivar kind: what its gateway is now.
    :ivar ipv6: whether its hosts have public IPv6 addresses, behind a firewall.
    :ivar behind: the site that this one is a customer of, or None.
    :ivar gateway: the gateway as a host, for programs that run on routers.
    :ivar hosts: who is on its LAN now.
    """

    def __init__(
        self,
        world: World,
        name: str,
        kind: Kind,
        uplink: Cable,
        network: IPv4Network,
        *,
        behind: Site | None = None,
        lifetime: int = LIFETIME,
        hairpin: bool = False,
        ipv6: bool = False,
        web_ports: Iterable[int] = WEB_PORTS,
        connect_ports: Iterable[int] = CONNECT_PORTS,
    ) -> None:
        self.world = world
        self.name = name
        self.kind = kind
        self.uplink = uplink
        self.ipv6 = ipv6
        self.behind = behind
        self.gateway = Host(f"{name}-gateway", uplink)
        self.hosts: list[Host] = []
        self._private = network
        self._lifetime = lifetime
        self._web_ports = tuple(web_ports)
        self._connect_ports = tuple(connect_ports)
        self._random = Random(name)
        self._zones = itertools.cycle(ZONES)
        self._blocks: list[Block] = []
        self._proxy: Proxy | None = None
        shell(ROUTER + ROUTER6 * ipv6, self.namespace)
        self._network6 = self._delegated6() if ipv6 else None
        private_or_public = self._delegated() if kind.routed else network
        self.lan = Lan(self.namespace, private_or_public, self._network6)
        if hairpin:
            ip([line.format(network=network) for line in HAIRPIN], self.namespace)
        self.lan.pin(kind.learns)
        self._govern()
        shell(EXPIRY.format(seconds=lifetime), self.namespace)

    @property
    def namespace(self) -> str:
        """The gateway's namespace."""
        return self.uplink.namespace

    @property
    def outside(self) -> str:
        """The gateway's address towards the internet, or towards the site it is behind."""
        return self.uplink.address

    @property
    def proxy(self) -> str | None:
        """The URL of the HTTP proxy, with its password, where the kind has one."""
        return self._proxy.url if self._proxy else None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is dropped besides what the kind drops."""
        return tuple(self._blocks)

    def add_host(self, name: str) -> Host:
        """Put a machine on the LAN.

        :raises LabError: the name is taken, or the LAN is full.
        """
        host = self.world.connect(name, self.lan)
        self.hosts.append(host)
        return host

    def change(self, kind: str) -> None:
        """Become another kind of gateway at once: all flows and mappings are forgotten.

        Between a translated and a routed kind the hosts' own addresses change as well.

        :raises LabError: there is no such kind, or it has IPv6 and the site has not.
        """
        new, old = kind_named(kind), self.kind
        if new.ipv6 and not self.ipv6:
            raise LabError(f"{self.name} has no IPv6: add it as a site that has")
        if new.routed != old.routed:
            if any(site.behind is self for site in self.world.sites.values()):
                raise LabError(f"there are sites behind {self.name}: it must keep its addresses")
            if old.routed:
                self._internet().withdraw(self.lan.network)
            self._renumber(self._delegated() if new.routed else self._private)
        self.kind = new
        self._govern()
        self.lan.pin(new.learns)

    def block(self, udp: bool = False, tcp_port: int | None = None) -> None:
        """Drop all UDP, or what goes to a TCP port; running flows stop as well.

        :raises LabError: nothing is named, or not a port.
        """
        if not udp and tcp_port is None:
            raise LabError("say what to block: UDP or a TCP port")
        if tcp_port is not None and not 0 < tcp_port < 65536:
            raise LabError(f"{tcp_port} is not a TCP port")
        wanted = [Block()] * udp + [Block(tcp_port)] * (tcp_port is not None)
        self._blocks += [each for each in wanted if each not in self._blocks]
        self._obstruct()

    def unblock(self) -> None:
        """Drop nothing more than the kind does."""
        self._blocks.clear()
        self._obstruct()

    def roam(self) -> str:
        """Get another outside address; all flows die.

        The hosts get new public addresses too, those of a routed site and IPv6 ones.

        :returns: the new address.
        """
        if self.kind.routed:
            self._internet().withdraw(self.lan.network)
        if self._network6 is not None:
            self._internet().withdraw(self._network6)
        self.uplink.renumber()
        if self._network6 is not None:
            self._network6 = self._delegated6()
        if self.kind.routed or self._network6 is not None:
            self._renumber(self._delegated() if self.kind.routed else self._private)
        self._govern()
        return self.outside

    def lose(self, percent: float) -> None:
        """Lose this share of all packets on the uplink, each way; 0 ends it."""
        self.uplink.lose(percent)

    def limit(self, mbit: float | None) -> None:
        """Carry at most this many Mbit/s on the uplink, each way; None ends it."""
        self.uplink.limit(mbit)

    def _govern(self) -> None:
        """Load the rules of the present kind and forget every flow."""
        zone = next(self._zones)
        text = rules(
            self.kind,
            self.outside,
            lifetime=self._lifetime,
            web_ports=self._web_ports,
            blocks=self._blocks,
            random=self._random,
            zone=zone,
        )
        if self.ipv6:
            text += rules6(blocks=self._blocks, zone=zone)
        nft(text, self.namespace)
        if self._proxy:
            self._proxy.down()
            self._proxy = None
        if self.kind.proxied:
            self._proxy = Proxy(
                self.gateway,
                str(self.lan.router),
                password=self.kind.name == "proxy-auth",
                connect_ports=self._connect_ports,
                folder=self.world.folder,
            )

    def _obstruct(self) -> None:
        text = block_rules(self._blocks)
        if self.ipv6:
            text += block_rules(self._blocks, TABLE6)
        nft(text, self.namespace)

    def _renumber(self, network: IPv4Network) -> None:
        self.lan.number(network, self._network6)
        for host in self.hosts:
            host.cable.renumber()

    def _delegated(self) -> IPv4Network:
        return self._internet().delegate(self.uplink.port, self.outside)

    def _delegated6(self) -> IPv6Network:
        return self._internet().delegate6(self.uplink.port, self.uplink.lease.addresses6[0])

    def _internet(self) -> Internet:
        if not isinstance(self.uplink.segment, Internet):
            raise LabError(f"{self.name} is behind another site: it cannot have public addresses")
        return self.uplink.segment
