"""A peer of which one part cannot be had."""

# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from typing import NoReturn

from twisted.internet.protocol import DatagramProtocol

from tests.peer.world import WorldTestCase
from tunnelmesh import fatal
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.lab.sim.tunnel import TunnelDevice
from tunnelmesh.peer.reach.route_monitor import RouteMonitor


class HalfStartedTests(WorldTestCase):
    """What was opened before the part that failed."""

    def test_udp_port_taken(self) -> None:
        """It is closed again: another attempt on the same machine finds nothing in its way."""
        failures: list[Exception] = []
        self.patch(fatal, "fail", lambda reactor, error: failures.append(error))
        host = self.internet.nat("198.51.100.1").host(name="here")
        devices: list[TunnelDevice] = []
        make = host.tunnel_device

        def tunnel_device(name: str, mtu: int) -> TunnelDevice:
            devices.append(make(name, mtu))
            return devices[-1]

        self.patch(host, "tunnel_device", tunnel_device)
        taken = host.listenUDP(4242, DatagramProtocol())
        peer = SimulatedPeer(self.internet, host, self.folder / "here", self.token, udp_port=4242)
        peer.start()
        self.until(lambda: failures)
        self.assertIn("4242", str(failures[0]))
        (device,) = devices
        self.assertIsNone(device.kernel)
        self.assertIsNone(peer.node)
        taken.stopListening()

    def test_no_netlink(self) -> None:
        """A sandbox that forbids netlink costs what netlink would tell, and not the peer."""

        def refuse(*_: object) -> NoReturn:
            raise PermissionError(1, "Operation not permitted")

        self.patch(socket, "socket", refuse)
        monitor = RouteMonitor(None, lambda: None)
        monitor.start()
        self.assertEqual(monitor.fileno(), -1)
        monitor.stop()
