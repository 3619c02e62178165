"""A cable from a device to a segment: a veth pair, with weather."""

from __future__ import annotations

from ...errors import LabError
from .namespaces import call, command, ip, nft
from .segments import NEXT_HOP6, Lease, Segment

MANY = 65535
"""Segments that a device may take at once by itself: the kernel's own value."""

BURST = "64kb"
"""The largest burst of a line with a limited rate; a super-packet must fit."""

NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
"""What IPv6 has in the place of ARP."""

PATIENCE = "50ms"
"""How long a packet may wait for a line with a limited rate, before it is dropped."""


class Cable:
    """Connects *device* in *namespace* to a segment, and keeps its addresses.

    :param port: the name of the other end, unique in the world.
    :param count: how many addresses the device gets.
    """

    def __init__(
        self, namespace: str, device: str, segment: Segment, port: str, count: int = 1
    ) -> None:
        self.namespace = namespace
        self.device = device
        self.segment = segment
        self.port = port
        self._routes6 = False
        ip(
            [
                f"link add name {device} netns {namespace} type veth"
                f" peer name {port} netns {segment.namespace}"
            ]
        )
        self._adopt(segment.admit(port, count))

    @property
    def address(self) -> str:
        """The address that the device sends from."""
        return str(self.lease.addresses[0])

    def renumber(self) -> None:
        """Get other addresses in the same segment."""
        old = self.lease
        self._adopt(self.segment.admit(self.port, len(old.addresses)))
        self.segment.dismiss(self.port, old)

    def move_to(self, segment: Segment) -> None:
        """Pull the far end out and plug it in elsewhere: the link goes down and comes up again."""
        self.segment.dismiss(self.port, self.lease)
        out = [f"link set dev {self.port} down"]
        if segment.namespace != self.segment.namespace:
            out.append(f"link set dev {self.port} netns {segment.namespace}")
        ip(out, self.segment.namespace)
        self.segment = segment
        self._adopt(segment.admit(self.port))

    def lose(self, percent: float) -> None:
        """Lose this share of the IP packets in each direction; 0 ends it.

        Loss is drawn for each packet as it arrives, so super-packets are split before they are
        sent: otherwise 64 KB would be lost as one.

        :raises LabError: not a percentage.
        """
        if not 0 <= percent <= 100:
            raise LabError(f"{percent:g} is not a percentage")
        segments = 1 if percent else MANY
        for namespace, device in self._ends():
            ip([f"link set dev {device} gso_max_segs {segments}"], namespace)
            table = f"netdev loss_{device}"
            rules = f"table {table}\ndelete table {table}\n"
            if lost := round(percent * 100):
                hook = f'type filter hook ingress device "{device}" priority 0;'
                drop = f"numgen random mod 10000 <= {lost - 1} drop"
                lines = f"{hook} {NEIGHBOURS} accept; meta protocol {{ ip, ip6 }} {drop};"
                rules += f"table {table} {{ chain arriving {{ {lines} }}; }}\n"
            nft(rules, namespace)

    def limit(self, mbit: float | None) -> None:
        """Carry at most this many Mbit/s in each direction; None ends it."""
        for namespace, device in self._ends():
            queue = ["noqueue"]
            if mbit is not None:
                queue = ["tbf", "rate", f"{mbit}mbit", "burst", BURST, "latency", PATIENCE]
            replace = [command("tc"), "qdisc", "replace", "dev", device, "root"]
            call([*replace, *queue], namespace=namespace)

    def _ends(self) -> list[tuple[str, str]]:
        return [(self.namespace, self.device), (self.segment.namespace, self.port)]

    def _adopt(self, lease: Lease) -> None:
        self.lease = lease
        to = f"dev {self.device}"
        lines = [
            f"address flush {to} scope global",
            *(f"address add {each}/{lease.prefix} {to}" for each in lease.addresses),
            f"link set {to} up",
            f"route replace default via {lease.router} {to} onlink",
        ]
        if self._routes6:
            lines.append(f"route del ::/0 via {NEXT_HOP6} {to}")
        self._routes6 = bool(lease.addresses6)
        if self._routes6:
            lines += [f"address add {each} {to}" for each in lease.addresses6]
            lines.append(f"route add ::/0 via {NEXT_HOP6} {to} onlink")
        ip(lines, self.namespace)
