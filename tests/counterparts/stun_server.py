"""Run our STUN server alone: ``python -m tests.counterparts.stun_server ADDRESS [ADDRESS]``."""

from __future__ import annotations

import sys

from twisted.internet import reactor

from tunnelmesh.coordinator.stun import StunServer


def main(address: str, alternate: str | None = None) -> None:
    """Listen on port 3478 (and 3479) until killed; say so once listening."""
    StunServer(reactor, address, 3478, alternate).startService()
    print("listening", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
