"""The few places where one thing can stand in for another.

Everything else is a plain class or a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from tunnelmesh.bulk.run import Run
    from tunnelmesh.bulk.super_packet import SuperPacket


class IPath(IPushProducer):
    """One live route to one remote peer, over one transport.

    As a push producer it is paused and resumed by the transport below it (a TCP connection whose
    buffer is full); while paused it drops and counts. UDP paths never pause. What is paused is this
    one remote peer's path, never the shared TUN device.
    """

    kind = Attribute("'udp', 'tcp', 'ssh' or 'websocket'.")
    remote = Attribute("The Endpoint that datagrams go to, or None where the coordinator relays.")
    way = Attribute("What it is called on the ladder: a Way of tunnelmesh.paths.selection.")
    mtu = Attribute("The largest datagram, in bytes, that write() carries whole.")

    def write(datagrams: Sequence[bytes]) -> None:
        """Send a batch of datagrams, in order, unreliably. Never raises for a network's fault."""

    def write_run(run: Run) -> None:
        """Send datagrams that lie in memory one after the other; see :meth:`write`.

        The run's memory is not looked at after the call.
        """


class IPathUser(Interface):
    """Who receives what arrives over a transport."""

    def datagrams_received(datagrams: Sequence[bytes], path: IPath) -> None:
        """A batch arrived from where *path* leads to. Nothing about it is authentic yet."""

    def run_received(messages: memoryview, segment: int, path: IPath) -> None:
        """Messages arrived that may be the segments of super-packets: either records
        (:mod:`tunnelmesh.wire.record`) or WireGuard's transport messages, not both.

        :param messages: the datagrams, one after the other, each *segment* bytes long but the last,
            which may be shorter. Writable; it is valid during the call only.
        """

    def path_lost(path: IPath) -> None:
        """The path will carry nothing any more (its transport closed)."""


class ITransport(Interface):
    """A way to carry datagrams: UDP, or a coordinator link over SSH or WebSocket."""

    kind = Attribute("'udp', 'ssh' or 'websocket'.")

    def path_to(remote: Any) -> IPath:
        """The path to *remote*: an Endpoint over UDP, a mesh address (IPv4Address) over a link."""


class ILink(IPushProducer):
    """One end of an open connection between a peer and the coordinator.

    It carries frames (:mod:`tunnelmesh.wire.frame`) both ways, whatever it is made of. Both the
    peer's and the coordinator's end look like this. Pause and resume come from the TCP connection
    below; while paused, signals are still taken and bulk is refused.
    """

    kind = Attribute("'ssh' or 'websocket'.")
    remote = Attribute("Text for people: the other end's address, as the TCP connection sees it.")
    proxy = Attribute("The proxy that the connection goes through, without its password, or None.")
    key = Attribute("The other end's authenticated Ed25519 public key (32 bytes), or None so far.")
    paused = Attribute("True while the connection's buffer is full.")

    def send(frames: bytes) -> None:
        """Send whole frames, now, even while paused: for signals, which are few and small."""

    def send_bulk(frames: bytes) -> bool:
        """Send whole frames unless paused.

        :returns: False, having dropped them, while paused.
        """

    def close(reason: str) -> None:
        """Close the connection in an orderly way; *reason* is for the other end's log."""


class ILinkUser(Interface):
    """Who uses a link: the peer's side, or the coordinator's."""

    def link_opened(link: ILink) -> None:
        """The link is open; over SSH, ``link.key`` is known already."""

    def frames_received(link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        """Frames arrived together: (kind, body), whole and in order."""

    def link_paused(link: ILink) -> None:
        """The connection's buffer is full: hold bulk back."""

    def link_resumed(link: ILink) -> None:
        """There is room again."""

    def link_lost(link: ILink, reason: str) -> None:
        """The connection is gone; *reason* is for people."""


class IStreams(Interface):
    """Opens streams to ports of remote peers, inside their encrypted sessions."""

    def endpoint(host: str, port: int, first: bytes = b"") -> IStreamClientEndpoint:
        """Where a TCP port of a peer is reached, with or without a network device here and there.

        Its ``connect`` fails with :exc:`~tunnelmesh.errors.UnknownPeerError`,
        :exc:`~tunnelmesh.errors.OfflineError` or :exc:`~tunnelmesh.errors.StreamError`, within
        three seconds. The protocol's transport is an ``ITransport``, ``IConsumer`` and
        ``IPushProducer`` with ``loseWriteConnection`` and ``abortConnection``; a protocol that is
        an ``IHalfCloseableProtocol`` hears of the other side's end.

        :param host: the peer's name, with or without ``.mesh``, or one of its mesh addresses.
        :param first: bytes for the service, sent before this side knows that it is there.
        """


class ITunnelDevice(Interface):
    """The kernel's (or the simulation's) side of the tunnel: whole IP packets in and out."""

    name = Attribute("The interface's name.")
    mtu = Attribute("The interface's MTU in bytes.")
    offloads = Attribute("Whether super-packets come and go; for status.")
    udp_offload = Attribute("The same of UDP.")
    lacking = Attribute("Why some offload is lacking, for people; empty if none is.")

    def start(user: ITunnelUser) -> None:
        """Begin to deliver what the kernel sends into the tunnel."""

    def write(packets: Sequence[bytes]) -> None:
        """Hand a batch of IP packets to the kernel. Never raises; what it refuses is counted."""

    def write_bulk(packet: memoryview) -> None:
        """Hand a packet, usually a super-packet, to the kernel, after its virtio header.

        The header has been checked against the packet (:class:`.SuperPacket`). A device without
        offloads cuts the packet up. Never raises; what the kernel refuses is counted.
        """

    def collect() -> None:
        """Deliver at once what the kernel has answered to what was written, if it can be had."""

    def stop() -> None:
        """Close the device; what it added to the system goes with it."""


class ITunnelUser(Interface):
    """Who receives the packets that leave through the tunnel."""

    lanes = Attribute(
        "By destination, as in the IP header: who carries super-packets for it as they are, with "
        "carry(memory, start, stop, size, now) instead of bulk_leaving()."
    )

    def packets_leaving(packets: Sequence[bytes]) -> None:
        """A batch of whole IP packets from the kernel, in order."""

    def bulk_leaving(packet: SuperPacket) -> None:
        """A super-packet from the kernel. Its buffer is the user's during the call, not after."""
