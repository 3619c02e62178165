"""Published test vectors for what the tunnel is made of."""

from __future__ import annotations

from hashlib import blake2s

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise import xchacha
from tunnelmesh.noise.primitives import StaticKey, digest, kdf1, kdf2, kdf3, mac

SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
KEY = bytes(range(0x80, 0xA0))
ASSOCIATED = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")

LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""Points of Curve25519 whose multiples, by any private key, are zero."""


def hmac_blake2s(key: bytes, data: bytes) -> bytes:
    """RFC 2104, spelled out; BLAKE2s works on blocks of 64 bytes."""
    block = key.ljust(64, b"\0")
    inner = blake2s(bytes(b ^ 0x36 for b in block) + data).digest()
    return blake2s(bytes(b ^ 0x5C for b in block) + inner).digest()


class Blake2sTests(SynchronousTestCase):
    """BLAKE2s, its MAC and the key derivation on it."""

    def test_digest(self) -> None:
        """RFC 7693, appendix B, however the input is cut."""
        expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        self.assertEqual(digest(b"abc").hex(), expected)
        self.assertEqual(digest(b"a", b"", b"bc").hex(), expected)

    def test_mac(self) -> None:
        """The MAC depends on key and data and has 16 bytes; it is not a truncated digest."""
        tags = {mac(bytes(32), b""), mac(bytes(32), b"a"), mac(b"\1" * 32, b"a")}
        self.assertEqual({len(tag) for tag in tags}, {16})
        self.assertEqual(len(tags), 3)
        self.assertNotEqual(mac(bytes(32), b"a"), blake2s(b"a", key=bytes(32)).digest()[:16])

    def test_derivation(self) -> None:
        """HKDF by the formulas of the paper, on an HMAC that is spelled out."""
        extracted = hmac_blake2s(b"k" * 32, b"data")
        first = hmac_blake2s(extracted, b"\x01")
        second = hmac_blake2s(extracted, first + b"\x02")
        third = hmac_blake2s(extracted, second + b"\x03")
        self.assertEqual(kdf1(b"k" * 32, b"data"), first)
        self.assertEqual(kdf2(b"k" * 32, b"data"), (first, second))
        self.assertEqual(kdf3(b"k" * 32, b"data"), (first, second, third))


class StaticKeyTests(SynchronousTestCase):
    """X25519."""

    def test_exchange(self) -> None:
        """RFC 7748, section 6.1."""
        bob = StaticKey(
            bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
        )
        self.assertEqual(
            bob.public.hex(), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        )
        alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        self.assertEqual(
            bob.shared(alice).hex(),
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        )

    def test_bad_keys(self) -> None:
        """Keys of low order, and what is no key, are refused."""
        key = StaticKey(b"k" * 32)
        for public in [*LOW_ORDER, b"", bytes(31), bytes(33)]:
            with self.assertRaises(HandshakeError):
                key.shared(public)


class AeadTests(SynchronousTestCase):
    """ChaCha20-Poly1305 and XChaCha20-Poly1305."""

    def test_chacha(self) -> None:
        """RFC 8439, section 2.8.2: the library underneath is what we think it is."""
        nonce = bytes.fromhex("070000004041424344454647")
        sealed = ChaCha20Poly1305(KEY).encrypt(nonce, SUNSCREEN, ASSOCIATED)
        self.assertEqual(sealed[:16].hex(), "d31a8d34648e60db7b86afbc53ef7ec2")
        self.assertEqual(sealed[-16:].hex(), "1ae10b594f09e26a7e902ecbd0600691")

    def test_hchacha(self) -> None:
        """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
        subkey = xchacha.hchacha20(
            bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")
        )
        self.assertEqual(
            subkey.hex(), "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
        )

    def test_xchacha(self) -> None:
        """draft-irtf-cfrg-xchacha-03, appendix A.3.1, both ways."""
        nonce = bytes(range(0x40, 0x58))
        sealed = xchacha.seal(KEY, nonce, SUNSCREEN, ASSOCIATED)
        self.assertEqual(sealed[:16].hex(), "bd6d179d3e83d43b9576579493c0e939")
        self.assertEqual(sealed[-16:].hex(), "c0875924c1c7987947deafd8780acf49")
        self.assertEqual(xchacha.unseal(KEY, nonce, sealed, ASSOCIATED), SUNSCREEN)

    def test_xchacha_forged(self) -> None:
        """What was tampered with, or is sealed under another key, is refused."""
        nonce = bytes(range(0x40, 0x58))
        sealed = xchacha.seal(KEY, nonce, SUNSCREEN, ASSOCIATED)
        for key, ciphertext, associated in [
            (bytes(32), sealed, ASSOCIATED),
            (KEY, sealed[:-1] + b"\0", ASSOCIATED),
            (KEY, sealed, b""),
            (KEY, b"", ASSOCIATED),
        ]:
            with self.assertRaises(HandshakeError):
                xchacha.unseal(key, nonce, ciphertext, associated)
