"""This machine among its WireGuard peers: finds whom a datagram is from, and lets them handle it.

Strangers get silence. Whoever knows this machine's public key can make it work a little, within
bounds (:mod:`tunnelmesh.noise.load`), and beyond them only from an address that is his own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from random import Random

from tunnelmesh.errors import DecodeError, HandshakeError
from tunnelmesh.noise import handshake
from tunnelmesh.noise.cookie import MacChecker
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.load import LOAD_HANDSHAKES, PlaceLimit, TokenBucket
from tunnelmesh.noise.local import Local
from tunnelmesh.noise.outputs import Deliver, DeliverBulk, Output, Reply
from tunnelmesh.noise.primitives import StaticKey
from tunnelmesh.noise.session import Session
from tunnelmesh.noise.tunnel import Tunnel
from tunnelmesh.wire.record import receiver_of
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE
from tunnelmesh.wire.wireguard import (
    COOKIE_REPLY,
    INITIATION,
    RESPONSE,
    TRANSPORT,
    TYPE_SIZE,
    CookieReply,
    Initiation,
    Response,
)

DEFAULT_MTU = 1420
"""Bytes of a packet that fits, with its overhead, into 1,500 over IPv6."""

_session_of = itemgetter(slice(0, 8))
"""The type and the receiver's index: what the messages of one session have in common."""


class Device:
    """The WireGuard side of this machine.

    :param private_key: its static X25519 key (32 bytes).
    :param entropy: gives that many random bytes, fit for keys.
    :param random: for jitter.
    :param wall: seconds since 1970, UTC; initiations carry it.
    :param mtu: the tunnel's MTU in bytes: packets are not padded beyond it.
    """

    def __init__(
        self,
        private_key: bytes,
        *,
        entropy: Callable[[int], bytes],
        random: Random,
        wall: Callable[[], float],
        mtu: int = DEFAULT_MTU,
    ) -> None:
        key = StaticKey(private_key)
        self.public_key = key.public
        self._local = Local(key, entropy=entropy, random=random, wall=wall, mtu=mtu)
        self._macs = MacChecker(key.public, entropy)
        self._tunnels: dict[bytes, Tunnel] = {}
        self._unproven = TokenBucket(LOAD_HANDSHAKES, LOAD_HANDSHAKES)
        self._places = PlaceLimit()

    @property
    def counters(self) -> Counters:
        """What was dropped, and why."""
        return self._local.counters

    def add_peer(self, public_key: bytes, *, psk: bytes = bytes(32)) -> Tunnel:
        """Take a peer in. Nothing is sent yet.

        :param public_key: its static public key (32 bytes).
        :param psk: the pre-shared key (32 bytes; zeros for none).
        :raises HandshakeError: if the key is this machine's own, another peer's, or nobody's.
        """
        if public_key == self.public_key or public_key in self._tunnels:
            raise HandshakeError("the key is this machine's own, or that of a peer it has already")
        tunnel = Tunnel(self._local, public_key, psk)
        self._tunnels[public_key] = tunnel
        return tunnel

    def remove_peer(self, tunnel: Tunnel) -> None:
        """Forget a peer, its keys and what waits for it."""
        del self._tunnels[tunnel.public_key]
        tunnel.close()

    @property
    def sessions(self) -> Mapping[bytes, tuple[Tunnel, Session | None]]:
        """By the indices (4 bytes) that they have here. A handshake has one too, but no session."""
        return self._local.indices.entries

    def receive(self, datagrams: Sequence[bytes], source: bytes, now: float) -> list[Output]:
        """Handle a batch that came from one place.

        :param source: any bytes that name the place; cookies are bound to it.
        :returns: what to do. At most one :class:`.Deliver` for each tunnel.
        """
        outputs: list[Output] = []
        delivered: dict[Tunnel, list[bytes]] = {}
        for prefix, batch in groupby(datagrams, _session_of):
            if prefix[:TYPE_SIZE] == TRANSPORT:
                self._transport(prefix[TYPE_SIZE:], batch, now, outputs, delivered)
            else:
                for datagram in batch:
                    outputs += self._handshake(datagram, source, now)
        return outputs

    def receive_records(self, datagrams: memoryview, step: int, now: float) -> list[Output]:
        """Handle records that came together from one place.

        :param datagrams: one after the other, each *step* bytes long but the last.
        :returns: what to do.
        """
        tunnel, session = self._local.indices.lookup(receiver_of(datagrams)) or (None, None)
        if tunnel is None or session is None:
            self.counters.unknown_index += -(-len(datagrams) // step)
            return []
        if not session.can_open(now):
            self.counters.expired += -(-len(datagrams) // step)
            return []
        packets = session.open_records(datagrams, step)
        if packets is None:
            return []
        size = sum(map(len, packets)) - VIRTIO_SIZE * len(packets)
        outputs = tunnel.received(session, len(packets), size, now)
        return [*outputs, DeliverBulk(tunnel, packets)]

    def _transport(
        self,
        index: bytes,
        batch: Iterable[bytes],
        now: float,
        outputs: list[Output],
        delivered: dict[Tunnel, list[bytes]],
    ) -> None:
        tunnel, session = self._local.indices.lookup(index) or (None, None)
        if tunnel is None or session is None:
            self.counters.unknown_index += len(list(batch))
            return
        if not session.can_open(now):
            self.counters.expired += len(list(batch))
            return
        packets = session.open(batch)
        if packets is None:
            return
        outputs += tunnel.received(session, len(packets), sum(map(len, packets)), now)
        if tunnel in delivered:
            delivered[tunnel].extend(packets)
        else:
            delivered[tunnel] = packets
            outputs.append(Deliver(tunnel, packets))

    def _handshake(self, datagram: bytes, source: bytes, now: float) -> list[Output]:
        kind = datagram[:TYPE_SIZE]
        try:
            if kind == INITIATION:
                return self._initiation(datagram, source, now)
            if kind == RESPONSE:
                return self._response(datagram, source, now)
            if kind == COOKIE_REPLY:
                return self._cookie_reply(datagram, now)
            self.counters.malformed += 1
        except DecodeError:
            self.counters.malformed += 1
        except HandshakeError:
            self.counters.forged_handshakes += 1
        return []

    def _initiation(self, datagram: bytes, source: bytes, now: float) -> list[Output]:
        message = Initiation.decode(datagram)
        refusal = self._refuse(datagram, message.sender, source, now)
        if refusal is not None:
            return refusal
        received = handshake.receive(self._local.key, message)
        tunnel = self._tunnels.get(received.static)
        if tunnel is None:
            self.counters.unknown_peer += 1
            return []
        return tunnel.respond(received, now)

    def _response(self, datagram: bytes, source: bytes, now: float) -> list[Output]:
        message = Response.decode(datagram)
        tunnel, _ = self._local.indices.lookup(message.receiver) or (None, None)
        if tunnel is None:
            self.counters.unknown_index += 1
            return []
        refusal = self._refuse(datagram, message.sender, source, now)
        return tunnel.finish(message, now) if refusal is None else refusal

    def _cookie_reply(self, datagram: bytes, now: float) -> list[Output]:
        message = CookieReply.decode(datagram)
        tunnel, _ = self._local.indices.lookup(message.receiver) or (None, None)
        if tunnel is None:
            self.counters.unknown_index += 1
        else:
            tunnel.take_cookie(message, now)
        return []

    def _refuse(
        self, datagram: bytes, sender: bytes, source: bytes, now: float
    ) -> list[Output] | None:
        """What to do instead of working on a handshake message; None if it is to be worked on."""
        if not self._macs.knows_us(datagram):
            self.counters.wrong_mac1 += 1
            return []
        if self._unproven.take(now):
            return None
        if not self._macs.owns_address(datagram, source, now):
            self.counters.cookie_replies += 1
            reply = self._macs.reply(datagram, sender, source, now)
            return [Reply(None, reply.encode())]
        if not self._places.take(source, now):
            self.counters.rate_limited += 1
            return []
        return None
