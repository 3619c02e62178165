"""Other peers' keys, pinned at first sight as ssh's ``known_hosts`` does."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from tunnelmesh.errors import ConfigError, UnknownPeerError
from tunnelmesh.identity import fingerprint
from tunnelmesh.peer.membership import write_whole
from tunnelmesh.wire.enrol import is_name

FILE = "known_peers"

KEY_SIZE = 32
"""Bytes of an Ed25519 public key."""

_NOWHERE = IPv4Address(0)

_log = Logger()


class Pin(NamedTuple):
    """Who a name is: its Ed25519 public key, and its mesh address.

    The address belongs to it, since it is what programs send to: a coordinator that gave it to
    another member would lead the traffic there.
    """

    key: bytes
    address: IPv4Address


class KnownPeers:
    """The pins, kept in a file of lines ``name key address`` (the key in base64).

    :raises ConfigError: if the file cannot be read or is damaged.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._pins: dict[str, Pin] = {}
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            try:
                name, key, address = line.split(" ")
                pin = Pin(b64decode(key, validate=True), IPv4Address(address))
            except ValueError:  # Base64Error and AddressValueError are such
                name, pin = "", Pin(b"", _NOWHERE)
            if len(pin.key) != KEY_SIZE or not is_name(name):
                raise ConfigError(f"{self._path}, line {number} is damaged; delete it")
            self._pins[name] = pin

    def believe(self, members: Mapping[str, Pin]) -> dict[str, str]:
        """Pin the names that are new; a key that is known may have another one, at its address.

        :param members: as the coordinator offers them.
        :returns: those who are not who they were, with what is odd and what to do: do not talk to
            them.

        What cannot be written is pinned as long as this process lives.
        """
        holders = {pin.address: (name, pin.key) for name, pin in self._pins.items()}
        strange = {}
        fresh = {}
        for name, offered in members.items():
            known = self._pins.get(name)
            holder, key = holders.setdefault(offered.address, (name, offered.key))
            if known == offered:
                continue
            if known is None and key == offered.key:
                fresh[name] = offered
            else:
                strange[name] = _odd(name, known, offered, holder)
        if fresh:
            self._pins |= fresh
            try:
                self._save()
            except ConfigError as error:
                _log.warn("new peers' keys are not remembered: {error}", error=error)
        return strange

    def forget(self, name: str) -> None:
        """Drop a pin, so that what is offered next is taken.

        :raises UnknownPeerError: if there is none.
        """
        if name not in self._pins:
            raise UnknownPeerError(f"no key is pinned for {name!r}")
        del self._pins[name]
        self._save()

    def _save(self) -> None:
        lines = (
            f"{name} {b64encode(pin.key).decode()} {pin.address}\n"
            for name, pin in sorted(self._pins.items())
        )
        write_whole(self._path, "".join(lines))


def _odd(name: str, known: Pin | None, offered: Pin, holder: str) -> str:
    if known is not None and known.key != offered.key:
        what, forget = f"has another key, {fingerprint(offered.key)}, than the one first seen", name
    elif holder != name:
        what, forget = f"has the address of {holder}", holder
    else:
        what, forget = "has another address than the one first seen", name
    return f"{what}; if that is right, run 'tunnelmesh forget {forget}'"
