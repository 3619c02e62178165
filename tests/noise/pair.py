"""Two devices, a wire between them, and a clock that goes from deadline to deadline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.noise.device import Device
from tunnelmesh.noise.outputs import Deliver, Established, GaveUp, Output, Reply, Transmit
from tunnelmesh.noise.tunnel import Tunnel
from tunnelmesh.wire.wireguard import INITIATION, TRANSPORT

EPOCH = 1_800_000_000.0


def ip(payload: bytes) -> bytes:
    """An IPv4 packet, as far as a tunnel looks into it."""
    return bytes([0x45, 0]) + (20 + len(payload)).to_bytes(2, "big") + bytes(16) + payload


def new_device(
    seed: object, wall: Callable[[], float] = lambda: EPOCH, private_key: bytes | None = None
) -> Device:
    """A device all of whose randomness comes from *seed*."""
    random = Random(repr(seed))
    return Device(
        private_key or random.randbytes(32), entropy=random.randbytes, random=random, wall=wall
    )


class Side:
    """One of the two machines, and all that happened to it."""

    def __init__(self, name: str, pair: Pair) -> None:
        self.name = name
        self.pair = pair
        self.private_key = Random(name).randbytes(32)
        self.boots = 0
        self.received: list[bytes] = []
        self.events: list[Output] = []
        self.sent: list[tuple[float, bytes]] = []
        self.device: Device
        self.tunnel: Tunnel
        self.other: Side

    def boot(self) -> None:
        """Start, or start again with nothing but the private key."""
        self.boots += 1
        self.device = new_device(
            (self.name, self.boots, self.pair.seed),
            lambda: EPOCH + self.pair.now,
            self.private_key,
        )

    def meet(self) -> None:
        """Take the other side in as a peer."""
        self.tunnel = self.device.add_peer(self.other.device.public_key, psk=self.pair.psk)

    def do(self, outputs: list[Output]) -> None:
        """Perform what the device asked for."""
        for output in outputs:
            if isinstance(output, Transmit):
                self._put(output.datagrams)
            elif isinstance(output, Reply):
                self._put([output.datagram])
            else:
                self.events.append(output)
                if isinstance(output, Deliver):
                    self.received += output.packets

    def send(self, *payloads: bytes) -> None:
        """Send IP packets with these payloads to the other side."""
        self.do(self.tunnel.send([ip(payload) for payload in payloads], self.pair.now))

    def initiate(self, *, urgent: bool = False) -> None:
        """Ask for a new session."""
        self.do(self.tunnel.initiate(self.pair.now, urgent=urgent))

    def handle(self, datagrams: list[bytes], source: bytes = b"there") -> list[Output]:
        """Receive a batch, and do what is to be done."""
        outputs = self.device.receive(datagrams, source, self.pair.now)
        self.do(outputs)
        return outputs

    def initiations(self) -> list[float]:
        """When this side sent initiations."""
        return [at for at, datagram in self.sent if datagram[:4] == INITIATION]

    def transports(self) -> list[float]:
        """When this side sent transport messages."""
        return [at for at, datagram in self.sent if datagram[:4] == TRANSPORT]

    def established(self) -> int:
        """How often a handshake was completed."""
        return sum(isinstance(event, Established) for event in self.events)

    def gave_up(self) -> int:
        """How often attempts were given up."""
        return sum(isinstance(event, GaveUp) for event in self.events)

    def _put(self, datagrams: list[bytes]) -> None:
        self.sent += [(self.pair.now, datagram) for datagram in datagrams]
        self.pair.wire.append((self.other, datagrams))


class Pair:
    """The two machines and the world between them.

    :param psk: their pre-shared key.
    :param seed: of all randomness.
    :ivar cut: while true, whatever is sent is lost.
    """

    def __init__(self, psk: bytes = bytes(32), seed: int = 0) -> None:
        self.psk = psk
        self.seed = seed
        self.now = 1000.0
        self.cut = False
        self.wire: deque[tuple[Side, list[bytes]]] = deque()
        self.a, self.b = Side("a", self), Side("b", self)
        self.a.other, self.b.other = self.b, self.a
        for act in (Side.boot, Side.meet):
            act(self.a)
            act(self.b)

    def settle(self) -> None:
        """Let everything that is on the wire arrive, and what it causes."""
        while self.wire:
            side, datagrams = self.wire.popleft()
            if not self.cut:
                side.handle(datagrams)

    def run(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline."""
        end = self.now + seconds
        self.settle()
        while True:
            deadlines = [s.tunnel.deadline for s in (self.a, self.b)]
            due = min((d for d in deadlines if d is not None), default=end)
            if due >= end:
                break
            self.now = max(self.now, due)
            for side in (self.a, self.b):
                side.do(side.tunnel.expire(self.now))
            self.settle()
        self.now = end


class TunnelTestCase(SynchronousTestCase):
    """Two machines that know each other."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.a, self.b = self.pair.a, self.pair.b

    def assert_talking(self) -> None:
        """Packets pass both ways, at once."""
        for side in (self.a, self.b):
            side.send(b"ping")
            self.pair.settle()
            self.assertEqual(side.other.received[-1:], [ip(b"ping")])
            side.other.received.clear()

    def established(self) -> None:
        """Shake hands, a being the initiator."""
        self.a.send(b"first")
        self.pair.settle()
        self.b.received.clear()
