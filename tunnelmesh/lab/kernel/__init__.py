"""Kernel NATs in network namespaces: real routers, real sockets, on one machine.

::

    from tunnelmesh.lab.kernel import World

    with World() as world:
        home = world.add_site("home", "port-restricted")     # a gateway and a LAN
        office = world.add_site("office", "symmetric")
        laptop, server = home.add_host("laptop"), office.add_host("server")
        coordinator = world.coordinator                      # 203.0.113.10 and .11

        service = coordinator.popen(["twistd", "-n", "tunnelmesh", "--role=coordinator"])
        laptop.run(["ping", "-c1", coordinator.address])     # CompletedProcess, or LabError
        office.change("full-cone")                           # at once; flows are forgotten
        home.block(udp=True); home.block(tcp_port=2222); home.unblock()
        home.roam()                                          # another outside address
        home.lose(5); home.limit(mbit=20)
        laptop.move_to(office)

It needs root, or an ordinary user inside ``unshare -Urnm``: call :func:`reenter` at the start of a
program, or run ``python -m tunnelmesh.lab.kernel COMMAND``. :func:`available` says what is missing.
Carrier NAT is a site ``behind`` another; :data:`KINDS` says what the kinds are.
"""

from .host import Host
from .kinds import KINDS, Kind, connectable, guessable, punchable
from .rights import available, reenter
from .site import Site
from .world import World

__all__ = [
    "KINDS",
    "Host",
    "Kind",
    "Site",
    "World",
    "available",
    "connectable",
    "guessable",
    "punchable",
    "reenter",
]
