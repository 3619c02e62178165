"""What one remote peer's timers wait for, and how long (WireGuard paper, §6)."""

from __future__ import annotations

from enum import IntEnum

from tunnelmesh.noise.session import REJECT_AFTER_TIME

REKEY_TIMEOUT = 5.0
"""Seconds between two initiations (paper, §6.1)."""

REKEY_ATTEMPT_TIME = 90.0
"""Seconds of attempts, after the last packet to send, until giving up (§6.4)."""

REKEY_JITTER = 1 / 3
"""At most so many seconds are added to a timer, so that two sides do not retry in step (§6.1)."""

KEEPALIVE_TIMEOUT = 10.0
"""Seconds of silence after which something received is answered with a keepalive (§6.5)."""

URGENT_INTERVAL = 0.25
"""Seconds between urgent initiations: about as long as an answer takes around the world."""

INITIATION_INTERVAL = 1 / 50
"""Seconds between two initiations that are taken from one peer (as in WireGuard's own code)."""

LAST_CALL = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
"""Age in seconds of a session at which its initiator renews it even if it only receives (§6.2)."""


class Timer(IntEnum):
    """What is waited for, in the order in which it is seen to if several are due."""

    RETRY = 1
    """No answer to an initiation."""
    SILENCE = 2
    """Packets were sent, and nothing came back."""
    PASSIVE_KEEPALIVE = 3
    """Packets came, and nothing was sent back."""
    PERSISTENT_KEEPALIVE = 4
    """The owner wants something to be sent now and then."""
    FORGET = 5
    """Every session is too old."""
