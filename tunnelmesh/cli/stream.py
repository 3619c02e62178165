"""Open a stream by the service that runs on this machine, by its streams' socket."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from tunnelmesh.config import default_state_dir
from tunnelmesh.errors import NotRunningError, StreamError

FILE_NAME = "streams.sock"
SECONDS = 10.0
"""Seconds to wait for an answer; the service has one within three."""

MAX_HEAD = 4096
MAX_TEXT = 4096
"""Bytes of an answer that are looked at; nothing of the stream has come before its head has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a command that opens one stream takes."""
    parser.add_argument("peer", metavar="PEER", help="a name or a mesh address")
    parser.add_argument("port", type=port, metavar="PORT", help="the peer's TCP port")
    add_state_dir(parser)


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Where the running service is found."""
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="the state directory of the running service"
    )


def port(text: str) -> int:
    """Read a TCP port.

    :raises argparse.ArgumentTypeError: if it is none.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError("must be a port, 1 to 65535")


def open_stream(
    state_dir: Path | None, peer: str, port: int, first: bytes = b""
) -> tuple[socket.socket, bytes]:
    """Open a stream to a port of a peer.

    :param first: what the other side gets at once.
    :returns: the stream, as a connected socket, and what has come in by it already.
    :raises NotRunningError: if no service runs on this machine.
    :raises StreamError: with what the service says is wrong.
    """
    stream = connect(socket_path(state_dir))
    try:
        host = f"[{peer}]" if ":" in peer else peer
        stream.settimeout(SECONDS)
        stream.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode() + first)
        head, rest = _head(stream)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise StreamError(_text(stream, rest))
    except OSError as error:
        stream.close()
        raise StreamError(f"the service does not answer properly: {error}") from None
    except BaseException:
        stream.close()
        raise
    stream.settimeout(None)
    return stream, rest


def socket_path(state_dir: Path | None) -> Path:
    """Where the running service listens."""
    return (state_dir or default_state_dir()).expanduser().absolute() / FILE_NAME


def connect(path: Path) -> socket.socket:
    """Connect to the running service.

    :raises NotRunningError: if there is none.
    """
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(str(path))
    except PermissionError:
        stream.close()
        raise NotRunningError(
            f"{path.parent} belongs to another user: try sudo, or give --state-dir"
        ) from None
    except OSError:
        stream.close()
        raise NotRunningError(
            f"no TunnelMesh peer is running with the state directory {path.parent}: start one with "
            "'tunnelmesh up', or give --state-dir"
        ) from None
    return stream


def _head(stream: socket.socket) -> tuple[bytes, bytes]:
    """The head of the answer, and what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(MAX_HEAD)
        data += more
        if not more or len(data) > MAX_HEAD:
            raise StreamError("the service ended before it answered")
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _text(stream: socket.socket, data: bytes) -> str:
    """What the service says is wrong, on one line."""
    while len(data) < MAX_TEXT and (more := stream.recv(MAX_TEXT)):
        data += more
    return " ".join(data.decode("utf-8", "replace").split()) or "the service refuses"
