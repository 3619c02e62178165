"""Tests for :mod:`tunnelmesh.cli.ssh_config`, judged by OpenSSH itself."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cli.answers import CommandTestCase
from tunnelmesh.cli.ssh_config import BACKUP, FILE, INCLUDE, install, snippet
from tunnelmesh.errors import ConfigError

PEERS = [
    {"name": "homelab", "address": "100.96.0.2"},
    {"name": "office", "address": "100.96.0.3"},
]
USERSPACE = {"role": "peer", "mode": "userspace", "peers": PEERS}
TUN = USERSPACE | {"mode": "tun"}

NC = "/opt/tunnelmesh/bin/tunnelmesh nc"


def ssh_says(config: Path, host: str) -> dict[str, str]:
    """What ssh would do for a host, by ``ssh -G``."""
    ssh = shutil.which("ssh")
    if ssh is None:
        raise SkipTest("no ssh: install openssh-client")
    asked = [ssh, "-G", host, "-F", str(config)]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout
    return dict(line.partition(" ")[::2] for line in reversed(said.splitlines()))


class SnippetTests(SynchronousTestCase):
    """What ssh makes of the lines."""

    def ask(self, status: dict[str, Any], host: str, user: str | None = None) -> dict[str, str]:
        """What ssh would do with a snippet for a host."""
        config = Path(self.mktemp())
        config.write_text(snippet(status, user, NC))
        return ssh_says(config, host)

    def test_without_device(self) -> None:
        """Both ways to write a name lead through a stream, and to one host key."""
        for host in ("homelab", "homelab.mesh", "office"):
            said = self.ask(USERSPACE, host, "admin")
            name = f"{host.removesuffix('.mesh')}.mesh"
            self.assertEqual(said["proxycommand"], f"{NC} %h %p")
            self.assertEqual((said["hostname"], said["user"]), (name, "admin"))
        self.assertEqual(self.ask(USERSPACE, "new.mesh")["proxycommand"], f"{NC} %h %p")

    def test_with_device(self) -> None:
        """With a network device, names lead to addresses, and to one host key."""
        for host in ("homelab", "homelab.mesh"):
            said = self.ask(TUN, host, "admin")
            self.assertEqual((said["hostname"], said["user"]), ("100.96.0.2", "admin"))
            self.assertEqual(said["hostkeyalias"], "homelab.mesh")
            self.assertNotIn("proxycommand", said)

    def test_others(self) -> None:
        """Other hosts are reached as ever."""
        for status in (TUN, USERSPACE):
            said = self.ask(status, "example.com", "admin")
            self.assertEqual(said["hostname"], "example.com")
            self.assertNotEqual(said["user"], "admin")
            self.assertNotIn("proxycommand", said)

    def test_nobody_yet(self) -> None:
        """A mesh without others is a valid configuration."""
        for status in (TUN, USERSPACE):
            self.assertEqual(self.ask(status | {"peers": []}, "homelab")["hostname"], "homelab")


class InstallTests(SynchronousTestCase):
    """What becomes of the files in ``~/.ssh``."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.config = self.folder / "config"

    def make(self, text: str) -> None:
        """A configuration that is there already."""
        self.folder.mkdir(mode=0o700)
        self.config.write_text(text)
        self.config.chmod(0o640)

    def test_nothing_there(self) -> None:
        """Without a configuration, there is one, for nobody else to see."""
        install(self.folder, "# ours\n")
        self.assertEqual((self.folder / FILE).read_text(), "# ours\n")
        self.assertEqual(self.config.read_text(), f"{INCLUDE}\n\n")
        modes = [path.stat().st_mode & 0o777 for path in (self.folder, self.config)]
        self.assertEqual(modes, [0o700, 0o600])
        self.assertFalse((self.folder / BACKUP).exists())

    def test_kept(self) -> None:
        """What was there stays as it was, below the line and in a copy."""
        self.make("Host *\n    User me\n")
        install(self.folder, "")
        self.assertEqual(self.config.read_text(), f"{INCLUDE}\n\nHost *\n    User me\n")
        self.assertEqual((self.folder / BACKUP).read_text(), "Host *\n    User me\n")
        self.assertEqual(self.config.stat().st_mode & 0o777, 0o640)

    def test_again(self) -> None:
        """A second time, only our own file is new."""
        self.make("Host *\n")
        install(self.folder, "# one\n")
        after = self.config.read_text()
        self.assertEqual(len(install(self.folder, "# two\n")), 1)
        self.assertEqual((self.folder / FILE).read_text(), "# two\n")
        self.assertEqual(self.config.read_text(), after)
        self.assertEqual((self.folder / BACKUP).read_text(), "Host *\n")
        self.assertEqual(len(list(self.folder.iterdir())), 3)

    def test_odd_files(self) -> None:
        """A link, a file that others may write, or a huge one is left as it is."""
        self.make("Host *\n")
        for make_odd in (
            lambda: self.config.chmod(0o666),
            lambda: os.truncate(self.config, 2 << 20),
            lambda: (self.config.rename(self.folder / "x"), self.config.symlink_to("x")),
        ):
            make_odd()
            with self.assertRaises(ConfigError) as raised:
                install(self.folder, "")
            self.assertIn(str(self.config), str(raised.exception))
            self.assertFalse((self.folder / FILE).exists())
            if not self.config.is_symlink():
                self.config.chmod(0o644)

    def test_no_folder(self) -> None:
        """Where there can be no folder, that is one clear error."""
        self.folder.write_text("")
        with self.assertRaises(ConfigError):
            install(self.folder, "")

    def test_included(self) -> None:
        """ssh finds our lines, and its other settings still hold for all hosts."""
        install(self.folder, snippet(USERSPACE, None, NC))
        whole = self.config.read_text().replace(FILE, str(self.folder / FILE))
        self.config.write_text(whole + "ServerAliveInterval 17\n")
        said = ssh_says(self.config, "homelab")
        self.assertEqual(said["proxycommand"], f"{NC} %h %p")
        self.assertEqual(said["serveraliveinterval"], "17")
        other = ssh_says(self.config, "example.com")
        self.assertEqual(other["serveraliveinterval"], "17")
        self.assertNotIn("proxycommand", other)


class SshConfigTests(CommandTestCase):
    """The command."""

    def test_printed(self) -> None:
        """It prints the lines, with the whole path of the command and the state directory."""
        self.serve(USERSPACE)
        status, out, err = self.run_command("ssh-config", "--user=admin")
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"/tunnelmesh nc --state-dir {self.state} %h %p\n", out)
        self.assertIn("User admin\n", out)

    def test_installed(self) -> None:
        """It writes to the home directory that ssh looks in, and says what it did."""
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        self.patch(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir=str(home)))
        self.patch(os, "environ", {"SUDO_USER": "root"})
        self.serve(USERSPACE)
        status, out, _ = self.run_command("ssh-config", "--install")
        self.assertEqual(status, 0)
        self.assertIn(str(home / ".ssh" / FILE), out)
        self.assertIn("ProxyCommand", (home / ".ssh" / FILE).read_text())

    def test_sudo(self) -> None:
        """Under sudo it would be root's configuration, which nobody meant."""
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "environ", os.environ | {"SUDO_USER": "jane"})
        self.serve(TUN)
        self.assertOneLine(self.run_command("ssh-config", "--install"), "sudo", INCLUDE)

    def test_coordinator(self) -> None:
        """On a coordinator there is nobody to reach."""
        self.serve({"role": "coordinator"})
        self.assertOneLine(self.run_command("ssh-config"), "coordinator")

    def test_odd_user(self) -> None:
        """What is no user's name does not become lines of its own."""
        for odd in ("", "a b", "a\nProxyCommand x", '"', "a#b"):
            self.assertEqual(self.run_command("ssh-config", f"--user={odd}")[0], 2)
