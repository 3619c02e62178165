"""The TUN device: on fake system calls, and on the kernel."""

import errno
import os
from ipaddress import IPv4Interface, IPv6Interface

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.tun.fakes import FakeReactor, FakeSystem, FakeUser, tcp_super_packet
from tests.tun.scenes import Scenes
from tunnelmesh.errors import DeviceError
from tunnelmesh.interfaces import ITunnelDevice
from tunnelmesh.tun.device import (
    BYTES,
    LARGEST_PACKET,
    LARGEST_SUPER_PACKET,
    READS,
    open_device,
)
from tunnelmesh.tun.offload import Offloads
from tunnelmesh.wire.virtio import EMPTY

ADDRESS = IPv4Interface("100.96.1.2/16")
ADDRESS6 = IPv6Interface("fd12:3456:789a::1/48")


class DeviceTests(SynchronousTestCase):
    """Batches in and out of a fake kernel."""

    def setUp(self) -> None:
        """A device that is open and delivers."""
        self.reactor = FakeReactor()
        self.system = FakeSystem()
        self.user = FakeUser()
        self.device = open_device(self.reactor, "tm0", ADDRESS, ADDRESS6, 1420, self.system)
        self.device.start(self.user)

    def test_interfaces(self) -> None:
        """It is a tunnel device, and a descriptor for the reactor."""
        verifyObject(ITunnelDevice, self.device)
        verifyObject(IReadDescriptor, self.device)
        self.assertEqual((self.device.name, self.device.mtu), ("tm0", 1420))
        self.assertEqual((self.device.fileno(), self.device.logPrefix()), (7, "tm0"))
        self.assertEqual(self.reactor.readers, {self.device})

    def test_one_batch(self) -> None:
        """All that is there is delivered at once, in order, whatever its size."""
        packets = [b"E" * size for size in (20, 1420, 9000)]
        self.system.queue.extend(packets)
        self.assertIsNone(self.device.doRead())
        self.assertEqual(self.user.batches, [packets])
        self.assertEqual(self.device.received, 3)

    def test_bounded_batch(self) -> None:
        """A flood is delivered batch by batch, so that the reactor gets its turn."""
        self.system.queue.extend([b"E"] * (READS + 1))
        self.device.doRead()
        self.device.doRead()
        self.assertEqual([len(batch) for batch in self.user.batches], [READS, 1])

    def test_bounded_bytes(self) -> None:
        """The larger the packets, the fewer make a turn."""
        turn = -(-BYTES // LARGEST_PACKET)
        self.system.queue.extend([b"E" * LARGEST_PACKET] * (turn + 1))
        self.device.doRead()
        self.device.doRead()
        self.assertEqual([len(batch) for batch in self.user.batches], [turn, 1])

    def test_stopped_by_its_user(self) -> None:
        """A user that stops the device in the middle of a turn gets nothing more, and no error."""
        self.device = open_device(
            self.reactor, "tm0", ADDRESS, ADDRESS6, 1420, FakeSystem(Offloads())
        )
        self.device._system.queue.extend([tcp_super_packet(bytes(3000), 1000), EMPTY + b"E"])
        self.user.bulk_leaving = lambda packet: self.device.stop()
        self.device.start(self.user)
        self.assertIsNone(self.device.doRead())
        self.assertEqual(self.user.batches, [])

    def test_answers(self) -> None:
        """What the kernel says to what was written is taken along; without a word to it, nothing
        is looked for."""
        self.system.queue.append(b"E1")
        self.device.collect()
        self.assertEqual(self.user.batches, [])
        self.device.write([b"E0"])
        self.device.collect()
        self.assertEqual(self.user.batches, [[b"E1"]])
        self.system.queue.append(b"E2")
        self.device.collect()
        self.assertEqual(self.user.batches, [[b"E1"]])

    def test_nothing_there(self) -> None:
        """A wake-up for nothing delivers nothing."""
        self.assertIsNone(self.device.doRead())
        self.assertEqual(self.user.batches, [])

    def test_interrupted(self) -> None:
        """A signal in the middle of a batch loses no packet."""
        self.system.queue.extend([b"E1", InterruptedError(errno.EINTR, "signal"), b"E2"])
        self.device.doRead()
        self.device.doRead()
        self.assertEqual(self.user.batches, [[b"E1"], [b"E2"]])

    def test_user_with_a_bug(self) -> None:
        """A mistake above is logged and does not close the device."""
        self.user.bug = ZeroDivisionError()
        self.system.queue.append(b"E")
        self.assertIsNone(self.device.doRead())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_broken_device(self) -> None:
        """A device that the kernel gave up is given up; what came before is delivered."""
        self.system.queue.extend([b"E", OSError(errno.EBADFD, "bad state")])
        broken = self.device.doRead()
        self.assertIsInstance(broken, Failure)
        self.assertEqual(self.user.batches, [[b"E"]])
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.device.connectionLost(broken)
        self.assertIn("is gone", events[-1]["log_format"])
        self.assertEqual((self.system.closed, self.reactor.readers), ([7], set()))

    def test_refused_packets_are_counted(self) -> None:
        """What the kernel refuses is counted, and the rest of the batch goes on."""
        self.system.write_errors = {b"bad": errno.EINVAL, b"full": errno.EAGAIN}
        self.device.write([b"E1", b"bad", b"full", b"E2"])
        self.assertEqual(self.system.taken, [b"E1", b"E2"])
        self.assertEqual((self.device.written, self.device.refused), (2, 2))

    def test_stop(self) -> None:
        """Stopping closes once."""
        self.device.stop()
        self.device.stop()
        self.assertEqual((self.system.closed, self.reactor.readers), ([7], set()))
        self.assertEqual(self.device.fileno(), -1)


class OpenTests(SynchronousTestCase):
    """What can go wrong at the start: one line that says what to do, and nothing left open."""

    def test_errors(self) -> None:
        """Each error of each step becomes advice."""
        for step, number, words in [
            ("open", errno.ENOENT, "modprobe tun"),
            ("open", errno.EACCES, "run as root"),
            ("attach", errno.EPERM, "--mode=userspace"),
            ("attach", errno.EBUSY, "--tun-name"),
            ("configure", errno.EPERM, "CAP_NET_ADMIN"),
            ("configure", errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
        ]:
            system = FakeSystem()
            system.fail_at = {step: number}
            error = self.assertRaises(
                DeviceError, open_device, FakeReactor(), "tm0", ADDRESS, ADDRESS6, 1420, system
            )
            self.assertIn(words, str(error))
            self.assertNotIn("\n", str(error))
            self.assertEqual(len(system.closed), system.opened)


class KernelTests(Scenes):
    """The same on the kernel, in a network namespace that ends with the process in it."""

    def test_addresses(self) -> None:
        """The kernel has the addresses, the MTU, the link up and a route to the whole mesh."""
        (link,), routes, routes6 = self.play(
            """
kept = device()
tell([ip("addr", "show", "tm0"), ip("route"), ip("-6", "route", "show", "dev", "tm0")])
"""
        )
        self.assertEqual(link["mtu"], 1400)
        self.assertIn("UP", link["flags"])
        addresses = {(a["local"], a["prefixlen"]) for a in link["addr_info"]}
        self.assertLessEqual({("100.96.1.2", 16), ("fd12:3456:789a::1", 48)}, addresses)
        self.assertIn(("100.96.0.0/16", "tm0"), {(r["dst"], r["dev"]) for r in routes})
        self.assertIn("fd12:3456:789a::/48", {r["dst"] for r in routes6})

    def test_limit(self) -> None:
        """The kernel hands over no super-packet that is too large to be sent on at once."""
        (link,), offloads, lacking = self.play(
            """
kept = device()
tell([ip("-details", "link", "show", "tm0"), kept.offloads, kept.lacking])
"""
        )
        if not offloads:
            raise SkipTest(f"needs a kernel with TUN offloads: {lacking}")
        self.assertEqual(link["gso_max_size"], LARGEST_SUPER_PACKET)
        self.assertEqual(link.get("gso_ipv4_max_size", link["gso_max_size"]), LARGEST_SUPER_PACKET)

    def test_packets(self) -> None:
        """A datagram sent to the mesh leaves through the device, and its answer comes in."""
        sent, answer, refused = self.play(
            """
tunnel = device()
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("100.96.1.2", 5000))
here.settimeout(10)

class User:
    lanes = {}
    def packets_leaving(self, packets):
        ours = [p for p in packets if p[0] >> 4 == 4]
        if ours:
            global sent
            sent = ours[0].hex()
            # To and from are swapped, so that both checksums stay right.
            p = ours[0]
            back = p[:12] + p[16:20] + p[12:16] + p[22:24] + p[20:22] + p[24:]
            tunnel.write([b"", b"\\0junk", back])
            reactor.stop()

tunnel.start(User())
reactor.callWhenRunning(here.sendto, b"hello", ("100.96.7.7", 6000))
reactor.callLater(10, reactor.stop)
reactor.run()
tell([sent, here.recv(100).decode(), tunnel.refused])
"""
        )
        self.assertTrue(bytes.fromhex(sent).endswith(b"hello"))
        self.assertEqual((answer, refused), ("hello", 2))

    def test_names_that_are_taken(self) -> None:
        """A name of another device, or of a tunnel in use, is refused; a free one is not."""
        lo, twice = self.play(
            """
kept = device()
def refusal(name):
    try:
        device(name)
    except DeviceError as error:
        return str(error)
tell([refusal("lo"), refusal("tm0")])
"""
        )
        self.assertIn("lo is in use", lo)
        self.assertIn("tm0 is in use", twice)

    def test_stop_removes_it(self) -> None:
        """Nothing is left of a device that was stopped, and its name is free again."""
        left = self.play(
            """
tunnel = device()
tunnel.stop()
left = [link["ifname"] for link in ip("link")]
device().stop()
tell(left)
"""
        )
        self.assertEqual(left, ["lo"])

    def test_deleted_under_our_hands(self) -> None:
        """A device that somebody deletes ends quietly: no busy loop, writes are counted."""
        refused = self.play(
            """
tunnel = device()
class Nobody:
    lanes = {}
tunnel.start(Nobody())
subprocess.run(["ip", "link", "del", "tm0"], check=True)
def look():
    if tunnel.fileno() == -1:
        reactor.stop()
    else:
        reactor.callLater(0.01, look)
reactor.callWhenRunning(look)
reactor.callLater(10, reactor.stop)
reactor.run()
tunnel.write([b"E" * 20])
tell(tunnel.refused)
"""
        )
        self.assertEqual(refused, 1)

    def test_without_ipv6(self) -> None:
        """A kernel without IPv6 gets the IPv4 address alone."""
        (link,) = self.play(
            """
try:
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as switch:
        switch.write("1")
except OSError:
    tell([None])
else:
    kept = device()
    tell(ip("addr", "show", "tm0"))
"""
        )
        if link is None:
            raise SkipTest("needs a kernel with IPv6 and a writable /proc/sys")
        self.assertEqual([a["local"] for a in link["addr_info"]], ["100.96.1.2"])

    def test_without_rights(self) -> None:
        """Without rights the message says what to do."""
        message = self.play(
            """
import ctypes
no_capabilities = struct.pack("=Ii", 0x20080522, 0), bytes(24)
assert ctypes.CDLL(None).capset(*no_capabilities) == 0
try:
    device()
except DeviceError as error:
    tell(str(error))
"""
        )
        self.assertIn("no right to make the network device tm0", message)
        self.assertIn("--mode=userspace", message)
