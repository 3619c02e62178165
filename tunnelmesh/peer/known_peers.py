"""Other peers' keys, pinned at first sight as ssh's ``known_hosts`` does."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from pathlib import Path

from twisted.logger import Logger

from tunnelmesh.errors import ConfigError, UnknownPeerError
from tunnelmesh.peer.membership import write_whole
from tunnelmesh.wire.enrol import is_name

FILE = "known_peers"

KEY_SIZE = 32
"""Bytes of an Ed25519 public key."""

_log = Logger()


class KnownPeers:
    """The pins, kept in a file of lines ``name key`` (base64).

    :raises ConfigError: if the file cannot be read or is damaged.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._keys: dict[str, bytes] = {}
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            name, _, text = line.partition(" ")
            try:
                key = b64decode(text, validate=True)
            except (Base64Error, ValueError):
                key = b""
            if len(key) != KEY_SIZE or not is_name(name):
                raise ConfigError(f"{self._path}, line {number} is damaged; delete it")
            self._keys[name] = key

    def pinned(self, name: str) -> bytes | None:
        """The key pinned for a name."""
        return self._keys.get(name)

    def believe(self, members: dict[str, bytes]) -> dict[str, bytes]:
        """Pin the names that are new.

        :param members: names and keys as the coordinator offers them.
        :returns: those whose key is not the pinned one: do not talk to them.

        What cannot be written is pinned as long as this process lives.
        """
        strange = {n: key for n, key in members.items() if self._keys.get(n, key) != key}
        fresh = {n: key for n, key in members.items() if n not in self._keys}
        if fresh:
            self._keys |= fresh
            try:
                self._save()
            except ConfigError as error:
                _log.warn("new peers' keys are not remembered: {error}", error=error)
        return strange

    def forget(self, name: str) -> None:
        """Drop a pin, so that the next key seen is taken.

        :raises UnknownPeerError: if there is none.
        """
        if name not in self._keys:
            raise UnknownPeerError(f"no key is pinned for {name!r}")
        del self._keys[name]
        self._save()

    def _save(self) -> None:
        lines = (f"{name} {b64encode(key).decode()}\n" for name, key in sorted(self._keys.items()))
        write_whole(self._path, "".join(lines))
