"""The tunnel, with a real wireguard-go at the other end."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.counterparts.wireguard_go import OURS, OURS6, PORT, THEIRS, WireguardGo
from tests.noise.test_device import cheap_flood
from tests.noise.test_primitives import LOW_ORDER
from tunnelmesh.noise.cookie import MacStamp
from tunnelmesh.noise.device import Device
from tunnelmesh.noise.outputs import Deliver, Established, Output, Reply, Transmit
from tunnelmesh.noise.session import REKEY_AFTER_TIME
from tunnelmesh.noise.timers import INITIATION_INTERVAL, REKEY_TIMEOUT
from tunnelmesh.wire.wireguard import COOKIE_REPLY, INITIATION, NO_MAC, Initiation

PSK = b"pre-shared" + bytes(22)
ECHO_REQUEST, ECHO_REPLY = 8, 0


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(kind: int, payload: bytes) -> bytes:
    """An ICMP echo message; *payload* is of even length."""
    message = struct.pack(">BBHHH", kind, 0, 0, 7, 1) + payload
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def packet(message: bytes) -> bytes:
    """An ICMP message from us to them as an IP packet."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0)
    header += socket.inet_aton(OURS) + socket.inet_aton(THEIRS)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + message


class Machine:
    """Our side: a device, a socket and a blocking loop.

    :ivar ahead: by how many seconds its clocks are ahead of the world's.
    :ivar busy: whether it is under load whenever something arrives.
    """

    def __init__(self, udp: socket.socket, remote: bytes, psk: bytes) -> None:
        random = Random(7)
        self.ahead = 0.0
        self.udp = udp
        self.device = Device(
            random.randbytes(32),
            entropy=os.urandom,
            random=random,
            wall=lambda: time.time() + self.ahead,
        )
        self.tunnel = self.device.add_peer(remote, psk=psk)
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.cookies = 0
        self.established = 0
        self.busy = False

    @property
    def now(self) -> float:
        return time.monotonic() + self.ahead

    def do(self, outputs: list[Output]) -> None:
        """Perform what the device asks for."""
        for output in outputs:
            if isinstance(output, Transmit):
                for datagram in output.datagrams:
                    self.put(datagram)
            elif isinstance(output, Reply):
                self.put(output.datagram)
            elif isinstance(output, Deliver):
                self.received += output.packets
            elif isinstance(output, Established):
                self.established += 1

    def put(self, datagram: bytes) -> None:
        self.sent.append(datagram)
        self.udp.sendto(datagram, ("127.0.0.1", PORT))

    def initiations(self) -> list[Initiation]:
        """What this side has sent so far."""
        return [Initiation.decode(d) for d in self.sent if d[:4] == INITIATION]

    def pass_time(self, seconds: float) -> None:
        """Go on for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(end - time.monotonic())

    def until(self, condition: Callable[[], object], seconds: float = 8) -> None:
        """Go on until the condition holds.

        :raises AssertionError: if it does not, in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"nothing after {seconds} s; {self.device.counters}")
            self.turn(0.05)

    def turn(self, seconds: float) -> None:
        """Handle the next datagram, or what is due."""
        deadline = self.tunnel.deadline
        if deadline is not None:
            seconds = min(seconds, deadline - self.now)
        if select.select([self.udp], [], [], max(0, seconds))[0]:
            datagram, (host, port) = self.udp.recvfrom(2048)
            self.cookies += datagram[:4] == COOKIE_REPLY
            now = self.now
            if self.busy:
                cheap_flood(self.device, now)
            self.do(self.device.receive([datagram], f"{host}:{port}".encode(), now))
        self.do(self.tunnel.expire(self.now))


class WireguardGoTests(SynchronousTestCase):
    """One wireguard-go, one machine of ours."""

    def setUp(self) -> None:
        self.theirs = WireguardGo(f"tmwg{os.getpid()}")
        self.addCleanup(self.theirs.stop)
        self.meet()

    def meet(self, psk: bytes = bytes(32)) -> None:
        """Configure both sides for each other."""
        udp = self.theirs.udp[0]
        self.ours = Machine(udp, self.theirs.public_key, psk)
        endpoint = f"127.0.0.1:{udp.getsockname()[1]}"
        self.theirs.configure(self.ours.device.public_key, psk, endpoint)

    def assert_they_answer(self, payload: bytes = b"ping from us") -> None:
        """Our echo request comes back from their kernel as an echo reply."""
        self.ours.received.clear()
        self.ours.do(self.ours.tunnel.send([packet(echo(ECHO_REQUEST, payload))], self.ours.now))
        expected = echo(ECHO_REPLY, payload)
        self.ours.until(lambda: any(got[20:] == expected for got in self.ours.received))

    def they_ask(self, payload: bytes = b"ping from them") -> None:
        """Their machine sends an echo request to ours."""
        self.theirs.icmp.sendto(echo(ECHO_REQUEST, payload), (OURS, 0))

    def assert_we_get(self, payload: bytes = b"ping from them") -> None:
        """Their echo request arrives, and their machine gets our reply."""
        expected = echo(ECHO_REQUEST, payload)
        self.ours.until(lambda: any(got[20:] == expected for got in self.ours.received))
        reply = echo(ECHO_REPLY, payload)
        self.ours.do(self.ours.tunnel.send([packet(reply)], self.ours.now))
        self.theirs.icmp.settimeout(5)
        while self.theirs.icmp.recv(2048)[20:] != reply:
            pass

    def assert_talking(self) -> None:
        """Data passes both ways."""
        self.assert_they_answer()
        self.they_ask()
        self.assert_we_get()

    def test_we_initiate(self) -> None:
        """Our initiation is answered, and what waited for it arrives."""
        self.assert_talking()
        self.assertEqual(self.ours.established, 1)
        self.assertEqual(len(self.ours.initiations()), 1)

    def test_they_initiate(self) -> None:
        """Their initiation is answered, and what waited for it arrives."""
        self.they_ask()
        self.assert_we_get()
        self.assert_talking()
        self.assertEqual(self.ours.established, 1)
        self.assertEqual(self.ours.initiations(), [])

    def test_psk(self) -> None:
        """The same with a pre-shared key, from both sides."""
        self.meet(PSK)
        self.assert_talking()
        self.meet(PSK)
        self.they_ask()
        self.assert_we_get()
        self.assertEqual(self.ours.initiations(), [])

    def test_other_psk(self) -> None:
        """With different pre-shared keys there is no session, whoever begins."""
        self.theirs.configure(self.ours.device.public_key, PSK)
        self.ours.do(self.ours.tunnel.initiate(self.ours.now))
        self.ours.until(lambda: self.ours.device.counters.forged_handshakes)
        self.assertEqual(self.ours.established, 0)

    def test_sizes(self) -> None:
        """Packets of every padding pass unaltered, up to the MTU, and over IPv6."""
        for size in (*range(2, 34, 2), 1390, 1392):
            self.assert_they_answer(bytes(size))
        self.theirs.udp6.sendto(b"odd", (OURS6, 9))
        self.ours.until(lambda: self.ours.received and self.ours.received[-1][0] >> 4 == 6)
        self.assertEqual(len(self.ours.received[-1]), 40 + 8 + 3)
        self.assertEqual(self.ours.received[-1][-3:], b"odd")

    def test_rekey(self) -> None:
        """Two minutes on, our next packet renews the session; it goes on both ways."""
        self.assert_talking()
        for round_ in (2, 3):
            self.ours.pass_time(INITIATION_INTERVAL)
            self.ours.ahead += REKEY_AFTER_TIME
            self.assert_they_answer()
            self.ours.until(lambda expected=round_: self.ours.established == expected)
            self.assert_talking()
        self.assertEqual(self.ours.device.counters.unknown_index, 0)

    def test_crossing(self) -> None:
        """Both begin at the same moment, and both packets arrive."""
        self.they_ask()
        self.assertTrue(select.select([self.ours.udp], [], [], 5)[0])
        self.ours.do(self.ours.tunnel.initiate(self.ours.now))
        self.assert_we_get()
        self.assert_talking()

    def test_our_restart(self) -> None:
        """Having lost our sessions, we are back with the first packet."""
        self.assert_talking()
        before = self.ours
        before.pass_time(INITIATION_INTERVAL)
        self.ours = Machine(before.udp, self.theirs.public_key, bytes(32))
        self.assert_talking()

    def test_roaming(self) -> None:
        """Our address changes; their packets follow."""
        self.assert_talking()
        self.ours.udp = self.theirs.udp[1]
        self.assert_talking()
        port = self.ours.udp.getsockname()[1]
        self.assertEqual(self.theirs.endpoint(), f"127.0.0.1:{port}")

    def flood(self, count: int) -> None:
        """Handshake messages to them, from elsewhere, as anybody could make them."""
        junk = Initiation(bytes(4), LOW_ORDER[0], bytes(48), bytes(28))
        datagram = MacStamp(self.theirs.public_key).stamp(junk.encode(), 0)
        for _ in range(count):
            self.theirs.udp[1].sendto(datagram, ("127.0.0.1", PORT))

    def test_their_cookie(self) -> None:
        """Under load they ask for a cookie; with it, we get through while others do not."""
        ours, elsewhere = self.ours, self.theirs.udp[1]
        elsewhere.setblocking(False)

        def initiate_under_load(done: Callable[[], bool]) -> None:
            give_up = time.monotonic() + 8
            while not done() and time.monotonic() < give_up:
                ours.ahead += REKEY_TIMEOUT
                self.flood(600)  # they are under load for a second once 128 are waiting
                ours.do(ours.tunnel.initiate(ours.now))
                ours.pass_time(0.1)
            self.assertTrue(done(), "they never were under load, or never are again")

        initiate_under_load(lambda: ours.cookies > 0)
        self.assertEqual(ours.device.counters.forged_handshakes, 0)
        while select.select([elsewhere], [], [], 0)[0]:
            elsewhere.recv(2048)

        established = ours.established
        initiate_under_load(lambda: ours.established > established)
        self.assertNotEqual(ours.initiations()[-1].mac2, NO_MAC)
        self.assertEqual(elsewhere.recv(2048)[:4], COOKIE_REPLY, "they were not under load")

    def test_our_cookie(self) -> None:
        """Under load we ask for a cookie, and they get through with it."""
        ours = self.ours
        ours.busy = True
        self.they_ask()
        ours.until(lambda: any(datagram[:4] == COOKIE_REPLY for datagram in ours.sent))
        self.assertFalse(ours.tunnel.established)
        self.theirs.forget_sessions()
        self.they_ask()
        self.assert_we_get()
