"""What a peer remembers of the mesh it has joined: where the coordinator is, and its own place."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from tunnelmesh.errors import ConfigError, DecodeError
from tunnelmesh.wire import schema
from tunnelmesh.wire.enrol import is_name

FILE = "membership.json"

STUN_PORTS = (3478, 3479)
"""Where a coordinator's STUN server is unless it says otherwise: RFC 8489's port and the next."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A place in a mesh.

    :ivar host: the coordinator's name or address.
    :ivar coordinator_key: its Ed25519 public key, pinned by the invitation.
    :ivar tls_by_name: whether its certificate is an ordinary one, verified by its name.
    :ivar name: this machine's name in the mesh.
    :ivar address: its mesh address, in a mesh of this prefix length.
    :ivar stun_ports: where the coordinator's STUN server was when last heard of.
    """

    host: str
    https_port: int
    ssh_port: int
    coordinator_key: bytes
    tls_by_name: bool
    name: str
    address: IPv4Address
    prefix: int
    stun_ports: tuple[int, ...] = STUN_PORTS

    def __post_init__(self) -> None:
        """Check what no type says.

        :raises DecodeError: if the name, the prefix length or a key's is impossible.
        """
        if not 0 < self.prefix <= 32:
            raise DecodeError(f"prefix: {self.prefix} is not a prefix length")
        if len(self.coordinator_key) != 32:
            raise DecodeError("coordinator_key: not an Ed25519 public key")
        if not is_name(self.name):
            raise DecodeError("name: not one of a machine")

    @property
    def interface(self) -> IPv4Interface:
        """Address and prefix together."""
        return IPv4Interface((self.address, self.prefix))


def load(state_dir: Path) -> Membership | None:
    """The membership, or None if this machine has not joined yet.

    :raises ConfigError: if the file cannot be read or is damaged.
    """
    path = state_dir / FILE
    try:
        return schema.load(Membership, schema.parse(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except DecodeError as error:
        raise ConfigError(f"{path} is damaged ({error}); delete it and join again") from None


def save(state_dir: Path, membership: Membership) -> None:
    """Write it, whole or not at all.

    :raises ConfigError: if the state directory cannot be written.
    """
    write_whole(state_dir / FILE, json.dumps(schema.dump(membership), indent=2) + "\n")


def forget(state_dir: Path) -> bool:
    """Remove it; the key and what is known of other peers stay.

    :returns: whether there was one.
    :raises ConfigError: if it cannot be removed.
    """
    path = state_dir / FILE
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror}") from None
    return True


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only.

    :raises ConfigError: if it cannot be written.
    """
    temporary = path.with_suffix(f".{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
