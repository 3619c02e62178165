"""Debian's ``stun``, a client of the classic protocol (RFC 3489), against our server."""

from __future__ import annotations

import subprocess

from tests.counterparts.stun_laboratory import UDP_KINDS, StunTestCase

VERDICTS = {
    "open": "Open",
    "firewall": "Firewall",
    "full-cone": "Independent Mapping, Independent Filter, random port",
    "restricted-cone": "Independent Mapping, Address Dependent Filter, random port",
    "port-restricted": "Independent Mapping, Port Dependent Filter, random port",
    "linux": "Independent Mapping, Port Dependent Filter, preserves ports",
    "symmetric": "Dependent Mapping, random port",
    "symmetric-sequential": "Dependent Mapping, random port",
    "udp-blocked": "Blocked or could not reach STUN server",
}


class StunClientTests(StunTestCase):
    """The classic tests of a classic client."""

    programs = {"stun": "stun-client"}

    def test_every_kind(self) -> None:
        """It comes to the right verdict behind every kind of NAT."""
        self.serve(self.first, self.second)
        started = {
            kind: host.popen(["stun", self.first], stdout=subprocess.PIPE, text=True)
            for kind, host in self.behind((*UDP_KINDS, "udp-blocked")).items()
        }
        for kind, program in started.items():
            self.assertIn(f"Primary: {VERDICTS[kind]}", program.communicate(timeout=30)[0], kind)

    def test_one_address(self) -> None:
        """A server with one address answers it too."""
        self.serve(self.first)
        host = self.world.add_host("client")
        output = host.run(["stun", self.first], check=False, timeout=30).stdout
        self.assertIn("Primary: Open", output)
