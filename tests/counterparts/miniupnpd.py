"""A router of the laboratory that maps ports on request: miniupnpd beside its firewall."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import Site
from tunnelmesh.lab.kernel.namespaces import command, nft

PUBLIC = IPv4Network("198.20.0.0/24")
"""Outside addresses that miniupnpd takes for public. It refuses those that are set aside for
documentation, which the laboratory uses otherwise; no packet of it leaves the machine anyway."""

TABLE = """
table inet miniupnpd
delete table inet miniupnpd
table inet miniupnpd {
  chain prerouting { type nat hook prerouting priority -100; jump mapped; }
  chain postrouting { type nat hook postrouting priority 100; jump translated; }
  chain forward { type filter hook forward priority 0; jump forwarded; }
  chain mapped { }
  chain translated { }
  chain forwarded { }
}
"""

CONFIGURATION = """
ext_ifname=wan
listening_ip=lan
enable_upnp=yes
enable_natpmp=yes
secure_mode=yes
port=0
uuid=5f3ac3a1-7f0e-4a3c-9c5a-2f9d6b1f0e77
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=forwarded
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=translated
allow 1024-65535 0.0.0.0/0 1024-65535
"""


def require() -> None:
    """Skip the test where there is no miniupnpd for nftables."""
    try:
        command("miniupnpd")
    except LabError:
        raise SkipTest("miniupnpd is not installed (Debian package miniupnpd-nftables)") from None


class Miniupnpd:
    """The daemon on a site's gateway. Started again, it has forgotten everything."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._gateway = site.gateway
        self._configuration = folder / f"{site.name}.conf"
        self._configuration.write_text(CONFIGURATION)
        self._pid_file = folder / f"{site.name}.pid"
        self._process: subprocess.Popen[Any] | None = None
        self.start()

    def start(self) -> None:
        """Run it, with no mapping left."""
        nft(TABLE, self._gateway.namespace)
        files = ["-f", str(self._configuration), "-P", str(self._pid_file)]
        quiet = subprocess.DEVNULL
        self._process = self._gateway.popen(
            [command("miniupnpd"), "-d", *files], stdout=quiet, stderr=quiet
        )

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def rules(self) -> str:
        """What it forwards now."""
        listing = ["nft", "list", "chain", "inet", "miniupnpd", "mapped"]
        return self._gateway.run(listing).stdout
