"""What the mesh's part of the DNS says: the domain ``mesh``, and the mesh's addresses in reverse.

Pure: a question goes in, an answer comes out. Names and addresses are looked up in a directory at
that moment, so that a member that joined, left or has another name is right in the next answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Protocol

DOMAIN = "mesh"
"""The domain, as in ``homelab.mesh``."""

UNANSWERED = frozenset({"isatap", "localhost", "wpad"})
"""Names that programs look up by themselves and believe. With ``mesh`` as a search domain, a member
of such a name would otherwise become everybody's proxy or router."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Kind(IntEnum):
    """Types of records (RFC 1035 §3.2.2, RFC 3596) and of questions."""

    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    AAAA = 28
    IXFR = 251
    AXFR = 252
    ANY = 255


class Code(IntEnum):
    """How a question is answered (RFC 1035 §4.1.1)."""

    FOUND = 0
    MALFORMED = 1
    NO_SUCH_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the name that was asked for.

    :ivar value: an address, or the name that a PTR or NS points to; a SOA says nothing more.
    """

    kind: Kind
    value: Address | str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said.

    :ivar apex: the zone that the name is in; where there are no records, its SOA says so.
    """

    code: Code
    records: tuple[Record, ...] = ()
    apex: str = ""


REFUSED = Answer(Code.REFUSED)


class Directory(Protocol):
    """Who has which name and addresses, this machine included."""

    @property
    def own_name(self) -> str:
        """This machine's name, without the domain."""

    def addresses(self, name: str) -> Sequence[Address]:
        """The addresses of the machine of a name (in lower case); none if there is no such."""

    def name_of(self, address: Address) -> str | None:
        """The name, without the domain, of the machine that has an address."""


class Zone:
    """Answers questions about the mesh; refuses all others.

    :param networks: the mesh's addresses.
    """

    def __init__(self, directory: Directory, networks: Sequence[Network]) -> None:
        self.directory = directory
        self._networks = networks

    @property
    def server(self) -> str:
        """The name of the server: this machine's."""
        return f"{self.directory.own_name}.{DOMAIN}"

    @property
    def apexes(self) -> list[str]:
        """The domains that this answers for, ``mesh`` first."""
        reverse = (cut for network in self._networks for cut in _cuts(network))
        return [DOMAIN, *map(_reverse_name, reverse)]

    def answer(self, name: str, kind: int) -> Answer:
        """Answer a question of class IN.

        :param name: with dots, in any case, with or without the last dot.
        """
        labels = name.lower().removesuffix(".").split(".")
        if kind in (Kind.AXFR, Kind.IXFR):
            return REFUSED
        if labels[-1] == DOMAIN:
            return self._forward(labels[:-1], kind)
        return self._reverse(labels, kind)

    def _forward(self, labels: Sequence[str], kind: int) -> Answer:
        if not labels:
            return self._apex(DOMAIN, kind)
        addresses: Sequence[Address] = ()
        if len(labels) == 1 and labels[0] not in UNANSWERED:
            addresses = self.directory.addresses(labels[0])
        if not addresses:
            return Answer(Code.NO_SUCH_NAME, apex=DOMAIN)
        records = [Record(Kind.AAAA if a.version == 6 else Kind.A, a) for a in addresses]
        return _found(records, kind, DOMAIN)

    def _reverse(self, labels: Sequence[str], kind: int) -> Answer:
        asked = _network_of(labels)
        if asked is None:
            return REFUSED
        for cut in (cut for network in self._networks for cut in _cuts(network)):
            if asked.version != cut.version or not cut.supernet_of(asked):  # type: ignore[arg-type]
                continue
            apex = _reverse_name(cut)
            if asked == cut and asked.prefixlen < asked.max_prefixlen:
                return self._apex(apex, kind)
            if asked.prefixlen < asked.max_prefixlen:
                return Answer(Code.FOUND, apex=apex)
            name = self.directory.name_of(asked.network_address)
            if name is None:
                return Answer(Code.NO_SUCH_NAME, apex=apex)
            return _found([Record(Kind.PTR, f"{name}.{DOMAIN}")], kind, apex)
        return REFUSED

    def _apex(self, apex: str, kind: int) -> Answer:
        return _found([Record(Kind.SOA), Record(Kind.NS, self.server)], kind, apex)


def _found(records: Sequence[Record], kind: int, apex: str) -> Answer:
    wanted = tuple(record for record in records if kind in (record.kind, Kind.ANY))
    return Answer(Code.FOUND, wanted, apex)


def _bits(version: int) -> int:
    """Bits that a label of a reverse name stands for (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return 8 if version == 4 else 4


def _cuts(network: Network) -> list[Network]:
    """A network as the parts that reverse names can name: a /20 is sixteen of /24."""
    bits = _bits(network.version)
    return list(network.subnets(new_prefix=-(-network.prefixlen // bits) * bits))


def _reverse_name(network: Network) -> str:
    """The name of a network that ends where a label does: ``96.100.in-addr.arpa``."""
    labels = network.network_address.reverse_pointer.split(".")
    absent = (network.max_prefixlen - network.prefixlen) // _bits(network.version)
    return ".".join(labels[absent:])


def _network_of(labels: Sequence[str]) -> Network | None:
    """What a reverse name stands for: an address as a network of one, or a network of many."""
    digits = labels[-3::-1]
    try:
        if tuple(labels[-2:]) == ("in-addr", "arpa") and len(digits) <= 4:
            padded = ".".join([*digits, "0", "0", "0", "0"][:4])
        elif tuple(labels[-2:]) == ("ip6", "arpa") and len(digits) <= 32:
            if any(len(digit) != 1 for digit in digits):
                return None
            nibbles = "".join(digits).ljust(32, "0")
            padded = ":".join(nibbles[n : n + 4] for n in range(0, 32, 4))
        else:
            return None
        return ip_network(f"{padded}/{len(digits) * (8 if '.' in padded else 4)}")
    except ValueError:
        return None
