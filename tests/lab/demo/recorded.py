"""Answers of peers, as they were recorded."""

from __future__ import annotations

from typing import Any

from tunnelmesh.lab.demo.stage import Machine

MACHINES = (
    Machine("laptop", "home", "port-restricted", "192.168.1.2", "198.51.100.1"),
    Machine("homeserver", "office", "symmetric", "192.168.2.2", "198.51.100.2"),
)


def status(name: str, link: str | None, path: str | None) -> dict[str, Any]:
    """A peer's answer, as far as the demonstration reads it."""
    here = next(number for number, each in enumerate(MACHINES, 1) if each.name == name)
    return {
        "name": name,
        "address": f"100.96.0.{here}",
        "nat": {"flavour": MACHINES[here - 1].kind, "external": f"198.51.100.{here}:4242"},
        "coordinator": {"link": link, "proxy": None, "rtt_ms": 1.2},
        "peers": [
            {
                "name": MACHINES[2 - here].name,
                "path": {"kind": path, "rtt_ms": 2.4},
                "probes": 4,
                "signalled_s": None,
            }
        ],
    }
