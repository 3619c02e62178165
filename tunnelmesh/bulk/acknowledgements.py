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
from struct import Struct
from typing import NamedTuple

from tunnelmesh.wire.ip import TCP


class _Shape(NamedTuple):
    """What a pure acknowledgement of one length looks like.

    :ivar fields: takes out what must be as below (IP version and header length, fragmentation,
        protocol; TCP header length and flags; options), what must be the same in two of them
        (service and ECN bits; addresses and ports), and the number that is acknowledged.
    """

    fields: Struct
    first: int
    kind: int
    options: bytes


_IPV4 = ">B B 4x H x B 2x 12s 4x I H"
_IPV6 = ">B 3s 2x 0s B x 36s 4x I H"
"""Where the fields are; the second, for brevity's sake, has an empty text in place of IPv4's
fragmentation, which IPv6 keeps in a header of its own."""

_PLAIN, _STAMPED = 0x5010, 0x8010
"""Bytes 12 and 13 of a TCP header without options, and with a timestamp: its length, and ACK as the
only flag."""

_STAMP = b"\x01\x01\x08\x0a"
"""How all systems write the timestamp (RFC 7323, Appendix A)."""

_UNFRAGMENTED = (0, 0x4000, b"")
"""Fragmentation: none, whether it is allowed or not."""

_SHAPES = {
    40: _Shape(Struct(_IPV4 + "0s"), 0x45, _PLAIN, b""),
    52: _Shape(Struct(_IPV4 + "6x 4s"), 0x45, _STAMPED, _STAMP),
    60: _Shape(Struct(_IPV6 + "0s"), 0x60, _PLAIN, b""),
    72: _Shape(Struct(_IPV6 + "6x 4s"), 0x60, _STAMPED, _STAMP),
}
"""By the packet's length in bytes."""

_HALF = 1 << 31


def without_superseded(packets: Sequence[bytes]) -> Sequence[bytes]:
    """What of a batch needs to be sent.

    :param packets: whole IP packets, in order.
    :returns: the same without acknowledgements that others, which follow, include.
    """
    latest: dict[tuple[object, bytes], tuple[int, int]] = {}
    superseded: set[int] = set()
    for at, packet in enumerate(packets):
        shape = _SHAPES.get(len(packet))
        if shape is None:
            continue
        fields, first, kind, options = shape
        its_first, service, fragment, protocol, ends, number, its_kind, its_options = (
            fields.unpack_from(packet)
        )
        if (
            its_kind != kind
            or its_first != first
            or protocol != TCP
            or its_options != options
            or fragment not in _UNFRAGMENTED
        ):
            continue
        flow = service, ends
        earlier = latest.get(flow)
        if earlier is not None and 0 < (number - earlier[1]) % (2 * _HALF) < _HALF:
            superseded.add(earlier[0])
        latest[flow] = at, number
    if not superseded:
        return packets
    return [packet for at, packet in enumerate(packets) if at not in superseded]
