"""What the tests of STUN against other programs share."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.lab.kernel import Host, World, available

UDP_KINDS = (
    "open",
    "firewall",
    "full-cone",
    "restricted-cone",
    "port-restricted",
    "linux",
    "symmetric",
    "symmetric-sequential",
)


class StunTestCase(SynchronousTestCase):
    """A world with a STUN server at the coordinator's two addresses.

    :cvar programs: what must be installed: program to Debian package.
    """

    programs: dict[str, str] = {}

    def setUp(self) -> None:
        """Build the world, or skip."""
        for program, package in self.programs.items():
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed (Debian package {package})")
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.world = World("stun")
        self.world.__enter__()
        self.addCleanup(self.world.down)
        self.first, self.second = self.world.coordinator.addresses

    def behind(self, kinds: tuple[str, ...]) -> dict[str, Host]:
        """A host behind a gateway of each kind."""
        return {kind: self.world.add_site(kind, kind).add_host(f"in-{kind}") for kind in kinds}

    def serve(self, *addresses: str) -> None:
        """Start our server on the coordinator's machine."""
        argv = [sys.executable, "-m", "tests.counterparts.stun_server", *addresses]
        program = self.world.coordinator.popen(argv, stdout=subprocess.PIPE, text=True)
        self.addCleanup(program.stdout.close)
        self.assertEqual(program.stdout.readline(), "listening\n")

    def serve_coturn(self) -> None:
        """Start coturn on the coordinator's machine, without any of its files elsewhere."""
        folder = self.mktemp()
        argv = ["turnserver", "-n", "--stun-only", "--no-auth", "--no-cli", "--no-tcp"]
        argv += ["--no-tls", "--no-dtls", "--listening-port=3478", f"--pidfile={folder}.pid"]
        argv += [f"--userdb={folder}.db", f"--log-file={folder}.log", "--simple-log"]
        argv += [f"--listening-ip={each}" for each in (self.first, self.second)]
        quiet = subprocess.DEVNULL
        self.world.coordinator.popen(argv, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + 10
        while self.world.coordinator.run(["ss", "-Hlun"]).stdout.count(":347") < 4:
            self.assertLess(time.monotonic(), deadline, "coturn does not listen")
            time.sleep(0.05)

    def classify(self, hosts: dict[str, Host]) -> dict[str, dict[str, Any]]:
        """Our classification from all hosts at once."""
        argv = [sys.executable, "-m", "tests.counterparts.stun_classify"]
        argv += [f"{self.first}:3478", f"{self.first}:3479"]
        started = {
            kind: host.popen([*argv, "--", *host.addresses], stdout=subprocess.PIPE, text=True)
            for kind, host in hosts.items()
        }
        return {kind: json.loads(each.communicate(timeout=30)[0]) for kind, each in started.items()}
