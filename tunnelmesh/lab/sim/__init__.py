"""An internet in memory, under one clock.

Twisted services run in it unchanged: a :class:`Host` is the reactor that they are given.
"""

from tunnelmesh.lab.sim.behaviour import KINDS, Behaviour
from tunnelmesh.lab.sim.host import Host
from tunnelmesh.lab.sim.inner import InnerHost
from tunnelmesh.lab.sim.internet import Internet, NotReachedError
from tunnelmesh.lab.sim.link import Link
from tunnelmesh.lab.sim.nat import Nat
from tunnelmesh.lab.sim.proxy import Proxy
from tunnelmesh.lab.sim.tunnel import TunnelDevice

__all__ = [
    "KINDS",
    "Behaviour",
    "Host",
    "InnerHost",
    "Internet",
    "Link",
    "Nat",
    "NotReachedError",
    "Proxy",
    "TunnelDevice",
]
