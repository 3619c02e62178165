"""TCP segments (RFC 9293 §3.1) and their arithmetic."""

from __future__ import annotations

from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_FLAG_NAMES = {SYN: "SYN", FIN: "FIN", RST: "RST", ACK: "ACK"}

#: Sequence numbers are counted without end inside, and are taken modulo this on the wire.
MODULUS = 1 << 32


class Segment(NamedTuple):
    """A TCP segment without its ports.

    :ivar sequence: 32 bits.
    :ivar acknowledgement: 32 bits.
    :ivar flags: FIN, SYN, RST, PSH and ACK.
    :ivar window: bytes that the sender has room for.
    :ivar mss: the largest payload that the sender takes, on a SYN; 0 where it does not say.
    """

    sequence: int
    acknowledgement: int
    flags: int
    window: int
    data: bytes = b""
    mss: int = 0

    def describe(self) -> str:
        """The flags and the length, as packet sniffers write them."""
        flags = "+".join(name for flag, name in _FLAG_NAMES.items() if self.flags & flag)
        return f"{flags} {len(self.data)} bytes" if self.data else flags


def reset_for(segment: Segment) -> Segment | None:
    """The answer to a segment that belongs to no connection (RFC 9293 §3.10.7.1)."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        return Segment(segment.acknowledgement, 0, RST, 0)
    length = len(segment.data) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    return Segment(0, (segment.sequence + length) % MODULUS, RST | ACK, 0)


def unwrap(number: int, near: int) -> int:
    """The endless number, closest to *near*, of a 32-bit one."""
    return near + (number - near + MODULUS // 2) % MODULUS - MODULUS // 2
