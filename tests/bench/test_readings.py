"""What iperf3 and ping print is read rightly."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.throughput.readings import median, packet_rate, percentile, round_trips, transfer


def received(bits_per_second: float, bytes_: int) -> dict[str, Any]:
    """A part of iperf3's report."""
    return {"bits_per_second": bits_per_second, "bytes": bytes_, "seconds": 3.0}


PING = """PING 10.99.0.2 (10.99.0.2) 56(84) bytes of data.
64 bytes from 10.99.0.2: icmp_seq=1 ttl=64 time=0.395 ms
64 bytes from 10.99.0.2: icmp_seq=2 ttl=64 time=12 ms

--- 10.99.0.2 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 1001ms
rtt min/avg/max/mdev = 0.395/6.197/12.000/5.802 ms
"""


class TransferTests(SynchronousTestCase):
    """iperf3's reports of TCP."""

    def test_one_direction(self) -> None:
        """What arrived counts, not what was sent."""
        end = {"sum_sent": received(9e9, 4000), "sum_received": received(2.5e9, 1000)}
        self.assertEqual(transfer({"end": end}), (2500.0, 1000))

    def test_both_directions(self) -> None:
        """Both are added up."""
        end = {
            "sum_received": received(2e9, 1000),
            "sum_sent_bidir_reverse": received(9e9, 4000),
            "sum_received_bidir_reverse": received(1e9, 500),
        }
        self.assertEqual(transfer({"end": end}), (3000.0, 1500))

    def test_error(self) -> None:
        """A report of a failure is one here, with iperf3's words."""
        report = {"start": {}, "end": {}, "error": "unable to connect to server"}
        for read in (transfer, packet_rate):
            error = self.assertRaises(ValueError, read, report)
            self.assertIn("unable to connect", str(error))


class PacketRateTests(SynchronousTestCase):
    """iperf3's reports of UDP."""

    def test_lost_ones_do_not_count(self) -> None:
        """Datagrams that arrived, per second."""
        total = {"packets": 1000, "lost_packets": 400, "seconds": 2.0}
        self.assertEqual(packet_rate({"end": {"sum": total}}), 300.0)


class PingTests(SynchronousTestCase):
    """ping's output."""

    def test_times(self) -> None:
        """Each answer's time, whether it is whole or broken; no other number."""
        self.assertEqual(round_trips(PING), [0.395, 12.0])

    def test_no_answer(self) -> None:
        """There may be none."""
        self.assertEqual(round_trips("3 packets transmitted, 0 received, time 1001ms"), [])


class SummaryTests(SynchronousTestCase):
    """Many readings together."""

    def test_percentiles(self) -> None:
        """They are values that were there, whatever the order."""
        values = [float(each) for each in range(100, 0, -1)]
        self.assertEqual(percentile(values, 50), 50.0)
        self.assertEqual(percentile(values, 99), 99.0)
        self.assertEqual(percentile([3.0], 99), 3.0)
        self.assertIsNone(percentile([], 50))

    def test_median(self) -> None:
        """Readings that failed do not count; without any there is none."""
        self.assertEqual(median([5.0, None, 1.0, 2.0]), 2.0)
        self.assertIsNone(median([None]))
