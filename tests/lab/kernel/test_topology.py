"""Sites behind sites, hosts side by side, and the way back in through one's own gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tunnelmesh.lab.kernel import Host

from .laboratory import HERE, LaboratoryTestCase


class TopologyTests(LaboratoryTestCase):
    """More than one host, or more than one gateway, on the way."""

    def punches(self, one: Host, other: Host) -> bool:
        """Whether two hosts reach each other by the addresses that the correspondent sees."""
        argv = [sys.executable, "-IS", str(HERE / "puncher.py"), self.world.coordinator.address]
        programs = [
            host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for host in (one, other)
        ]
        seen = [program.stdout.readline() for program in programs]
        for program, target in zip(programs, reversed(seen), strict=True):
            program.stdin.write(target)
            program.stdin.flush()
        return all(program.communicate(timeout=5)[0] == "met\n" for program in programs)

    def test_one_lan(self) -> None:
        """Two hosts of one LAN reach each other, but not by the gateway's outside address."""
        self.correspond()
        home = self.world.add_site("home", "full-cone")
        laptop, printer = home.add_host("laptop"), home.add_host("printer")
        laptop.run(["ping", "-c1", "-W1", printer.address])
        self.assertFalse(self.punches(laptop, printer))

    def test_hairpin(self) -> None:
        """Behind a gateway that hairpins they meet, filtered as if they came from elsewhere."""
        self.correspond()
        kinds = [self.world.kinds[name] for name in ("full-cone", "restricted-cone", "linux")]
        hosts = []
        for kind in kinds:
            home = self.world.add_site(kind.name, kind.name, hairpin=True)
            hosts.append(home.add_host(f"{kind.name}-a"))
            self.assertTrue(self.punches(hosts[-1], home.add_host(f"{kind.name}-b")), kind.name)
        for kind, seen in zip(kinds, self.probe(*hosts), strict=True):
            self.assertEqual((seen["mapping"], seen["filtering"]), (kind.mapping, kind.filtering))

    def test_hairpin_of_a_symmetric_gateway(self) -> None:
        """A hairpin does not help two hosts behind a symmetric gateway."""
        self.correspond()
        home = self.world.add_site("home", "symmetric", hairpin=True)
        self.assertFalse(self.punches(home.add_host("a"), home.add_host("b")))

    def test_carrier(self) -> None:
        """Behind a home gateway and a carrier's, the stricter of the two decides."""
        self.correspond()
        carrier = self.world.add_site("carrier", "port-restricted", network="100.64.0.0/24")
        home = self.world.add_site("home", "full-cone", behind=carrier)
        strict = self.world.add_site("strict", "symmetric", behind=carrier)
        self.assertEqual(home.outside, "100.64.0.2")
        seen = self.probe(home.add_host("laptop"), strict.add_host("server"))
        self.assertEqual(
            [(each["mapping"], each["filtering"]) for each in seen],
            [
                ("endpoint-independent", "address-and-port-dependent"),
                ("address-and-port-dependent", "address-and-port-dependent"),
            ],
        )
        self.assertEqual(home.roam(), "100.64.0.4")
        home.hosts[0].run(["ping", "-c1", "-W1", self.world.coordinator.address])

    def test_double_nat(self) -> None:
        """Every cone behind every sort of carrier is as strict as the stricter of the two."""
        self.correspond()
        cones = ("full-cone", "restricted-cone", "port-restricted")
        strictness = ("endpoint-independent", "address-dependent", "address-and-port-dependent")
        kinds, expected, hosts = self.world.kinds, [], []
        for outer in (*cones, "symmetric"):
            carrier = self.world.add_site(outer, outer)
            for inner in cones:
                home = self.world.add_site(f"home-{len(hosts)}", inner, behind=carrier)
                hosts.append(home.add_host(f"host-{len(hosts)}"))
                filters = (kinds[inner].filtering, kinds[outer].filtering)
                expected.append((kinds[outer].mapping, max(filters, key=strictness.index)))
        seen = [(each["mapping"], each["filtering"]) for each in self.probe(*hosts)]
        self.assertEqual(seen, expected)

    def test_two_customers_of_one_carrier(self) -> None:
        """Two homes behind one carrier meet if the carrier hairpins."""
        self.correspond()
        for hairpin, meet in ((True, True), (False, False)):
            name = f"carrier-{hairpin}".lower()
            carrier = self.world.add_site(name, "port-restricted", hairpin=hairpin)
            homes = [
                self.world.add_site(f"{name}-{each}", "port-restricted", behind=carrier)
                for each in ("a", "b")
            ]
            hosts = [home.add_host(f"{home.name}-host") for home in homes]
            self.assertEqual(self.punches(*hosts), meet)

    def test_same_private_network_twice(self) -> None:
        """Two homes may use the same private addresses."""
        self.correspond()
        homes = [
            self.world.add_site(name, "port-restricted", network="192.168.1.0/24")
            for name in ("home", "office")
        ]
        laptop, server = homes[0].add_host("laptop"), homes[1].add_host("server")
        self.assertEqual(laptop.address, server.address)
        self.assertTrue(self.punches(laptop, server))

    def test_many_sockets_keep_their_mappings(self) -> None:
        """Each of 300 sockets of a host behind a cone has one outer port of its own."""
        self.correspond()
        laptop = self.world.add_site("home", "port-restricted").add_host("laptop")
        ports = self.python(
            laptop,
            "ports, sockets = [], []\n"
            "for _ in range(300):\n"
            "    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "    udp.settimeout(2)\n"
            "    sockets.append(udp)\n"
            "    for address in addresses:\n"
            "        udp.sendto(b'0 0' if address == addresses[0] else b'1 0', (address, 3478))\n"
            "    seen = {udp.recv(99) for _ in addresses}\n"
            "    assert len(seen) == 1, seen\n"
            "    ports += seen\n"
            "print(len(set(ports)))\n",
            addresses=self.world.coordinator.addresses,
        )
        self.assertEqual(ports, "300")

    def test_one_cpu(self) -> None:
        """A cone's queues are all tied to one CPU, wherever its hosts come from."""
        cone = self.world.add_site("cone", "full-cone")
        linux = self.world.add_site("linux", "linux")
        linux.add_host("laptop").move_to(cone)
        self.world.add_site("inner", "linux", behind=cone)
        show = ["sh", "-c", "cat /sys/class/net/*/queues/rx-*/rps_cpus | sort -u"]
        if "4294967295" in Path("/proc/self/uid_map").read_text():  # not in a user namespace
            self.assertEqual(int(cone.gateway.run(show).stdout, 16), 1)
        cone.change("symmetric")
        self.assertEqual(int(cone.gateway.run(show).stdout, 16), 0)
