"""The coordinator: everything that runs on the public address, wired together."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address
from random import Random
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from tunnelmesh import fatal
from tunnelmesh.config import CoordinatorConfig
from tunnelmesh.control import FILE_NAME as CONTROL
from tunnelmesh.control import ControlServer, Query, Route, stopping
from tunnelmesh.coordinator.advertised import Advertised
from tunnelmesh.coordinator.dashboard.dashboard import Dashboard
from tunnelmesh.coordinator.enrolment import EnrolResource
from tunnelmesh.coordinator.listening import Listening
from tunnelmesh.coordinator.membership import Membership
from tunnelmesh.coordinator.membership import routes as membership_routes
from tunnelmesh.coordinator.public_host import guess, is_public, own_addresses, public6
from tunnelmesh.coordinator.rules import AccessRules
from tunnelmesh.coordinator.signalling import Signalling
from tunnelmesh.coordinator.site import make_site
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.coordinator.stun import StunServer
from tunnelmesh.errors import ConfigError, ListenError, NotRunningError, TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.transports.one_port import OnePortFactory
from tunnelmesh.transports.ssh.server import make_ssh_factory
from tunnelmesh.transports.tls import Chain, certificate_chain, read_chain, server_tls
from tunnelmesh.transports.visits import VisitFactory
from tunnelmesh.transports.websocket.server import LinkResource

_log = Logger()


@dataclass(frozen=True)
class System:
    """What a coordinator needs of the machine that it runs on; a simulation gives its own.

    :ivar addresses: this machine's own addresses.
    :ivar unix_time: seconds since the epoch.
    """

    addresses: Callable[[], Sequence[str]] = own_addresses
    unix_time: Callable[[], float] = time.time
    entropy: Callable[[int], bytes] = os.urandom
    random: Random = field(default_factory=Random)


class Coordinator(MultiService):
    """Runs it all.

    :ivar advertised: where it is reached, once started.
    :ivar signalling: who is online, once started.
    :ivar membership: who belongs to the mesh, once started.
    :ivar rules: who may reach whom, once started.
    :ivar dashboard: what its owner sees and does in a browser, once started.
    """

    def __init__(self, config: CoordinatorConfig, reactor: Any, system: System) -> None:
        super().__init__()
        self._config = config
        self._reactor = reactor
        self._system = system
        self._closers: list[Callable[[], object]] = []
        self._listen: dict[str, Any] = {}
        self.advertised: Advertised | None = None
        self.signalling: Signalling | None = None
        self.membership: Membership | None = None
        self.rules: AccessRules | None = None
        self.dashboard: Dashboard | None = None

    def startService(self) -> None:
        """Open everything.

        :raises TunnelMeshError: if a part cannot be had; nothing is left open then.
        """
        try:
            self._open()
        except TunnelMeshError:
            self._close()
            raise
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Close everything."""
        super().stopService()
        return self._close()

    def _open(self) -> None:
        config, reactor, system = self._config, self._reactor, self._system
        host = config.public_host or guess(system.addresses())
        if config.public_host is None and config.tls_certificate is not None:
            raise ConfigError("--tls-certificate needs --public-host, the name that it is for")
        rules = self.rules = AccessRules(reactor, config.policy, self._addresses)
        identity = Identity.load_or_create(config.state_dir)
        routes: dict[str, Route] = {"/status": self.status, "/peers": self.peers}
        routes |= membership_routes(lambda: self.membership)
        routes["/policy"] = rules.show
        routes["/metrics"] = lambda _: {"text": self.metrics().decode()}
        routes["/dashboard"] = self.dashboard_link
        routes["/stop"] = stopping(reactor, "coordinator")
        control = ControlServer(reactor, config.state_dir / CONTROL, routes)
        control.start()
        self._closers.append(control.stop)
        store = SQLiteStore(config.state_dir / DATABASE, config.pool)
        self._closers.append(store.close)
        stun = StunServer(
            reactor, self._stun_address(host), config.stun_port, config.stun_alternate_address
        )
        stun.startService()
        self._closers.append(stun.stopService)
        host6 = self._serve_stun6(stun)
        stun_ports = list(dict.fromkeys(endpoint.port for endpoint in stun.endpoints))
        signalling = self.signalling = Signalling(
            reactor,
            identity.public_key,
            config.pool,
            stun_ports,
            system.entropy,
            system.random,
            host6,
        )
        membership = self.membership = Membership(reactor, store, signalling, system.unix_time)
        self._closers.append(lambda: Deferred.fromCoroutine(membership.stop()))
        self._closers.append(signalling.stop)
        signalling.attendants.insert(0, rules)  # it may refuse a name
        rules.start()
        self._closers.append(rules.stop)
        enrol = EnrolResource(
            reactor,
            identity,
            store,
            config.pool,
            lambda member: signalling.add_members([member]),
            system.unix_time,
        )
        chain = self._chain(identity, host)
        dashboard = self.dashboard = Dashboard(
            reactor,
            signalling,
            store,
            identity.public_key,
            chain.certificates[0],
            lambda: self.advertised,
            membership.revoke,
            system.entropy,
            system.unix_time,
        )
        self._closers.append(dashboard.close)
        site = make_site(reactor, enrol, LinkResource(reactor, signalling), dashboard.resource)
        https = VisitFactory(reactor, server_tls(chain), site)
        ssh = make_ssh_factory(
            reactor, identity.private_key, signalling.is_expected, lambda: signalling
        )
        listening = Listening(reactor)
        self._closers.append(listening.close)
        if config.one_port is not None:
            both = OnePortFactory(reactor, https, ssh)
            https_port = ssh_port = listening.tcp(config.one_port, both, "one-port")
        else:
            https_port = listening.tcp(config.https_port, https, "https-port")
            ssh_port = listening.tcp(config.ssh_port, ssh, "ssh-port")
        self._listen = {"host": host, "https": https_port, "ssh": ssh_port, "stun": stun_ports}
        self.advertised = Advertised(host, https_port, ssh_port, config.tls_certificate is not None)
        self.advertised.save(config.state_dir)
        self._load_members(membership)
        if config.metrics is not None:
            from tunnelmesh.metrics.server import MetricsServer

            metrics = MetricsServer(reactor, config.metrics, config.state_dir, self.metrics)
            metrics.startService()
            self._closers.append(metrics.stopService)
        _log.info(
            "coordinator at {host}: HTTPS {https}, SSH {ssh}, STUN {stun}, key {fingerprint}",
            fingerprint=identity.fingerprint,
            **self._listen,
        )
        if not is_public(host):
            _log.warn(
                "{host} is not a public address: where it is not reached, give --public-host",
                host=host,
            )

    def _load_members(self, membership: Membership) -> None:
        async def load() -> None:
            try:
                await membership.load()
            except TunnelMeshError as error:
                fatal.fail(self._reactor, error)

        Deferred.fromCoroutine(load())

    def _addresses(self) -> dict[str, IPv4Address]:
        """Those of all members, by name."""
        assert self.signalling is not None
        return {member.name: member.address for member in self.signalling.members.values()}

    def _chain(self, identity: Identity, host: str) -> Chain:
        config = self._config
        if config.tls_certificate is not None and config.tls_key is not None:
            return read_chain(config.tls_certificate, config.tls_key)
        now = datetime.fromtimestamp(self._system.unix_time(), UTC)
        return certificate_chain(identity.private_key, [host], now)

    def _stun_address(self, host: str) -> str:
        """Where the STUN server listens: everywhere, or on one address beside the alternate one."""
        alternate = self._config.stun_alternate_address
        own = self._system.addresses()
        if alternate is None:
            return "::" if ":" in host else "0.0.0.0"
        if host in own:
            return host
        version = ip_address(alternate).version
        same = [a for a in own if ip_address(a).version == version and a != alternate]
        return guess(same)

    def _serve_stun6(self, stun: StunServer) -> str:
        """Answer STUN over IPv6 on the same port, if this machine has IPv6 and that is not done.

        :returns: the address, or nothing.
        """
        first = stun.endpoints[0]
        address = public6(self._system.addresses())
        if ":" in first.host or not address:
            return ""
        also = StunServer(self._reactor, address, first.port)
        try:
            also.startService()
        except ListenError as error:
            _log.warn("no STUN over IPv6: {error}", error=error)
            return ""
        self._closers.append(also.stopService)
        return address

    def _close(self) -> Deferred[Any]:
        closers, self._closers = self._closers, []
        results = [close() for close in reversed(closers)]
        return gatherResults([result for result in results if isinstance(result, Deferred)])

    def metrics(self) -> bytes:
        """The same as :meth:`status`, in Prometheus' text format."""
        from tunnelmesh.metrics.build import text
        from tunnelmesh.metrics.coordinator import CoordinatorMetrics

        return text(CoordinatorMetrics(self.status({})))

    def peers(self, _: Query) -> list[Any]:
        """What ``tunnelmesh peers`` shows."""
        assert self.signalling is not None
        return self.signalling.status()

    def dashboard_link(self, _: Query) -> dict[str, Any]:
        """What ``tunnelmesh dashboard`` shows."""
        if self.dashboard is None:
            raise NotRunningError("the coordinator is still starting; try again in a moment")
        return self.dashboard.link()

    def status(self, query: Query) -> dict[str, Any]:
        """What ``tunnelmesh status`` shows."""
        assert self.signalling is not None
        assert self.rules is not None
        return {
            "role": "coordinator",
            "peers": self.peers(query),
            "relay": asdict(self.signalling.relay.counters),
            "listen": self._listen,
            "policy": self.rules.status(),
            "signals": {
                "malformed": self.signalling.malformed,
                "unknown": self.signalling.unknown,
                "sign_ins_refused": self.signalling.admission.refused,
            },
        }


def make_coordinator(
    config: CoordinatorConfig, reactor: Any, system: System | None = None
) -> MultiService:
    """The service that ``twistd tunnelmesh --role=coordinator`` runs."""
    return Coordinator(config, reactor, system or System())
