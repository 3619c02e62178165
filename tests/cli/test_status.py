"""The commands that ask a service, and what they print."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.answers import CommandTestCase
from tunnelmesh.cli.status import amount
from tunnelmesh.peer.answers.absence import age

DIRECT = {"kind": "udp", "remote": "198.51.100.7:4000", "rtt_ms": 12.345, "since_s": 65.0}
NONE = {"kind": None, "remote": None, "rtt_ms": None, "since_s": 1.0}


def peer(name: str, path: dict[str, Any], online: bool = True) -> dict[str, Any]:
    """One peer of a status."""
    return {
        "name": name,
        "address": "100.96.0.7",
        "address6": "fd00::7",
        "fingerprint": "SHA256:xyz",
        "online": online,
        "path": path,
        "rx_bytes": 1_500_000,
        "tx_bytes": 12,
        "handshake_age_s": 3.0,
    }


STATUS: dict[str, Any] = {
    "role": "peer",
    "name": "laptop",
    "address": "100.96.0.2",
    "address6": "fd00::2",
    "fingerprint": "SHA256:abc",
    "mode": "tun",
    "names": {"server": "100.96.0.2:53", "domain": "mesh", "resolved": True, "hint": ""},
    "nat": {
        "flavour": "symmetric",
        "mapping": "address-and-port-dependent",
        "filtering": "address-and-port-dependent",
        "external": "198.51.100.1:4000",
        "ports": "random ones",
    },
    "coordinator": {
        "host": "vpn.example",
        "link": "ssh",
        "proxy": None,
        "rtt_ms": 20.5,
        "failures": {},
    },
    "peers": [peer("home", DIRECT), peer("away", NONE, online=False), peer("lost", NONE)],
    "refused": {},
    "dropped": {},
    "tunnel": {},
}
COORDINATOR = {
    "role": "coordinator",
    "peers": [
        {
            "name": "laptop",
            "address": "100.96.0.2",
            "online": True,
            "link": "ssh",
            "flavour": "open",
        },
        {
            "name": "home",
            "address": "100.96.0.7",
            "online": False,
            "link": None,
            "flavour": "unknown",
        },
    ],
    "relay": {"frames": 7, "bytes": 1234, "dropped": 0},
    "listen": {"ssh": "0.0.0.0:2222", "https": "0.0.0.0:8443"},
}


class StatusTests(CommandTestCase):
    """What people and programs read."""

    def ask(self, answer: Any, *words: str) -> str:
        """Run a command that works; what it prints."""
        self.serve(*(answer if isinstance(answer, list) else [answer]))
        status, out, err = self.run_command(*words)
        self.assertEqual((status, err), (0, ""))
        return out

    def test_peer(self) -> None:
        """Everything that matters is in it, one peer a line."""
        out = self.ask(STATUS, "status")
        for words in ("laptop", "symmetric", "vpn.example: ssh, 20.5 ms", "direct, 198.51.100.7"):
            self.assertIn(words, out)
        lines = {line.split()[0]: line for line in out.splitlines() if line}
        self.assertIn("1.5 MB", lines["home"])
        self.assertIn("offline", lines["away"])
        self.assertIn("no path", lines["lost"])

    def test_json(self) -> None:
        """For programs, the answer as it is."""
        self.assertEqual(json.loads(self.ask(STATUS, "status", "--json")), STATUS)

    def test_peers(self) -> None:
        """The list alone, for people and programs."""
        self.assertEqual(self.ask(STATUS, "peers").splitlines()[0].split()[0], "NAME")

    def test_peers_json(self) -> None:
        """The list alone, for programs."""
        self.assertEqual(json.loads(self.ask(STATUS, "peers", "--json")), STATUS["peers"])

    def test_alone(self) -> None:
        """A machine without peers is told how to get one."""
        self.assertIn("tunnelmesh invite", self.ask(STATUS | {"peers": []}, "status"))

    def test_no_link(self) -> None:
        """Without a link, the reasons are shown."""
        failures = {"ssh": "no answer", "websocket": "this machine is not a member"}
        link = {"link": None, "rtt_ms": None, "failures": failures}
        out = self.ask(STATUS | {"coordinator": STATUS["coordinator"] | link}, "status")
        self.assertIn("no link yet", out)
        self.assertIn("not a member", out)

    def test_names(self) -> None:
        """Whether names resolve, or what to do so that they do."""
        self.assertIn("NAME.mesh resolves", self.ask(STATUS, "status"))
        self.doCleanups()
        self.setUp()
        names = STATUS["names"] | {"hint": "systemd-resolved does not take it: as root, …"}
        self.assertIn("names        systemd-res", self.ask(STATUS | {"names": names}, "status"))

    def test_refused(self) -> None:
        """A refused name is not overlooked."""
        out = self.ask(STATUS | {"refused": {"home": "has another key, SHA256:evil"}}, "status")
        self.assertIn("REFUSED", out)
        self.assertIn("SHA256:evil", out)

    def test_coordinator(self) -> None:
        """A coordinator's members, and where it listens."""
        out = self.ask(COORDINATOR, "status")
        self.assertIn("1 of 2 peers online", out)
        self.assertIn("0.0.0.0:2222", out)

    def test_coordinators_peers(self) -> None:
        """``peers`` works on a coordinator as well."""
        out = self.ask(COORDINATOR, "peers")
        self.assertIn("laptop", out)
        self.assertIn("offline", out)

    def test_forget(self) -> None:
        """Forgetting says what it did."""
        self.assertIn("home", self.ask({"forgotten": "home"}, "forget", "home"))
        self.assertEqual(self.asked, ["/forget?peer=home"])


class PingTests(CommandTestCase):
    """``tunnelmesh ping``."""

    PONG: dict[str, Any] = {
        "seq": 1,
        "rtt_ms": 12.3,
        "path": {"kind": "udp", "remote": "198.51.100.7:4000"},
    }
    LOST: dict[str, Any] = {
        "seq": 2,
        "rtt_ms": None,
        "path": {"kind": None, "remote": None},
    }

    def test_answered(self) -> None:
        """One line an echo, and the sum at the end; one answer is success."""
        self.serve(self.PONG, self.LOST)
        status, out, _ = self.run_command("ping", "home", "-c", "2")
        self.assertEqual(status, 0)
        lines = out.splitlines()
        self.assertIn("12.3 ms (direct, 198.51.100.7:4000)", lines[0])
        self.assertIn("no answer (no path)", lines[1])
        self.assertTrue(lines[2].startswith("2 sent, 1 received"))
        self.assertEqual(self.asked, ["/ping?peer=home&count=2"])

    def test_nothing_came_back(self) -> None:
        """Without any answer the status is 1."""
        self.serve(self.LOST)
        status, out, _ = self.run_command("ping", "home")
        self.assertEqual((status, out.splitlines()[-1]), (1, "1 sent, 0 received"))

    def test_json(self) -> None:
        """For programs, one object a line and nothing else."""
        self.serve(self.PONG, self.LOST)
        _, out, _ = self.run_command("ping", "home", "--json")
        self.assertEqual([json.loads(line) for line in out.splitlines()], [self.PONG, self.LOST])

    def test_error_midway(self) -> None:
        """What goes wrong after the first lines is one line all the same."""
        self.serve(self.PONG, {"error": "the peer is stopping"})
        self.assertOneLine(self.run_command("ping", "home"), "the peer is stopping")


class WordsTests(CommandTestCase):
    """``netcheck``, ``explain``, ``history``."""

    def test_netcheck(self) -> None:
        """The NAT in words, and what does not work."""
        self.serve(
            STATUS["nat"]
            | {
                "verdict": "Direct connections work from this network with some others.",
                "advice": ["switch on IPv6"],
                "in_words": "A symmetric NAT: another port for every destination.",
                "addresses": ["192.168.1.2", "2001:db8::1"],
                "external6": "[2001:db8::1]:4000",
                "coordinator": STATUS["coordinator"],
                "proxy": None,
                "failures": {"ssh": "no answer"},
                "names": STATUS["names"],
                "offloads": {"lacking": []},
                "forwards": {
                    "protocol": "PCP",
                    "external": "198.51.100.7:41641",
                    "lifetime_s": 3000,
                    "router": "192.168.1.1",
                    "why_not": {"UPnP-IGD": "no answer"},
                    "advertised": ["203.0.113.9:51820"],
                },
            }
        )
        status, out, _ = self.run_command("netcheck")
        self.assertIn("over IPv6    [2001:db8::1]:4000\n", out)
        self.assertEqual(status, 0)
        self.assertIn("forwarded    203.0.113.9:51820 by hand, 198.51.100.7:41641 by PCP\n", out)
        self.assertIn("fast path    on\n", out)
        for words in ("A symmetric NAT", "random ones", "192.168.1.2", "not by ssh: no answer"):
            self.assertIn(words, out)
        self.assertTrue(out.startswith("Direct connections work"))
        self.assertTrue(out.endswith("\nWhat you can do:\n  - Switch on IPv6.\n"))

    def test_explain(self) -> None:
        """Summary, evidence and advice."""
        self.serve(
            {
                "peer": "home",
                "path": "ssh",
                "summary": "Relayed over SSH.",
                "evidence": ["you: symmetric NAT"],
                "advice": ["forward a UDP port"],
            }
        )
        status, out, _ = self.run_command("explain", "home")
        self.assertEqual(status, 0)
        for words in ("Relayed over SSH.", "you: symmetric NAT", "  - Forward a UDP port.\n"):
            self.assertIn(words, out)

    def test_history(self) -> None:
        """Each change with its cause; an outage that is not over is none yet."""
        change = {"at": 1.8e9, "from": "none", "to": "ssh relay", "cause": "the relay is open"}
        self.serve([change | {"outage_ms": 0}, change | {"outage_ms": None}])
        status, out, _ = self.run_command("history", "home")
        self.assertEqual((status, out.count("the relay is open")), (0, 2))

    def test_no_history(self) -> None:
        """Nothing happened yet: no traceback."""
        self.serve([])
        self.assertEqual(self.run_command("history", "home")[0], 0)

    def test_amounts(self) -> None:
        """Bytes and seconds, for people."""
        self.assertEqual(
            [amount(n) for n in (0, 999, 1000, 1.5e6, 2e9, 3e12)],
            ["0 B", "999 B", "1.0 kB", "1.5 MB", "2.0 GB", "3.0 TB"],
        )
        self.assertEqual(
            [age(s) for s in (0, 119, 600, 10_000, 1e6)],
            ["0 s", "119 s", "10 min", "3 h", "12 days"],
        )
