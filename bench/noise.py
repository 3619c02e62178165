"""How fast the tunnel's machines are, per second of one core, without any socket.

Run as ``python -m bench.noise [--json]``. Beside them, in the same run: noiseprotocol, a general
implementation of the same handshake in Python, and the bare AEAD, which is the most that any
session on the same library could do.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from random import Random

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from tunnelmesh.noise.device import Device
from tunnelmesh.noise.handshake import CONSTRUCTION, IDENTIFIER
from tunnelmesh.noise.load import LOAD_HANDSHAKES
from tunnelmesh.noise.outputs import Reply, Transmit
from tunnelmesh.noise.primitives import StaticKey
from tunnelmesh.noise.timers import REKEY_TIMEOUT

PACKET = 1420
BATCH = 32
ROUNDS = 5
"""The best of so many rounds counts: the machine may be shared, and others only make it slower."""


Work = Callable[[], tuple[int, float]]
"""Does something some times; says how many, and the CPU seconds that it took."""


def timed(count: int, action: Callable[[], object]) -> Work:
    """Work that is one action, doing *count* things."""

    def work() -> tuple[int, float]:
        start = time.process_time()
        action()
        return count, time.process_time() - start

    return work


def rates(seconds: float, *works: Work) -> list[float]:
    """How many things a CPU second each does. They take turns, so that what slows one slows all."""
    best = [0.0] * len(works)
    for _ in range(ROUNDS):
        for i, work in enumerate(works):
            done, spent = 0, 0.0
            while spent < seconds / ROUNDS:
                count, took = work()
                done += count
                spent += took
            best[i] = max(best[i], done / spent)
    return best


def device() -> Device:
    """A new one, with real randomness."""
    return Device(os.urandom(32), entropy=os.urandom, random=Random(), wall=time.time)


def datagram(output: object) -> bytes:
    """The first datagram of an output."""
    if isinstance(output, Reply):
        return output.datagram
    assert isinstance(output, Transmit)
    return output.datagrams[0]


def handshake() -> Work:
    """Both sides, from the initiation to the responder's first opened message."""
    a, b = device(), device()
    tunnel = a.add_peer(b.public_key)
    b.add_peer(a.public_key)
    now = 0.0

    def action() -> None:
        nonlocal now
        now += REKEY_TIMEOUT
        (initiation,) = tunnel.initiate(now)
        (response,) = b.receive([datagram(initiation)], b"a", now)
        _, confirmation = a.receive([datagram(response)], b"b", now)
        assert len(b.receive([datagram(confirmation)], b"a", now)) == 2

    return timed(1, action)


def noiseprotocol_handshake() -> Work:
    """The same two messages and the same keys by noiseprotocol: no MACs, peers or timers."""
    keys = [os.urandom(32), os.urandom(32)]
    responder = StaticKey(keys[1]).public

    def start(own: bytes) -> NoiseConnection:
        noise = NoiseConnection.from_name(CONSTRUCTION)
        noise.set_prologue(IDENTIFIER)
        noise.set_psks(bytes(32))
        noise.set_keypair_from_private_bytes(Keypair.STATIC, own)
        return noise

    def action() -> None:
        a, b = start(keys[0]), start(keys[1])
        a.set_as_initiator()
        a.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, responder)
        b.set_as_responder()
        a.start_handshake()
        b.start_handshake()
        b.read_message(bytes(a.write_message(bytes(12))))
        a.read_message(bytes(b.write_message()))
        b.decrypt(a.encrypt(b""))

    return timed(1, action)


def refusals() -> tuple[Work, Work]:
    """Handshake messages refused for a wrong first MAC; and, under load, answered by a cookie."""
    a, b = device(), device()
    good = datagram(a.add_peer(b.public_key).initiate(0)[0])
    wrong = bytes([*good[:-32], good[-32] ^ 1, *good[-31:]])
    b.receive([good] * int(LOAD_HANDSHAKES), b"a", 0)
    return (
        timed(BATCH, lambda: b.receive([wrong] * BATCH, b"a", 0)),
        timed(BATCH, lambda: b.receive([good] * BATCH, b"a", 0)),
    )


def packets() -> list[bytes]:
    """One batch of full IPv4 packets."""
    header = b"\x45\0" + PACKET.to_bytes(2, "big") + bytes(16)
    return [header + os.urandom(PACKET - len(header)) for _ in range(BATCH)]


def data() -> tuple[Work, Work]:
    """Packets sealed by a tunnel; and opened by a device, which has to find the session."""
    a, b = device(), device()
    tunnel = a.add_peer(b.public_key)
    b.add_peer(a.public_key)
    (response,) = b.receive([datagram(tunnel.initiate(0)[0])], b"a", 0)
    a.receive([datagram(response)], b"b", 0)
    batch = packets()

    def opening() -> tuple[int, float]:
        (sealed,) = tunnel.send(batch, 0)
        assert isinstance(sealed, Transmit)
        return timed(BATCH, lambda: b.receive(sealed.datagrams, b"a", 0))()

    return timed(BATCH, lambda: tunnel.send(batch, 0)), opening


def bare() -> tuple[Work, Work]:
    """The same packets by the AEAD alone."""
    key, nonce = ChaCha20Poly1305(os.urandom(32)), bytes(12)
    encrypt, decrypt, batch = key.encrypt, key.decrypt, packets()
    boxes = [encrypt(nonce, packet, None) for packet in batch]
    return (
        timed(BATCH, lambda: [encrypt(nonce, packet, None) for packet in batch]),
        timed(BATCH, lambda: [decrypt(nonce, box, None) for box in boxes]),
    )


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=1.0, help="spent on each figure")
    options = parser.parse_args()
    seconds: float = options.seconds

    ours, theirs = rates(seconds, handshake(), noiseprotocol_handshake())
    wrong_mac, cookies = rates(seconds, *refusals())
    seal, open_, encrypt, decrypt = rates(seconds, *data(), *bare())
    mbits = PACKET * 8 / 1e6
    figures = {
        "handshakes_per_s": ours,
        "noiseprotocol_handshakes_per_s": theirs,
        "handshakes_ratio": ours / theirs,
        "wrong_mac1_per_s": wrong_mac,
        "cookie_replies_per_s": cookies,
        "packet_bytes": PACKET,
        "batch": BATCH,
        "sealed_packets_per_s": seal,
        "sealed_mbit_per_s": seal * mbits,
        "sealed_ratio_to_bare_aead": seal / encrypt,
        "opened_packets_per_s": open_,
        "opened_mbit_per_s": open_ * mbits,
        "opened_ratio_to_bare_aead": open_ / decrypt,
    }
    if options.json:
        print(json.dumps({name: round(figure, 3) for name, figure in figures.items()}))
        return
    print(
        f"handshakes, both sides        {ours:10,.0f} /s   noiseprotocol {theirs:,.0f} /s", end=""
    )
    print(f" ({ours / theirs:.2f}x)")
    print(f"refused, wrong first MAC      {wrong_mac:10,.0f} /s")
    print(f"answered by a cookie          {cookies:10,.0f} /s")
    for name, figure, alone in (("sealed", seal, encrypt), ("opened", open_, decrypt)):
        print(f"{name}, {PACKET} bytes, by {BATCH}     {figure:10,.0f} /s", end="   ")
        print(f"{figure * mbits:,.0f} Mbit/s ({figure / alone:.2f}x the bare AEAD)")


if __name__ == "__main__":
    main()
