"""What a device counts instead of logging it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Why datagrams and packets were dropped. Each is a number of them."""

    malformed: int = 0
    """Not a message of the protocol: unknown type, or the wrong size."""
    wrong_mac1: int = 0
    """Handshake messages not meant for this machine's key."""
    unknown_index: int = 0
    """Messages for a session or handshake that does not exist (any more)."""
    unknown_peer: int = 0
    """Authentic initiations by a static key that is no peer's."""
    forged_handshakes: int = 0
    """Handshake messages that are not authentic: a wrong key or PSK, or tampered with."""
    replayed_initiations: int = 0
    """Initiations whose timestamp is not later than the last one's."""
    hasty_initiations: int = 0
    """Initiations that followed the same peer's last one too soon."""
    cookie_replies: int = 0
    """Handshake messages that were answered with a cookie, under load."""
    rate_limited: int = 0
    """Handshake messages, with a valid cookie, beyond what one place may send under load."""
    expired: int = 0
    """Transport messages of a session that is too old."""
    forged_packets: int = 0
    """Transport messages that are not authentic."""
    replayed_packets: int = 0
    """Transport messages seen before."""
    malformed_packets: int = 0
    """Authentic IP packets whose header announces a length that they do not have."""
    unsent_packets: int = 0
    """Packets that waited for a session in vain, or found the queue full."""
