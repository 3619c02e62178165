"""A mesh on the simulated internet: the real coordinator and the real peers."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred

from tunnelmesh.config import CoordinatorConfig, PeerConfig
from tunnelmesh.coordinator import service as coordinator_service
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.identity import FILE_NAME as IDENTITY
from tunnelmesh.identity import Identity
from tunnelmesh.lab.sim.host import Host
from tunnelmesh.lab.sim.inner import InnerHost
from tunnelmesh.lab.sim.internet import Internet
from tunnelmesh.lab.sim.tunnel import TunnelDevice
from tunnelmesh.peer.answers import status
from tunnelmesh.peer.node import Node
from tunnelmesh.peer.service import Peer
from tunnelmesh.peer.system import System
from tunnelmesh.wire.token import Token

#: The coordinator's two addresses: two, so that RFC 5780 can tell how a NAT filters.
COORDINATOR = ("203.0.113.10", "203.0.113.11")

#: Where the coordinator has HTTPS: where networks that are only for the web let it pass.
HTTPS_PORT = 443

#: Seconds that an invitation is good for.
INVITATION_LIFETIME = 86_400

#: Machines that an invitation may let in.
INVITATION_USES = 1000


class SimulatedCoordinator:
    """A coordinator on a machine of its own.

    :param state_dir: where it keeps its state; a restart finds it there.
    :param config: fields of :class:`CoordinatorConfig`.

    :ivar host: the machine.
    :ivar service: what runs on it.
    """

    def __init__(self, internet: Internet, state_dir: Path, **config: Any) -> None:
        self.internet = internet
        self.host = internet.host(*COORDINATOR, name="coordinator")
        self.service: coordinator_service.Coordinator | None = None
        config = {"https_port": HTTPS_PORT} | config
        self._config = CoordinatorConfig(
            state_dir=state_dir,
            public_host=COORDINATOR[0],
            stun_alternate_address=COORDINATOR[1],
            **config,
        )

    def start(self) -> None:
        """Run the service."""
        internet, host = self.internet, self.host
        _create_identity(self._config.state_dir, internet)
        system = coordinator_service.System(
            addresses=lambda: host.addresses,
            unix_time=host.seconds,
            entropy=internet.entropy,
            random=internet.random,
        )
        self.service = coordinator_service.Coordinator(self._config, host, system)
        self.service.startService()

    def kill(self) -> None:
        """End it as ``kill -9`` does; :meth:`start` runs it again."""
        self.host.kill()
        self.service = None

    def invite(self) -> str:
        """A token with which many machines may join."""
        state_dir = self._config.state_dir
        now = int(self.host.seconds())
        token = Token(
            COORDINATOR[0],
            self._config.https_port,
            self._config.ssh_port,
            False,
            Identity.load(state_dir / IDENTITY).public_key,
            self.internet.entropy(16),
            now + INVITATION_LIFETIME,
        )
        store = SQLiteStore(state_dir / DATABASE)
        Deferred.fromCoroutine(store.invite(token.secret, INVITATION_USES, token.expires, now))
        store.close()
        return token.encode()


class SimulatedPeer:
    """A peer on a machine, and the machine's kernel on the far side of the tunnel.

    :param token: from :meth:`SimulatedCoordinator.invite`.
    :param config: fields of :class:`PeerConfig`.

    :ivar host: the machine, on the internet.
    :ivar inner: the machine, inside the mesh; None until the peer has joined.
    :ivar service: what runs on it.
    """

    def __init__(
        self, internet: Internet, host: Host, state_dir: Path, token: str, **config: Any
    ) -> None:
        self.host = host
        self.inner: InnerHost | None = None
        self.service: Peer | None = None
        self._internet = internet
        self._token = token
        config = {"proxy": "none", "mode": "tun"} | config
        self._config = PeerConfig(state_dir=state_dir, name=host.name, join=token, **config)

    def start(self) -> None:
        """Run the service; it joins the first time."""
        _create_identity(self._config.state_dir, self._internet)
        system = System(
            open_device=self._open_device,
            addresses=lambda: self.host.addresses,
            watch=lambda reactor, changed: _Watch(self.host, changed),
            unix_time=self.host.seconds,
            entropy=self._internet.entropy,
            random=Random(self._internet.random.random()),
            inside=lambda reactor: self.inner,
        )
        self.service = Peer(self._config, self.host, system)
        self.service.startService()

    def kill(self) -> None:
        """End it as ``kill -9`` does; connections inside the mesh survive, if it comes back."""
        self.host.kill()
        self.service = None

    @property
    def node(self) -> Node | None:
        """The running peer, once it has joined."""
        return None if self.service is None else self.service.node

    def status(self) -> dict[str, Any]:
        """What ``tunnelmesh status --json`` prints; empty until it has joined."""
        return {} if self.node is None else status.status(self.node)

    def path_to(self, name: str) -> str | None:
        """By what it reaches another peer now: 'udp', 'ssh', 'websocket', or None."""
        for peer in self.status().get("peers", ()):
            if peer["name"] == name:
                kind: str | None = peer["path"]["kind"]
                return kind
        return None

    def _open_device(
        self, reactor: object, name: str, address: IPv4Interface, address6: IPv6Interface, mtu: int
    ) -> TunnelDevice:
        device = self.host.tunnel_device(name, mtu)
        if self.inner is None:
            self.inner = InnerHost(device, str(address.ip))
        else:
            self.inner.plug(device)
        return device


def _create_identity(state_dir: Path, internet: Internet) -> None:
    """A key from the simulation's randomness, so that it is the same each time."""
    path = state_dir / IDENTITY
    if path.exists():
        return
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.from_private_bytes(internet.entropy(32))
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


class _Watch:
    """Tells a peer that its machine's network changed, as netlink does on a real one."""

    def __init__(self, host: Host, changed: Callable[[], None]) -> None:
        self._host = host
        self._changed = changed

    def start(self) -> None:
        """Begin."""
        self._host.watchers.append(self._changed)

    def stop(self) -> None:
        """End."""
        if self._changed in self._host.watchers:
            self._host.watchers.remove(self._changed)
