"""Several datagrams in one system call: Linux's UDP segmentation and receive offloads (udp(7)).

A system call costs as much as sealing twenty datagrams, so a batch of equal ones is handed over as
one, and what arrived together is taken together.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from itertools import groupby

from tunnelmesh.bulk.run import MAX_PAYLOAD, MAX_SEGMENTS, Run

UDP_SEGMENT = 103
UDP_GRO = 104

ANCILLARY = socket.CMSG_SPACE(4)
"""Room for the segment size that the kernel reports."""

_SIZE = struct.Struct("=H")


def runs(datagrams: Sequence[bytes]) -> list[Run]:
    """Cut a batch into runs that one call can send: equal lengths, but for a shorter last one."""
    found: list[list[bytes]] = []
    run: list[bytes] = []
    segment = total = 0
    for datagram in datagrams:
        size = len(datagram)
        fits = len(run) < MAX_SEGMENTS and total + size <= MAX_PAYLOAD
        if run and fits and 0 < size <= segment and len(run[-1]) == segment:
            run.append(datagram)
            total += size
        else:
            run = [datagram]
            found.append(run)
            segment = total = size
    return [Run(each, len(each[0]), len(each)) for each in found]


def can_segment(sock: socket.socket) -> bool:
    """Whether the system sends runs. One that does not would take a run for one long datagram."""
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def send_run(sock: socket.socket, run: Run, remote: tuple[str, int]) -> None:
    """Send a run of at least two datagrams.

    :raises OSError: if it cannot be sent; EINVAL, or EMSGSIZE by newer systems, where a datagram is
        longer than the link's MTU, EIO where the link's device cannot compute checksums.
    """
    buffers, segment, _ = run
    sock.sendmsg(buffers, [(socket.IPPROTO_UDP, UDP_SEGMENT, _SIZE.pack(segment))], 0, remote)


def receive_runs(sock: socket.socket) -> bool:
    """Ask for datagrams of one flow to be handed over together.

    :returns: whether the system does that.
    """
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def segment_of(size: int, ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """How long each datagram is (but the last) of those that one call has received.

    :param size: bytes received.
    """
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_UDP and kind == UDP_GRO:
            return int.from_bytes(value[:4], sys.byteorder) or size
    return size


def cut(data: memoryview, segment: int) -> list[bytes]:
    """Copies of the datagrams that one call has received."""
    size = len(data)
    if size <= segment:
        return [bytes(data)]
    return [bytes(data[at : at + segment]) for at in range(0, size, segment)]


def by_kind(data: memoryview, segment: int, kinds: bytes) -> list[tuple[int | None, memoryview]]:
    """Part what one call has received, in order, by the kind of datagrams.

    :param kinds: the first bytes of those that are told apart.
    :returns: adjacent datagrams that agree in the kind; None if it is none of these.
    """
    if not data:
        return [(None, data)]
    firsts = bytes(data[::segment])
    if firsts.count(firsts[0]) == len(firsts):  # nearly always
        return [(firsts[0] if firsts[0] in kinds else None, data)]
    found = []
    at = 0
    for kind, together in groupby(firsts, lambda first: first if first in kinds else None):
        stop = at + segment * len(list(together))
        found.append((kind, data[at:stop]))
        at = stop
    return found
