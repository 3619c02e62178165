"""Whom a datagram is from, and what strangers can do."""

from __future__ import annotations

from random import Random
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.noise.pair import EPOCH, Pair, ip, new_device
from tests.noise.test_primitives import LOW_ORDER
from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise import handshake
from tunnelmesh.noise.cookie import MacStamp
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.device import Device
from tunnelmesh.noise.load import LOAD_HANDSHAKES, PLACE_BURST
from tunnelmesh.noise.local import IndexTable
from tunnelmesh.noise.outputs import Deliver, Output, Reply, Transmit
from tunnelmesh.noise.primitives import StaticKey
from tunnelmesh.wire.wireguard import INITIATION_SIZE, Initiation


def only_datagram(outputs: list[Output]) -> bytes:
    """The one datagram that is to be sent."""
    (output,) = outputs
    if isinstance(output, Reply):
        return output.datagram
    (datagram,) = cast(Transmit, output).datagrams
    return datagram


def stranger(public: bytes, seed: object = 0) -> bytes:
    """An initiation, correct in every way, by somebody who is no peer."""
    tunnel = new_device(("stranger", seed)).add_peer(public)
    return only_datagram(tunnel.initiate(0))


def cheap_flood(device: Device, now: float, count: int = int(LOAD_HANDSHAKES)) -> list[Output]:
    """Handshake messages that anybody could make who knows the public key."""
    stamp = MacStamp(device.public_key)
    junk = Initiation(bytes(4), LOW_ORDER[0], bytes(48), bytes(28))
    return device.receive([stamp.stamp(junk.encode(), now)] * count, b"flood", now)


class DeviceTests(SynchronousTestCase):
    """One machine, its peer, and others."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.a, self.b = self.pair.a, self.pair.b

    def counted(self, **expected: int) -> None:
        """Exactly these drops happened at b."""
        self.assertEqual(self.b.device.counters, Counters(**expected))

    def initiation(self) -> bytes:
        """What a sends first."""
        self.a.initiate()
        return self.pair.wire.pop()[1][0]

    def test_unknown_peer(self) -> None:
        """A stranger's initiation gets silence."""
        self.assertEqual(self.b.handle([stranger(self.b.device.public_key)]), [])
        self.counted(unknown_peer=1)

    def test_wrong_mac1(self) -> None:
        """Somebody who does not know our key gets silence, whatever the load."""
        cheap_flood(self.b.device, self.pair.now)
        self.b.device.counters.forged_handshakes = 0
        datagram = bytearray(self.initiation())
        datagram[-20] ^= 1
        self.assertEqual(self.b.handle([bytes(datagram)]), [])
        self.counted(wrong_mac1=1)

    def test_replayed_initiation(self) -> None:
        """An initiation is answered once, also if it comes by two ways."""
        datagram = self.initiation()
        self.assertEqual(len(self.b.handle([datagram, datagram])), 1)
        self.pair.now += 100
        self.assertEqual(self.b.handle([datagram]), [])
        self.counted(replayed_initiations=2)

    def test_hasty_initiations(self) -> None:
        """A peer's initiations are taken 50 times a second at most."""
        taken = 0
        for _ in range(100):
            tunnel = new_device("a", lambda: EPOCH + self.pair.now, self.a.private_key).add_peer(
                self.b.device.public_key
            )
            taken += len(self.b.handle([only_datagram(tunnel.initiate(0))]))
            self.pair.now += 0.01
        self.assertIn(taken, range(33, 51))
        self.counted(hasty_initiations=100 - taken)

    def test_impostor(self) -> None:
        """Claiming a peer's public key without its private key gets silence."""
        mallory, bob = StaticKey(b"m" * 32), self.b.device.public_key

        class Claims(StaticKey):
            def __init__(self, claimed: bytes) -> None:
                super().__init__(b"m" * 32)
                self.public = claimed  # type: ignore[misc]

        message, _ = handshake.initiate(
            Claims(self.a.device.public_key),
            bob,
            mallory.shared(bob),
            psk=bytes(32),
            index=b"evil",
            timestamp=b"\xff" * 12,
            ephemeral=b"e" * 32,
        )
        self.assertEqual(self.b.handle([MacStamp(bob).stamp(message.encode(), 0)]), [])
        self.counted(forged_handshakes=1)
        self.a.send(b"the real one")
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"the real one")])

    def test_bad_peers(self) -> None:
        """Peers that cannot be are refused, and nothing is half done."""
        for key in (self.b.device.public_key, self.a.device.public_key, bytes(32), b"short"):
            with self.assertRaises(HandshakeError):
                self.b.device.add_peer(key)
        self.assertEqual(len(self.b.device._tunnels), 1)

    def test_tunnels_in_one_batch(self) -> None:
        """A batch of several peers' packets gives one Deliver for each, in order."""
        c_device = new_device("c")
        c = c_device.add_peer(self.b.device.public_key)
        bc = self.b.device.add_peer(c_device.public_key)
        now = self.pair.now
        (response,) = self.b.device.receive([only_datagram(c.initiate(now))], b"c", now)
        outputs = c_device.receive([only_datagram([response])], b"b", now)
        self.b.device.receive([only_datagram(outputs[1:])], b"c", now)
        self.a.send(b"hello")
        self.pair.settle()

        from_a = cast(Transmit, self.a.tunnel.send([ip(b"a1"), ip(b"a2")], now)[0]).datagrams
        from_c = cast(Transmit, c.send([ip(b"c1"), ip(b"c2")], now)[0]).datagrams
        batch = [from_a[0], from_c[0], b"junk", from_a[1], from_c[1]]
        self.assertEqual(
            self.b.device.receive(batch, b"relay", now),
            [
                Deliver(self.b.tunnel, [ip(b"a1"), ip(b"a2")]),
                Deliver(bc, [ip(b"c1"), ip(b"c2")]),
            ],
        )
        self.counted(malformed=1)

    def test_nothing_left_behind(self) -> None:
        """Thousands of handshakes leave no index behind but those in use."""
        for n in range(1000):
            self.a.initiate(urgent=True)
            if n % 3:
                self.pair.wire.clear()
            self.pair.run(0.3)
        for side in (self.a, self.b):
            self.assertLessEqual(len(side.device._local.indices), 5)
        self.pair.run(400)
        for side in (self.a, self.b):
            self.assertEqual(len(side.device._local.indices), 0)

    def test_index_taken(self) -> None:
        """An index that is in use is not given out again."""
        drawn = iter([b"same", b"same", b"same", b"next"])
        indices = IndexTable(lambda _: next(drawn))
        self.assertEqual(indices.allocate(self.a.tunnel), b"same")
        self.assertEqual(indices.allocate(self.b.tunnel), b"next")
        self.assertEqual(indices.lookup(b"same"), (self.a.tunnel, None))

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.binary(max_size=200)
            | st.builds(
                lambda type_, index, size, fill: (bytes([type_, 0, 0, 0]) + index + fill * size)[
                    :size
                ],
                st.integers(1, 4),
                st.sampled_from([b"\0\0\0\0", b"live"]),
                st.sampled_from([8, 31, 32, 64, 92, 148]),
                st.binary(min_size=1, max_size=1),
            ),
            max_size=8,
        )
    )
    def test_hostile_bytes(self, batch: list[bytes]) -> None:
        """Any bytes at all are dropped and counted, each once."""
        pair = Pair()
        pair.a.initiate()
        pair.settle()
        indices = pair.b.device._local.indices
        index = next(iter(indices.entries))
        batch = [datagram.replace(b"live", index) for datagram in batch]
        self.assertEqual(pair.b.device.receive(batch, b"", pair.now), [])
        counters = pair.b.device.counters
        counted = sum(getattr(counters, name) for name in counters.__slots__)
        self.assertEqual(counted, len(batch))


class LoadTests(SynchronousTestCase):
    """Under load, strangers and peers alike have to own their address."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.a, self.b = self.pair.a, self.pair.b

    def test_cookie(self) -> None:
        """The peer gets a cookie instead of an answer, and with it, when it retries, a session."""
        cheap_flood(self.b.device, self.pair.now)
        self.a.send(b"hello")
        self.pair.settle()
        self.assertEqual(self.b.device.counters.cookie_replies, 1)
        self.assertFalse(self.a.tunnel.established)
        deadline = self.a.tunnel.deadline
        assert deadline is not None
        self.pair.now = deadline
        cheap_flood(self.b.device, self.pair.now)
        self.a.do(self.a.tunnel.expire(self.pair.now))
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"hello")])
        self.assertEqual(self.b.device.counters.cookie_replies, 1)

    def test_cookie_for_a_response(self) -> None:
        """An initiator under load asks for a cookie too; the next handshake completes."""
        self.a.send(b"hello")
        cheap_flood(self.a.device, self.pair.now)
        self.pair.settle()
        self.assertEqual(self.a.device.counters.cookie_replies, 1)
        deadline = self.a.tunnel.deadline
        assert deadline is not None
        self.pair.now = deadline
        self.a.do(self.a.tunnel.expire(self.pair.now))
        cheap_flood(self.a.device, self.pair.now)
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"hello")])

    def test_flood_is_answered_with_less(self) -> None:
        """Each cookie is smaller than what asked for it, and costs no key exchange."""
        outputs = cheap_flood(self.b.device, self.pair.now, int(LOAD_HANDSHAKES) + 100)
        self.assertEqual(len(outputs), 100)
        for output in outputs:
            assert isinstance(output, Reply)
            self.assertIsNone(output.tunnel)
            self.assertLess(len(output.datagram), INITIATION_SIZE)
        self.assertEqual(self.b.device.counters.forged_handshakes, LOAD_HANDSHAKES)

    def test_owner_of_an_address_is_limited(self) -> None:
        """Having a cookie does not let anybody cause work without bounds."""
        mallory = new_device("mallory")
        tunnel = mallory.add_peer(self.b.device.public_key)
        now = self.pair.now
        cheap_flood(self.b.device, now)
        reply = self.b.device.receive([only_datagram(tunnel.initiate(now))], b"m", now)
        mallory.receive([only_datagram(reply)], b"b", now)
        datagrams = [only_datagram(tunnel.initiate(now + 5 * n, urgent=True)) for n in range(1, 20)]
        self.assertEqual(self.b.device.receive(datagrams, b"m", now), [])
        self.assertEqual(self.b.device.counters.unknown_peer, PLACE_BURST)
        self.assertEqual(self.b.device.counters.rate_limited, len(datagrams) - PLACE_BURST)

    def test_load_passes(self) -> None:
        """A second after the flood nobody is asked for a cookie."""
        cheap_flood(self.b.device, self.pair.now)
        self.pair.now += 1
        self.a.send(b"hello")
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"hello")])

    def test_sessions_are_not_disturbed(self) -> None:
        """Data of an existing session passes under any load."""
        self.a.send(b"hello")
        self.pair.settle()
        cheap_flood(self.b.device, self.pair.now, 1000)
        self.a.send(b"still there")
        self.pair.settle()
        self.assertEqual(self.b.received[-1], ip(b"still there"))

    def test_forged_cookie(self) -> None:
        """A cookie reply by somebody else is dropped, and counted."""
        self.a.initiate()
        initiation = Initiation.decode(self.a.sent[-1][1])
        forged = b"\3\0\0\0" + initiation.sender + Random(1).randbytes(56)
        self.assertEqual(self.a.handle([forged]), [])
        self.assertEqual(self.a.device.counters.forged_handshakes, 1)
