"""What the mesh's owner can do on the dashboard."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tunnelmesh.coordinator.advertised import Advertised
from tunnelmesh.coordinator.store import IStore
from tunnelmesh.errors import DashboardError
from tunnelmesh.wire import schema
from tunnelmesh.wire.token import Token

MOST_USES = 1000
"""Machines that one invitation lets in; who has more at once is at a terminal."""

LONGEST = 30 * 86400
"""Longest life of an invitation, in seconds."""

SECRET = 16
"""Bytes of an invitation's secret."""


@dataclass(frozen=True, slots=True)
class Invite:
    """Asked for: an invitation.

    :ivar seconds: how long it lasts.
    """

    uses: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Asked for: the end of an invitation."""

    number: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Asked for: the end of a membership."""

    name: str


@dataclass(frozen=True)
class Actions:
    """Does what is asked for; each method takes decoded JSON and returns what can be encoded.

    Every method raises :exc:`~tunnelmesh.errors.TunnelMeshError` if it cannot.

    :ivar advertised: where the coordinator is reached, once it listens.
    :ivar key: its public key.
    :ivar remove: ends the membership of whoever has that name.
    """

    store: IStore
    advertised: Callable[[], Advertised | None]
    key: bytes
    remove: Callable[[str], Awaitable[object]]
    entropy: Callable[[int], bytes]
    unix_time: Callable[[], float]

    async def invitations(self) -> list[dict[str, Any]]:
        """Those that let somebody in still, the oldest first."""
        found = await self.store.invitations(int(self.unix_time()))
        return [schema.dump(invitation) for invitation in found]

    async def invite(self, asked: Any) -> dict[str, Any]:
        """Make an invitation: its token as text, and as a picture for a camera."""
        wanted = schema.load(Invite, asked)
        if not (1 <= wanted.uses <= MOST_USES and 60 <= wanted.seconds <= LONGEST):
            raise DashboardError(
                f"an invitation is for 1 to {MOST_USES} machines, and for a minute to 30 days"
            )
        coordinator = self.advertised()
        assert coordinator is not None
        now = int(self.unix_time())
        token = Token(
            coordinator.host,
            coordinator.https_port,
            coordinator.ssh_port,
            coordinator.tls_by_name,
            self.key,
            self.entropy(SECRET),
            now + wanted.seconds,
        )
        text = token.encode()
        number = await self.store.invite(token.secret, wanted.uses, token.expires, now)
        return {"number": number, "token": text, "picture": picture(text)}

    async def cancel(self, asked: Any) -> dict[str, Any]:
        """End an invitation."""
        return {"cancelled": await self.store.cancel(schema.load(Cancel, asked).number)}

    async def revoke(self, asked: Any) -> dict[str, Any]:
        """End a membership."""
        name = schema.load(Revoke, asked).name
        await self.remove(name)
        return {"removed": name}


def picture(text: str) -> str:
    """A QR code as SVG, dark on white, whatever the page's colours: cameras want it so."""
    import segno  # a tenth of a second that the coordinator need not spend at its start

    drawn = io.BytesIO()
    segno.make(text, error="l", micro=False).save(
        drawn, kind="svg", border=4, xmldecl=False, light="#fff"
    )
    return drawn.getvalue().decode()
