"""Scenes with real TUN devices, each in a process and a network namespace of its own."""

import json
import os
import shutil
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

SCENE = """
import json, socket, struct, subprocess
from ipaddress import IPv4Interface, IPv6Interface
from twisted.internet import reactor
from tunnelmesh.errors import DeviceError
from tunnelmesh.tun.device import open_device

def device(name="tm0"):
    return open_device(
        reactor, name, IPv4Interface("100.96.1.2/16"), IPv6Interface("fd12:3456:789a::1/48"), 1400
    )

def ip(*arguments):
    out = subprocess.run(["ip", "-j", *arguments], capture_output=True, check=True).stdout
    return json.loads(out or "[]")

def tell(result):
    print(json.dumps(result))
"""


class Scenes(SynchronousTestCase):
    """Plays scenes."""

    def play(self, scene: str):
        """Run Python code where it may make devices; it tells one JSON value."""
        tools = [tool for tool in ("unshare", "ip") if not shutil.which(tool)]
        if tools or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise SkipTest(f"needs {', '.join(tools) or '/dev/net/tun'}")
        unshare = ["unshare", "--net"]
        if os.geteuid() != 0:
            unshare += ["--user", "--map-root-user"]
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("needs root, or user namespaces")
        ended = subprocess.run(
            [*unshare, sys.executable, "-c", SCENE + scene],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return json.loads(ended.stdout)
