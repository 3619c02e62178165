"""``tunnelmesh forward``: ports of peers as ports of this machine."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnelmesh.cli import stream
from tunnelmesh.cli.ask import command
from tunnelmesh.cli.example import example
from tunnelmesh.errors import ListenError, TunnelMeshError
from tunnelmesh.parse import listen

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


class Forward(NamedTuple):
    """One port of a peer, and where it is to be had on this machine."""

    host: str
    local: int
    peer: str
    port: int


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "forward",
        help="make ports of peers ports of this machine",
        usage="tunnelmesh forward [-h] [--state-dir DIR] [BIND:]LPORT PEER PORT [...]",
        description="Listen on a port of this machine, only for this machine unless BIND is given,"
        "\nand connect whoever comes to a TCP port of a peer. Runs until Ctrl-C.",
        **example(
            "tunnelmesh forward 8080 homelab 80",
            "tunnelmesh forward 8080 homelab 80 5432 database 5432",
            "tunnelmesh forward 0.0.0.0:8080 homelab 80    for everybody on this network",
        ),
    )
    parser.add_argument("words", nargs="+", metavar="[BIND:]LPORT PEER PORT", help="what to open")
    stream.add_state_dir(parser)
    parser.set_defaults(run=command(lambda args: _forward(parser, args)))


def _forward(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    forwards = _read(parser, args.words)
    path = stream.socket_path(args.state_dir)
    stream.connect(path).close()  # says at once if no service runs

    from twisted.internet import reactor

    for forward in forwards:
        _listen(reactor, forward, path)
    reactor.run()
    return 0


def _read(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[Forward]:
    if len(words) % 3:
        parser.error("for each port, three words are needed: [BIND:]LPORT PEER PORT")
    forwards = []
    for here, peer, port in zip(words[::3], words[1::3], words[2::3], strict=True):
        try:
            forwards.append(Forward(*listen(here), peer, stream.port(port)))
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"{here} {peer} {port}: {error}")
    return forwards


def _listen(reactor: Any, forward: Forward, path: Path) -> None:
    """Listen, and say where."""
    from twisted.internet.error import CannotListenError
    from twisted.internet.protocol import Factory

    from tunnelmesh.cli.forwarding import Forwarding

    def failed(error: TunnelMeshError) -> None:
        print(f"tunnelmesh: {error}", file=sys.stderr, flush=True)

    def connection() -> Forwarding:
        return Forwarding(reactor, path, forward.peer, forward.port, failed)

    factory = Factory.forProtocol(connection)
    factory.noisy = False
    try:
        port = reactor.listenTCP(forward.local, factory, interface=forward.host)
    except (CannotListenError, OSError) as error:
        reason = getattr(error, "socketError", error)
        raise ListenError(
            f"cannot listen on {forward.host} port {forward.local}"
            f" ({getattr(reason, 'strerror', None) or reason}): choose another port"
        ) from None
    here = port.getHost()
    print(f"{here.host}:{here.port} leads to {forward.peer} port {forward.port}", flush=True)
