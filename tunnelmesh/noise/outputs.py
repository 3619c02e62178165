"""What the tunnel's machines ask their owner to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunnelmesh.bulk.run import Run

if TYPE_CHECKING:
    from tunnelmesh.noise.tunnel import Tunnel


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send *datagrams*, in order, to the tunnel's remote peer by the path it has now."""

    tunnel: Tunnel
    datagrams: list[bytes]


@dataclass(frozen=True, slots=True)
class TransmitRun:
    """The same for datagrams that lie one after the other.

    :ivar run: valid until the next super-packet is sealed.
    """

    tunnel: Tunnel
    run: Run


@dataclass(frozen=True, slots=True)
class Reply:
    """Send *datagram* back to where the batch just received came from.

    :ivar tunnel: whose it is, if the sender has proven to be a peer; None for a cookie, which
        anybody may be given.
    """

    tunnel: Tunnel | None
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """The batch just received held authentic, new messages of this tunnel's remote peer.

    :ivar packets: what was in them, in order; nothing, if they were keepalives. An IP packet comes
        without padding. What begins with neither 4 nor 6 comes with it.
    """

    tunnel: Tunnel
    packets: list[bytes]


@dataclass(frozen=True, slots=True)
class DeliverBulk:
    """The records just received held authentic, new packets of this tunnel's remote peer.

    :ivar packets: each with a virtio header that fits it before it; valid until the next records
        are received.
    """

    tunnel: Tunnel
    packets: list[memoryview]


@dataclass(frozen=True, slots=True)
class Established:
    """A handshake is complete, and the new session in use."""

    tunnel: Tunnel


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The remote peer did not answer for REKEY-ATTEMPT-TIME; what waited for it was dropped."""

    tunnel: Tunnel


Output = Transmit | TransmitRun | Reply | Deliver | DeliverBulk | Established | GaveUp
