"""EasyTier: Rust, here inside a Python process that does nothing else (``easytier-pyo3``)."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from importlib.metadata import distributions
from pathlib import Path
from typing import ClassVar

from bench.throughput.systems.system import FAR, NEAR, PREFIX, System, said

PACKAGE = "easytier-pyo3"

PORT = 11010

NODE = """
import json, sys
from easytier_pyo3 import Node
node = Node(json.loads(sys.argv[1]))
node.start()
node.wait()
"""


class EasyTier(System):
    """Two nodes, as they are when nobody sets anything else."""

    name: ClassVar[str] = "easytier"

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Look for what :meth:`fetch` makes."""
        found = (options.cache / cls.name).exists()
        return None if found else "python -m bench.throughput --fetch"

    @classmethod
    def fetch(cls, cache: Path) -> Path:
        """Have pip unpack the package apart from this Python's own."""
        folder = cache / cls.name
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
        said([*pip, "--target", str(folder), PACKAGE])
        return folder

    def version(self) -> str:
        """The package's."""
        folder = str(self.options.cache / self.name)
        return next(each.version for each in distributions(name=PACKAGE, path=[folder]))

    def start(self) -> None:
        """Start both, each told the other's address."""
        line = self.line
        environment = {**os.environ, "PYTHONPATH": str(self.options.cache / self.name)}
        for host, own, endpoint in (
            (line.near, NEAR, line.far_address),
            (line.far, FAR, line.near_address),
        ):
            settings = {
                "instance_name": host.name,
                "network_identity": {"network_name": "bench", "network_secret": "bench"},
                "ipv4": f"{own}/{PREFIX}",
                "listeners": [f"udp://0.0.0.0:{PORT}"],
                "peer": [{"uri": f"udp://{endpoint}:{PORT}"}],
                "flags": {"bind_device": False},  # the long wire is another device
            }
            argv = [sys.executable, "-P", "-c", NODE, json.dumps(settings)]
            self.spawn(host, argv, env=environment)
