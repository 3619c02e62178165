"""Traffic that misses nothing: datagrams every few milliseconds, and a stream checked byte by byte.

:class:`Probe` and :class:`Stream` run between two hosts of the laboratory. Their ends are this file
as a program, which needs nothing but Python, so that they start at once.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tunnelmesh.lab.kernel import Host

UDP_PORT = TCP_PORT = 7007

INTERVAL = 0.01
"""Seconds between datagrams: how finely an outage is measured."""

BLOCK = 16384
"""Bytes that the stream's pseudo-random content is made and sent in."""

SEED = 1

PROGRESS = 0.05
"""Seconds between the sink's notes of how far the stream has come."""

FRESH = 0.1
"""Seconds within which an answer must have arrived for answers to be coming."""

LOOK = 0.05
"""Seconds between looks at a condition: asking both peers costs each some milliseconds."""

_DATAGRAM = struct.Struct("!Qd")
_COUNT = struct.Struct("!Q")


class Answer(NamedTuple):
    """A datagram that came back; times are those of the machine's monotonic clock."""

    number: int
    sent: float
    arrived: float


class Probe:
    """Datagrams every :data:`INTERVAL` to a host that runs :func:`reflector`.

    :param file: where the answers are noted.
    """

    def __init__(self, host: Host, address: str, file: Path) -> None:
        self._answers: list[Answer] = []
        with file.open("w") as notes:
            self._program = host.popen(_program("probe", address), stdout=notes)
        self._notes, self._rest = file.open(), ""

    @property
    def answers(self) -> list[Answer]:
        """All so far, in the order of their arrival."""
        self._rest += self._notes.read()
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            number, sent, arrived = line.split()
            self._answers.append(Answer(int(number), float(sent), float(arrived)))
        return self._answers

    def first_after(self, moment: float) -> float:
        """When the first answer after a moment arrived; infinite if none has."""
        return next((each.arrived for each in self.answers if each.arrived > moment), math.inf)

    def silence(self, since: float, until: float | None = None) -> float:
        """The longest time without an answer that began or lasted after a moment, in seconds."""
        end = time.monotonic() if until is None else until
        times = [each.arrived for each in self.answers if each.arrived <= end]
        times.append(end)
        gaps = [later - earlier for earlier, later in pairwise(times) if later > since]
        return max(gaps, default=math.inf)

    def lost(self, since: float, until: float) -> int:
        """How many datagrams sent in this time were never answered."""
        numbers = {each.number for each in self.answers if since <= each.sent <= until}
        return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0

    def settle(
        self, condition: Callable[[], bool], since: float, hold: float, limit: float
    ) -> float:
        """Wait until a condition holds, with answers coming, for *hold* seconds.

        :returns: seconds from *since* to the beginning of that time; infinite if there was no such
            time within *limit* seconds.
        """
        begun: float | None = None
        while (now := time.monotonic()) - since < limit:
            if not (condition() and self.first_after(now - FRESH) < math.inf):
                begun = None
            elif begun is None:
                begun = now
            elif now - begun >= hold:
                return begun - since
            time.sleep(LOOK)
        return math.inf

    def stop(self) -> None:
        """Send no more."""
        self._program.terminate()
        self._program.wait()
        self._notes.close()


class Delivery(NamedTuple):
    """What became of a stream.

    :ivar wrong: the first byte that was not what was sent, or None.
    :ivar error: what the operating system said to either end, or None.
    """

    sent: int
    received: int
    wrong: int | None
    error: str | None

    @property
    def whole(self) -> bool:
        """Whether everything arrived as it was sent."""
        return self.sent == self.received and self.wrong is None and self.error is None


class Stream:
    """One TCP connection whose content both ends know.

    :param address: of the host *to*, inside the mesh.
    :param rate: bytes a second, or 0 for as many as there is room for.
    :param file: where the receiving end notes its progress.
    """

    def __init__(self, to: Host, address: str, by: Host, file: Path, rate: int = 0) -> None:
        self._notes = file
        with file.open("w") as notes:
            self._to = to.popen(_program("sink"), stdout=notes)
        self._by = by.popen(
            _program("source", address, str(rate)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def received(self) -> int:
        """Bytes that have arrived so far."""
        lines = self._notes.read_text().split("\n")
        return int(lines[-2]) if len(lines) > 1 else 0

    def finish(self, seconds: float = 60.0) -> Delivery:
        """Send no more, and wait until all has arrived."""
        said, _ = self._by.communicate(timeout=seconds)
        self._to.terminate()
        self._to.wait()
        return Delivery(**json.loads(said))


def reflector(host: Host) -> subprocess.Popen[Any]:
    """Have a host send datagrams back."""
    return host.popen(_program("reflect"))


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-IS", __file__, *arguments]


def reflect() -> None:
    """Send every datagram back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", UDP_PORT))
        while True:
            datagram, sender = udp.recvfrom(2048)
            try:
                udp.sendto(datagram, sender)
            except OSError:
                pass  # the tunnel is away for a moment


def probe(address: str) -> None:
    """Send, and note what comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        number, due = 0, time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                try:
                    udp.sendto(_DATAGRAM.pack(number, now), (address, UDP_PORT))
                except OSError:
                    pass  # likewise
                number += 1
                due = max(due + INTERVAL, now)
            if select.select([udp], [], [], max(0.0, due - time.monotonic()))[0]:
                answered, sent = _DATAGRAM.unpack(udp.recv(2048))
                print(answered, sent, time.monotonic(), flush=True)


def sink() -> None:
    """Check one stream, and tell its sender how far it was right."""
    with socket.create_server(("0.0.0.0", TCP_PORT)) as listener:
        connection, _ = listener.accept()
    with connection:
        content, expected, received, noted = Random(SEED), b"", 0, 0.0
        wrong = None
        while piece := connection.recv(1 << 16):
            while len(expected) < len(piece):
                expected += content.randbytes(BLOCK)
            if wrong is None and piece != expected[: len(piece)]:
                pairs = zip(piece, expected, strict=False)
                wrong = received + [one == other for one, other in pairs].index(False)
            expected = expected[len(piece) :]
            received += len(piece)
            if time.monotonic() - noted > PROGRESS:
                noted = time.monotonic()
                print(received, flush=True)
        connection.sendall(json.dumps({"received": received, "wrong": wrong}).encode())


def source(address: str, rate: int) -> None:
    """Send until the standard input ends; print what became of it."""
    content, sent, error = Random(SEED), 0, None
    answer: dict[str, Any] = {"received": 0, "wrong": None}
    try:
        with _connect(address) as connection:
            started = time.monotonic()
            while True:
                early = started + sent / rate - time.monotonic() if rate else 0.0
                if select.select([sys.stdin], [], [], max(0.0, early))[0]:
                    break
                connection.sendall(content.randbytes(BLOCK))
                sent += BLOCK
            connection.shutdown(socket.SHUT_WR)
            answer = json.loads(connection.recv(1024))
    except (OSError, ValueError) as problem:
        error = repr(problem)
    print(json.dumps({"sent": sent, "error": error, **answer}))


def _connect(address: str) -> socket.socket:
    """Connect to the sink, which may not listen yet."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return socket.create_connection((address, TCP_PORT), timeout=None)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def main(role: str = "", *arguments: str) -> None:
    """Be one end."""
    if role == "probe":
        probe(arguments[0])
    elif role == "source":
        source(arguments[0], int(arguments[1]))
    elif role == "sink":
        sink()
    elif role == "reflect":
        reflect()
    else:
        sys.exit("one end of a measurement, started by bench.resilience: see there")


if __name__ == "__main__":
    main(*sys.argv[1:])
