"""What ``twistd tunnelmesh`` understands and runs."""

import gc
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from twisted.application.service import IService, MultiService, Service
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh import tap
from tunnelmesh.config import CoordinatorConfig, PeerConfig
from tunnelmesh.errors import IdentityError
from tunnelmesh.tap import Options, Role, makeService

TWISTD = "from twisted.scripts.twistd import run; run()"


class OptionsTests(SynchronousTestCase):
    """From a command line to a configuration, or one line and status 2."""

    def parsed(self, *arguments: str) -> PeerConfig | CoordinatorConfig:
        """The configuration of a command line."""
        options = Options()
        options.parseOptions(arguments)
        return options.config

    def refused(self, *arguments: str) -> str:
        """What is printed for a wrong command line."""
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        end = self.assertRaises(SystemExit, self.parsed, *arguments)
        self.assertEqual(end.code, 2)
        self.assertEqual(errors.getvalue().count("\n"), 1)
        return errors.getvalue()

    def test_peer(self) -> None:
        """A peer's options, a flag among them, become its configuration."""
        peer = self.parsed("--role=peer", "--name=a", "--udp-port=7", "--relay-only")
        self.assertIsInstance(peer, PeerConfig)
        self.assertEqual((peer.name, peer.udp_port, peer.relay_only), ("a", 7, True))

    def test_coordinator(self) -> None:
        """A coordinator's options become its configuration; 0 is a port."""
        coordinator = self.parsed("--role=coordinator", "--https-port=0")
        self.assertIsInstance(coordinator, CoordinatorConfig)
        self.assertEqual((coordinator.https_port, coordinator.ssh_port), (0, 2222))

    def test_config_file(self) -> None:
        """The file is read, and an option wins over it."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write('name = "a"\nudp-port = 7\nrelay-only = true\n')
        peer = self.parsed("--role=peer", "--name=b", f"--config={path}")
        self.assertEqual((peer.name, peer.udp_port, peer.relay_only), ("b", 7, True))

    def test_usage(self) -> None:
        """Everything that is wrong is told in one line that names it."""
        for arguments, words in [
            ([], "--role must be coordinator or peer"),
            (["--role=boss"], "--role must be"),
            (["--role=peer", "--bogus"], "--bogus"),
            (["--role=peer", "--udp-port"], "--udp-port"),
            (["--role=peer", "--udp-port=x"], "--udp-port must be a port number"),
            (["--role=peer", "--name="], "--name must be"),
            (["--role=peer", "--relay-only=1"], "relay-only"),
            (["--role=peer", "--https-port=1"], "https-port is not a setting of a peer"),
            (["--role=peer", "--config="], "must be a text"),
            (["--role=peer", "--config=/nonexistent"], "/nonexistent: cannot be read"),
            (["--role=peer", "argument"], "arguments"),
        ]:
            self.assertIn(words, self.refused(*arguments))

    def test_no_pid_file_in_the_foreground(self) -> None:
        """Two services can run in one directory, as long as nobody asks for a pid file."""
        for nodaemon, told, left in (
            (1, "twistd.pid", ""),
            (1, "mine.pid", "mine.pid"),
            (0, "twistd.pid", "twistd.pid"),
        ):
            options = Options()
            options.parent = {"nodaemon": nodaemon, "pidfile": told}
            options.parseOptions(["--role=coordinator"])
            self.assertEqual(options.parent["pidfile"], left)

    def test_help(self) -> None:
        """The help has one line for every option and fits a terminal."""
        text = Options().getUsage()
        for options in (Options.optParameters, Options.optFlags):
            for name, *_ in options:
                self.assertEqual(len(re.findall(rf"  --{name}[ =]", text)), 1, name)
        self.assertTrue(all(len(line) <= 100 for line in text.splitlines()))

    def test_version(self) -> None:
        """``--version`` tells ours, not Twisted's."""
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        self.assertRaises(SystemExit, self.parsed, "--version")
        self.assertRegex(output.getvalue(), r"^tunnelmesh \d+\.\d+")


class TacTests(SynchronousTestCase):
    """The files for ``twistd -y``."""

    def test_options_from_the_environment(self) -> None:
        """Each file reads its role's options from the environment, and twistd loads it."""
        tac = Path(__file__).parent.parent / "tac"
        for role, wrong in [("peer", "--https-port=1"), ("coordinator", "--udp-port=1")]:
            ended = subprocess.run(
                [sys.executable, "-c", TWISTD, "-ny", tac / f"{role}.tac", "--pidfile="],
                env={**os.environ, "TUNNELMESH_OPTIONS": wrong},
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            self.assertEqual(ended.returncode, 2)
            self.assertIn(f"is not a setting of a {role}", ended.stderr)


class MakeServiceTests(SynchronousTestCase):
    """Each role is made by its own module."""

    def made(self, role: str, make) -> MultiService:
        """The service of a role whose module is replaced by a fake."""
        module = ModuleType(f"tunnelmesh.{role}.service")
        setattr(module, f"make_{role}", make)
        real = sys.modules.get(module.__name__)
        sys.modules[module.__name__] = module
        self.addCleanup(self.put_back, module.__name__, real)
        self.addCleanup(gc.enable)
        self.patch(tap, "steady", lambda _: None)  # this process's reactor has other users
        options = Options()
        options.parseOptions([f"--role={role}"])
        return makeService(options)

    def test_steady_clock(self) -> None:
        """The clock counts from the machine's start, and not from 1970, which somebody may set."""
        clock = Clock()
        tap.steady(clock)
        first = clock.seconds()
        self.assertLess(first, time.time() / 2)
        self.assertLessEqual(first, clock.seconds())

    def test_garbage(self) -> None:
        """No garbage is looked for during the start, and some is from then on."""
        clock = Clock()
        self.addCleanup(gc.unfreeze)
        self.made("peer", lambda *_: Service())
        self.assertFalse(gc.isenabled())
        role = Role(clock)
        role.startService()
        clock.advance(tap.SETTLED)
        self.assertTrue(gc.isenabled())

    def put_back(self, name: str, real: ModuleType | None) -> None:
        """Undo what :meth:`made` did to the loaded modules."""
        del sys.modules[name]
        if real is not None:
            sys.modules[name] = real

    def test_roles(self) -> None:
        """The role's maker gets its configuration and the reactor, and its service is held."""
        for role in ("peer", "coordinator"):
            service = Service()
            got = []

            def make(*arguments, got=got, service=service):
                got.append(arguments)
                return service

            made = self.made(role, make)
            verifyObject(IService, made)
            self.assertEqual(list(made), [service])
            ((config, given_reactor),) = got
            self.assertEqual(type(config).__name__.lower(), f"{role}config")
            self.assertIs(given_reactor, reactor)

    def test_cannot_be_made(self) -> None:
        """What is wrong before anything starts is one line and exit status 1."""

        def make(config, reactor):
            raise IdentityError("the key is broken: remove it")

        end = self.assertRaises(SystemExit, self.made, "peer", make)
        self.assertEqual(end.code, "tunnelmesh: the key is broken: remove it")

    def test_bug(self) -> None:
        """A mistake of ours is not disguised."""

        class Broken(Service):
            def startService(self) -> None:
                raise ZeroDivisionError

        role = Role(reactor)
        Broken().setServiceParent(role)
        self.assertRaises(ZeroDivisionError, role.startService)
