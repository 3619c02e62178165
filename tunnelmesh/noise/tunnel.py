"""One remote peer: its handshakes, its sessions, and the timers that renew them.

Source: the WireGuard paper, §6. Where this differs, it is on purpose:

- Keys are forgotten as soon as they are useless, not at three times that age (§6.3).
- Two initiations that cross do not cancel each other. Each side completes its own, at once, and
  both move to the session of the side whose public key is greater. A stock WireGuard peer, which
  drops its own, is served by ours.
- An initiation may be urgent, because the path has changed and the last one may be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise import handshake
from tunnelmesh.noise.cookie import MacStamp
from tunnelmesh.noise.keyring import Keyring
from tunnelmesh.noise.local import Local
from tunnelmesh.noise.outputs import (
    Established,
    GaveUp,
    Output,
    Reply,
    Transmit,
    TransmitRun,
)
from tunnelmesh.noise.primitives import KEY_SIZE
from tunnelmesh.noise.session import REJECT_AFTER_TIME, Form, Session
from tunnelmesh.noise.timers import (
    INITIATION_INTERVAL,
    KEEPALIVE_TIMEOUT,
    LAST_CALL,
    REKEY_ATTEMPT_TIME,
    REKEY_JITTER,
    REKEY_TIMEOUT,
    URGENT_INTERVAL,
    Timer,
)
from tunnelmesh.wire.wireguard import CookieReply, Response

QUEUE = 128
"""Packets that wait for a session; then the oldest is dropped. A TCP's first flight is ten."""

_EMPTY = (b"",)


class Tunnel:
    """The encrypted way to one remote peer. Made by :meth:`.Device.add_peer`.

    :param local: this machine's side.
    :param public_key: the remote peer's static public key (32 bytes).
    :param psk: the pre-shared key (32 bytes; zeros for none).
    :raises HandshakeError: if the public key cannot be anybody's.

    :ivar user: the owner's own object for this peer; never touched here.
    :ivar handshake_at: when the last handshake was completed; None before the first.
    :ivar handshakes: how many were completed.
    :ivar rx_packets: packets received, without keepalives; and so on.
    """

    def __init__(self, local: Local, public_key: bytes, psk: bytes) -> None:
        self.public_key = public_key
        self.user: Any = None
        self.handshake_at: float | None = None
        self.handshakes = 0
        self.rx_packets = self.rx_bytes = self.tx_packets = self.tx_bytes = 0
        self._local = local
        self._psk = psk
        self._shared = local.key.shared(public_key)
        self._stamp = MacStamp(public_key)
        self._pending: handshake.Initiated | None = None
        self._keys = Keyring(local.indices, prevails=local.key.public > public_key)
        self._queue: deque[bytes] = deque()
        self._timers: dict[Timer, float] = {}
        self._persistent: float | None = None
        self._handshake_sent_at = self._initiation_taken_at = float("-inf")
        self._attempts_end = float("-inf")
        self._newest_timestamp = b""

    @property
    def established(self) -> bool:
        """Whether there is a session to send by."""
        return self._keys.current is not None

    @property
    def session(self) -> Session | None:
        """The session to send by."""
        return self._keys.current

    @property
    def arrivals(self) -> tuple[Session | None, int, int]:
        """The session in use; how many messages the remote peer has sealed by it, as far as is
        known, and how many of them have been opened."""
        session = self._keys.current
        return (None, 0, 0) if session is None else (session, *session.arrivals)

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`, or None if nothing is to be waited for."""
        return min(self._timers.values(), default=None)

    # What the owner asks for.

    def send(self, packets: Sequence[bytes], now: float) -> list[Output]:
        """Seal packets for the remote peer; or keep them and shake hands, without a session."""
        session = self._keys.current
        if session is None or not session.can_seal(len(packets), now):
            self._queue.extend(packets)
            while len(self._queue) > QUEUE:
                self._queue.popleft()
                self._local.counters.unsent_packets += 1
            return self.initiate(now)
        self.tx_packets += len(packets)
        self.tx_bytes += sum(map(len, packets))
        self._expect_answer(now)
        return self._seal(session, packets, now)

    def send_bulk(self, packet: SuperPacket, form: Form | None, now: float) -> list[Output]:
        """Seal a super-packet for the remote peer; without a session, keep it and shake hands.

        Its buffer, and two bytes before it, are not what they were afterwards.

        :param form: how, if the remote peer takes records; else it is cut up into packets.
        """
        session = self._keys.current
        if form is None or session is None or not session.can_seal(packet.count, now):
            return self.send(packet.packets(), now)
        self.tx_packets += packet.count
        self.tx_bytes += packet.length
        return self._send_run(session, session.seal_record(packet, form), now)

    def sent(self, session: Session, count: int, size: int, now: float) -> list[Output]:
        """The owner has sealed packets by :attr:`session` himself, and sent them.

        :param count: how many; *size*: their bytes.
        """
        self.tx_packets += count
        self.tx_bytes += size
        self._expect_answer(now)
        self._sent(now)
        return self.initiate(now) if session.needs_rekey(now) else []

    def send_long(self, packet: bytes, form: Form, now: float) -> list[Output]:
        """Seal a packet that is too long for a datagram, as a record; or as :meth:`send` does,
        without a session."""
        session = self._keys.current
        if session is None or not session.can_seal(1, now):
            return self.send([packet], now)
        self.tx_packets += 1
        self.tx_bytes += len(packet)
        return self._send_run(session, session.seal_long(packet, form), now)

    def initiate(self, now: float, *, urgent: bool = False) -> list[Output]:
        """Ask the remote peer for a new session, and go on asking for REKEY-ATTEMPT-TIME.

        :param urgent: the last initiation, if it was just sent, is likely to be lost.
        """
        self._attempts_end = now + REKEY_ATTEMPT_TIME
        earliest = self._handshake_sent_at + (URGENT_INTERVAL if urgent else REKEY_TIMEOUT)
        if now >= earliest:
            return self._send_initiation(now)
        retry = self._timers.get(Timer.RETRY)
        if retry is None or (urgent and earliest < retry):
            self._timers[Timer.RETRY] = earliest
        return []

    def keep_alive(self, interval: float | None, now: float) -> list[Output]:
        """Send something at least every *interval* seconds from now on; None to stop that."""
        self._persistent = interval
        if interval is None:
            self._timers.pop(Timer.PERSISTENT_KEEPALIVE, None)
            return []
        return self._keepalive(now)

    def expire(self, now: float) -> list[Output]:
        """Do what is due."""
        outputs: list[Output] = []
        for timer in sorted(self._timers):
            if self._timers.get(timer, now + 1) > now:  # not due, or settled by one before it
                continue
            del self._timers[timer]
            if timer == Timer.RETRY:
                outputs += self._retry(now)
            elif timer == Timer.SILENCE:
                outputs += self.initiate(now)
            elif timer == Timer.FORGET:
                self._keys.clear()
            else:
                outputs += self._keepalive(now)
        return outputs

    # What the device has received from the remote peer.

    def respond(self, received: handshake.Received, now: float) -> list[Output]:
        """Answer an initiation, unless it is a replay or follows the last one too soon.

        :raises HandshakeError: if it is not from the remote peer.
        """
        initiation = received.authenticate(self._shared)
        if initiation.timestamp <= self._newest_timestamp:
            self._local.counters.replayed_initiations += 1
            return []
        if now - self._initiation_taken_at < INITIATION_INTERVAL:
            self._local.counters.hasty_initiations += 1
            return []
        index = self._local.indices.allocate(self)
        response, keys = initiation.respond(
            psk=self._psk, index=index, ephemeral=self._local.entropy(KEY_SIZE)
        )
        self._newest_timestamp = initiation.timestamp
        self._initiation_taken_at = now
        session = self._derive(keys, index, response.receiver, now, initiator=False)
        self._keys.offered(session)
        self._handshake_sent_at = now
        self._timers.pop(Timer.SILENCE, None)
        self._sent(now)
        return [Reply(self, self._stamp.stamp(response.encode(), now))]

    def finish(self, response: Response, now: float) -> list[Output]:
        """Take the response to the pending initiation.

        :raises HandshakeError: if it is not one.
        """
        if self._pending is None or self._pending.index != response.receiver:
            raise HandshakeError("there is no initiation that this answers")
        keys = self._pending.finish(response)
        index, self._pending = self._pending.index, None
        session = self._derive(keys, index, response.sender, now, initiator=True)
        self._keys.completed(session)
        self._timers.pop(Timer.SILENCE, None)
        outputs = self._establish(now)
        return outputs if len(outputs) > 1 else [*outputs, *self._keepalive(now)]

    def take_cookie(self, reply: CookieReply, now: float) -> None:
        """Keep a cookie for the next initiation.

        :raises HandshakeError: if it is not for the last one.
        """
        self._stamp.receive(reply, now)

    def received(self, session: Session, count: int, size: int, now: float) -> list[Output]:
        """Authentic messages came by *session*.

        :param count: packets in them; none, if they were keepalives.
        :param size: bytes of these packets.
        """
        outputs: list[Output] = []
        if self._keys.confirm(session):
            outputs += self._establish(now)
        self._timers.pop(Timer.SILENCE, None)
        self._traversed(now)
        if count:
            self.rx_packets += count
            self.rx_bytes += size
            self._timers.setdefault(Timer.PASSIVE_KEEPALIVE, now + KEEPALIVE_TIMEOUT)
        if session is self._keys.current and session.initiator and now - session.born >= LAST_CALL:
            outputs += self.initiate(now)
        return outputs

    def close(self) -> None:
        """Forget everything about the remote peer."""
        self._keys.clear()
        self._abandon_pending()
        self._drop_queue()
        self._timers.clear()

    # Steps.

    def _derive(
        self, keys: handshake.Keys, index: bytes, remote: bytes, now: float, *, initiator: bool
    ) -> Session:
        local = self._local
        session = Session(
            keys,
            local=index,
            remote=remote,
            initiator=initiator,
            born=now,
            mtu=local.mtu,
            counters=local.counters,
            records=local.buffers,
        )
        local.indices.assign(index, self, session)
        self._timers[Timer.FORGET] = now + REJECT_AFTER_TIME
        return session

    def _establish(self, now: float) -> list[Output]:
        """The current session is a new one."""
        self._timers.pop(Timer.RETRY, None)
        self._abandon_pending()
        self.handshake_at = now
        self.handshakes += 1
        outputs: list[Output] = [Established(self)]
        if self._queue:
            packets = list(self._queue)
            self._queue.clear()
            outputs += self.send(packets, now)
        return outputs

    def _send_initiation(self, now: float) -> list[Output]:
        self._abandon_pending()
        local = self._local
        message, self._pending = handshake.initiate(
            local.key,
            self.public_key,
            self._shared,
            psk=self._psk,
            index=local.indices.allocate(self),
            timestamp=local.clock.label(),
            ephemeral=local.entropy(KEY_SIZE),
        )
        self._handshake_sent_at = now
        self._timers[Timer.RETRY] = now + self._patience()
        return [self._transmit([self._stamp.stamp(message.encode(), now)], now)]

    def _retry(self, now: float) -> list[Output]:
        if now < self._attempts_end:
            return self._send_initiation(now)
        self._abandon_pending()
        self._drop_queue()
        self._timers.pop(Timer.PASSIVE_KEEPALIVE, None)
        return [GaveUp(self)]

    def _keepalive(self, now: float) -> list[Output]:
        session = self._keys.current
        if session is None or not session.can_seal(1, now):
            return self.initiate(now)
        return self._seal(session, _EMPTY, now)

    def _seal(self, session: Session, packets: Sequence[bytes], now: float) -> list[Output]:
        outputs: list[Output] = [self._transmit(session.seal(packets), now)]
        if session.needs_rekey(now):
            outputs += self.initiate(now)
        return outputs

    def _send_run(self, session: Session, run: Run, now: float) -> list[Output]:
        self._expect_answer(now)
        self._sent(now)
        outputs: list[Output] = [TransmitRun(self, run)]
        if session.needs_rekey(now):
            outputs += self.initiate(now)
        return outputs

    def _expect_answer(self, now: float) -> None:
        if Timer.SILENCE not in self._timers:
            self._timers[Timer.SILENCE] = now + KEEPALIVE_TIMEOUT + self._patience()

    def _transmit(self, datagrams: list[bytes], now: float) -> Transmit:
        self._sent(now)
        return Transmit(self, datagrams)

    def _sent(self, now: float) -> None:
        self._timers.pop(Timer.PASSIVE_KEEPALIVE, None)
        self._traversed(now)

    def _traversed(self, now: float) -> None:
        if self._persistent is not None:
            self._timers[Timer.PERSISTENT_KEEPALIVE] = now + self._persistent

    def _abandon_pending(self) -> None:
        if self._pending is not None:
            self._local.indices.free(self._pending.index)
            self._pending = None

    def _drop_queue(self) -> None:
        self._local.counters.unsent_packets += len(self._queue)
        self._queue.clear()

    def _patience(self) -> float:
        return REKEY_TIMEOUT + self._local.random.uniform(0, REKEY_JITTER)
