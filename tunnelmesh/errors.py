"""What can go wrong. A user reads these messages: each says what happened and what to do.

Everything derives from :exc:`TunnelMeshError`; the commands turn any of them into one line on
standard error and exit status 1.
"""


class TunnelMeshError(Exception):
    """Something TunnelMesh was asked to do cannot be done.

    :cvar status: what a service that fails of it exits with.
    """

    status = 1


class DecodeError(TunnelMeshError):
    """Bytes from the network or a file are not what they claim to be."""


class ConfigError(TunnelMeshError):
    """An option or a configuration file is wrong; the message names the key."""


class IdentityError(TunnelMeshError):
    """The machine's key file cannot be read, written or believed."""


class TokenError(TunnelMeshError):
    """The invitation is malformed, expired, used up or unknown to the coordinator."""


class EnrolmentError(TunnelMeshError):
    """The coordinator did not let this machine join."""


class TrustError(TunnelMeshError):
    """Somebody's key is not the one that was pinned."""


class HandshakeError(TunnelMeshError):
    """A message of the tunnel's handshake is not authentic."""


class ReplayError(TunnelMeshError):
    """A packet was seen before, or is too old to tell."""


class SignalError(TunnelMeshError):
    """The other end of the coordinator link broke the signalling protocol."""


class LinkError(TunnelMeshError):
    """The link to the coordinator cannot be opened."""


class ExpelledError(LinkError):
    """This machine is no member of the mesh any more: it is of no use to start the peer again."""

    status = 3


class ProxyError(LinkError):
    """The HTTP proxy refuses to, or cannot, carry the link."""


class InterceptionError(ProxyError):
    """Something between here and the coordinator opens the TLS connection."""


class DeviceError(TunnelMeshError):
    """The TUN device cannot be had."""


class ListenError(TunnelMeshError):
    """A port or socket cannot be listened on."""


class StoreError(TunnelMeshError):
    """The coordinator's database cannot be used."""


class NotRunningError(TunnelMeshError):
    """No service answers on the control socket."""


class UnknownPeerError(TunnelMeshError):
    """There is no peer of that name."""


class OfflineError(TunnelMeshError):
    """The peer is known, but not there; the message says since when."""


class StreamError(TunnelMeshError):
    """A stream to a port of a peer cannot be opened: refused, not allowed, or nobody listens."""


class NotAllowedError(StreamError):
    """The access rules forbid it."""


class StreamTimeoutError(StreamError):
    """The peer does not answer in time."""


class PolicyError(TunnelMeshError):
    """The file of access rules has a mistake; the message names the line or the key."""


class DashboardError(TunnelMeshError):
    """What is asked for on the dashboard cannot be done."""


class SignInError(DashboardError):
    """A browser is not let in; the message says what to do."""


class LabError(TunnelMeshError):
    """The laboratory cannot be built or changed as asked."""
