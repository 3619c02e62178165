"""The machine's key file and the keys that follow from it."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv6Network, ip_address
from pathlib import Path
from shutil import which
from stat import S_IMODE

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.errors import IdentityError
from tunnelmesh.identity import (
    FILE_NAME,
    Identity,
    fingerprint,
    is_mesh_address6,
    mesh_address6,
    mesh_network6,
    verify,
    x25519_public,
)

P = 2**255 - 19

SEED = bytes.fromhex("421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee")
"""libsodium's test of crypto_sign_ed25519_*_to_curve25519."""
SODIUM_PUBLIC = "f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50"
SODIUM_PRIVATE = "8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166"

ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
LOW_ORDER = [0, 1, P - 1, ORDER_8, P - ORDER_8]
"""The y of the points of order 4, 1, 2, 8 and 8."""


def identity(seed: bytes = SEED) -> Identity:
    """A machine whose key is known."""
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))


class KeyFileTests(SynchronousTestCase):
    """Where the key is kept."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp()) / "deep" / "state"

    def write(self, text: bytes, mode: int = 0o600) -> Path:
        """Put *text* where the key file belongs."""
        self.state.mkdir(parents=True)
        path = self.state / FILE_NAME
        path.write_bytes(text)
        path.chmod(mode)
        return path

    def test_made_once(self) -> None:
        """The first call makes the key, and the second one reads it."""
        first = Identity.load_or_create(self.state)
        second = Identity.load_or_create(self.state)
        self.assertEqual(first.public_key, second.public_key)

    def test_private(self) -> None:
        """Nobody else may read the file or list the directory; nothing else is left in it."""
        Identity.load_or_create(self.state)
        self.assertEqual(S_IMODE(self.state.stat().st_mode), 0o700)
        self.assertEqual(S_IMODE((self.state / FILE_NAME).stat().st_mode), 0o600)
        self.assertEqual([entry.name for entry in self.state.iterdir()], [FILE_NAME])

    def test_openssh_reads_it(self) -> None:
        """``ssh-keygen`` prints the same fingerprint from the file that we do."""
        if which("ssh-keygen") is None:
            raise SkipTest("ssh-keygen (openssh-client) is not installed")
        made = Identity.load_or_create(self.state)
        printed = subprocess.run(
            ["ssh-keygen", "-lf", str(self.state / FILE_NAME)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.assertIn(f" {made.fingerprint} ", printed)

    def test_two_processes_at_once(self) -> None:
        """Processes that start together agree on one key."""
        program = (
            "import sys; from pathlib import Path; from tunnelmesh.identity import Identity;"
            "sys.stdin.read(1); print(Identity.load_or_create(Path(sys.argv[1])).fingerprint)"
        )
        children = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(self.state)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(4)
        ]
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"x")
            child.stdin.flush()
        printed = {child.communicate(timeout=30)[0] for child in children}
        self.assertEqual(printed, {f"{Identity.load_or_create(self.state).fingerprint}\n".encode()})

    def test_readable_by_others(self) -> None:
        """A key that others may read is refused, as ssh refuses it."""
        Identity.load_or_create(self.state)
        (self.state / FILE_NAME).chmod(0o640)
        error = self.assertRaises(IdentityError, Identity.load_or_create, self.state)
        self.assertIn("chmod 600", str(error))

    def test_missing(self) -> None:
        """Reading a file that is not there says which and why."""
        error = self.assertRaises(IdentityError, Identity.load, self.state / FILE_NAME)
        self.assertIn("No such file", str(error))

    def test_damaged(self) -> None:
        """A file cut short, an empty one and garbage are refused in one line and left alone."""
        whole = identity().private_key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        path = self.write(b"")
        for text in [b"", b"garbage\xff\0", whole[:150], whole[:-60] + whole[-40:]]:
            path.write_bytes(text)
            error = self.assertRaises(IdentityError, Identity.load_or_create, self.state)
            self.assertNotIn("\n", str(error))
            self.assertEqual(path.read_bytes(), text)

    def test_passphrase(self) -> None:
        """A key with a passphrase cannot be used by a service, and the message says what to do."""
        self.write(
            identity().private_key.private_bytes(
                Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"secret")
            )
        )
        error = self.assertRaises(IdentityError, Identity.load_or_create, self.state)
        self.assertIn("ssh-keygen -p", str(error))

    def test_other_kind(self) -> None:
        """A key of another kind is refused by name."""
        self.write(
            generate_ec(SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
            )
        )
        error = self.assertRaises(IdentityError, Identity.load_or_create, self.state)
        self.assertIn("not an Ed25519 key", str(error))

    def test_nowhere_to_write(self) -> None:
        """A state directory that cannot be made is one clear line."""
        self.state.parent.mkdir(parents=True)
        self.state.write_text("a file")
        error = self.assertRaises(IdentityError, Identity.load_or_create, self.state)
        self.assertIn("cannot write", str(error))


class KeyTests(SynchronousTestCase):
    """What follows from the key."""

    def test_signature(self) -> None:
        """A signature holds for its own data and key and for nothing else."""
        one, other = identity(), Identity.generate()
        signature = one.sign(b"data")
        self.assertTrue(verify(one.public_key, signature, b"data"))
        self.assertFalse(verify(one.public_key, signature, b"date"))
        self.assertFalse(verify(other.public_key, signature, b"data"))

    @settings(max_examples=50, derandomize=True)
    @given(st.binary(max_size=70), st.binary(max_size=70))
    def test_hostile_signature(self, key: bytes, signature: bytes) -> None:
        """Malformed keys and signatures do not verify, and raise nothing."""
        self.assertFalse(verify(key, signature, b"data"))

    def test_vector(self) -> None:
        """The conversion to X25519 gives libsodium's published result."""
        one = identity()
        self.assertEqual(x25519_public(one.public_key).hex(), SODIUM_PUBLIC)
        self.assertEqual(one.x25519_private.hex(), SODIUM_PRIVATE)

    @settings(max_examples=20, derandomize=True)
    @given(st.binary(min_size=32, max_size=32))
    def test_conversions_agree(self, seed: bytes) -> None:
        """Converting the private key or the public one leads to the same X25519 key."""
        one = identity(seed)
        private = X25519PrivateKey.from_private_bytes(one.x25519_private)
        self.assertEqual(private.public_key().public_bytes_raw(), x25519_public(one.public_key))

    def test_low_order(self) -> None:
        """Points whose multiples are few are refused, with either sign of x."""
        for y in LOW_ORDER:
            for sign in (0, 1 << 255):
                self.assertRaises(IdentityError, x25519_public, (y | sign).to_bytes(32, "little"))

    def test_not_a_key(self) -> None:
        """Wrong lengths, y beyond the field and y off the curve are refused."""
        for key in [b"", bytes(31), bytes(33), (P + 3).to_bytes(32, "little")]:
            self.assertRaises(IdentityError, x25519_public, key)
        error = self.assertRaises(IdentityError, x25519_public, (2).to_bytes(32, "little"))
        self.assertIn("not a point", str(error))

    def test_fingerprint_is_of_the_key(self) -> None:
        """Different keys have different fingerprints of the well-known shape."""
        text = fingerprint(identity().public_key)
        self.assertTrue(text.startswith("SHA256:"))
        self.assertEqual(len(text), 50)
        self.assertNotEqual(text, Identity.generate().fingerprint)

    def test_address(self) -> None:
        """The mesh IPv6 address is stable, inside the mesh's network, and differs between keys."""
        network, own = mesh_network6(bytes(32)), identity().public_key
        address = mesh_address6(network, own)
        self.assertEqual(network.prefixlen, 48)
        self.assertTrue(network.subnet_of(IPv6Network("fd74:6d00::/24")))
        self.assertIn(address, network)
        self.assertEqual(address, mesh_address6(network, own))
        self.assertNotEqual(address, mesh_address6(network, Identity.generate().public_key))

    def test_two_meshes(self) -> None:
        """Another mesh has another network; both are known as meshes' own, and no other is."""
        one, other = mesh_network6(bytes(32)), mesh_network6(b"\1" * 32)
        self.assertNotEqual(one, other)
        for network in (one, other):
            self.assertTrue(is_mesh_address6(network[1]))
        for host in ("fd75::1", "2001:db8::1", "253.116.109.1"):
            self.assertFalse(is_mesh_address6(ip_address(host)), host)
