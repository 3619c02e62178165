"""Tell systemd-resolved which names are the mesh's: a split domain on the TUN device's link.

Only the link's own settings are made. What the machine asks for all other names stays as it is, and
so does ``/etc/resolv.conf``; the settings go with the link.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol

from tunnelmesh.names.zone import DOMAIN
from tunnelmesh.wire.endpoint import Endpoint

PATIENCE = 10.0
"""Seconds for systemd-resolved to do as it is told: it takes milliseconds, or is being started."""

MOST_WORDS = 2000
"""Bytes of what ``resolvectl`` says that are kept."""

OWN_NETWORK = Path("/proc/self/ns/net")
FIRST_NETWORK = Path("/proc/1/ns/net")
"""The network namespaces of this process, and of the machine's first (namespaces(7))."""

_SET = """\
link=$1 server=$2
shift 2
resolvectl domain "$link" "$@"
resolvectl default-route "$link" no
resolvectl dnssec "$link" no
resolvectl dnsovertls "$link" no
resolvectl llmnr "$link" no
resolvectl mdns "$link" no
resolvectl dns "$link" "$server"
"""
"""The server comes last: only then is the link used, and it is never asked for other names. The
root's signed zone says that there is no ``mesh``, and to ask ourselves over TLS gains nothing."""


class Resolved:
    """systemd-resolved on this machine, by its command.

    :param environment: where to look for the command.
    """

    def __init__(self, reactor: Any, environment: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environment = environment

    @property
    def is_here(self) -> bool:
        """Whether the command is there, and the machine's own network; whether the service is
        there too, is seen when it is told.

        systemd-resolved knows links by number. From within another network namespace we would tell
        it about a link of the machine's that happens to have the same one.
        """
        return (
            IReactorProcess.providedBy(self._reactor)
            and bool(shutil.which("resolvectl", path=self._environment.get("PATH", "")))
            and _same(OWN_NETWORK, FIRST_NETWORK)
        )

    def use(self, link: str, server: Endpoint, apexes: Sequence[str]) -> Deferred[str]:
        """Have a link's server asked for names in some domains.

        All commands are one process, which has this one's rights even if we drop ours meanwhile.

        :param apexes: the domains; ``mesh`` is searched for names without a dot, too.
        :returns: fires with what is wrong, empty if nothing.
        """
        domains = [name if name == DOMAIN else f"~{name}" for name in apexes]
        return self._run("/bin/sh", "-ec", _SET, "sh", link, _written(server), *domains)

    def revert(self, link: str) -> Deferred[str]:
        """Have a link as if it had never been used."""
        return self._run("/bin/sh", "-ec", 'resolvectl revert "$1"', "sh", link)

    def _run(self, *words: str) -> Deferred[str]:
        run = _Run(self._reactor)
        try:
            self._reactor.spawnProcess(run, words[0], words, env=dict(self._environment), path="/")
        except OSError as error:
            run.ended.callback(str(error))
        return run.ended


def _same(one: Path, other: Path) -> bool:
    """Whether two files are one, as far as we may know."""
    try:
        return one.samefile(other)
    except OSError:
        return True


def by_hand(link: str, server: Endpoint) -> str:
    """The commands that do the most important of it."""
    return (
        f"resolvectl domain {link} {DOMAIN}; resolvectl default-route {link} no; "
        f"resolvectl dns {link} {_written(server)}"
    )


def _written(server: Endpoint) -> str:
    # Before systemd 246, no port can be told.
    return server.host if server.port == 53 else str(server)


class _Run(ProcessProtocol):
    """A process that is to end soon, and what it complains of."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self.ended: Deferred[str] = Deferred()
        self._said = b""
        self._late = reactor.callLater(PATIENCE, self._give_up)

    def connectionMade(self) -> None:
        self.transport.closeStdin()

    def errReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[-MOST_WORDS:]

    def processEnded(self, reason: Any) -> None:
        if self._late.active():
            self._late.cancel()
            said = self._said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self.ended.callback("" if reason.value.exitCode == 0 else said or str(reason.value))

    def _give_up(self) -> None:
        # If we have dropped our rights meanwhile, it is not ours to kill; it ends by itself.
        with suppress(ProcessExitedAlready, OSError):
            self.transport.signalProcess("KILL")
        self.transport.loseConnection()
        self.ended.callback(f"no answer within {PATIENCE:g} s")
