"""The secret that a Prometheus on another machine shows."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tunnelmesh.errors import ConfigError

FILE_NAME = "metrics.token"
"""In the state directory, readable by its owner only."""


def load(state_dir: Path) -> str:
    """The token.

    :raises ConfigError: if there is none, or it cannot be read.
    """
    path = state_dir / FILE_NAME
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {path}: it is made when a service starts with --metrics=HOST:PORT and "
            "HOST is not this machine's loopback"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not token:
        raise ConfigError(f"{path} is empty; delete it and start again")
    return token


def load_or_create(state_dir: Path) -> str:
    """The token, which is made if there is none.

    :raises ConfigError: if it can neither be read nor written.
    """
    path = state_dir / FILE_NAME
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return load(state_dir)
