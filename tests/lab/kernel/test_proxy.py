"""Companies whose only way out is an HTTP proxy."""

from __future__ import annotations

import shutil
from urllib.parse import urlsplit

from twisted.trial.unittest import SkipTest

from tunnelmesh.lab.kernel import Host

from .laboratory import LaboratoryTestCase

CONNECT = """
import base64
tcp = socket.create_connection((proxy, 3128), 2)
login = f"Proxy-Authorization: Basic {base64.b64encode(auth.encode()).decode()}\\r\\n" * bool(auth)
tcp.sendall(f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n{login}\\r\\n".encode())
answer = b""
while chunk := tcp.recv(4096):
    answer += chunk
lines = answer.decode().splitlines()
print(lines[0].split()[1], lines[-1] if "200" in lines[0] else "")
"""


class ProxyTests(LaboratoryTestCase):
    """tinyproxy on the gateway, with and without a password."""

    def setUp(self) -> None:
        """Skip without tinyproxy."""
        if shutil.which("tinyproxy", path="/usr/bin:/usr/sbin:/usr/local/bin") is None:
            raise SkipTest("the command 'tinyproxy' is missing")
        super().setUp()
        self.correspond()

    def connect(self, host: Host, proxy: str, port: int, auth: str = "") -> list[str]:
        """Ask a proxy for a connection to the correspondent; return its status and what came."""
        target = f"{self.world.coordinator.address}:{port}"
        address = urlsplit(proxy).hostname
        return self.python(host, CONNECT, proxy=address, target=target, auth=auth).split()

    def test_without_password(self) -> None:
        """The proxy connects to HTTPS ports, as the gateway's outside address, and to no other."""
        site = self.world.add_site("company", "proxy-only")
        desk = site.add_host("desk")
        status, address, _port = self.connect(desk, site.proxy, 443)
        self.assertEqual((status, address), ("200", site.outside))
        self.assertEqual(self.connect(desk, site.proxy, 8443)[0], "200")
        self.assertEqual(self.connect(desk, site.proxy, 2222), ["403"])

    def test_other_ports(self) -> None:
        """Where it is allowed, the SSH port passes the proxy as well."""
        site = self.world.add_site("company", "proxy-only", connect_ports=(443, 2222))
        self.assertEqual(self.connect(site.add_host("desk"), site.proxy, 2222)[0], "200")

    def test_with_password(self) -> None:
        """The proxy asks for a password, and takes the one in its URL only."""
        site = self.world.add_site("company", "proxy-auth")
        desk = site.add_host("desk")
        parts = urlsplit(site.proxy)
        right = f"{parts.username}:{parts.password}"
        self.assertEqual(self.connect(desk, site.proxy, 443), ["407"])
        self.assertEqual(self.connect(desk, site.proxy, 443, "tunnel:wrong"), ["401"])
        self.assertEqual(self.connect(desk, site.proxy, 443, right)[0], "200")

    def test_live(self) -> None:
        """A proxy comes and goes with the kind."""
        site = self.world.add_site("home", "linux")
        desk = site.add_host("desk")
        self.assertIsNone(site.proxy)
        site.change("proxy-only")
        proxy = site.proxy
        self.assertEqual(self.connect(desk, proxy, 443)[0], "200")
        site.block(tcp_port=443)
        self.assertNotEqual(self.connect(desk, proxy, 8443), [])
        site.change("linux")
        self.assertIsNone(site.proxy)
        refused = desk.run(["bash", "-c", f"exec 3<>/dev/tcp/{site.lan.router}/3128"], check=False)
        self.assertNotEqual(refused.returncode, 0)
