"""Names of the mesh on this machine: its DNS server, and who is told to ask it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from tunnelmesh.errors import ListenError
from tunnelmesh.names.resolved import Resolved, by_hand
from tunnelmesh.names.server import NameServer
from tunnelmesh.names.zone import DOMAIN, Address, Zone
from tunnelmesh.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from tunnelmesh.peer.node import Node

_log = Logger()


class Naming:
    """Makes ``NAME.mesh`` resolve on this machine, as far as it is allowed to.

    :param environment: where to look for ``resolvectl``.

    :ivar hint: what stands in the way and what to do about it, for people; empty if nothing does.
    """

    def __init__(self, reactor: Any, node: Node, environment: Mapping[str, str]) -> None:
        self.hint = "there is no network device, so no name resolves: use 'tunnelmesh ssh-config'"
        network = node.membership.interface.network
        self._zone = Zone(_Names(node), [network, node.interface6.network])
        self._server = NameServer(reactor, self._zone, network)
        self._resolved = Resolved(reactor, environment)
        self._link = ""
        self._node = node

    def start(self, link: str) -> None:
        """Serve at this machine's mesh address, and have the machine ask there.

        It returns at once, and does its part before rights are dropped.

        :param link: the network device's name.
        """
        if self._node.config.no_dns:
            self.hint = "switched off by --no-dns"
            return
        try:
            self._server.listen(str(self._node.membership.address))
        except ListenError as error:
            self.hint = f"no name resolves: {error}"
            _log.warn("names of the mesh do not resolve: {error}", error=error)
            return
        where = self._server.where
        assert where is not None
        if self._resolved.is_here:
            self.hint = "systemd-resolved has not answered yet"
            telling = self._resolved.use(link, where, self._zone.apexes)
            telling.addCallback(self._told, link, where, os.geteuid() == 0)
        else:
            self._not_told("this machine has no systemd-resolved", _elsewhere(where))

    def stop(self) -> Deferred[str]:
        """Serve no more, and take back what systemd-resolved was told."""
        self._server.stop()
        link, self._link = self._link, ""
        return self._resolved.revert(link) if link else succeed("")

    def status(self) -> dict[str, Any]:
        """For ``tunnelmesh status --json``."""
        where = self._server.where
        return {
            "server": None if where is None else str(where),
            "domain": DOMAIN,
            "resolved": bool(self._link),
            "hint": self.hint,
        }

    def _told(self, wrong: str, link: str, where: Endpoint, by_root: bool) -> None:
        if self._server.where is None:
            return  # stopped meanwhile
        if wrong:
            what_to_do = _elsewhere(where) if by_root else f"as root, {by_hand(link, where)}"
            self._not_told(f"systemd-resolved does not take the domain ({wrong})", what_to_do)
        else:
            self._link, self.hint = link, ""
            _log.info("names in .{domain} resolve on this machine", domain=DOMAIN)

    def _not_told(self, why: str, what_to_do: str) -> None:
        self.hint = f"{why}: {what_to_do}"
        _log.info("names of the mesh do not resolve yet; {hint}", hint=self.hint)


class _Names:
    """A :class:`~tunnelmesh.names.zone.Directory`: this machine and the members that it knows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._address6 = node.interface6.ip

    @property
    def own_name(self) -> str:
        return self._node.membership.name

    def addresses(self, name: str) -> Sequence[Address]:
        if name == self.own_name:
            return self._node.membership.address, self._address6
        remote = self._node.mesh.members.remotes.get(name)
        return () if remote is None else (remote.address, remote.address6)

    def name_of(self, address: Address) -> str | None:
        if address in (self._node.membership.address, self._address6):
            return self.own_name
        remote = self._node.mesh.members.by_address.get(address.packed)
        return None if remote is None else remote.name


def _elsewhere(where: Endpoint) -> str:
    """What to do if it is up to another resolver."""
    return (
        f"have your resolver ask {where} for what ends in .{DOMAIN} (in dnsmasq: "
        f"server=/{DOMAIN}/{where.host}#{where.port}), or use 'tunnelmesh ssh-config'"
    )
