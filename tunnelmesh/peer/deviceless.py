"""What a machine without a device answers to IP packets: it has no other use for them.

Peers that have a device send it echo requests, so that ``ping`` works, and open streams for the
rest. One of an older version sends TCP as it is, and is better refused at once than not answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.wire import tcp
from tunnelmesh.wire.icmp import PORT_UNREACHABLE, echo_reply, unreachable
from tunnelmesh.wire.ip import UDP

ANSWERS = 1000.0
"""Answers a second, and at once, to all peers together: of packets of full size 12 Mbit/s."""


class Deviceless:
    """Answers in place of a kernel.

    :param dropped: counts packets that are not answered, by reason.
    """

    def __init__(self, dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._bucket = TokenBucket(ANSWERS, ANSWERS)

    def answers(self, packets: Sequence[bytes], now: float) -> list[bytes]:
        """What goes back to the peer that sent these IP packets to this machine's own address."""
        answers = []
        for packet in packets:
            if not self._bucket.take(now):
                self._dropped["too many packets for a machine without a device"] += 1
                continue
            answer = _answer(packet)
            if answer is None:
                self._dropped["no device for it"] += 1
            else:
                answers.append(answer)
        return answers


def _answer(packet: bytes) -> bytes | None:
    segment = tcp.read(packet)
    if segment is not None:
        return tcp.reset(packet, segment)
    if packet[9 if packet[0] >> 4 == 4 else 6] == UDP:
        return unreachable(packet, PORT_UNREACHABLE)
    return echo_reply(packet)
