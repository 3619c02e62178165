"""``tunnelmesh nc``: a stream to a port of a peer, on standard input and output."""

from __future__ import annotations

import argparse
import os
import select
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.stream import add_arguments, open_stream

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

CHUNK = 1 << 16
"""Bytes moved at once: as many as a pipe holds."""


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "nc",
        help="connect to a port of a peer, on standard input and output",
        description="Connect standard input and output to a TCP port of a peer. The end of the\n"
        "input is the end of what the peer receives; it ends when both sides have ended.",
        **example(
            "tunnelmesh nc homelab 22",
            "ssh -o ProxyCommand='tunnelmesh nc %h %p' homelab",
        ),
    )
    add_arguments(parser)
    parser.set_defaults(run=command(_nc))


def _nc(args: argparse.Namespace) -> int:
    stream, came = open_stream(args.state_dir, args.peer, args.port, _at_once())
    with stream:
        # A thread for each direction, so that neither waits for the other one's reader.
        Thread(target=_send, args=(stream,), daemon=True).start()
        _receive(stream, came)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _wait_for_end(stream)
    return 0


def _at_once() -> bytes:
    """What is on standard input already: it can go with the question and save a round trip."""
    if select.select([0], [], [], 0)[0]:
        return os.read(0, CHUNK)
    return b""


def _send(stream: socket.socket) -> None:
    """Send what comes in, and then that no more does."""
    with suppress(OSError):  # the other side does not read any more
        while data := os.read(0, CHUNK):
            stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)


def _receive(stream: socket.socket, data: bytes) -> None:
    """Put out what is received, until no more is."""
    while data or (data := stream.recv(CHUNK)):
        data = data[os.write(1, data) :]


def _wait_for_end(stream: socket.socket) -> None:
    """Wait until this side has ended as well, or the other one reads no more."""
    waiting = select.poll()
    waiting.register(stream, 0)
    waiting.poll()
