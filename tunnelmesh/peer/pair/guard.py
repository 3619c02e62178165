"""What one remote peer may send to this machine, where access rules restrict it.

Nothing is remembered of TCP: who may not reach a port cannot open a connection to it, because that
takes a segment with SYN and without ACK (RFC 9293, 3.5), and to all else the kernel has an answer
only if the connection exists. So open connections survive a restart, a new path, and new rules.

Of UDP it is remembered what this machine sent itself, so that answers pass (RFC 4787).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tunnelmesh.policy.header import FRAGMENT, MALFORMED, transport
from tunnelmesh.policy.ports import Reach
from tunnelmesh.wire.ip import TCP, UDP

ANSWERED_WITHIN = 120.0
"""Seconds after this machine last sent something during which answers pass: what RFC 4787, REQ-5
asks of a NAT at least. Only what this machine sends counts (REQ-6), or the other side could keep
the door open."""

MOST_FLOWS = 4096
"""UDP flows towards one remote peer that are remembered; one more puts the oldest out."""

MOST_REFUSALS = 16
"""Ports of which it is remembered that packets to them were dropped; one more puts out the one
that was tried least lately. Somebody may try them all."""

NOT_ALLOWED = "not allowed by the access rules"
UNREADABLE = "malformed, or hides its protocol, under access rules"
"""Reasons for which packets are dropped."""

_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_FLAGS = 13
"""Where the TCP header has its flags."""

_ICMP, _ICMP6 = 1, 58
_PASSING = {_ICMP: frozenset({0, 3, 11, 12}), _ICMP6: frozenset({1, 2, 3, 4, 129})}
"""Types that always pass: errors, which quote a packet of this machine's own, and replies to its
own echo requests (RFC 792, RFC 4443)."""

_ECHO = {_ICMP: 8, _ICMP6: 128}


class Refusal(NamedTuple):
    """Packets that were dropped.

    :ivar packets: how many; *last*: when the last of them came.
    """

    packets: int
    last: float


class Guard:
    """Lets pass what one remote peer may send.

    :ivar reach: what the rules allow; it may be replaced.
    :ivar refusals: what was dropped lately, by what it was: ``tcp/5432``, ``udp/53``, ``ping``,
        ``protocol 47``. The last is the latest.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.refusals: dict[str, Refusal] = {}
        self._flows: dict[bytes, float] = {}

    def leaving(self, packets: Sequence[bytes], now: float) -> None:
        """This machine sends these to the peer."""
        for packet in packets:
            self.left(packet, 0, now)

    def left(self, packet: bytes | bytearray | memoryview, at: int, now: float) -> None:
        """This machine sends one, whose IP header starts at *at*."""
        protocol, here = transport(packet, at)
        if protocol != UDP:
            return
        flow = bytes(packet[here : here + 4])
        flows = self._flows
        flows.pop(flow, None)
        flows[flow] = now  # at the end: the first is the oldest
        while len(flows) > MOST_FLOWS or flows[next(iter(flows))] < now - ANSWERED_WITHIN:
            del flows[next(iter(flows))]

    def allowed(self, packets: Sequence[bytes], now: float, dropped: Counter[str]) -> list[bytes]:
        """Those of a batch from the peer that pass."""
        return [packet for packet in packets if self.passes(packet, 0, now, dropped)]

    def passes(
        self, packet: bytes | memoryview, at: int, now: float, dropped: Counter[str]
    ) -> bool:
        """Whether a packet, or super-packet, from the peer passes.

        :param at: where its IP header starts, of which at least the fixed part is there.
        :param dropped: is told if it does not.
        """
        protocol, here = transport(packet, at)
        if protocol == FRAGMENT:
            return True
        if protocol == MALFORMED:
            dropped[UNREADABLE] += 1
            return False
        try:
            what = self._refused(packet, protocol, here, now)
        except IndexError:  # the transport header is cut off
            dropped[UNREADABLE] += 1
            return False
        if what:
            dropped[NOT_ALLOWED] += 1
            self._remember(what, now)
        return not what

    def admits(self, port: int, now: float, dropped: Counter[str]) -> bool:
        """Whether the peer may open a stream to a port of this machine: as a TCP connection."""
        if self.reach.takes_tcp(port):
            return True
        dropped[NOT_ALLOWED] += 1
        self._remember(f"tcp/{port}", now)
        return False

    def _refused(self, packet: bytes | memoryview, protocol: int, here: int, now: float) -> str:
        """What a packet is, if it may not pass; else nothing."""
        reach = self.reach
        if protocol == TCP:
            flags = packet[here + _FLAGS]
            port = packet[here + 2] << 8 | packet[here + 3]
            opens = flags & (_SYN | _ACK) == _SYN
            # All but the first segment have ACK, or are a RST (RFC 9293, 3.10.7); what has neither
            # is a scanner's, which learns from the kernel's silence.
            if not opens and flags & (_ACK | _RST):
                return ""
            return "" if opens and reach.takes_tcp(port) else f"tcp/{port}"
        if protocol == UDP:
            port = packet[here + 2] << 8 | packet[here + 3]
            if reach.takes_udp(port):
                return ""
            flow = bytes(packet[here + 2 : here + 4]) + bytes(packet[here : here + 2])
            asked = self._flows.get(flow)
            return "" if asked is not None and now - asked <= ANSWERED_WITHIN else f"udp/{port}"
        if protocol in _PASSING:
            kind = packet[here]
            if kind in _PASSING[protocol]:
                return ""
            if kind == _ECHO[protocol]:
                return "" if reach.icmp else "ping"
            return f"ICMP type {kind}"
        return f"protocol {protocol}"

    def _remember(self, what: str, now: float) -> None:
        before = self.refusals.pop(what, Refusal(0, now)).packets
        self.refusals[what] = Refusal(before + 1, now)
        if len(self.refusals) > MOST_REFUSALS:
            del self.refusals[next(iter(self.refusals))]
