"""What a cable can lead to: the internet's routers, or the LAN of a site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from ...errors import LabError
from .namespaces import ip, shell

NEXT_HOP = IPv4Address("169.254.0.1")
"""The router at the far end of every line to the internet. One link-local address serves all lines,
so that public addresses need no subnets and can be moved freely."""

NEXT_HOP6 = IPv6Address("fe80::1")
"""Every router's IPv6 address towards those it serves, for the same reason."""

BRIDGE_PAST_FIREWALL = (
    "for f in /proc/sys/net/bridge/bridge-nf-call-*; do"
    " [ ! -e $f ] || echo 0 2>/dev/null >$f || :; done"
)
"""Frames between two hosts of one LAN must not pass the gateway's firewall."""


ONE_CPU = """
for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo {mask} 2>/dev/null >$f || :; done
"""
"""Have a gateway's packets handled by the first CPU, or by any. Only real root may set this."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a segment gives to the device at the near end of a cable.

    :ivar addresses: its addresses; the first is the one it sends from.
    :ivar prefix: their prefix length.
    :ivar router: where it sends everything else.
    :ivar addresses6: its IPv6 addresses, one beside each of the others, or none.
    """

    addresses: tuple[IPv4Address, ...]
    prefix: int
    router: IPv4Address
    addresses6: tuple[IPv6Interface, ...] = ()


class Segment(ABC):
    """A namespace that cables lead into, and the addresses it gives out."""

    def __init__(self, namespace: str, addresses: Iterable[IPv4Address]) -> None:
        self.namespace = namespace
        self._free = deque(addresses)

    def admit(self, port: str, count: int = 1) -> Lease:
        """Let a device in whose cable ends here as *port*.

        :raises LabError: all addresses are taken.
        """
        if len(self._free) < count:
            raise LabError("no address is left in this part of the laboratory")
        lease = self._lease(tuple(self._free.popleft() for _ in range(count)))
        ip(self._opening(port, lease), self.namespace)
        return lease

    def dismiss(self, port: str, lease: Lease) -> None:
        """Take a device's addresses back; they are given out again as late as possible."""
        ip(self._closing(port, lease), self.namespace)
        self._free.extend(each for each in lease.addresses if self._owns(each))

    def _owns(self, address: IPv4Address) -> bool:
        return True

    def _lease6(
        self, addresses: Iterable[IPv4Address], four: IPv4Network, six: IPv6Network | None
    ) -> tuple[IPv6Interface, ...]:
        """The IPv6 addresses that are as far into their network as the others are into theirs."""
        if six is None:
            return ()
        first = int(four.network_address)
        return tuple(IPv6Interface((six[int(each) - first], six.prefixlen)) for each in addresses)

    @abstractmethod
    def _lease(self, addresses: tuple[IPv4Address, ...]) -> Lease: ...

    @abstractmethod
    def _opening(self, port: str, lease: Lease) -> list[str]:
        """Return the ``ip`` commands that make the addresses reachable."""

    @abstractmethod
    def _closing(self, port: str, lease: Lease) -> list[str]:
        """Return the ``ip`` commands that make them unreachable again."""


class Internet(Segment):
    """Routers between public addresses. Several such segments may share one namespace.

    :param network: where its addresses are taken from, the first ones left out; *network6* their
        like, for everybody has IPv6 here.
    :param networks: public networks that can be delegated to routed sites; *networks6* to sites
        with IPv6.
    """

    def __init__(
        self,
        namespace: str,
        network: IPv4Network,
        network6: IPv6Network,
        *,
        leave_out: int = 0,
        networks: Iterable[IPv4Network] = (),
        networks6: Iterable[IPv6Network] = (),
    ) -> None:
        super().__init__(namespace, list(network.hosts())[leave_out:])
        self._network = network
        self._network6 = network6
        self._networks = deque(networks)
        self._networks6 = iter(networks6)

    def delegate(self, port: str, router: str) -> IPv4Network:
        """Route a public network to the device at *router*, at the other end of *port*.

        :raises LabError: all networks are taken.
        """
        if not self._networks:
            raise LabError("no public network is left for another open or firewall site")
        network = self._networks.popleft()
        ip([f"route add {network} via {router} dev {port} onlink"], self.namespace)
        return network

    def delegate6(self, port: str, router: IPv6Interface) -> IPv6Network:
        """Route an IPv6 network to the device at *router*; it is not used again."""
        network = next(self._networks6)
        ip([f"route add {network} via {router.ip} dev {port} onlink"], self.namespace)
        return network

    def withdraw(self, network: IPv4Network | IPv6Network) -> None:
        """Stop routing a delegated network."""
        ip([f"route del {network}"], self.namespace)
        if isinstance(network, IPv4Network):
            self._networks.append(network)

    def _lease(self, addresses: tuple[IPv4Address, ...]) -> Lease:
        six = self._lease6(addresses, self._network, self._network6)
        return Lease(addresses, 32, NEXT_HOP, tuple(IPv6Interface(each.ip) for each in six))

    def _opening(self, port: str, lease: Lease) -> list[str]:
        return [
            f"address replace {NEXT_HOP}/32 dev {port}",
            f"link set dev {port} up",
            f"address replace {NEXT_HOP6}/64 dev {port}",
            *(f"route add {each} dev {port}" for each in (*lease.addresses, *lease.addresses6)),
        ]

    def _closing(self, port: str, lease: Lease) -> list[str]:
        every = (*lease.addresses, *lease.addresses6)
        return [f"route del {each} dev {port}" for each in every]


class Lan(Segment):
    """A site's switch: the bridge ``lan`` in its gateway's namespace."""

    def __init__(
        self, namespace: str, network: IPv4Network, network6: IPv6Network | None = None
    ) -> None:
        super().__init__(namespace, ())
        self._one_cpu = False
        ip(["link add name lan type bridge"], namespace)
        shell(BRIDGE_PAST_FIREWALL, namespace)
        self.number(network, network6)

    def admit(self, port: str, count: int = 1) -> Lease:
        """Let a device in, as for every segment."""
        lease = super().admit(port, count)
        if self._one_cpu:
            self._pin()
        return lease

    def pin(self, one_cpu: bool) -> None:
        """Tie the gateway to one CPU, or set it free.

        The maps of cones are learned after translation, so packets of one new socket must not be
        translated on two CPUs at once.
        """
        if one_cpu != self._one_cpu:
            self._one_cpu = one_cpu
            self._pin()

    def number(self, network: IPv4Network, network6: IPv6Network | None = None) -> None:
        """Use other networks from now on, of which the gateway takes the first address.

        Every cable that leads here has to be renumbered.
        """
        self.network = network
        self._network6 = network6
        self.router, *others = network.hosts()
        self._free = deque(others)
        lines = [
            "address flush dev lan scope global",
            f"address add {self.router}/{network.prefixlen} dev lan",
            "link set dev lan up",
        ]
        for each in self._lease6([self.router], network, network6):
            lines += [f"address replace {address} dev lan" for address in (each, f"{NEXT_HOP6}/64")]
        ip(lines, self.namespace)

    def _owns(self, address: IPv4Address) -> bool:
        return address in self.network

    def _lease(self, addresses: tuple[IPv4Address, ...]) -> Lease:
        six = self._lease6(addresses, self.network, self._network6)
        return Lease(addresses, self.network.prefixlen, self.router, six)

    def _opening(self, port: str, lease: Lease) -> list[str]:
        return [f"link set dev {port} master lan", f"link set dev {port} up"]

    def _closing(self, port: str, lease: Lease) -> list[str]:
        return []

    def _pin(self) -> None:
        shell(ONE_CPU.format(mask=int(self._one_cpu)), self.namespace)
