"""Making a packet of those segments of a super-packet that have arrived.

Each segment of a record (:mod:`tunnelmesh.wire.record`) carries the super-packet's own headers
unchanged, as a template. Where all segments are there, the first template and all payloads are,
byte for byte, what the sender's kernel had handed over. Where some are lost, each run of the others
becomes a smaller super-packet, and a single segment an ordinary packet.
"""

from __future__ import annotations

import struct

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import ip
from tunnelmesh.wire.virtio import EMPTY, GSO_ECN, HEADER_SIZE

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


def assemble(buffer: bytearray, start: int, stop: int, first: int) -> SuperPacket | None:
    """Make a packet that the kernel takes of some of a super-packet's segments.

    If all are there, nothing is changed. Else lengths, sequence number, flags, IPv4 identification,
    checksums and virtio header are made those of the packet that is left. It is valid even if not
    a segment follows or goes before it.

    :param start: where the template's virtio header is; the payloads follow the template, without
        gaps, up to *stop*.
    :param first: the index of the first of these segments.
    :returns: the super-packet in ``buffer[start:stop]``, or None if what is there now, after an
        empty virtio header, is an ordinary packet: one segment, complete with its checksum.
    :raises DecodeError: if the template is no super-packet's, or the payload not whole segments.
    """
    packet = SuperPacket(buffer, start, stop)
    if packet.stop == stop and not first and packet.count > 1:
        return packet

    size = packet.segment_size
    before = first * size
    payload = stop - start - HEADER_SIZE - packet.headers
    after = packet.stop - stop - before
    if payload <= 0 or after < 0 or (after and payload % size):
        raise DecodeError("these are not segments of what their template describes")

    at = start + HEADER_SIZE
    transport = at + packet.transport
    packet.write_lengths(buffer, at, stop - at)
    if not packet.is_v6:
        identification = _U16.unpack_from(buffer, at + 4)[0] + first & 0xFFFF
        _U16.pack_into(buffer, at + 4, identification)
        _U16.pack_into(buffer, at + 10, 0)
        _U16.pack_into(buffer, at + 10, ip.checksum(buffer[at:transport]))
    if packet.protocol == ip.TCP:
        sequence = _U32.unpack_from(buffer, transport + 4)[0] + before & 0xFFFFFFFF
        _U32.pack_into(buffer, transport + 4, sequence)
        if first:
            buffer[transport + 13] &= ~ip.CWR
        if after:
            buffer[transport + 13] &= ~(ip.FIN | ip.PSH)

    if payload <= size:
        field = transport + packet.header.checksum_offset
        ip.complete_checksum(buffer, transport, stop, field, packet.protocol == ip.UDP)
        buffer[start:at] = EMPTY
        return None
    header = packet.header
    kind = header.gso_type & ~GSO_ECN if first else header.gso_type
    buffer[start:at] = header._replace(gso_type=kind, header_size=packet.headers).pack()
    return SuperPacket.read(buffer, start, stop)
