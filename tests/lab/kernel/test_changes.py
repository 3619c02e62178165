"""A running laboratory changes under its hosts' feet."""

from __future__ import annotations

from tunnelmesh.errors import LabError

from .laboratory import LaboratoryTestCase

LOST = """
import select
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((address, 3478))
answers = 0
for _ in range(count):
    udp.send(b"0 0")
    if select.select([udp], [], [], 0.002)[0]:
        answers += bool(udp.recv(99))
print(answers)
"""

FLOW = """
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 5000))
udp.settimeout(0.3)
udp.sendto(b"0 0", (address, 3478))
try:
    print(*udp.recv(99).decode().split())
except TimeoutError:
    print("nothing")
"""


class ChangeTests(LaboratoryTestCase):
    """One host, whose site changes."""

    def setUp(self) -> None:
        """Put a laptop behind a plain Linux gateway."""
        super().setUp()
        self.correspond()
        self.home = self.world.add_site("home", "linux")
        self.laptop = self.home.add_host("laptop")

    def flow(self) -> str:
        """Return the outer address and port that one and the same inner socket gets now."""
        return self.python(self.laptop, FLOW, address=self.world.coordinator.address)

    def kind(self) -> str:
        """Measure what the gateway is now."""
        (seen,) = self.probe(self.laptop)
        return f"{seen['mapping']} {seen['filtering']}"

    def test_change_of_kind(self) -> None:
        """A changed gateway behaves as its new kind, and knows no flow from before."""
        before = self.flow()
        self.assertEqual(before, f"{self.home.outside} 5000")
        for kind in ("full-cone", "symmetric", "udp-blocked"):
            self.home.change(kind)
            described = self.world.kinds[kind]
            self.assertEqual(self.kind(), f"{described.mapping} {described.filtering}")
            self.assertNotEqual(self.flow(), before)
        self.home.change("linux")
        self.assertEqual(self.flow(), before)

    def test_change_to_routed_and_back(self) -> None:
        """An open site's host has a public address; it loses it with the next translation."""
        private = self.laptop.address
        self.home.change("open")
        self.assertEqual(self.flow(), f"{self.laptop.address} 5000")
        self.assertNotEqual(self.laptop.address, private)
        self.world.coordinator.run(["ping", "-c1", "-W1", self.laptop.address])
        self.home.change("firewall")
        seen = self.world.coordinator.run(["ping", "-c1", "-W1", self.laptop.address], check=False)
        self.assertEqual(seen.returncode, 1)
        self.home.change("linux")
        self.assertEqual(self.laptop.address, private)
        self.assertEqual(self.flow(), f"{self.home.outside} 5000")

    def test_changes_use_nothing_up(self) -> None:
        """A public network that is not used any more can be had again: there are 32."""
        self.home.change("open")
        self.home.roam()
        self.home.change("linux")
        uplink = self.home.uplink
        networks = {uplink.segment.delegate(uplink.port, uplink.address) for _ in range(32)}
        self.assertEqual(len(networks), 32)
        self.assertRaises(LabError, self.home.change, "open")
        self.assertEqual(self.flow(), f"{self.home.outside} 5000")

    def test_a_carrier_cannot_become_open(self) -> None:
        """A site with sites behind it keeps translating, and a site behind one must translate."""
        inner = self.world.add_site("inner", "linux", behind=self.home)
        self.assertRaises(LabError, self.home.change, "open")
        self.assertRaises(LabError, inner.change, "open")
        self.assertRaises(LabError, self.world.add_site, "x", "open", behind=self.home)
        self.assertEqual(self.kind(), "endpoint-independent address-and-port-dependent")

    def test_blocks(self) -> None:
        """UDP and a TCP port are blocked and unblocked, whatever the kind becomes meanwhile."""
        self.home.block(udp=True)
        self.home.block(tcp_port=2222)
        self.home.change("full-cone")
        (seen,) = self.probe(self.laptop)
        self.assertEqual(seen["mapping"], "blocked")
        self.assertEqual(seen["tcp"], [80, 443, 8080, 8443])
        self.home.unblock()
        (seen,) = self.probe(self.laptop)
        self.assertEqual(seen["mapping"], "endpoint-independent")
        self.assertIn(2222, seen["tcp"])

    def test_block_needs_a_subject(self) -> None:
        """Blocking nothing, or a port that is none, is refused."""
        self.assertRaises(LabError, self.home.block)
        self.assertRaises(LabError, self.home.block, tcp_port=70000)

    def test_a_block_stops_running_flows(self) -> None:
        """A TCP connection and a UDP flow that exist already stop as well."""
        self.assertNotEqual(self.flow(), "nothing")
        self.home.block(udp=True)
        self.assertEqual(self.flow(), "nothing")

    def test_roam(self) -> None:
        """A new outside address is used at once, and the old one is nobody's."""
        old = self.home.outside
        new = self.home.roam()
        self.assertNotEqual(new, old)
        self.assertEqual(self.flow(), f"{new} 5000")
        routes = ["ip", "-n", self.home.uplink.segment.namespace, "route", "show"]
        shown = self.world.coordinator.run(routes).stdout
        self.assertIn(f"{new} dev", shown)
        self.assertNotIn(f"{old} dev", shown)

    def test_roam_of_an_open_site(self) -> None:
        """The hosts of an open site get new addresses as it roams."""
        self.home.change("open")
        old = self.laptop.address
        self.home.roam()
        self.assertNotEqual(self.laptop.address, old)
        self.assertEqual(self.flow(), f"{self.laptop.address} 5000")

    def test_move(self) -> None:
        """A host that moves has an address and a gateway of the other site's."""
        office = self.world.add_site("office", "linux")
        self.laptop.move_to(office)
        self.assertEqual(self.flow(), f"{office.outside} 5000")
        self.assertEqual((self.home.hosts, office.hosts), ([], [self.laptop]))
        self.laptop.move_to(self.home)
        self.assertEqual(self.flow(), f"{self.home.outside} 5000")

    def test_move_of_a_public_host(self) -> None:
        """A public machine can be carried behind a NAT."""
        kiosk = self.world.add_host("kiosk")
        kiosk.move_to(self.home)
        kiosk.run(["ping", "-c1", "-W1", self.world.coordinator.address])

    def test_loss(self) -> None:
        """About the asked share of packets is lost each way, and none afterwards."""
        asked = {"address": self.world.coordinator.address, "count": 400}
        self.home.lose(30)
        answers = int(self.python(self.laptop, LOST, **asked))
        self.assertTrue(120 < answers < 270, answers)  # 196 expected, 10 the deviation
        self.home.lose(0)
        self.assertGreater(int(self.python(self.laptop, LOST, **asked)), 380)
        self.assertRaises(LabError, self.home.lose, 101)

    def test_limit(self) -> None:
        """A limited line takes its time."""
        self.home.limit(1)
        (seen,) = self.probe(self.laptop)
        self.assertEqual(seen["mapping"], "endpoint-independent")
        queues = self.home.gateway.run(["tc", "qdisc", "show", "dev", "wan"]).stdout
        self.assertIn("rate 1Mbit", queues)
        self.home.limit(None)
        queues = self.home.gateway.run(["tc", "qdisc", "show", "dev", "wan"]).stdout
        self.assertNotIn("rate", queues)

    def test_lifetime(self) -> None:
        """A mapping that nobody uses ends after its lifetime."""
        site = self.world.add_site("brief", "full-cone", lifetime=2)
        self.laptop.move_to(site)
        first = self.flow()
        self.assertEqual(self.flow(), first)
        self.eventually(lambda: self.flows(site) == "", 9)
        self.assertNotEqual(self.flow(), first)

    def flows(self, site) -> str:
        """Return the mappings that a gateway holds."""
        listed = site.gateway.run(["nft", "list", "map", "ip", "tunnelmesh_lab", "mapped"]).stdout
        return listed.partition("elements = ")[2]
