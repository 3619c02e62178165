"""OpenVPN, point to point, AES-256-GCM, without the kernel's data channel offload."""

from __future__ import annotations

from argparse import Namespace
from typing import ClassVar

from bench.throughput.systems.system import FAR, NEAR, System, said, which

PORT = "1194"


class OpenVPN(System):
    """Two ends that know each other's certificate."""

    name: ClassVar[str] = "openvpn"

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Look for the programs."""
        found = which("openvpn") and which("openssl")
        return None if found else "apt install openvpn openssl"

    def version(self) -> str:
        """Its own words."""
        return said([str(which("openvpn")), "--version"]).split()[1]

    def start(self) -> None:
        """Make certificates, and start both."""
        prints = {name: self._certify(name) for name in ("near", "far")}
        line = self.line
        client = ["--tls-client", "--remote", line.far_address, PORT]
        server = ["--tls-server", "--dh", "none"]
        for host, name, own, other, role in (
            (line.far, "far", FAR, NEAR, server),
            (line.near, "near", NEAR, FAR, client),
        ):
            (known,) = (text for each, text in prints.items() if each != name)
            self.spawn(
                host,
                [
                    *[str(which("openvpn")), "--disable-dco", "--dev", "tun0", "--proto", "udp"],
                    *["--ifconfig", own, other, "--port", PORT, *role],
                    *["--data-ciphers", "AES-256-GCM", "--peer-fingerprint", known],
                    *["--cert", f"{self.folder}/{name}.crt", "--key", f"{self.folder}/{name}.key"],
                ],
            )

    def _certify(self, name: str) -> str:
        """Make a key and a certificate; return the fingerprint."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}"]
        said(["openssl", "req", "-x509", "-days", "2", *key, *files], cwd=self.folder)
        shown = ["openssl", "x509", "-in", f"{name}.crt", "-noout", "-fingerprint", "-sha256"]
        return said(shown, cwd=self.folder).strip().partition("=")[2]
