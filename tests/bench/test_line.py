"""The wires that tunnels are compared on do what they are said to."""

from __future__ import annotations

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.throughput.line import ROUND_TRIP, Laboratory, Line, missing
from bench.throughput.readings import round_trips
from tunnelmesh.lab.kernel import World


def ping(line: Line, address: str, *options: str) -> list[float]:
    """The round trips of pings from the near machine, in milliseconds."""
    argv = ["ping", "-c3", "-i0.05", "-W1", *options, address]
    return round_trips(line.near.run(argv, check=False).stdout)


class LineTests(SynchronousTestCase):
    """A wire between two machines."""

    def setUp(self) -> None:
        """Lay one, or skip."""
        lacking = missing()
        if lacking:
            raise SkipTest(lacking)
        world = World("line")
        world.__enter__()
        self.addCleanup(world.down)
        self.line = Laboratory(world, offloads=False).line("test")

    def test_addresses(self) -> None:
        """Every address of the far machine, and the coordinator's, can be reached from the near."""
        line = self.line
        for address in (line.far_address, line.far.address, line.world.coordinator.address):
            self.assertEqual(len(ping(line, address)), 3, address)

    def test_delay(self) -> None:
        """Packets of any size take their time on the long wire, both ways and to any address, and
        afterwards none."""
        line = self.line
        with line.delayed():
            for address in (line.far_address, line.far.address):
                times = ping(line, address, "-s1400")
                self.assertEqual(len(times), 3, address)
                self.assertGreaterEqual(min(times), 1000 * ROUND_TRIP)
        self.assertEqual(len(ping(line, line.far_address)), 3)
        devices = line.far.run(["ip", "-brief", "link"]).stdout
        self.assertNotIn("line", devices)

    def test_loss(self) -> None:
        """What is lost is lost, until the wire is whole again."""
        with self.line.losing(100):
            self.assertEqual(ping(self.line, self.line.far_address), [])
        self.assertEqual(len(ping(self.line, self.line.far_address)), 3)
