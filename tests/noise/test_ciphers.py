"""Tests for :mod:`tunnelmesh.noise.ciphers`: the standards' ciphers, and who prefers which."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.noise.ciphers import PREFERRED, quick_ciphers, record_aead
from tunnelmesh.noise.primitives import kdf1
from tunnelmesh.peer.system import processor_flags
from tunnelmesh.wire.record import AES_256_GCM, AES_256_OCB, CHACHA20_POLY1305


class CipherTests(SynchronousTestCase):
    """Sealing with each."""

    def test_all_differ(self) -> None:
        """Each has a key of its own, and what one seals no other opens; all add 16 bytes."""
        sealed = set()
        for cipher in PREFERRED:
            out = bytearray(5 + 16)
            record_aead(cipher, bytes(32)).encrypt_into(bytes(12), b"hello", b"head", out)
            sealed.add(bytes(out))
        self.assertEqual(len(sealed), 3)

    def test_unknown(self) -> None:
        """There is no cipher 3."""
        self.assertRaises(KeyError, record_aead, 3, bytes(32))

    def test_derivation(self) -> None:
        """The key is derived as docs/protocol.md says."""
        from cryptography.hazmat.primitives.ciphers.aead import AESOCB3

        key = kdf1(bytes(32), b"tunnelmesh record v1 aes-256-ocb")
        out = bytearray(21)
        record_aead(AES_256_OCB, bytes(32)).encrypt_into(bytes(12), b"hello", b"head", out)
        self.assertEqual(AESOCB3(key).decrypt(bytes(12), bytes(out), b"head"), b"hello")


class QuickTests(SynchronousTestCase):
    """What processors are quick at."""

    def test_processors(self) -> None:
        """An old one; one with AES; one with AES in wide registers; an ARM."""
        for flags, ciphers in (
            ("fpu sse2", {CHACHA20_POLY1305}),
            ("aes avx2 pclmulqdq vaes vpclmulqdq", {CHACHA20_POLY1305, AES_256_GCM, AES_256_OCB}),
            ("aes pclmulqdq avx512f vaes vpclmulqdq", {CHACHA20_POLY1305, AES_256_GCM}),
            ("fp asimd aes pmull sha1", {CHACHA20_POLY1305, AES_256_GCM}),
        ):
            self.assertEqual(quick_ciphers(flags.split()), ciphers, flags)

    def test_flags(self) -> None:
        """They are read where Linux tells them; elsewhere, nothing is known."""
        for text, flags in (
            ("processor: 0\nflags\t\t: fpu aes\nbugs:\n", {"fpu", "aes"}),
            ("processor: 0\nFeatures\t: fp pmull\n", {"fp", "pmull"}),
            ("processor: 0\n", set()),
        ):
            told = Path(self.mktemp())
            told.write_text(text)
            self.assertEqual(processor_flags(told) - {"flags", "Features", ":"}, flags)
        self.assertEqual(processor_flags(Path(self.mktemp())), set())
