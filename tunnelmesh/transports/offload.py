"""Several datagrams in one system call: Linux's UDP segmentation and receive offloads (udp(7)).

A system call costs as much as sealing twenty datagrams, so a batch of equal ones is handed over as
one, and what arrived together is taken together.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

UDP_SEGMENT = 103
UDP_GRO = 104

MAX_SEGMENTS = 64
"""Datagrams in one call at most (UDP_MAX_SEGMENTS of older kernels)."""

MAX_PAYLOAD = 65_507
"""Bytes in one call at most: what an IPv4 packet carries."""

ANCILLARY = socket.CMSG_SPACE(4)
"""Room for the segment size that the kernel reports."""

_SIZE = struct.Struct("=H")


def runs(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """Cut a batch into runs that one call can send: equal lengths, but for a shorter last one."""
    found: list[list[bytes]] = []
    run: list[bytes] = []
    segment = total = 0
    for datagram in datagrams:
        size = len(datagram)
        fits = len(run) < MAX_SEGMENTS and total + size <= MAX_PAYLOAD
        if run and fits and size <= segment and len(run[-1]) == segment:
            run.append(datagram)
            total += size
        else:
            run = [datagram]
            found.append(run)
            segment = total = size
    return found


def send_run(sock: socket.socket, run: list[bytes], remote: tuple[str, int]) -> None:
    """Send a run of at least two datagrams.

    :raises OSError: if the system cannot; EINVAL where a datagram is longer than the link's MTU.
    """
    segment = (socket.IPPROTO_UDP, UDP_SEGMENT, _SIZE.pack(len(run[0])))
    sock.sendmsg(run, [segment], 0, remote)


def receive_runs(sock: socket.socket) -> bool:
    """Ask for datagrams of one flow to be handed over together.

    :returns: whether the system does that.
    """
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def cut(data: memoryview, ancillary: Sequence[tuple[int, int, bytes]]) -> list[bytes]:
    """Take apart what one call has received."""
    segment = 0
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_UDP and kind == UDP_GRO:
            segment = int.from_bytes(value[:4], "little")
    size = len(data)
    if not 0 < segment < size:
        return [bytes(data)]
    return [bytes(data[at : at + segment]) for at in range(0, size, segment)]
