"""A service that cannot do its work ends its process."""

import io
import os
import subprocess
import sys
from pathlib import Path

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DeviceError
from tunnelmesh.fatal import fail

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

TAC = """
from twisted.application.service import Application, Service
from twisted.internet import reactor
from tunnelmesh.errors import DeviceError, ExpelledError, ListenError
from tunnelmesh.fatal import fail
from tunnelmesh.tap import Role

class AtOnce(Service):
    def startService(self):
        raise DeviceError("no device: do this")

class Later(Service):
    def startService(self):
        super().startService()
        reactor.callLater(0.01, fail, reactor, ListenError("port 443 is taken: do that"))

    def stopService(self):
        open("stopped", "w").close()

class Expelled(Service):
    def startService(self):
        raise ExpelledError("not a member: ask for an invitation")

class Well(Service):
    def startService(self):
        super().startService()
        reactor.callLater(0.01, reactor.stop)

application = Application("test")
role = Role(reactor)
role.setServiceParent(application)
{service}().setServiceParent(role)
"""


class FakeReactor:
    """Remembers what it is asked."""

    def __init__(self) -> None:
        self.triggers = []
        self.stops = 0

    def addSystemEventTrigger(self, *trigger) -> None:
        """Remember a trigger."""
        self.triggers.append(trigger)

    def callWhenRunning(self, call, *arguments) -> None:
        """Run it now."""
        call(*arguments)

    def stop(self) -> None:
        """Stop once, as a reactor does."""
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class FailTests(SynchronousTestCase):
    """One line, one stop, and the process's status."""

    def test_twice(self) -> None:
        """A second failure while stopping does no harm, and nothing happens outside the reactor."""
        errors = io.StringIO()
        self.patch(sys, "__stderr__", errors)
        reactor = FakeReactor()
        fail(reactor, DeviceError("one"))
        fail(reactor, DeviceError("two"))
        self.assertEqual(errors.getvalue(), "tunnelmesh: one\ntunnelmesh: two\n")
        self.assertEqual([t[:2] for t in reactor.triggers], [("after", "shutdown")] * 2)

    def twistd(self, service: str) -> tuple[subprocess.CompletedProcess, Path]:
        """Run a service under the real twistd until it ends."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "test.tac").write_text(TAC.format(service=service))
        path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
        ended = subprocess.run(
            [*TWISTD, "-ny", "test.tac"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertNotIn("Traceback", ended.stdout + ended.stderr)
        self.assertFalse((directory / "twistd.pid").exists())
        return ended, directory

    def test_while_starting(self) -> None:
        """What startService raises is one line on standard error, and exit status 1."""
        ended, _ = self.twistd("AtOnce")
        self.assertEqual((ended.returncode, ended.stderr), (1, "tunnelmesh: no device: do this\n"))

    def test_later(self) -> None:
        """What goes wrong later is the same, after the services have been stopped."""
        ended, directory = self.twistd("Later")
        self.assertEqual(
            (ended.returncode, ended.stderr), (1, "tunnelmesh: port 443 is taken: do that\n")
        )
        self.assertTrue((directory / "stopped").exists())

    def test_expelled(self) -> None:
        """A supervisor can tell that it is of no use to try again."""
        self.assertEqual(self.twistd("Expelled")[0].returncode, 3)

    def test_nothing_wrong(self) -> None:
        """A service that ends by itself ends with status 0."""
        ended, _ = self.twistd("Well")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
