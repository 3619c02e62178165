"""Leaving out TCP acknowledgements that the next one of the same batch makes superfluous.

A receiver's kernel acknowledges every super-packet that it is handed. Where it was handed ten in
one turn, ten acknowledgements leave together, and the tenth says all that the others do: TCP
acknowledges cumulatively (RFC 9293, 3.4). Each of them costs both ends as much as a packet. Home
routers do the same in front of slow uplinks (RFC 3449, 5.2.1; the Linux queue CAKE); here nothing
is held back for it, only what is there together is looked at.

What might say more is left in: whatever has a payload, another flag than ACK (ECN's signals are
flags), a selective acknowledgement or any other option than a timestamp, and duplicates, which tell
TCP of losses.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER, TCP, TCP_HEADER

_PLAIN = b"\x50\x10"
_STAMPED = b"\x80\x10"
"""Bytes 12 and 13 of a TCP header without options and with a timestamp: its length, and ACK as the
only flag."""

_STAMP = b"\x01\x01\x08\x0a"
"""How all systems write the timestamp (RFC 7323, Appendix A)."""

_LENGTHS = {
    ip + TCP_HEADER + options: ip for ip in (IPV4_HEADER, IPV6_HEADER) for options in (0, 12)
}
"""Bytes of a pure acknowledgement, and where in it the TCP header starts."""

_HALF = 1 << 31


def without_superseded(packets: Sequence[bytes]) -> Sequence[bytes]:
    """What of a batch needs to be sent.

    :param packets: whole IP packets, in order.
    :returns: the same without acknowledgements that others, which follow, include.
    """
    latest: dict[bytes, tuple[int, int]] = {}
    superseded: set[int] = set()
    for at, packet in enumerate(packets):
        start = _LENGTHS.get(len(packet))
        if start is None or not _is_pure(packet, start):
            continue
        flow = _flow(packet, start)
        number = int.from_bytes(packet[start + 8 : start + 12], "big")
        earlier = latest.get(flow)
        if earlier is not None and 0 < (number - earlier[1]) % (2 * _HALF) < _HALF:
            superseded.add(earlier[0])
        latest[flow] = at, number
    if not superseded:
        return packets
    return [packet for at, packet in enumerate(packets) if at not in superseded]


def _is_pure(packet: bytes, start: int) -> bool:
    """Whether a packet of the right length is nothing but an acknowledgement."""
    if start == IPV4_HEADER:
        if packet[0] != 0x45 or packet[9] != TCP or packet[6] & 0x3F or packet[7]:
            return False
    elif packet[0] >> 4 != 6 or packet[6] != TCP:
        return False
    kind = packet[start + 12 : start + 14]
    if len(packet) == start + TCP_HEADER:
        return kind == _PLAIN
    return kind == _STAMPED and packet[start + 20 : start + 24] == _STAMP


def _flow(packet: bytes, start: int) -> bytes:
    """What two packets of one flow that are treated alike on the way have in common: ECN's and the
    service's bits, the addresses and the ports."""
    if start == IPV4_HEADER:
        return packet[1:2] + packet[12:24]
    return packet[:4] + packet[8:44]
