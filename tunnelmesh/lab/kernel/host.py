"""A machine of the laboratory: a network namespace that programs run in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from .cable import Cable
from .namespaces import entering

if TYPE_CHECKING:
    from .site import Site

DEVICE = "eth0"
"""What every host calls its network card."""


class Host:
    """One machine. Made by :meth:`World.add_host` and :meth:`Site.add_host`.

    :ivar name: its name in its world.
    :ivar namespace: its network namespace, as ``ip netns`` knows it.
    :ivar programs: what was started on it with :meth:`popen`.
    """

    def __init__(self, name: str, cable: Cable) -> None:
        self.name = name
        self.namespace = cable.namespace
        self.cable = cable
        self.programs: list[subprocess.Popen[Any]] = []

    @property
    def address(self) -> str:
        """The address it sends from: a public one, or one of its LAN."""
        return self.cable.address

    @property
    def addresses(self) -> list[str]:
        """All its addresses; the coordinator has two."""
        return [str(each) for each in self.cable.lease.addresses]

    @property
    def addresses6(self) -> list[str]:
        """Its IPv6 addresses: as many, or none."""
        return [str(each.ip) for each in self.cable.lease.addresses6]

    def move_to(self, site: Site) -> None:
        """Carry the machine to another site: its link goes down, and comes up with a new address.

        :raises LabError: the site has no address left.
        """
        for other in site.world.sites.values():
            if self in other.hosts:
                other.hosts.remove(self)
        self.cable.move_to(site.lan)
        site.hosts.append(self)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return *argv* with what makes it run on this host, for any way of starting programs."""
        return [*entering(self.namespace), *argv]

    def popen(self, argv: Sequence[str], **how: Any) -> subprocess.Popen[Any]:
        """Start a program on this host; it is ended when the world is.

        :param how: anything that :class:`subprocess.Popen` takes.
        """
        program = subprocess.Popen(self.command(argv), **how)
        self.programs.append(program)
        return program

    def run(
        self, argv: Sequence[str], check: bool = True, timeout: float | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on this host to its end, and return its status and output as text.

        :raises LabError: it failed and *check* is set, or it took longer than *timeout* seconds.
        """
        what = f"{self.name}: {' '.join(argv)[:60]}"
        try:
            done = subprocess.run(
                self.command(argv), capture_output=True, text=True, timeout=timeout, **how
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{what}: not done after {timeout:g} s") from None
        if check and done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise LabError(f"{what}: status {done.returncode}: {last[0]}")
        return done
