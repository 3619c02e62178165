"""Where the coordinator is to be reached, kept for ``tunnelmesh invite`` to put into tokens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tunnelmesh.errors import DecodeError, StoreError
from tunnelmesh.wire import schema

FILE_NAME = "coordinator.json"
"""The file's name inside the state directory."""


@dataclass(frozen=True, slots=True)
class Advertised:
    """What a coordinator tells the world of itself.

    :ivar host: its public name or address.
    :ivar tls_by_name: True if its certificate is an ordinary one for that name.
    """

    host: str
    https_port: int
    ssh_port: int
    tls_by_name: bool

    def save(self, state_dir: Path) -> None:
        """Write it, whole or not at all.

        :raises StoreError: if that fails.
        """
        path = state_dir / FILE_NAME
        unfinished = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps(schema.dump(self)) + "\n")
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    @classmethod
    def load(cls, state_dir: Path) -> Advertised:
        """Read what the coordinator wrote when it last started.

        :raises StoreError: if none has ever started there, or the file is damaged.
        """
        path = state_dir / FILE_NAME
        try:
            return schema.load(cls, schema.parse(path.read_bytes()))
        except FileNotFoundError:
            raise StoreError(
                f"no coordinator has run with the state directory {state_dir}: start it first, or"
                " give its --state-dir"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from None
        except DecodeError as error:
            raise StoreError(
                f"{path} is damaged ({error}): restart the coordinator, which writes it anew"
            ) from None
