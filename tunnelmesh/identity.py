"""One Ed25519 key is a machine's whole identity.

It is the machine's SSH key on the tunnel, its sign-in on signalling and, by the standard conversion
between the two forms of the curve, its WireGuard static key. It is kept as an ordinary OpenSSH key
file, so that ``ssh-keygen -lf`` prints the fingerprint that people compare.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64encode
from hashlib import blake2s, sha256, sha512
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from stat import S_IMODE

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from tunnelmesh.errors import IdentityError

FILE_NAME = "identity"
"""The key file's name inside the state directory."""

_MESHES6 = b"\xfdtm"
"""First 24 bits of every mesh IPv6 address: a ULA (RFC 4193) whose global ID begins with "tm"."""

_SSH_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""What precedes the 32 bytes of the key in its SSH form (RFC 8709 §4)."""

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""The field and the constant d of edwards25519 (RFC 8032 §5.1)."""

_PROBE = X25519PrivateKey.from_private_bytes(b"\1" * 32)
"""Any key at all: multiplying a point of low order by a clamped scalar gives zero."""


class Identity:
    """A machine's private key and what follows from it.

    :param private_key: the Ed25519 key.
    """

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self.private_key = private_key
        self.public_key = private_key.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as ``ssh-keygen -l`` prints it."""
        return fingerprint(self.public_key)

    @property
    def x25519_private(self) -> bytes:
        """The X25519 private key: the clamped scalar that Ed25519 signs with (RFC 8032 §5.1.5)."""
        scalar = bytearray(sha512(self.private_key.private_bytes_raw()).digest()[:32])
        scalar[0] &= 248
        scalar[31] = scalar[31] & 127 | 64
        return bytes(scalar)

    def sign(self, data: bytes) -> bytes:
        """:returns: the 64-byte signature of *data*."""
        return self.private_key.sign(data)

    @classmethod
    def generate(cls) -> Identity:
        """A new identity, kept nowhere."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Read a key file.

        :raises IdentityError: if it is missing, readable by others, damaged, locked with a
            passphrase or of another kind.
        """
        try:
            with path.open("rb") as file:
                mode = S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(1 << 16)
        except OSError as error:
            raise IdentityError(f"cannot read the key file {path}: {error.strerror}") from None
        if mode & 0o077:
            raise IdentityError(f"other users may read the key file {path}: chmod 600 it")
        try:
            key = load_ssh_private_key(text, password=None)
        except TypeError:
            raise IdentityError(
                f"the key file {path} has a passphrase: remove it with ssh-keygen -p"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise IdentityError(
                f"{path} is not an OpenSSH private key, or is damaged: restore it from a backup,"
                " or remove it and join again"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(f"the key in {path} is not an Ed25519 key")
        return cls(key)

    @classmethod
    def load_or_create(cls, state_dir: Path) -> Identity:
        """The identity kept in *state_dir*; made there, with the directory, at the first call.

        Two processes that start at once end up with the same key: the file appears whole, under
        its name, only once.

        :raises IdentityError: as :meth:`load`, or if the file cannot be written.
        """
        path = state_dir / FILE_NAME
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _write_once(path, cls.generate().private_key)
        except OSError as error:
            raise IdentityError(f"cannot write the key file {path}: {error.strerror}") from None
        return cls.load(path)


def fingerprint(public_key: bytes) -> str:
    """How people compare keys: ``SHA256:…``, as ``ssh-keygen -l`` prints it.

    :param public_key: 32 bytes.
    """
    digest = sha256(_SSH_PREFIX + public_key).digest()
    return "SHA256:" + b64encode(digest).decode().rstrip("=")


def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether *signature* is *public_key*'s of *data*; False too if either is malformed."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def x25519_public(public_key: bytes) -> bytes:
    """The X25519 form of an Ed25519 public key: u = (1 + y) / (1 - y) (RFC 7748 §4.1).

    :param public_key: 32 bytes.
    :returns: 32 bytes.
    :raises IdentityError: if the bytes are not a point of the curve, or one of low order, whose
        shared secrets would be known to everybody.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if len(public_key) != 32 or y >= _P:
        raise IdentityError("not an Ed25519 public key")
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(x_squared, (_P - 1) // 2, _P) == _P - 1:
        raise IdentityError("not an Ed25519 public key: not a point of the curve")
    u = (1 + y) * pow(1 - y, _P - 2, _P) % _P
    converted = u.to_bytes(32, "little")
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(converted))
    except ValueError:
        raise IdentityError("not an Ed25519 public key: a point of low order") from None
    return converted


def mesh_network6(coordinator_key: bytes) -> IPv6Network:
    """A mesh's IPv6 network, of 48 bits: a machine in two meshes has two (RFC 4193 §3.2).

    :param coordinator_key: its public key, 32 bytes.
    """
    digest = blake2s(coordinator_key, digest_size=3, person=b"tm-net6").digest()
    return IPv6Network(((_MESHES6 + digest).ljust(16, b"\0"), 48))


def mesh_address6(network: IPv6Network, public_key: bytes) -> IPv6Address:
    """A machine's stable IPv6 address in the mesh: the network and 80 bits of the key's hash.

    :param network: from :func:`mesh_network6`.
    :param public_key: the machine's, 32 bytes.
    """
    digest = blake2s(public_key, digest_size=10, person=b"tm-addr6").digest()
    return IPv6Address(network.network_address.packed[:6] + digest)


def is_mesh_address6(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is in some mesh's IPv6 network, this one's or another's."""
    return address.version == 6 and address.packed.startswith(_MESHES6)


def _write_once(path: Path, key: Ed25519PrivateKey) -> None:
    """Put *key* at *path*, durably and whole, unless something is there already."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        unfinished.unlink(missing_ok=True)
