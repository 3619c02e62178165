"""A peer that has what it needs keeps no rights: with a real root, devices and kernels."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from threading import Event
from types import SimpleNamespace

from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh import privileges
from tunnelmesh.errors import ConfigError
from tunnelmesh.lab.kernel import World, available
from tunnelmesh.lab.kernel.mesh import TWISTD, Mesh, Peer, wait_until

NOBODY = pwd.getpwnam("nobody")

AMBIENT = (
    "setpriv",
    *(f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"),
    *("--inh-caps=+net_admin,+dac_override", "--ambient-caps=+net_admin,+dac_override"),
)
"""Runs a command as systemd does with ``User=`` and ``AmbientCapabilities=``. The second right is
for machines without udev, where /dev/net/tun is root's alone."""


def needs_root() -> None:
    """Skip unless this is a real root, who may become somebody else."""
    if os.geteuid() != 0:
        raise SkipTest("only root can become another user")


class AccountTests(SynchronousTestCase):
    """Whom to become."""

    def test_unknown(self) -> None:
        """A user that does not exist is told by name, with what to do."""
        error = self.assertRaises(ConfigError, privileges.account, "no-such-user-here")
        self.assertIn("'no-such-user-here'", str(error))
        self.assertIn("useradd", str(error))

    def test_root(self) -> None:
        """To become root is no way to give up rights."""
        self.assertRaises(ConfigError, privileges.account, "root")

    def test_only_root_can(self) -> None:
        """Anybody else cannot become another."""
        self.patch(os, "geteuid", lambda: 1234567)
        error = self.assertRaises(ConfigError, privileges.account, "nobody")
        self.assertIn("only root", str(error))

    def test_already(self) -> None:
        """Nobody to become: none named, or the very user that runs this."""
        self.assertIsNone(privileges.account(None))
        self.patch(os, "geteuid", lambda: NOBODY.pw_uid)
        self.assertIsNone(privileges.account("nobody"))


class ThreadTests(SynchronousTestCase):
    """Rights are each thread's own."""

    def test_ended(self) -> None:
        """Threads that have looked up names are gone, and new ones can be made."""
        pool = ThreadPool(0, 4)
        pool.start()
        self.addCleanup(pool.stop)
        done = Event()
        pool.callInThread(done.set)
        self.assertTrue(done.wait(10))
        privileges._end_threads(SimpleNamespace(threadpool=pool))
        self.assertFalse([thread for thread in pool.threads if thread.is_alive()])
        self.assertEqual((pool.min, pool.max), (0, 4))
        again = Event()
        pool.callInThread(again.set)
        self.assertTrue(again.wait(10))

    def test_none(self) -> None:
        """A reactor that has never needed any gets none."""
        privileges._end_threads(SimpleNamespace(threadpool=None))


class HandOverTests(SynchronousTestCase):
    """The state directory becomes the user's, and nothing else does."""

    def setUp(self) -> None:
        needs_root()
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.state = self.folder / "state"
        self.state.mkdir()
        found = privileges.account("nobody")
        assert found is not None
        self.nobody = found

    def test_own_files(self) -> None:
        """Files are handed over."""
        (self.state / "identity").touch()
        privileges._hand_over(self.state, self.nobody)
        for path in (self.state, self.state / "identity"):
            self.assertEqual(path.stat().st_uid, NOBODY.pw_uid)

    def test_links(self) -> None:
        """What a link leads to is not, be it symbolic or hard."""
        victim = self.folder / "shadow"
        victim.touch()
        (self.state / "symbolic").symlink_to(victim)
        (self.state / "hard").hardlink_to(victim)
        privileges._hand_over(self.state, self.nobody)
        self.assertEqual(victim.stat().st_uid, 0)

    def test_linked_directory(self) -> None:
        """A directory is handed over by its own name only, wherever in it there is a link."""
        secret = self.folder / "root"
        (secret / "state").mkdir(parents=True)
        (self.folder / "link").symlink_to(secret)
        (self.folder / "straight").symlink_to(secret / "state")
        for path in (self.folder / "link" / "state", self.folder / "straight"):
            error = self.assertRaises(ConfigError, privileges._hand_over, path, self.nobody)
            self.assertIn(f"--state-dir={secret.resolve()}/state", str(error))
        self.assertEqual((secret / "state").stat().st_uid, 0)

    def test_somebody_elses(self) -> None:
        """A directory of a third user is left alone."""
        os.chown(self.state, 4242, 4242)
        error = self.assertRaises(ConfigError, privileges._hand_over, self.state, self.nobody)
        self.assertIn("belongs to another user (uid 4242)", str(error))


class RunningTests(SynchronousTestCase):
    """Peers in the laboratory, whose rights the kernel tells."""

    def setUp(self) -> None:
        """Build a mesh whose state everybody may reach."""
        needs_root()
        missing = available()
        if missing:
            raise SkipTest(missing)
        if self.cannot_read(Path(privileges.__file__)):
            raise SkipTest("nobody may not read where TunnelMesh is installed")
        self.folder = Path(tempfile.mkdtemp(prefix="tunnelmesh-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.world = World("privileges")
        self.world.__enter__()
        self.addCleanup(self.world.down)
        self.mesh = Mesh(self.world, folder=self.folder)
        self.mesh.coordinator.start()
        self.join = f"--join={self.mesh.coordinator.invite(uses=5)}"
        self.home = self.world.add_site("home", "port-restricted")
        self.office = self.world.add_site("office", "full-cone")

    def cannot_read(self, path: Path) -> bool:
        """Whether others may not get at a file."""
        return any(not each.stat().st_mode & 0o005 for each in (path, *path.parents))

    def rights(self, process: int) -> list[dict[str, str]]:
        """What the kernel says of every thread."""
        return [
            dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
            for task in Path(f"/proc/{process}/task").iterdir()
        ]

    def assertPowerless(self, process: int) -> None:
        """No thread has, or can get, any right."""
        for thread in self.rights(process):
            self.assertEqual(thread["Uid"].split(), [str(NOBODY.pw_uid)] * 4)
            self.assertEqual(thread["Gid"].split(), [str(NOBODY.pw_gid)] * 4)
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(thread[capabilities], 16), 0, capabilities)
            self.assertEqual(thread["NoNewPrivs"], "1")

    def direct(self, one: Peer, other: Peer) -> None:
        """Wait for a direct path, and use it."""
        wait_until(
            lambda: one.path_to(other.name) == "udp" == other.path_to(one.name), "a direct path"
        )
        one.host.run(["ping", "-c1", "-w10", other.address])

    def test_user(self) -> None:
        """With --user, a peer joins, roams and starts again, with the rights of that user."""
        server = self.mesh.add_peer(self.office.add_host("server"), self.join)
        laptop = self.mesh.add_peer(self.home.add_host("laptop"), self.join, "--user=nobody")
        wait_until(lambda: laptop.link and server.link, "both")
        assert laptop.process is not None
        self.assertEqual(laptop.status()["mode"], "tun")
        self.assertPowerless(laptop.process.pid)
        for thread in self.rights(laptop.process.pid):
            self.assertEqual(thread["Groups"].split(), [str(NOBODY.pw_gid)])
            self.assertEqual(int(thread["CapBnd"], 16), 0)
        self.direct(laptop, server)
        laptop.host.move_to(self.office)
        laptop.host.move_to(self.home)
        self.direct(laptop, server)
        laptop.stop()
        laptop.start()
        wait_until(lambda: laptop.link, "the laptop, again")
        self.direct(laptop, server)
        owners = {path.name: path.lstat().st_uid for path in laptop.state_dir.iterdir()}
        self.assertEqual(set(owners.values()), {NOBODY.pw_uid}, owners)
        self.assertTrue({"identity", "membership.json", "known_peers"} <= owners.keys())
        laptop.stop()
        self.assertFalse((laptop.state_dir / "control.sock").exists())

    def test_ambient(self) -> None:
        """A user's peer with CAP_NET_ADMIN from its start has it no more when it runs."""
        state = self.folder / "tablet"
        state.mkdir()
        os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid)
        host = self.home.add_host("tablet")
        tablet = Peer(host, "tablet", self.folder, [])
        words = ["--role=peer", "--name=tablet", self.join, f"--state-dir={state}", "--mode=tun"]
        argv = [*AMBIENT, *TWISTD, "--nodaemon", "--pidfile=", "tunnelmesh", *words]
        with tablet.log.open("wb") as log:
            tablet.process = host.popen(argv, stdin=DEVNULL, stdout=log, stderr=STDOUT)
        self.addCleanup(tablet.stop)
        wait_until(lambda: tablet.link, "the tablet")
        self.assertPowerless(tablet.process.pid)
