"""tinc 1.0: packet by packet, in C."""

from __future__ import annotations

import re
import signal
import time
from argparse import Namespace
from typing import ClassVar

from bench.throughput.systems.system import FAR, NEAR, PREFIX, System, said, which
from tunnelmesh.lab.kernel.mesh import wait_until

KNOWN_MTU = re.compile(r"pmtu (\d+) \(min \1 max \1\)")

PROBING = 45.0
"""Seconds, at most, that it needs to find the path's MTU: one probe a second, up to 30."""


class Tinc(System):
    """Two daemons with their default ciphers."""

    name: ClassVar[str] = "tinc"

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Look for the program."""
        return None if which("tincd") else "apt install tinc"

    def version(self) -> str:
        """Its own words."""
        return said([str(which("tincd")), "--version"]).split()[2]

    def start(self) -> None:
        """Make keys, start both, and wait until large packets go by UDP."""
        line = self.line
        ends = {
            "near": (line.near, NEAR, line.near_address),
            "far": (line.far, FAR, line.far_address),
        }
        for name, (_, own, address) in ends.items():
            home = self.folder / name
            (home / "hosts").mkdir(parents=True)
            other = next(each for each in ends if each != name)
            (home / "tinc.conf").write_text(
                f"Name = {name}\nConnectTo = {other}\nDevice = /dev/net/tun\nInterface = tinc\n"
            )
            (home / "hosts" / name).write_text(f"Address = {address}\nSubnet = {own}/32\n")
            up = home / "tinc-up"
            address = f"ip address add {own}/{PREFIX} dev $INTERFACE"
            up.write_text(f"#!/bin/sh\n{address}\nip link set $INTERFACE up\n")
            up.chmod(0o755)
            said([str(which("tincd")), "-c", str(home), "-K2048"], input="")
        for name in ends:
            for other in ends.keys() - {name}:
                text = (self.folder / other / "hosts" / other).read_text()
                (self.folder / name / "hosts" / other).write_text(text)
        for name, (host, _, _) in ends.items():
            where = ["-c", f"{self.folder / name}", f"--pidfile={self.folder / name / 'pid'}"]
            self.spawn(host, [str(which("tincd")), "-D", *where])
        wait_until(self._settled, "tinc to find the path's MTU", PROBING)

    def _settled(self) -> bool:
        """Whether both know the MTU: until then they send large packets by TCP."""
        time.sleep(1)
        for program in self.programs:
            program.send_signal(signal.SIGUSR2)  # "tell what you know"
        logs = [log.read_text() for log in self.logs]
        return all(KNOWN_MTU.search(log) for log in logs)
