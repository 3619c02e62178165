"""``tunnelmesh service``: units that systemd's own tool has no fault to find with, and more."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cli.processes import ProcessTestCase
from tunnelmesh.cli import main, service, systemd

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$*" in
*is-active*) echo active;;
*is-enabled*) echo enabled;;
esac
"""
"""Stands in for systemd."""


def run(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(["service", *words])
        except SystemExit as leaving:
            status = int(str(leaving.code))
    return status, out.getvalue(), err.getvalue()


def directives(unit: str) -> dict[str, list[str]]:
    """Every directive of a unit, with its values."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


class UnitTests(SynchronousTestCase):
    """What is printed."""

    def test_verified(self) -> None:
        """systemd finds nothing wrong with any of the units."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd-analyze is not installed")
        for role in ("peer", "coordinator"):
            for which in ([], ["--user-unit"]):
                status, unit, _ = run("install", "--print", f"--role={role}", *which)
                self.assertEqual(status, 0)
                path = Path(self.mktemp()).absolute().with_suffix(".service")
                path.write_text(unit)
                done = subprocess.run(
                    ["systemd-analyze", *(["--user"] if which else []), "verify", str(path)],
                    capture_output=True,
                    text=True,
                    env=os.environ | {"XDG_RUNTIME_DIR": "/tmp", "SYSTEMD_LOG_LEVEL": "warning"},
                )
                ours = [line for line in done.stderr.splitlines() if path.name in line]
                self.assertEqual((done.returncode, ours), (0, []), done.stderr)

    def test_rights(self) -> None:
        """A peer has what makes a device, a coordinator low ports, a user's own none."""
        _, unit, _ = run("install", "--print")
        peer = directives(unit)
        self.assertEqual(peer["CapabilityBoundingSet"], ["CAP_NET_ADMIN CAP_NET_BIND_SERVICE"])
        self.assertEqual(peer["DeviceAllow"], ["/dev/net/tun rw"])
        for name, value in (
            ("DynamicUser", "yes"),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("StateDirectory", "tunnelmesh"),
            ("Restart", "on-failure"),
            ("RestartPreventExitStatus", "2 3"),
        ):
            self.assertEqual(peer[name], [value])
        _, unit, _ = run("install", "--print", "--role=coordinator")
        self.assertEqual(directives(unit)["CapabilityBoundingSet"], ["CAP_NET_BIND_SERVICE"])
        _, unit, _ = run("install", "--print", "--user-unit")
        self.assertNotIn("AmbientCapabilities", directives(unit))
        self.assertEqual(directives(unit)["WantedBy"], ["default.target"])

    def test_secrets_are_elsewhere(self) -> None:
        """Neither an invitation nor a password is in the unit."""
        secret = "http://me:password@proxy.example:3128"
        _, unit, _ = run("install", "--print", "--join=tm1:SECRET", f"--proxy={secret}")
        self.assertNotIn("SECRET", unit)
        self.assertNotIn("password", unit)

    def test_files(self) -> None:
        """A key that only root may read is handed over as a credential."""
        _, unit, _ = run(
            *("install", "--print", "--role=coordinator", "--public-host=vpn.example"),
            *("--tls-certificate=/etc/ssl/100%h.pem", "--tls-key=/etc/ssl/b.pem"),
        )
        told = directives(unit)
        self.assertIn("tls-key:/etc/ssl/b.pem", told["LoadCredential"])
        self.assertIn("tls-certificate:/etc/ssl/100%%h.pem", told["LoadCredential"])
        self.assertIn("--tls-key=${CREDENTIALS_DIRECTORY}/tls-key", told["ExecStart"][0])

    def test_refused(self) -> None:
        """What the service would not take is refused with status 2, before anything is written."""
        for words, complaint in (
            (["--udp-port=x"], "--udp-port must be a port"),
            (["--https-port=1"], "--https-port is not a setting of a peer"),
            (["--state-dir=/srv/mesh"], "below /var/lib"),
            (["--state-dir=/var/lib/../spool"], "below /var/lib"),
            (["--user=nobody"], "a user of its own"),
        ):
            status, out, err = run("install", *words)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(complaint, err)


class SystemUnitTests(SynchronousTestCase):
    """The system's service, in an ``/etc`` of our own."""

    def setUp(self) -> None:
        """Play root, of a machine that systemd does not run and that has joined."""
        self.etc = Path(self.mktemp()).absolute()
        self.rules = self.etc / "polkit-1" / "rules.d"
        self.rules.mkdir(parents=True)
        self.patch(systemd, "ETC", self.etc)
        self.patch(systemd, "BOOTED", self.etc / "nothing")
        self.patch(os, "geteuid", lambda: 0)
        self.patch(service, "HOMES", ())
        self.patch(service, "_join", lambda *_: None)

    def files(self) -> set[str]:
        """All that is there."""
        return {str(p.relative_to(self.etc)) for p in self.etc.rglob("*") if p.is_file()}

    def test_names(self) -> None:
        """polkit lets the peer's user tell systemd-resolved, until the service is removed."""
        self.assertEqual(run("install")[0], 0)
        [rule] = self.rules.iterdir()
        self.assertEqual((rule.name, rule.stat().st_mode & 0o777), ("50-tunnelmesh.rules", 0o644))
        self.assertIn('subject.user == "tunnelmesh"', rule.read_text())
        self.assertIn(
            "User=tunnelmesh\n", (self.etc / "systemd/system/tunnelmesh.service").read_text()
        )
        how_to = Path(__file__).parent.parent.parent / "docs" / "howto" / "names.md"
        self.assertIn(rule.read_text().partition("names.\n")[2], how_to.read_text())
        self.assertEqual(run("uninstall")[0], 0)
        self.assertEqual(self.files(), set())

    def test_nothing_to_allow(self) -> None:
        """A coordinator needs no rule, and a machine without polkit gets none."""
        self.assertEqual(run("install", "--role=coordinator", "--public-host=vpn.example")[0], 0)
        self.assertNotIn("polkit-1/rules.d/50-tunnelmesh.rules", self.files())
        run("uninstall", "--role=coordinator")
        self.rules.rmdir()
        self.assertEqual(run("install")[0], 0)
        self.assertFalse(any("polkit" in name for name in self.files()))


class UserUnitTests(ProcessTestCase):
    """A user's own service, from joining to its end."""

    def setUp(self) -> None:
        """Give the user a home, and a systemd that does as it is told."""
        super().setUp()
        home = self.folder / "home"
        tools = home / "bin"
        tools.mkdir(parents=True)
        (tools / "systemctl").write_text(SYSTEMCTL)
        (tools / "systemctl").chmod(0o755)
        self.asked = tools / "asked"
        self.config = home / "config"
        self.state = home / "state"
        self.patch(os, "environ", os.environ | {"XDG_CONFIG_HOME": str(self.config)})
        os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
        self.patch(systemd, "BOOTED", home)
        self.which = ["--user-unit"]
        self.here = [*self.which, f"--state-dir={self.state}"]
        # What systemd would start answers at once.
        self.patch(
            service, "ask", lambda *_: {"name": "a", "address": "b", "coordinator": {"link": 1}}
        )

    def test_life(self) -> None:
        """Installing joins, keeps the token nowhere, and has systemd start it; and back."""
        token = self.token()
        words = ["--name=laptop", "--expose=22", f"--join={token}", "--proxy=none"]
        status, out, err = run("install", *self.here, *words)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("runs, and will with the machine", out)
        self.assertTrue((self.state / "membership.json").exists())
        self.assertFalse((self.state / "control.sock").exists())
        config = self.config / "tunnelmesh" / "peer.toml"
        self.assertEqual(config.stat().st_mode & 0o777, 0o600)
        told = tomllib.loads(config.read_text())
        self.assertEqual(
            told, {"name": "laptop", "expose": "22", "proxy": "none", "mode": "userspace"}
        )
        unit = self.config / "systemd" / "user" / "tunnelmesh.service"
        self.assertIn(f"--config={config}", unit.read_text())
        self.assertEqual(
            self.asked.read_text().splitlines(),
            [
                "--user is-active tunnelmesh.service",
                "--user daemon-reload",
                "--user enable tunnelmesh.service",
                "--user restart tunnelmesh.service",
            ],
        )
        again = run("install", *self.here)  # a member needs no token
        self.assertEqual(again[0], 0)
        self.assertEqual(run("status", *self.which)[0], 0)
        status, out, _ = run("uninstall", *self.which)
        self.assertEqual(
            (status, out), (0, "tunnelmesh.service is gone; its key and state are kept\n")
        )
        self.assertFalse(unit.exists() or config.exists())
        self.assertEqual(
            run("status", *self.which), (1, "tunnelmesh.service is not installed\n", "")
        )
        self.assertEqual(run("uninstall", *self.which)[0], 1)

    def test_another_runs(self) -> None:
        """A peer that somebody runs by hand is not taken for the service."""
        (self.asked.parent / "systemctl").write_text("#!/bin/sh\necho inactive\n")
        status, _, err = run("install", *self.here)
        self.assertEqual(status, 1)
        self.assertIn("stop it with 'tunnelmesh down'", err)

    def test_not_joined(self) -> None:
        """Without an invitation, or with a wrong one, nothing is installed and it is told why."""
        for words, complaint in (
            ([], "'tunnelmesh invite' on the coordinator"),
            (["--join=tm1:AAAA"], "mistyped or cut off"),
        ):
            status, _, err = run("install", *self.here, *words)
            self.assertEqual(status, 1)
            self.assertIn(complaint, err)
            self.assertFalse((self.config / "systemd").exists())
