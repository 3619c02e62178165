"""The HTTP proxy of a company that forwards nothing: tinyproxy on the gateway."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from ...errors import LabError
from .host import Host
from .namespaces import command
from .nat import PROXY_PORT
from .programs import end

USER, PASSWORD = "tunnel", "mesh"
"""What the proxy of kind proxy-auth asks for."""

CONNECT_PORTS = (443, 8443)
"""Where CONNECT may lead to: HTTPS, and the coordinator's HTTPS port."""

PATIENCE = 3.0
"""Seconds until a proxy that does not listen is given up."""

LISTENING = "0A"
"""The state of a listening socket in ``/proc/PID/net/tcp``."""


class Proxy:
    """One running proxy.

    :param gateway: where it runs.
    :param address: the gateway's address on its LAN.
    :param password: whether it asks for one.
    :param folder: where its configuration is written.
    :raises LabError: it does not start.
    """

    def __init__(
        self,
        gateway: Host,
        address: str,
        *,
        password: bool,
        connect_ports: Iterable[int],
        folder: Path,
    ) -> None:
        login = f"{USER}:{PASSWORD}@" if password else ""
        self.url = f"http://{login}{address}:{PROXY_PORT}"
        lines = [f"Listen {address}", f"Port {PROXY_PORT}", "Timeout 600", "MaxClients 200"]
        lines += [f"ConnectPort {port}" for port in connect_ports]
        if password:
            lines.append(f"BasicAuth {USER} {PASSWORD}")
        settings = folder / f"{gateway.name}.tinyproxy"
        settings.write_text("\n".join(lines) + "\n")
        self._program = gateway.popen(
            [command("tinyproxy"), "-d", "-c", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if self._program.poll() is not None or time.monotonic() > deadline:
                self.down()
                raise LabError("tinyproxy does not start")
            time.sleep(0.005)

    def down(self) -> None:
        """End it."""
        end([self._program])

    def _listens(self) -> bool:
        """Look into the namespace's own socket table: the process may not have entered it yet."""
        try:
            table = Path(f"/proc/{self._program.pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            return False
        sockets = [line.split() for line in table]
        return any(
            each[1].endswith(f":{PROXY_PORT:04X}") and each[3] == LISTENING for each in sockets
        )
