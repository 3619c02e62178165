"""What a super-packet of 60 KB costs on its way, step by step, and how much an ordinary packet.

``python -m bench.bulk [--repeat N] [--json]``

At 5 Gbit/s a super-packet passes every 96 microseconds. The median of many short runs is what to
compare; the least of them is what the code costs while nothing else wants the processor.

The last steps are those of WireGuard's packets, one by one and as a flight
(:mod:`tunnelmesh.noise.flight`), to which the cipher alone is the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import timeit
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.bulk.packets import TIMESTAMPS, contents, super_packet, template
from tunnelmesh.bulk.coalescing import coalesce
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.template import assemble
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.handshake import Keys
from tunnelmesh.noise.local import BulkBuffers
from tunnelmesh.noise.session import Session
from tunnelmesh.transports.offload import cut, runs

SIZE = 60_000
"""Bytes of payload: what the device asks the kernel for at most."""

RUN = 20
"""Calls timed together."""

FLIGHTS = 500
"""Flights that are there to be opened; then a new session opens them again."""

V4 = IP(src="100.96.0.1", dst="100.96.0.2", flags="DF")
V6 = IPv6(src="fd00::1", dst="fd00::2")
FLOW = TCP(flags="A", options=TIMESTAMPS)


def steps(headers: Packet, segment: int) -> dict[str, Callable[[], object]]:
    """The steps that one flow's super-packets go through."""
    packet = super_packet(headers, bytes(SIZE), segment)
    buffer, start, stop = packet.buffer, packet.start, packet.stop
    half = contents(packet)[: packet.count // 2 * segment]
    partial = template(packet) + half
    one = template(packet) + half[:segment]
    packets = packet.packets()
    other = [each[:12] + bytes([each[12] ^ 1]) + each[13:] for each in packets[::2]]
    mixed = [each for pair in zip(packets[::2], other, strict=True) for each in pair]
    return {
        "read a super-packet": lambda: SuperPacket.read(buffer, start, stop),
        "assemble it, complete": lambda: assemble(buffer, start, stop, 0),
        "assemble its first half": lambda: assemble(bytearray(partial), 0, len(partial), 0),
        "assemble one segment": lambda: assemble(bytearray(one), 0, len(one), 0),
        "cut it into packets": lambda: packet.packets(),
        "coalesce its packets": lambda: coalesce(packets),
        "coalesce them, one missing": lambda: coalesce(packets[:20] + packets[21:]),
        "find nothing to coalesce": lambda: coalesce(mixed),
    }


def session() -> Session:
    """A session that opens what others like it have sealed."""
    key = bytes(32)
    return Session(
        Keys(key, key),
        local=bytes(4),
        remote=bytes(4),
        initiator=True,
        born=0.0,
        mtu=1420,
        counters=Counters(),
        records=BulkBuffers,
    )


def flights(headers: Packet, segment: int) -> dict[str, Callable[[], object]]:
    """The steps of the same super-packets as WireGuard's packets."""
    packet = super_packet(headers, bytes(SIZE), segment)
    sealing = session()
    sealed = []
    step = 0
    for _ in range(FLIGHTS):
        run = sealing.seal_flight(packet)
        assert run is not None
        sealed.append(b"".join(run.buffers))
        step = run.segment
    memory = memoryview(bytearray(len(sealed[0])))

    def arriving() -> Iterator[Session]:
        """Each flight is where it was received, and a session that has not opened it."""
        while True:
            opening = session()
            for flight in sealed:
                memory[:] = flight
                yield opening

    one_by_one, together = arriving(), arriving()
    aead = ChaCha20Poly1305(bytes(32))
    nonce, packets = bytes(12), packet.packets()
    return {
        "seal one by one": lambda: runs(sealing.seal(packet.packets())),
        "seal as a flight": lambda: sealing.seal_flight(packet),
        "open one by one": lambda: coalesce(next(one_by_one).open(cut(memory, step)) or []),
        "open as a flight": lambda: next(together).open_flight(memory, step),
        "cipher alone": lambda: [aead.encrypt(nonce, each, None) for each in packets],
    }


def measure(step: Callable[[], object], repeat: int) -> dict[str, float]:
    """The median and the least time of one call, in microseconds."""
    step()
    times = [each / RUN * 1e6 for each in timeit.repeat(step, number=RUN, repeat=repeat)]
    return {"median": statistics.median(times), "least": min(times)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=200, help="runs of each step")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = {
        name: {
            step: measure(call, options.repeat)
            for step, call in [*steps(headers, segment).items(), *flights(headers, segment).items()]
        }
        for name, headers, segment in [
            ("TCP over IPv4", V4 / FLOW, 1368),
            ("TCP over IPv6", V6 / FLOW, 1348),
        ]
    }
    if options.json:
        print(json.dumps(results))
        return
    for name, rows in results.items():
        print(f"{name}, 60 KB, microseconds:   median   least")
        for step, times in rows.items():
            print(f"  {step:<34} {times['median']:>6.1f}  {times['least']:>6.1f}")


if __name__ == "__main__":
    main()
