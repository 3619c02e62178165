"""Nebula: one UDP socket, packet by packet, in Go."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from typing import ClassVar

from bench.throughput.systems.system import FAR, MTU, NEAR, PREFIX, System, said

PORT = 4242


class Nebula(System):
    """Two hosts that know each other's address, and no lighthouse."""

    name: ClassVar[str] = "nebula"

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Look for the programs."""
        found = shutil.which("nebula") and shutil.which("nebula-cert")
        return None if found else "apt install nebula"

    def version(self) -> str:
        """Its own words."""
        return said(["nebula", "-version"]).split()[-1]

    def start(self) -> None:
        """Certify both, and start them."""
        said(["nebula-cert", "ca", "-name", "bench"], cwd=self.folder)
        line = self.line
        for host, own, other, endpoint in (
            (line.near, NEAR, FAR, line.far_address),
            (line.far, FAR, NEAR, line.near_address),
        ):
            address = ["-ip", f"{own}/{PREFIX}"]
            said(["nebula-cert", "sign", "-name", host.name, *address], cwd=self.folder)
            anything = [{"port": "any", "proto": "any", "host": "any"}]
            settings = {
                "pki": {
                    "ca": str(self.folder / "ca.crt"),
                    "cert": str(self.folder / f"{host.name}.crt"),
                    "key": str(self.folder / f"{host.name}.key"),
                },
                "static_host_map": {other: [f"{endpoint}:{PORT}"]},
                "lighthouse": {"am_lighthouse": False, "hosts": []},
                "listen": {"host": "0.0.0.0", "port": PORT},
                "tun": {"dev": "nebula", "mtu": MTU},
                "firewall": {"outbound": anything, "inbound": anything},
            }
            file = self.folder / f"{host.name}.yml"
            file.write_text(json.dumps(settings))  # which is YAML
            self.spawn(host, ["nebula", "-config", str(file)])
