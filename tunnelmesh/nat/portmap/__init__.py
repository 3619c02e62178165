"""Ask the router for a port: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP-IGD. Pure.

The messages are in ``pcp``, ``natpmp``, ``ssdp``, ``description`` and ``soap``; who asks in one of
the languages is a *speaker*; :class:`~tunnelmesh.nat.portmap.lease.Lease` tries all three.
"""
