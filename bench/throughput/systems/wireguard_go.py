"""wireguard-go, the yardstick: the newest that a Debian package brings, which has offloads.

The package of an older release than :data:`RELEASE` has none. :meth:`WireguardGo.fetch` gets the
newer one with apt, from the mirror that this machine uses anyway, and installs nothing.
"""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from pathlib import Path

from bench.throughput.systems.system import FAR, MTU, NEAR, PREFIX, System, said
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel.mesh import wait_until
from tunnelmesh.lab.kernel.namespaces import ip

RELEASE = "trixie"
"""Debian 13."""

PORT = 51820

UNPACKED = Path("usr/bin/wireguard-go")
"""In the folder that the package is unpacked into, which is named like the system."""


class WireguardGo(System):
    """Two of them, with two keys."""

    name = "wireguard-go"

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Look for the programs."""
        if shutil.which("wg") is None:
            return "apt install wireguard-tools"
        if program(options.cache) is None:
            return "python -m bench.throughput --fetch, or apt install wireguard-go"
        return None

    @classmethod
    def fetch(cls, cache: Path) -> Path:
        """Download and unpack the package of :data:`RELEASE`.

        :param cache: where to.
        :raises LabError: this is no Debian, or apt says why not.
        """
        folder = cache / cls.name
        shutil.rmtree(folder, ignore_errors=True)
        lists, work = folder / "apt/lists", folder / "apt"
        (lists / "partial").mkdir(parents=True)
        sources = work / "sources.list"
        sources.write_text(f"deb {mirror()} {RELEASE} main\n")
        private = {
            "Dir::State": work,
            "Dir::State::lists": lists,
            "Dir::Cache": work / "cache",
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "-",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        options = [f"-o{name}={value}" for name, value in private.items()]
        said(["apt-get", *options, "update"])
        said(["apt-get", *options, "download", "wireguard-go"], cwd=folder)
        (package,) = folder.glob("*.deb")
        said(["dpkg", "-x", str(package), str(folder)])
        shutil.rmtree(work)
        return folder

    def version(self) -> str:
        """The package's, of which its own is not always a part; or, if it is installed, its own."""
        packages: list[Path] = list((self.options.cache / self.name).glob("*.deb"))
        if packages:
            return packages[0].name.split("_")[1]
        return said([self._program, "--version"]).split()[1]

    @property
    def _program(self) -> str:
        found = program(self.options.cache)
        assert found is not None
        return found

    def start(self) -> None:
        """Start both, each knowing the other."""
        line = self.line
        keys = [said(["wg", "genkey"]).strip() for _ in range(2)]
        public = [said(["wg", "pubkey"], input=key).strip() for key in keys]
        ends = (line.near, NEAR, FAR, line.far_address), (line.far, FAR, NEAR, line.near_address)
        for i, (host, own, other, endpoint) in enumerate(ends):
            # Its control socket is the whole machine's: the name must be no one else's.
            device = f"wg{os.getpid()}{'nf'[i]}"
            quiet = {**os.environ, "LOG_LEVEL": "error"}
            self.spawn(host, [self._program, "--foreground", device], env=quiet)
            control = Path(f"/run/wireguard/{device}.sock")
            wait_until(control.exists, f"{self._program} to start")
            text = (
                f"[Interface]\nPrivateKey = {keys[i]}\nListenPort = {PORT}\n"
                f"[Peer]\nPublicKey = {public[1 - i]}\nAllowedIPs = {other}/32\n"
                f"Endpoint = {endpoint}:{PORT}\n"
            )
            said(["wg", "setconf", device, "/dev/stdin"], input=text)
            own_address = f"address add {own}/{PREFIX} dev {device}"
            ip([own_address, f"link set {device} mtu {MTU} up"], host.namespace)


def program(cache: Path) -> str | None:
    """Where it is: unpacked, or installed."""
    unpacked = cache / WireguardGo.name / UNPACKED
    return str(unpacked) if unpacked.exists() else shutil.which("wireguard-go")


def mirror() -> str:
    """Where this machine gets Debian's packages from."""
    targets = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(LABEL)",
        "Created-By: Packages",
    ]
    for line in said(targets).splitlines():
        uri, _, label = line.partition(" ")
        if label == "Debian":
            return uri
    raise LabError("apt knows no mirror of Debian here: run 'apt-get update' first")
