"""Changing a laboratory that another process holds: one line of JSON each way."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...errors import LabError
from .namespaces import command, entering
from .picture import picture
from .record import Record, records

if TYPE_CHECKING:
    from .world import World

SOCKET = "control"
"""The control socket's name in a world's folder, which only its owner may enter."""

QUESTIONS = ("show", "namespace")
"""Requests that change nothing."""

LONGEST = 65536
"""Bytes of a request or an answer."""

PATIENCE = 10.0
"""Seconds that a change may take: the slowest ones take 0.2."""

Named = TypeVar("Named")


def serve(world: World) -> None:
    """Carry out what other processes ask for, until this one is interrupted."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(world.folder / SOCKET))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    _answer(world, connection)
                except (OSError, TypeError, ValueError):  # it went away, or wrote nonsense
                    pass


def running() -> Record:
    """Find the laboratory that runs, the youngest if there are several.

    :raises LabError: there is none.
    """
    served = [each for each in records() if each.alive and (each.folder / SOCKET).exists()]
    if not served:
        raise LabError("no laboratory is running: start one with tunnelmesh lab up")
    return max(served, key=lambda record: record.started)


def ask(record: Record, *words: str) -> str:
    """Have a running laboratory do something.

    :param words: the name of a change, and what it applies to.
    :returns: what to tell the user.
    :raises LabError: it cannot be done.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(record.folder / SOCKET))
            connection.sendall(json.dumps(words).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline(LONGEST))
    except (OSError, ValueError):
        raise LabError("the laboratory does not answer: end it with tunnelmesh lab down") from None
    if not answer["done"]:
        raise LabError(answer["text"])
    return str(answer["text"])


def perform(world: World, words: Sequence[str]) -> str:
    """Change a world as asked, or only look at it.

    :returns: what it is like now, or the answer.
    :raises LabError: it cannot be done.
    """
    match words:
        case ["show"]:
            pass
        case ["namespace", host]:
            return _named(world.hosts, host).namespace
        case ["change", site, kind]:
            _named(world.sites, site).change(kind)
        case ["block", site, "udp"]:
            _named(world.sites, site).block(udp=True)
        case ["block", site, what]:
            _named(world.sites, site).block(tcp_port=_tcp_port(what))
        case ["unblock", site]:
            _named(world.sites, site).unblock()
        case ["roam", site]:
            _named(world.sites, site).roam()
        case ["lose", site, percent]:
            _named(world.sites, site).lose(_percentage(percent))
        case ["move", host, site]:
            _named(world.hosts, host).move_to(_named(world.sites, site))
        case _:
            raise LabError(f"cannot do {' '.join(map(str, words))!r}")
    return picture(world)


def command_in(record: Record, host: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs *argv* on a host of a running laboratory.

    A laboratory in a user namespace is entered first.

    :raises LabError: it has no such host.
    """
    inner = [*entering(ask(record, "namespace", host)), *argv]
    if os.path.samefile(f"/proc/{record.pid}/ns/user", "/proc/self/ns/user"):
        return inner
    namespaces = ["-t", str(record.pid), "-U", "-m", "-n", "--preserve-credentials"]
    return [command("nsenter"), *namespaces, f"--wd={Path.cwd()}", *inner]


def _answer(world: World, connection: socket.socket) -> None:
    words = [str(word) for word in json.loads(connection.makefile("rb").readline(LONGEST))]
    try:
        text, done = perform(world, words), True
    except LabError as error:
        text, done = str(error), False
    connection.sendall(json.dumps({"done": done, "text": text}).encode() + b"\n")
    if done and words[0] not in QUESTIONS:
        print(f"\n{' '.join(words)}\n{text}", flush=True)


def _named(things: dict[str, Named], name: str) -> Named:
    try:
        return things[name]
    except KeyError:
        raise LabError(f"there is no {name!r}; there are {', '.join(things)}") from None


def _tcp_port(text: str) -> int:
    scheme, _, port = text.partition(":")
    if scheme != "tcp" or not port.isdecimal():
        raise LabError(f"cannot block {text!r}: say udp or tcp:PORT")
    return int(port)


def _percentage(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LabError(f"{text!r} is not a percentage") from None
