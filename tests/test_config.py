"""Configuration from options and from a file."""

import os
import socket
from dataclasses import FrozenInstanceError
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh import config
from tunnelmesh.config import CoordinatorConfig, PeerConfig, load
from tunnelmesh.errors import ConfigError


class LoadTests(SynchronousTestCase):
    """Options, a TOML file, and what is wrong with them."""

    def file(self, content: bytes) -> Path:
        """A TOML file with that content."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    def refused(self, options: dict, content: bytes | None = None, role=PeerConfig) -> str:
        """The message with which a configuration is refused."""
        file = None if content is None else self.file(content)
        message = str(self.assertRaises(ConfigError, load, role, options, file))
        self.assertNotIn("\n", message)
        if file is not None:
            self.assertIn(str(file), message)
        return message

    def test_defaults(self) -> None:
        """Nothing has to be said."""
        peer = load(PeerConfig, {})
        coordinator = load(CoordinatorConfig, {})
        self.assertEqual(
            (peer.mode, peer.tun_name, peer.udp_port, peer.proxy, peer.relay_only, peer.join),
            ("auto", "tm0", 0, "auto", False, None),
        )
        self.assertEqual(
            (coordinator.https_port, coordinator.ssh_port, coordinator.stun_port),
            (8443, 2222, 3478),
        )
        self.assertEqual(str(coordinator.pool), "100.96.0.0/16")

    def test_option_wins(self) -> None:
        """What the command line says counts more than the file."""
        file = self.file(b'name = "one"\nudp-port = 7\nrelay-only = true\n')
        peer = load(PeerConfig, {"name": "Two"}, file)
        self.assertEqual((peer.name, peer.udp_port, peer.relay_only), ("two", 7, True))

    def test_every_setting_has_a_help(self) -> None:
        """Each setting can be read and shown to people in one line of a terminal."""
        for role in (PeerConfig, CoordinatorConfig):
            for setting in config.settings(role).values():
                self.assertTrue(callable(setting.metadata["read"]))
                self.assertTrue(0 < len(setting.metadata["help"]) < 60)

    def test_every_setting_is_documented(self) -> None:
        """The page of settings has each of them."""
        page = Path(__file__).parent.parent / "docs" / "settings.md"
        text = page.read_text()
        for role in (PeerConfig, CoordinatorConfig):
            for name in config.settings(role):
                self.assertIn(f"`--{name}`", text)

    def test_wrong_values_name_the_key(self) -> None:
        """A message names where and what is wrong, and what was found."""
        self.assertEqual(
            self.refused({"udp-port": "x"}),
            "--udp-port must be a port number, 0 to 65535, not 'x'",
        )
        self.assertIn(
            "mode must be auto, tun or userspace, not 'tap'", self.refused({}, b'mode = "tap"')
        )
        self.assertIn("udp-port must", self.refused({}, b"[udp-port]\na = 1"))

    def test_unknown_key(self) -> None:
        """A key that does not exist is named, with the one that was probably meant."""
        self.assertIn(
            "udp_port is not a setting of a peer (did you mean udp-port?)",
            self.refused({}, b"udp_port = 1"),
        )
        self.assertIn("colour is not", self.refused({}, b'colour = "red"'))

    def test_other_role(self) -> None:
        """A setting of the other role is refused."""
        self.assertIn("--https-port is not a setting of a peer", self.refused({"https-port": "1"}))
        self.assertIn(
            "--join is not a setting of a coordinator",
            self.refused({"join": "tm1:x"}, role=CoordinatorConfig),
        )

    def test_bad_files(self) -> None:
        """A file that is missing, no file, or no TOML ends in one line."""
        self.assertIn("is not TOML: Invalid value", self.refused({}, b"name = "))
        self.assertIn("is not TOML", self.refused({}, b'name = "\xff"'))
        for path, reason in [("/nonexistent/a.toml", "No such file"), ("/", "directory")]:
            error = self.assertRaises(ConfigError, load, PeerConfig, {}, Path(path))
            self.assertIn(reason, str(error))

    def test_half_a_certificate(self) -> None:
        """A certificate without its key, or the reverse, is refused."""
        message = self.refused({"tls-key": "/key.pem"}, role=CoordinatorConfig)
        self.assertIn("tls-certificate and tls-key go together", message)

    def test_peers_by_relay_or_never(self) -> None:
        """No peer can be both, and none be reached if neither way is left."""
        both = {"relay-only-peers": "a,b", "direct-only-peers": "b"}
        self.assertIn("both name b", self.refused(both))
        self.assertIn(
            "relay-only leaves no way", self.refused({"direct-only-peers": "b", "relay-only": True})
        )
        peer = load(PeerConfig, {"relay-only-peers": "a"}, self.file(b'direct-only-peers = ["b"]'))
        self.assertEqual((peer.relay_only_peers, peer.direct_only_peers), ({"a"}, {"b"}))

    def test_advertised(self) -> None:
        """Ports that were forwarded by hand, one or several."""
        peer = load(PeerConfig, {"advertise": "192.0.2.1:7,home.example:8"})
        self.assertEqual(peer.advertise, (("192.0.2.1", 7), ("home.example", 8)))
        self.assertIn("--advertise must be HOST:PORT", self.refused({"advertise": "7"}))

    def test_secrets_stay_secret(self) -> None:
        """Neither a message nor a repr shows a password or an invitation."""
        message = self.refused({"proxy": "http://me:hunter2@proxy"})
        self.assertNotIn("hunter2", message)
        peer = load(PeerConfig, {"proxy": "http://me:hunter2@proxy:1", "join": "tm1:hunter2"})
        self.assertNotIn("hunter2", repr(peer))

    def test_frozen(self) -> None:
        """A configuration does not change."""
        with self.assertRaises(FrozenInstanceError):
            load(PeerConfig, {}).name = "other"


class DefaultTests(SynchronousTestCase):
    """What is taken from the machine."""

    def test_state_dir_of_root(self) -> None:
        """Root's state is the system's."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(load(PeerConfig, {}).state_dir, Path("/var/lib/tunnelmesh"))

    def test_state_dir_of_a_user(self) -> None:
        """A user's state is where XDG says, unless that is a relative path."""
        self.patch(os, "geteuid", lambda: 1000)
        for base, expected in [
            ("/x/state", "/x/state/tunnelmesh"),
            ("state", "/home/u/.local/state/tunnelmesh"),
            ("", "/home/u/.local/state/tunnelmesh"),
        ]:
            self.patch(os, "environ", {"XDG_STATE_HOME": base, "HOME": "/home/u"})
            self.assertEqual(config.default_state_dir(), Path(expected))

    def test_no_home(self) -> None:
        """A user without a home is told to name a directory."""

        def no_home() -> Path:
            raise RuntimeError

        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "environ", {})
        self.patch(Path, "home", no_home)
        error = self.assertRaises(ConfigError, load, PeerConfig, {})
        self.assertIn("--state-dir", str(error))

    def test_nothing_is_created(self) -> None:
        """Reading a configuration does not make the state directory."""
        path = Path(self.mktemp()).absolute()
        peer = load(PeerConfig, {"state-dir": str(path)})
        self.assertEqual((peer.state_dir, path.exists()), (path, False))

    def test_name_from_the_host(self) -> None:
        """Any host name gives a valid name."""
        for host, name in [
            ("laptop", "laptop"),
            ("My_Box.example.org", "my-box"),
            ("-x-", "x"),
            ("日本", "peer"),
            ("", "peer"),
            ("a" * 62 + "_b", "a" * 62),
        ]:
            self.patch(socket, "gethostname", lambda host=host: host)
            self.assertEqual(load(PeerConfig, {}).name, name)
