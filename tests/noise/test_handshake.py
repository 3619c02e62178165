"""The handshake, against an independent implementation of the Noise framework."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from noise.connection import Keypair, NoiseConnection
from twisted.trial.unittest import SynchronousTestCase

from tests.noise.test_primitives import LOW_ORDER
from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise import handshake
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import CONSTRUCTION, IDENTIFIER, Initiated, Keys
from tunnelmesh.noise.local import BulkBuffers
from tunnelmesh.noise.primitives import StaticKey
from tunnelmesh.noise.session import Session
from tunnelmesh.wire.wireguard import Initiation, Response

RANDOM = Random("handshake")
PRIVATE = [RANDOM.randbytes(32), RANDOM.randbytes(32)]
US, THEM = StaticKey(PRIVATE[0]), StaticKey(PRIVATE[1])
SHARED = US.shared(THEM.public)
PSK = RANDOM.randbytes(32)
TIMESTAMP = b"timestamp..."


def oracle(*, initiator: bool, psk: bytes = PSK) -> NoiseConnection:
    """Their side of the handshake, by noiseprotocol."""
    noise = NoiseConnection.from_name(CONSTRUCTION)
    noise.set_prologue(IDENTIFIER)
    noise.set_psks(psk)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, PRIVATE[1])
    if initiator:
        noise.set_as_initiator()
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, US.public)
    else:
        noise.set_as_responder()
    noise.start_handshake()
    return noise


def initiate() -> tuple[Initiation, Initiated]:
    """Our initiation to them."""
    return handshake.initiate(
        US,
        THEM.public,
        SHARED,
        psk=PSK,
        index=b"us.1",
        timestamp=TIMESTAMP,
        ephemeral=RANDOM.randbytes(32),
    )


def respond(message: Initiation, psk: bytes = PSK) -> tuple[Response, Keys]:
    """Their answer to it."""
    authentic = handshake.receive(THEM, message).authenticate(SHARED)
    return authentic.respond(psk=psk, index=b"them", ephemeral=RANDOM.randbytes(32))


def session(keys: Keys) -> Session:
    """A session with these keys."""
    return Session(
        keys,
        local=b"us.1",
        remote=b"them",
        initiator=True,
        born=0,
        mtu=1420,
        counters=Counters(),
        records=BulkBuffers,
    )


class OracleTests(SynchronousTestCase):
    """IKpsk2 with noiseprotocol at the other end."""

    def assert_agreed(self, keys: Keys, noise: NoiseConnection) -> None:
        """Both ends can read what the other seals, message after message."""
        ours = session(keys)
        for n, datagram in enumerate(ours.seal([b"0123456789abcdef"] * 3)):
            self.assertEqual(datagram[8:16], n.to_bytes(8, "little"))
            self.assertEqual(noise.decrypt(datagram[16:]), b"0123456789abcdef")
        for n in range(3):
            sealed = b"\4\0\0\0us.1" + n.to_bytes(8, "little") + noise.encrypt(b"reply")
            self.assertEqual(ours.open([sealed]), [b"reply"])

    def test_as_initiator(self) -> None:
        """We begin, they answer."""
        noise = oracle(initiator=False)
        message, initiated = initiate()
        timestamp = noise.read_message(message.ephemeral + message.static + message.timestamp)
        self.assertEqual(timestamp, TIMESTAMP)
        answer = bytes(noise.write_message())
        response = Response(b"them", b"us.1", ephemeral=answer[:32], empty=answer[32:])
        self.assert_agreed(initiated.finish(response), noise)

    def test_as_responder(self) -> None:
        """They begin, we answer."""
        noise = oracle(initiator=True)
        message = bytes(noise.write_message(TIMESTAMP))
        received = handshake.receive(
            US, Initiation(b"them", message[:32], message[32:80], message[80:])
        )
        self.assertEqual(received.static, THEM.public)
        authentic = received.authenticate(SHARED)
        self.assertEqual(authentic.timestamp, TIMESTAMP)
        response, keys = authentic.respond(psk=PSK, index=b"us.1", ephemeral=b"e" * 32)
        self.assertEqual((response.sender, response.receiver), (b"us.1", b"them"))
        self.assertEqual(noise.read_message(response.ephemeral + response.empty), b"")
        self.assert_agreed(keys, noise)


class RefusalTests(SynchronousTestCase):
    """What must not lead to a session."""

    def test_other_psk(self) -> None:
        """A responder with another pre-shared key is not believed."""
        message, initiated = initiate()
        response, _ = respond(message, psk=bytes(32))
        with self.assertRaises(HandshakeError):
            initiated.finish(response)

    def test_forged_response_spoils_nothing(self) -> None:
        """After any number of forged responses the true one still completes the handshake."""
        message, initiated = initiate()
        response, keys = respond(message)
        for forged in (
            replace(response, ephemeral=US.public),
            replace(response, empty=bytes(16)),
            replace(response, ephemeral=LOW_ORDER[1]),
        ):
            with self.assertRaises(HandshakeError):
                initiated.finish(forged)
        self.assertEqual(initiated.finish(response), Keys(keys.receive, keys.send))

    def test_tampered_initiation(self) -> None:
        """No part of an initiation can be replaced."""
        message, _ = initiate()
        for forged in (
            replace(message, ephemeral=US.public),
            replace(message, static=bytes(48)),
            replace(message, timestamp=bytes(28)),
        ):
            with self.assertRaises(HandshakeError):
                respond(forged)

    def test_low_order_ephemeral(self) -> None:
        """An initiation whose secrets everybody could compute is refused."""
        message, _ = initiate()
        for public in LOW_ORDER:
            with self.assertRaises(HandshakeError):
                respond(replace(message, ephemeral=public))

    def test_not_for_us(self) -> None:
        """An initiation for somebody else's key cannot be read."""
        message, _ = initiate()
        with self.assertRaises(HandshakeError):
            handshake.receive(US, message)
