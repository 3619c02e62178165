"""The dashboard's parts, wired together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from tunnelmesh.coordinator.advertised import Advertised
from tunnelmesh.coordinator.dashboard.actions import Actions
from tunnelmesh.coordinator.dashboard.history import History
from tunnelmesh.coordinator.dashboard.resource import Doors, dashboard_resource
from tunnelmesh.coordinator.dashboard.sessions import LINK_SECONDS, Sessions
from tunnelmesh.coordinator.dashboard.view import View
from tunnelmesh.coordinator.dashboard.viewers import Viewers, live_resource
from tunnelmesh.coordinator.reports import Reports
from tunnelmesh.coordinator.signalling import Signalling
from tunnelmesh.coordinator.store import IStore
from tunnelmesh.errors import DashboardError
from tunnelmesh.identity import mesh_network6


class Dashboard:
    """Lets the mesh's owner see it, and change it.

    :param key: the coordinator's public key.
    :param certificate: what browsers are shown.
    :param advertised: where the coordinator is reached, once it listens.
    :param remove: ends the membership of whoever has that name.
    :ivar resource: what answers at ``/dashboard``.
    :ivar reports: how the paths fare.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        signalling: Signalling,
        store: IStore,
        key: bytes,
        certificate: x509.Certificate,
        advertised: Callable[[], Advertised | None],
        remove: Callable[[str], Awaitable[object]],
        entropy: Callable[[int], bytes],
        unix_time: Callable[[], float],
    ) -> None:
        self._advertised = advertised
        self._reactor = reactor
        self._certificate = certificate
        self._sessions = Sessions(entropy)
        self.reports = Reports(reactor, lambda address: view.is_member(address))
        history = History(unix_time)
        members = signalling.members.values()
        network6 = mesh_network6(key)
        view = View(lambda: members, network6, self.reports, history, reactor.seconds, unix_time)
        self._viewers = Viewers(reactor, self._sessions, view, self.reports)

        def told(*pair: Any) -> None:
            view.touch(*pair)
            self._viewers.soon()

        self.reports.changed = told
        history.changed = self._viewers.soon
        signalling.attendants += [self.reports, history]
        actions = Actions(store, advertised, key, remove, entropy, unix_time)
        doors = Doors(reactor, self._sessions, self._viewers.signed_out)
        self.resource: IResource = dashboard_resource(
            doors, actions, live_resource(reactor, self._viewers)
        )

    def link(self) -> dict[str, Any]:
        """What ``tunnelmesh dashboard`` shows.

        :raises DashboardError: if the coordinator does not listen yet.
        """
        coordinator = self._advertised()
        if coordinator is None:
            raise DashboardError("the coordinator is still starting; try again in a moment")
        host, port = coordinator.host, coordinator.https_port
        secret = self._sessions.new_link(self._reactor.seconds())
        where = f"[{host}]" if ":" in host else host
        if port != 443:
            where += f":{port}"
        digest = sha256(self._certificate.public_bytes(Encoding.DER)).hexdigest().upper()
        return {
            "url": f"https://{where}/dashboard/#{secret}",
            "seconds": LINK_SECONDS,
            "certificate": ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)),
            "self_signed": not coordinator.tls_by_name,
        }

    def close(self) -> None:
        """Send every page away."""
        self._viewers.close()
