"""The peer: what ``twistd tunnelmesh --role=peer`` runs."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger

from tunnelmesh import fatal
from tunnelmesh.config import PeerConfig
from tunnelmesh.errors import ConfigError, LinkError, NotRunningError, TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.peer import membership as memberships
from tunnelmesh.peer.link.egress import Egress, Whereabouts
from tunnelmesh.peer.membership import Membership
from tunnelmesh.peer.node import Node
from tunnelmesh.peer.system import System, real_system
from tunnelmesh.wire.token import Token

_log = Logger()


class Peer(MultiService):
    """Joins if need be, then runs.

    :ivar node: once it has joined.
    """

    def __init__(self, config: PeerConfig, reactor: Any, system: System) -> None:
        super().__init__()
        self.config = config
        self.node: Node | None = None
        self._reactor = reactor
        self._system = system
        self._beginning: Deferred[None] | None = None
        self._control: Any = None

    def startService(self) -> None:
        """Begin.

        :raises TunnelMeshError: if what it was told makes no sense.
        """
        from tunnelmesh.control import ControlServer
        from tunnelmesh.peer.answers import control

        config = self.config
        token = None if config.join is None else Token.decode(config.join)
        membership = memberships.load(config.state_dir)
        self._check(token, membership)
        identity = Identity.load_or_create(config.state_dir)
        self._control = ControlServer(
            self._reactor, config.state_dir / "control.sock", control.routes(self, self._reactor)
        )
        self._control.start()
        if config.metrics is not None:
            self._serve_metrics(config.metrics)
        super().startService()
        self._beginning = Deferred.fromCoroutine(self._begin(token, identity, membership))
        self._beginning.addErrback(self._failed)

    def stopService(self) -> Any:
        """Stop everything."""
        stopped = super().stopService() or succeed(None)
        if self._beginning is not None:
            self._beginning.cancel()
        left = succeed(None) if self.node is None else self.node.stop()
        closed = succeed(None) if self._control is None else self._control.stop()
        return gatherResults([closed, left, stopped])

    def _serve_metrics(self, where: tuple[str, int]) -> None:
        from tunnelmesh.metrics.server import MetricsServer
        from tunnelmesh.peer.answers.status import metrics

        def text() -> bytes:
            if self.node is None:
                raise NotRunningError("the peer is still joining the mesh")
            return metrics(self.node)

        MetricsServer(self._reactor, where, self.config.state_dir, text).setServiceParent(self)

    def _check(self, token: Token | None, membership: Membership | None) -> None:
        if membership is None and token is None:
            raise ConfigError(
                "this machine has not joined a mesh yet: run 'tunnelmesh invite' on the "
                "coordinator and give what it prints with --join=TOKEN"
            )
        if membership is not None and token is not None:
            if membership.coordinator_key != token.key:
                raise ConfigError(
                    f"this machine belongs to the mesh of {membership.host}; to join another, "
                    "give another --state-dir"
                )
            _log.info("already a member as {name}: the token is not used", name=membership.name)

    async def _begin(
        self, token: Token | None, identity: Identity, membership: Membership | None
    ) -> None:
        if membership is None:
            assert token is not None
            membership = await self._join(token, identity)
        else:
            _log.info("{name} is {address}", name=membership.name, address=membership.address)
        node = Node(self.config, self._reactor, self._system, identity, membership, self._expelled)
        try:
            node.start()
            self._system.drop_rights(self._reactor, self.config.state_dir)
        except BaseException:
            node.stop()
            raise
        self.node = node

    async def _join(self, token: Token, identity: Identity) -> Membership:
        from tunnelmesh.peer.enrol import join

        where = Whereabouts(
            token.host, token.https_port, token.ssh_port, token.key, token.tls_by_name
        )
        egress = Egress(self._reactor, where, self.config.proxy, self._system.environment)
        joined = await join(self._reactor, egress, token, identity, self.config.name)
        memberships.save(self.config.state_dir, joined)
        _log.info("joined as {name}, {address}", name=joined.name, address=joined.address)
        return joined

    def _expelled(self, error: LinkError) -> None:
        fatal.fail(self._reactor, error)

    def _failed(self, failure: Any) -> None:
        if not self.running:
            return  # what is cancelled fails in its own way
        if failure.check(TunnelMeshError):
            fatal.fail(self._reactor, failure.value)
        else:
            _log.failure("the peer cannot start", failure)
            fatal.fail(self._reactor, TunnelMeshError(f"internal error: {failure.value!r}"))


def make_peer(config: PeerConfig, reactor: Any, system: System | None = None) -> IService:
    """The service that ``twistd tunnelmesh --role=peer`` runs."""
    return Peer(config, reactor, system or real_system(config))
