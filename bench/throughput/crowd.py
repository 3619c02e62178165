"""A program: many real peers in one process, which do nothing.

Arguments: a token, a folder for their state, and how many. They have no network devices: what is
sent to them through the tunnel is dropped, after it was opened.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tunnelmesh.config import PeerConfig
from tunnelmesh.peer.service import Peer
from tunnelmesh.peer.system import real_system

reactor: Any = _reactor

LOOK = 0.02
"""Seconds between looks whether a peer is linked; the next one starts then."""


async def gather(token: str, folder: Path, count: int) -> None:
    """Start them one after the other."""
    for number in range(count):
        name = f"crowd-{number}"
        config = PeerConfig(state_dir=folder / name, join=token, name=name, mode="userspace")
        peer = Peer(config, reactor, real_system(config))
        peer.startService()
        while peer.node is None or peer.node.link.route is None:
            await deferLater(reactor, LOOK)
    print("ready", flush=True)


def failed(failure: Failure) -> None:
    """End with what went wrong."""
    failure.printTraceback()
    reactor.stop()


def main(token: str, folder: str, count: str) -> None:
    """Run them."""
    gathering = Deferred.fromCoroutine(gather(token, Path(folder), int(count)))
    reactor.callWhenRunning(gathering.addErrback, failed)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
