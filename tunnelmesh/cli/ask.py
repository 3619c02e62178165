"""Ask the service that runs on this machine, by its control socket."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tunnelmesh.config import default_state_dir
from tunnelmesh.errors import NotRunningError, TunnelMeshError

FILE_NAME = "control.sock"
SECONDS = 60.0
"""Seconds to wait for a line of an answer: nothing that can be asked takes as long."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def add_arguments(parser: argparse.ArgumentParser, *, json_too: bool = True) -> None:
    """What every command that asks takes."""
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="the state directory of the running service"
    )
    if json_too:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def lines(
    state_dir: Path | None, question: str, *, method: str = "GET", **query: str
) -> Iterator[Any]:
    """Ask, and give the answer's lines as they come.

    :raises NotRunningError: if nobody is there to answer.
    :raises TunnelMeshError: with what the service says is wrong.
    """
    directory = (state_dir or default_state_dir()).expanduser().absolute()
    connection = _Connection(directory / FILE_NAME)
    try:
        connection.request(method, f"/{question}?{urlencode(query)}")
        response = connection.getresponse()
        for line in response:
            answer = json.loads(line)
            if isinstance(answer, dict) and answer.keys() == {"error"}:
                raise TunnelMeshError(answer["error"])
            if response.status != 200:
                raise ValueError(f"HTTP status {response.status}")
            yield answer
    except PermissionError:
        raise NotRunningError(
            f"{directory} belongs to another user: try sudo, or give --state-dir"
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(
            f"no TunnelMesh is running with the state directory {directory}: start one with "
            "'tunnelmesh up', or give --state-dir"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotRunningError(f"the service does not answer properly: {error}") from None
    finally:
        connection.close()


def ask(state_dir: Path | None, question: str, **query: str) -> Any:
    """Ask, and give the one answer there is; errors as for :func:`lines`."""
    for answer in lines(state_dir, question, **query):
        return answer
    raise NotRunningError("the service ended before it answered")


def tell(state_dir: Path | None, deed: str, **query: str) -> Any:
    """Have something done, and give the answer; errors as for :func:`lines`."""
    for answer in lines(state_dir, deed, method="POST", **query):
        return answer
    raise NotRunningError("the service ended before it answered")


def command(act: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Make an error into one line and exit status 1."""

    def run(args: argparse.Namespace) -> int:
        try:
            return act(args)
        except TunnelMeshError as error:
            print(f"tunnelmesh: {error}", file=sys.stderr)
            return 1

    return run
