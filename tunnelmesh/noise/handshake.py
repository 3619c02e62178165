"""The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, as WireGuard uses it (paper, §5.4).

Each step is an object whose method gives the next one::

    initiator:  initiate() -> Initiated --finish(response)--> Keys
    responder:  receive()  -> Received --authenticate()--> Authentic --respond()--> (Response, Keys)

A step is never changed, so a forged message spoils nothing: the true one may still follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise.primitives import StaticKey, digest, kdf1, kdf2, kdf3
from tunnelmesh.wire.wireguard import Initiation, Response

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"

_CHAIN = digest(CONSTRUCTION)
_HASH = digest(_CHAIN, IDENTIFIER)
_NONCE = bytes(12)
"""Every key of the handshake seals one thing only."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the two sides agreed on.

    :ivar send: seals what this side sends (32 bytes).
    :ivar receive: opens what the other side sends (32 bytes).
    """

    send: bytes
    receive: bytes


class _Transcript:
    """The two values that all of the handshake so far goes into (Noise §5.2, SymmetricState)."""

    __slots__ = ("chain", "hash")

    def __init__(self, chain: bytes, hash_: bytes) -> None:
        self.chain = chain
        self.hash = hash_

    @classmethod
    def towards(cls, responder: bytes) -> _Transcript:
        """The start: both sides know the responder's static public key."""
        return cls(_CHAIN, digest(_HASH, responder))

    def copy(self) -> _Transcript:
        return _Transcript(self.chain, self.hash)

    def mix_ephemeral(self, public: bytes) -> None:
        self.chain = kdf1(self.chain, public)
        self.hash = digest(self.hash, public)

    def mix_secret(self, secret: bytes) -> bytes:
        """Mix in a Diffie-Hellman secret and return a key for sealing one thing."""
        self.chain, key = kdf2(self.chain, secret)
        return key

    def mix_psk(self, psk: bytes) -> bytes:
        self.chain, extra, key = kdf3(self.chain, psk)
        self.hash = digest(self.hash, extra)
        return key

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        ciphertext = ChaCha20Poly1305(key).encrypt(_NONCE, plaintext, self.hash)
        self.hash = digest(self.hash, ciphertext)
        return ciphertext

    def unseal(self, key: bytes, ciphertext: bytes) -> bytes:
        """:raises HandshakeError: if it is not authentic."""
        try:
            plaintext = ChaCha20Poly1305(key).decrypt(_NONCE, ciphertext, self.hash)
        except InvalidTag:
            raise HandshakeError("the handshake message is not authentic") from None
        self.hash = digest(self.hash, ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The key that the initiator sends under, and the one that the responder sends under."""
        return kdf2(self.chain, b"")


class Initiated:
    """The initiator's side, having sent its initiation.

    :ivar index: by which the response will name this handshake (4 bytes).
    """

    __slots__ = ("_ephemeral", "_local", "_psk", "_transcript", "index")

    def __init__(
        self,
        local: StaticKey,
        ephemeral: StaticKey,
        psk: bytes,
        index: bytes,
        transcript: _Transcript,
    ) -> None:
        self._local = local
        self._ephemeral = ephemeral
        self._psk = psk
        self._transcript = transcript
        self.index = index

    def finish(self, response: Response) -> Keys:
        """Take the response.

        :raises HandshakeError: if it is not the remote peer's answer to this initiation.
        """
        transcript = self._transcript.copy()
        transcript.mix_ephemeral(response.ephemeral)
        transcript.mix_secret(self._ephemeral.shared(response.ephemeral))
        transcript.mix_secret(self._local.shared(response.ephemeral))
        transcript.unseal(transcript.mix_psk(self._psk), response.empty)
        initiator, responder = transcript.split()
        return Keys(send=initiator, receive=responder)


def initiate(
    local: StaticKey,
    remote: bytes,
    shared: bytes,
    *,
    psk: bytes,
    index: bytes,
    timestamp: bytes,
    ephemeral: bytes,
) -> tuple[Initiation, Initiated]:
    """Begin a handshake.

    :param local: this machine's static key.
    :param remote: the responder's static public key (32 bytes).
    :param shared: the secret that these two keys share (32 bytes), which costs much and lasts.
    :param psk: the pre-shared key (32 bytes; zeros for none).
    :param index: this side's index (4 bytes).
    :param timestamp: TAI64N (12 bytes), later than in any initiation before.
    :param ephemeral: a fresh private key (32 random bytes).
    :returns: the message to send, without its MACs, and what awaits the response.
    :raises HandshakeError: if the remote key is of low order.
    """
    own = StaticKey(ephemeral)
    transcript = _Transcript.towards(remote)
    transcript.mix_ephemeral(own.public)
    static = transcript.seal(transcript.mix_secret(own.shared(remote)), local.public)
    clock = transcript.seal(transcript.mix_secret(shared), timestamp)
    message = Initiation(sender=index, ephemeral=own.public, static=static, timestamp=clock)
    return message, Initiated(local, own, psk, index, transcript)


class Received:
    """The responder's side, knowing who claims to call.

    :ivar static: the static public key that the initiator claims to own (32 bytes).
    """

    __slots__ = ("_message", "_transcript", "static")

    def __init__(self, message: Initiation, static: bytes, transcript: _Transcript) -> None:
        self._message = message
        self._transcript = transcript
        self.static = static

    def authenticate(self, shared: bytes) -> Authentic:
        """Make sure that the initiator owns the key.

        :param shared: the secret shared with :attr:`static` (32 bytes).
        :raises HandshakeError: if it does not.
        """
        transcript = self._transcript.copy()
        timestamp = transcript.unseal(transcript.mix_secret(shared), self._message.timestamp)
        return Authentic(self._message, self.static, timestamp, transcript)


class Authentic:
    """The responder's side, knowing who calls; perhaps by a message that was sent before.

    :ivar timestamp: when the initiator sent it, by its clock (TAI64N, 12 bytes, compares as bytes).
    """

    __slots__ = ("_message", "_static", "_transcript", "timestamp")

    def __init__(
        self, message: Initiation, static: bytes, timestamp: bytes, transcript: _Transcript
    ) -> None:
        self._message = message
        self._static = static
        self._transcript = transcript
        self.timestamp = timestamp

    def respond(self, *, psk: bytes, index: bytes, ephemeral: bytes) -> tuple[Response, Keys]:
        """Answer.

        :param psk: the pre-shared key (32 bytes; zeros for none).
        :param index: this side's index (4 bytes).
        :param ephemeral: a fresh private key (32 random bytes).
        :returns: the message to send, without its MACs, and the keys.
        :raises HandshakeError: if one of the initiator's keys is of low order.
        """
        own = StaticKey(ephemeral)
        transcript = self._transcript.copy()
        transcript.mix_ephemeral(own.public)
        transcript.mix_secret(own.shared(self._message.ephemeral))
        transcript.mix_secret(own.shared(self._static))
        empty = transcript.seal(transcript.mix_psk(psk), b"")
        initiator, responder = transcript.split()
        response = Response(
            sender=index, receiver=self._message.sender, ephemeral=own.public, empty=empty
        )
        return response, Keys(send=responder, receive=initiator)


def receive(local: StaticKey, message: Initiation) -> Received:
    """Read who an initiation claims to be from.

    :raises HandshakeError: if it is not sealed for this machine's key.
    """
    transcript = _Transcript.towards(local.public)
    transcript.mix_ephemeral(message.ephemeral)
    key = transcript.mix_secret(local.shared(message.ephemeral))
    return Received(message, transcript.unseal(key, message.static), transcript)
