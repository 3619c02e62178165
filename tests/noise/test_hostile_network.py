"""Whole sessions over a network that reorders, duplicates, drops and corrupts."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.noise.pair import Pair, ip
from tunnelmesh.noise.session import REJECT_AFTER_TIME
from tunnelmesh.noise.timers import REKEY_TIMEOUT


def mangle(pair: Pair, random: Random, badness: float) -> None:
    """Do to everything on the wire what a bad network does."""
    datagrams = [(side, datagram) for side, batch in pair.wire for datagram in batch]
    pair.wire.clear()
    for side, datagram in datagrams:
        fate = random.random()
        if fate < badness * 0.3:
            continue
        if fate < badness * 0.5:
            spoilt = bytearray(datagram)
            spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
            pair.wire.append((side, [bytes(spoilt)]))
        if fate < badness * 0.7:
            pair.wire.append((side, [datagram]))
        pair.wire.append((side, [datagram]))
    if random.random() < badness:
        random.shuffle(pair.wire)


def step(pair: Pair, random: Random, badness: float) -> None:
    """Deliver half of what is on the wire, through a bad network."""
    mangle(pair, random, badness)
    for _ in range(len(pair.wire) // 2 + 1):
        if pair.wire:
            side, batch = pair.wire.popleft()
            side.handle(batch)


def expire(pair: Pair) -> None:
    """Do what is due, on both sides."""
    for side in (pair.a, pair.b):
        deadline = side.tunnel.deadline
        if deadline is not None and deadline <= pair.now:
            side.do(side.tunnel.expire(pair.now))


class HostileNetworkTests(SynchronousTestCase):
    """What holds whatever the network does."""

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(
        st.integers(0, 2**32),
        st.floats(0, 1),
        st.lists(
            st.tuples(
                st.sampled_from(["send", "send", "send", "burst", "urgent", "reboot"]),
                st.booleans(),
                st.sampled_from([0.0, 0.02, 0.3, 3.0, 20.0, 125.0]),
            ),
            min_size=1,
            max_size=40,
        ),
    )
    def test_no_packet_twice_none_altered(
        self, seed: int, badness: float, script: list[tuple[str, bool, float]]
    ) -> None:
        """Each packet arrives as it was sent, once or never; and after the storm, all do."""
        pair = Pair(seed=seed)
        random = Random(seed)
        sent: dict[str, list[bytes]] = {"a": [], "b": []}
        for n, (action, left, pause) in enumerate(script):
            side = pair.a if left else pair.b
            if action == "urgent":
                side.initiate(urgent=True)
            elif action == "reboot":
                side.boot()
                side.meet()
            else:
                payloads = [b"%s %d %d" % (side.name.encode(), n, i) for i in range(8)]
                payloads = payloads if action == "burst" else payloads[:1]
                sent[side.name] += map(ip, payloads)
                side.send(*payloads)
            for _ in range(3):
                step(pair, random, badness)
            pair.now += pause
            expire(pair)
        for side in (pair.a, pair.b):
            received = side.received
            self.assertEqual(len(received), len(set(received)), "a packet came twice")
            self.assertLessEqual(set(received), set(sent[side.other.name]))

        pair.run(2 * REKEY_TIMEOUT)
        pair.run(REJECT_AFTER_TIME + 90)
        for side in (pair.a, pair.b):
            side.other.received.clear()
            side.send(b"calm")
            pair.settle()
            self.assertEqual(side.other.received[-1:], [ip(b"calm")])

    @settings(max_examples=40, derandomize=True, deadline=None)
    @given(st.integers(0, 2**32))
    def test_soon_after_the_storm(self, seed: int) -> None:
        """With traffic both ways, a working network is used again within 20 seconds."""
        pair = Pair(seed=seed)
        random = Random(seed)
        for n in range(40):
            for side in (pair.a, pair.b):
                side.send(b"%d" % n)
                if random.random() < 0.05:
                    side.boot()
                    side.meet()
            step(pair, random, 1.0)
            pair.now += random.choice([0.1, 2.0, 10.0])
            expire(pair)
        for _ in range(20):
            for side in (pair.a, pair.b):
                side.send(b"again")
            pair.run(1)
        for side in (pair.a, pair.b):
            side.send(b"calm")
            pair.settle()
            self.assertEqual(side.other.received[-1:], [ip(b"calm")])
