"""What ``twistd tunnelmesh`` runs: its options, and the service they ask for.

Exit status 2 with one line for wrong usage, 1 with one line for what fails later.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field
from functools import partial
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.python import usage

from tunnelmesh import parse
from tunnelmesh.config import Config, CoordinatorConfig, PeerConfig, load, settings
from tunnelmesh.errors import ConfigError, TunnelMeshError
from tunnelmesh.fatal import fail

_BOTH = settings(Config)
_PEER = {name: told for name, told in settings(PeerConfig).items() if name not in _BOTH}
_COORDINATOR = {name: t for name, t in settings(CoordinatorConfig).items() if name not in _BOTH}
_ALL = _BOTH | _PEER | _COORDINATOR
_TEXTS = [name for name, told in _ALL.items() if told.metadata["metavar"]]
_FLAGS = [name for name, told in _ALL.items() if not told.metadata["metavar"]]


class Options(usage.Options):
    """The options of both roles, made from the fields of their configuration.

    :ivar config: what was asked for, once parsed; its type is the role.
    """

    synopsis = "--role=coordinator|peer [options]"
    optParameters: ClassVar[list[list[Any]]] = [
        ["role"],
        ["config", None, None, None, parse.path],
        *([name] for name in _TEXTS),
    ]
    optFlags: ClassVar[list[list[str]]] = [[name] for name in _FLAGS]

    config: PeerConfig | CoordinatorConfig

    def opt_version(self) -> None:
        """Show the version and exit."""
        # Imported here because it is large, and a service that runs does not ask.
        from importlib.metadata import version

        print(f"tunnelmesh {version('tunnelmesh')}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, or leave with one line on standard error and exit status 2.

        ``twistd`` itself would print all its help on standard output, and exit with 1.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except (usage.UsageError, ConfigError) as error:
            print(f"tunnelmesh: {error} (see twistd tunnelmesh --help)", file=sys.stderr)
            raise SystemExit(2) from None

    def postOptions(self) -> None:
        """Make the configuration of the role.

        :raises ConfigError: if an option, or the file, is wrong.
        """
        given: dict[str, object] = {name: True for name in _FLAGS if self[name]}
        given |= {name: self[name] for name in _TEXTS if self[name] is not None}
        match self["role"]:
            case "peer":
                self.config = load(PeerConfig, given, self["config"])
            case "coordinator":
                self.config = load(CoordinatorConfig, given, self["config"])
            case _:
                raise usage.UsageError("--role must be coordinator or peer")
        self._leave_out_pid_file()

    def _leave_out_pid_file(self) -> None:
        """In the foreground, write no ``twistd.pid`` unless told to.

        It would go to the current directory, and keep a second service from starting there. That
        one state directory has one service is seen to by its control socket.
        """
        twistd = getattr(self, "parent", None)
        if twistd is not None and twistd["nodaemon"] and twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = ""

    def getUsage(self, width: int | None = None) -> str:
        """The help: one line an option, by role."""
        both = [
            ("--role=ROLE", "coordinator or peer"),
            ("--config=FILE", "TOML file of the settings below; options win over it"),
            *_lines(_BOTH.values()),
            ("--version, --help", "show one of these and exit"),
        ]
        groups = {
            "Both roles": both,
            "A peer, on each machine": _lines(_PEER.values()),
            "The coordinator, on a public address": _lines(_COORDINATOR.values()),
        }
        return "\n".join(
            f"{title}:\n" + "".join(f"  {option:<27} {help}\n" for option, help in lines)
            for title, lines in groups.items()
        )


def _lines(told: Iterable[Field[Any]]) -> list[tuple[str, str]]:
    """Each setting as it is typed, and what it means with its default."""
    lines = []
    for setting in told:
        metavar = setting.metadata["metavar"]
        option = f"--{setting.name.replace('_', '-')}" + (f"={metavar}" if metavar else "")
        factory = setting.default_factory
        default = setting.default if factory is MISSING else factory()
        shown = f" [{default}]" if default not in (None, False, (), frozenset()) else ""
        lines.append((option, setting.metadata["help"] + shown))
    return lines


SETTLED = 5.0
"""Seconds after the start, when what is loaded stays. Until then there is no garbage collection: a
tenth of the start would go into it, to find nothing. From then on what is loaded is kept out of the
full rounds, each of which would stop everything for some 20 ms."""


class Role(MultiService):
    """Holds the service of one role; ends the process if that cannot start."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._settling: Any = None

    def startService(self) -> None:
        """Start; what keeps it from starting is told in one line, not as a traceback."""
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except TunnelMeshError as error:
            fail(self._reactor, error)
            return
        self._settling = self._reactor.callLater(SETTLED, _settle)

    def stopService(self) -> Any:
        """Stop."""
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        return super().stopService()  # type: ignore[no-untyped-call]


def _settle() -> None:
    gc.freeze()
    gc.enable()


def steady(reactor: Any) -> None:
    """Give a reactor a clock that never goes back, before anything has read it.

    Twisted's is the time of day: when that is set back, by NTP or by hand, every timer would wait
    for as long. Where the system has one, the clock counts the time asleep, as sessions age in it.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    reactor.seconds = time.monotonic if clock is None else partial(time.clock_gettime, clock)


def makeService(options: Options) -> IService:
    """Make the service that the options ask for.

    Called once ``twistd`` has installed the reactor it was told to use.
    """
    from twisted.internet import reactor

    gc.disable()
    steady(reactor)
    role = Role(reactor)
    try:
        _make(options.config, reactor).setServiceParent(role)  # type: ignore[no-untyped-call]
    except TunnelMeshError as error:
        raise SystemExit(f"tunnelmesh: {error}") from None
    return role


def _make(config: PeerConfig | CoordinatorConfig, reactor: Any) -> IService:
    # Imported here so that the help is quick, and a peer does not load a coordinator.
    if isinstance(config, PeerConfig):
        from tunnelmesh.peer.service import make_peer

        return make_peer(config, reactor)
    from tunnelmesh.coordinator.service import make_coordinator

    return make_coordinator(config, reactor)
