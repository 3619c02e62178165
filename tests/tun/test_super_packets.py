"""The TUN device's offloads: on fake system calls, and on the kernel."""

import errno
import json
import os
import subprocess
import sys

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.tun.fakes import (
    PLAIN,
    FakeReactor,
    FakeSystem,
    FakeUser,
    ip_packet,
    tcp_super_packet,
    udp,
    udp_super_packet,
)
from tests.tun.test_device import ADDRESS, ADDRESS6
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.tun import offload
from tunnelmesh.tun.device import KernelDevice, open_device
from tunnelmesh.tun.offload import Offloads, attach
from tunnelmesh.wire.ip import checksum
from tunnelmesh.wire.virtio import EMPTY, NEEDS_CSUM, VirtioHeader

TCP = tcp_super_packet(bytes(range(250)) * 10, 1000)
UDP = udp_super_packet(bytes(range(250)) * 10, 1000)
LONG_TCP = tcp_super_packet(bytes(range(250)) * 60, 900)
LONG_UDP = udp_super_packet(bytes(range(250)) * 60, 900)


def cut(data: bytes) -> list[bytes]:
    """The packets that a super-packet stands for."""
    return SuperPacket.read(bytearray(data), 0, len(data)).packets()


class Devices(SynchronousTestCase):
    """Makes devices."""

    def open(self, offloads: Offloads) -> KernelDevice:
        """A device, delivering, whose kernel has these offloads."""
        self.system = FakeSystem(offloads)
        self.user = FakeUser()
        self.reactor = FakeReactor()
        device = open_device(self.reactor, "tm0", ADDRESS, ADDRESS6, 1420, self.system)
        device.start(self.user)
        return device


class ReadTests(Devices):
    """What comes from the kernel."""

    def setUp(self) -> None:
        """A device with all offloads."""
        self.device = self.open(Offloads())

    def test_order(self) -> None:
        """Packets and super-packets are delivered as they came."""
        self.system.queue.extend([EMPTY + b"E1", TCP, UDP, EMPTY + b"E2", EMPTY + b"E3", TCP])
        self.assertIsNone(self.device.doRead())
        self.assertEqual(self.user.events, [[b"E1"], TCP, UDP, [b"E2", b"E3"], TCP])
        self.assertEqual((self.device.received, self.device.malformed), (6, 0))

    def test_malformed(self) -> None:
        """A virtio header that does not fit its packet costs this packet alone, and is counted."""
        self.system.queue.extend([TCP[:-1], EMPTY + b"E", b"\0\5" + TCP[2:], TCP])
        self.assertIsNone(self.device.doRead())
        self.assertEqual(self.user.events[-2:], [[b"E"], TCP])
        self.assertEqual(self.device.malformed, 2)

    def test_user_with_a_bug(self) -> None:
        """A mistake above is logged and costs neither the device nor what comes afterwards."""
        self.user.bug = ZeroDivisionError()
        self.system.queue.extend([TCP, EMPTY + b"E"])
        self.assertIsNone(self.device.doRead())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.user.events, [TCP, [b"E"]])

    def test_checksum_left_undone(self) -> None:
        """What the kernel left undone in an ordinary packet is done before it is delivered."""
        for payload in (b"hello", b"hello!"):
            packet = ip_packet(17, udp(payload))
            self.system.queue.append(VirtioHeader(NEEDS_CSUM, 0, 0, 0, 20, 6).pack() + packet)
            self.device.doRead()
            ((delivered,),) = self.user.batches[-1:]
            self.assertEqual(delivered[:26] + delivered[28:], packet[:26] + packet[28:])
            pseudo = packet[12:20] + b"\0\x11" + packet[24:26]
            self.assertEqual(checksum(pseudo + delivered[20:]), 0)

    def test_no_room_for_a_checksum(self) -> None:
        """A checksum beyond the packet's end is not written."""
        for start, offset in ((20, 6), (65535, 65535), (27, 0)):
            header = VirtioHeader(NEEDS_CSUM, 0, 0, 0, start, offset).pack()
            self.system.queue.append(header + b"E" * 27)
        self.device.doRead()
        self.assertEqual((self.user.events, self.device.malformed), ([], 3))


class WriteTests(Devices):
    """What goes to the kernel."""

    def test_packets(self) -> None:
        """Each has an empty virtio header before it."""
        device = self.open(Offloads())
        device.write([b"E1", b"E2"])
        self.assertEqual(self.system.taken, [EMPTY + b"E1", EMPTY + b"E2"])

    def test_flight(self) -> None:
        """Many large segments become super-packets; few, or small ones, are not worth it."""
        for data, many in ((TCP, 0), (UDP, 0), (LONG_TCP, 1), (LONG_UDP, 1)):
            device = self.open(Offloads())
            device.write(cut(data))
            wanted = [data] if many else [EMPTY + each for each in cut(data)]
            self.assertEqual(self.system.taken, wanted)
        for data in (tcp_super_packet(bytes(1000), 100), udp_super_packet(bytes(1000), 100)):
            device = self.open(Offloads())
            device.write(cut(data))
            self.assertEqual(self.system.taken, [EMPTY + each for each in cut(data)])

    def test_flight_without_offloads(self) -> None:
        """What the kernel does not take is not made."""
        device = self.open(Offloads(udp=False, lacking="an old kernel"))
        device.write(cut(LONG_UDP))
        self.assertEqual(self.system.taken, [EMPTY + each for each in cut(LONG_UDP)])
        device = self.open(PLAIN)
        device.write(cut(LONG_TCP))
        self.assertEqual(self.system.taken, cut(LONG_TCP))

    def test_lane(self) -> None:
        """A super-packet whose destination has a lane goes there as it is, in its place among
        others; a mistake there is logged."""
        device = self.open(Offloads())
        carried = []

        class Lane:
            def carry(self, memory: memoryview, start: int, stop: int, size: int, now: float):
                carried.append((bytes(memory[start:stop]), size, now))
                if len(carried) > 1:
                    raise ZeroDivisionError

        self.system.queue.extend([EMPTY + b"E", TCP, EMPTY + b"E"])
        device.doRead()
        self.assertEqual(carried, [])
        self.user.lanes[TCP[10 + 16 : 10 + 20]] = Lane()
        self.system.queue.extend([EMPTY + b"E", TCP, EMPTY + b"E"])
        device.doRead()
        self.assertEqual(carried, [(TCP[10:], 1000, 1000.0)])
        self.assertEqual(self.user.events, [[b"E"], TCP, [b"E"], [b"E"], [b"E"]])
        self.system.queue.append(TCP)
        device.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_super_packet(self) -> None:
        """It is written as it is, at once."""
        device = self.open(Offloads())
        for data in (TCP, UDP, EMPTY + b"E"):
            device.write_bulk(memoryview(data))
        self.assertEqual(self.system.taken, [TCP, UDP, EMPTY + b"E"])
        self.assertEqual(device.written, 3)

    def test_without_udp(self) -> None:
        """What this kernel does not cut up, we do."""
        device = self.open(Offloads(udp=False, lacking="an old kernel"))
        device.write_bulk(memoryview(TCP))
        device.write_bulk(memoryview(UDP))
        self.assertEqual(self.system.taken, [TCP, *(EMPTY + each for each in cut(UDP))])

    def test_without_any(self) -> None:
        """Without offloads everything is written as packets, with or without virtio headers."""
        for offloads, prefix in ((PLAIN, b""), (Offloads(True, False, False), EMPTY)):
            device = self.open(offloads)
            for data in (TCP, UDP, EMPTY + b"E"):
                device.write_bulk(memoryview(data))
            packets = [*cut(TCP), *cut(UDP), b"E"]
            self.assertEqual(self.system.taken, [prefix + each for each in packets])
            device.write_bulk(memoryview(TCP)[:-1])
            self.assertEqual(device.refused, 1)

    def test_refused(self) -> None:
        """What the kernel refuses is counted."""
        device = self.open(Offloads())
        self.system.write_errors = {TCP: errno.EINVAL}
        device.write_bulk(memoryview(TCP))
        self.assertEqual((device.refused, device.written), (1, 0))


class AttachTests(Devices):
    """What a kernel lacks is done without."""

    def attach(self, refused: set[int]) -> tuple[Offloads, list[tuple[int, int]]]:
        """Attach on a kernel that refuses some requests; returns what was asked for as well."""
        asked = []

        def ioctl(fd: int, request: int, argument: bytes | int) -> None:
            value = (
                argument
                if isinstance(argument, int)
                else argument[16] | argument[17] << 8
                if (len(argument) > 16)
                else argument[0]
            )
            asked.append((request, value))
            if value in refused:
                raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(offload.fcntl, "ioctl", ioctl)
        return attach(7, "tm0"), asked

    def test_all(self) -> None:
        """A kernel that has everything is asked for everything."""
        offloads, asked = self.attach(set())
        self.assertEqual(offloads, Offloads(True, True, True, ""))
        self.assertEqual([value for _, value in asked], [0x5001, 10, 0x6F])

    def test_less(self) -> None:
        """One that has less gives what it has, and the reason is told."""
        for refused, offloads in (
            ({0x6F}, (True, True, False, "UDP")),
            ({0x6F, 0x0F}, (True, False, False, "Invalid argument")),
            ({0x5001}, (False, False, False, "Invalid argument")),
            ({10}, (True, True, True, "")),
        ):
            found, _ = self.attach(refused)
            self.assertEqual((found.header, found.tcp, found.udp), offloads[:3])
            self.assertIn(offloads[3], found.lacking)

    def test_no_device_at_all(self) -> None:
        """A name that is taken stays an error."""
        self.assertRaises(OSError, self.attach, {0x5001, 0x1001})

    def test_told(self) -> None:
        """What is lacking is seen in the device, and logged once."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        device = self.open(PLAIN)
        self.assertEqual((device.offloads, device.udp_offload), (False, False))
        self.assertEqual(device.lacking, "an old kernel")
        self.assertEqual(len([each for each in events if each.get("why") == "an old kernel"]), 1)

    def test_no_limit(self) -> None:
        """A kernel that does not limit super-packets is used all the same."""
        system = FakeSystem(Offloads())
        system.fail_at = {"limit": errno.EOPNOTSUPP}
        device = open_device(FakeReactor(), "tm0", ADDRESS, ADDRESS6, 1420, system)
        self.assertTrue(device.offloads)


class KernelTests(SynchronousTestCase):
    """Programs send to each other through two devices that are joined in one process."""

    def carry(self, *options: str) -> dict:
        """Carry some megabytes; nothing may be lost, changed, or damaged on the way."""
        if os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise SkipTest("needs root and /dev/net/tun")
        ended = subprocess.run(
            [sys.executable, "-m", "bench.device", "--json", *options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        told = json.loads(ended.stdout)
        self.assertEqual(told["received"], told["sent"])
        self.assertEqual((told["checksum_errors"], told["malformed"], told["refused"]), (0, 0, 0))
        return told

    def test_tcp(self) -> None:
        """A TCP stream travels in super-packets."""
        told = self.carry("--megabytes", "8")
        if "segmentation" in told["lacking"] and "UDP" not in told["lacking"]:
            raise SkipTest(f"needs TUN offloads: {told['lacking']}")
        self.assertGreater(told["super_packets"], 8_000_000 // 65_536)
        self.assertLess(told["written"], 8_000_000 // 10_000)

    def test_tcp_over_ipv6(self) -> None:
        """The same over IPv6."""
        self.assertGreater(self.carry("--megabytes", "8", "--ipv6")["super_packets"], 0)

    def test_as_packets(self) -> None:
        """Cut up on the way, it is put together again before it is written."""
        told = self.carry("--megabytes", "8", "--as-packets")
        self.assertLessEqual(told["written"], 2 * told["super_packets"] + 20)

    def test_udp(self) -> None:
        """What a UDP program sends at once arrives as its datagrams."""
        told = self.carry("--megabytes", "2", "--udp")
        if "UDP" in told["lacking"]:
            raise SkipTest(f"needs UDP offloads of TUN: {told['lacking']}")
        self.assertGreater(told["super_packets"], 0)

    def test_one_end_without_offloads(self) -> None:
        """Super-packets get to a machine that has no offloads, cut up."""
        self.carry("--megabytes", "2", "--plain", "far")
        self.carry("--megabytes", "2", "--plain", "far", "--udp")

    def test_without_offloads(self) -> None:
        """Without any it is slower and no less correct."""
        self.assertEqual(self.carry("--megabytes", "2", "--plain", "both")["super_packets"], 0)
        self.assertEqual(self.carry("--megabytes", "2", "--plain", "near")["super_packets"], 0)
