"""coturn: its server for our classification, its client for our server, behind every NAT."""

from __future__ import annotations

import re
import subprocess

from tests.counterparts.stun_laboratory import UDP_KINDS, StunTestCase
from tunnelmesh.lab.kernel import Host

VERDICT = re.compile(r"NAT with (.*) (?:Mapping|Filtering)!")


class CoturnTests(StunTestCase):
    """From behind a kernel NAT of every kind."""

    programs = {"turnserver": "coturn", "turnutils_natdiscovery": "coturn"}

    def check(self, hosts: dict[str, Host]) -> None:
        """Our classification of every kind is what the laboratory says it is."""
        for name, found in self.classify(hosts).items():
            kind = self.world.kinds[name]
            told = found["flavour"], found["mapping"], found["filtering"]
            self.assertEqual(told, (kind.flavour, kind.mapping, kind.filtering), name)

    def test_its_server(self) -> None:
        """By coturn's server, every kind is what it is."""
        self.serve_coturn()
        self.check(self.behind((*UDP_KINDS, "udp-blocked")))

    def test_our_server(self) -> None:
        """By our server, every kind is what it is for both coturn's client and ours."""
        self.serve(self.first, self.second)
        hosts = self.behind(UDP_KINDS)
        started = {
            (kind, option): host.popen(
                ["turnutils_natdiscovery", option, self.first], stdout=subprocess.PIPE, text=True
            )
            for kind, host in hosts.items()
            for option in ("-m", "-f")
        }
        self.check(hosts)
        for (name, option), program in started.items():
            verdict = VERDICT.search(program.communicate(timeout=30)[0])
            assert verdict is not None, name
            found = verdict[1].lower().replace(" ", "-")
            kind = self.world.kinds[name]
            # It has no look at the local address, so that no translation is an independent one.
            mapping = "endpoint-independent" if kind.mapping == "none" else kind.mapping
            self.assertEqual(found, mapping if option == "-m" else kind.filtering, name)

    def test_our_server_with_one_address(self) -> None:
        """Our server with one address tells all but the two open cones apart."""
        self.serve(self.first)
        self.check(self.behind(tuple(kind for kind in UDP_KINDS if kind != "full-cone")))
