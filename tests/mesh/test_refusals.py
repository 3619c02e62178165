"""What cannot work ends in one clear line and a status, and leaves nothing half-done behind."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE

from twisted.internet.defer import Deferred

from tests.mesh.meshes import PATIENCE, MeshTestCase
from tunnelmesh.coordinator.sqlite import FILE_NAME, SQLiteStore
from tunnelmesh.lab.kernel import Host
from tunnelmesh.lab.kernel.mesh import TWISTD
from tunnelmesh.wire.token import Token

POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Runs a command as root without a root's rights."""

NOTHING: frozenset[str] = frozenset()
KEY = frozenset({"identity"})
JOINED = frozenset({"identity", "membership.json"})
"""What is left in a state directory: a key harms nobody, and a member has all that it needs."""


@dataclass
class Refusal:
    """A command line that must fail.

    :ivar words: part of what it says; *left*: files that it leaves, or None where others run.
    """

    name: str
    options: Sequence[str]
    words: str
    left: frozenset[str] | None = KEY
    status: int = 1
    under: Sequence[str] = ()


class RefusalTests(MeshTestCase):
    """A mesh with one member, who has the name ``laptop``, UDP port 5000 and device ``tm0``."""

    def setUp(self) -> None:
        """Let it join."""
        super().setUp()
        self.laptop = self.world.add_site("home").add_host("laptop")
        self.used = self.mesh.coordinator.invite()
        member = self.mesh.add_peer(self.laptop, f"--join={self.used}", "--udp-port=5000")
        self.until(lambda: member.link, "the member's link")

    def test_peers(self) -> None:
        """A peer that may not join, or cannot run, says why."""
        good = self.mesh.coordinator.invite(uses=100)
        token = Token.decode(good)
        unknown = replace(token, secret=os.urandom(16)).encode()
        impostor = replace(token, key=os.urandom(32)).encode()
        nowhere = replace(token, host="203.0.113.99").encode()
        self.check(
            "peer",
            self.laptop,
            Refusal("stranger", [], "run 'tunnelmesh invite' on the coordinator", NOTHING),
            Refusal("garbled", ["--join=tm1:AAAA"], "the token was mistyped or cut off", NOTHING),
            Refusal("unknown", [f"--join={unknown}"], "does not know this token"),
            Refusal("impostor", [f"--join={impostor}"], "somebody is in between, or"),
            Refusal("nowhere", [f"--join={nowhere}"], "203.0.113.99:443 cannot be reached: no "),
            Refusal("used", [f"--join={self.used}"], "has been used"),
            Refusal(
                "expired",
                [f"--join={self.expired(token)}"],
                "the token has expired: ask for a new one",
            ),
            Refusal("laptop", [f"--join={good}"], "choose another with --name"),
            Refusal("b_d", [f"--join={good}"], "--name must be", NOTHING, status=2),
            Refusal("text", ["--udp-port=text"], "--udp-port must be a port", NOTHING, status=2),
            Refusal(
                "port",
                [f"--join={good}", "--udp-port=5000", "--tun-name=tm1"],
                "UDP port 5000 cannot be used",
                JOINED,
            ),
            Refusal(
                "device",
                [f"--join={good}", "--mode=tun"],
                "the network device tm0 is in use",
                JOINED,
            ),
            Refusal(
                "rights",
                [f"--join={good}", "--mode=tun", "--tun-name=tm2"],
                "no right to make the network device tm2",
                JOINED,
                under=POWERLESS,
            ),
        )
        members = {member["name"] for member in self.mesh.coordinator.status()["peers"]}
        self.assertEqual(members, {"laptop", "port", "device", "rights"})

    def test_coordinators(self) -> None:
        """A coordinator whose port or state is taken says which."""
        free = {"--stun-port": 0, "--ssh-port": 0, "--https-port": 0}

        def ports(**taken: int) -> list[str]:
            chosen = free | {f"--{name}-port": port for name, port in taken.items()}
            return [f"{option}={port}" for option, port in chosen.items()]

        same = f"--state-dir={self.mesh.coordinator.state_dir}"
        self.check(
            "coordinator",
            self.world.coordinator,
            Refusal("stun", ports(stun=3478), "UDP 0.0.0.0:3478", None),
            Refusal("ssh", ports(ssh=2222), "2222", None),
            Refusal("https", ports(https=443), "443", None),
            Refusal("same", [*ports(), same], "already running with the state directory", None),
        )

    def check(self, role: str, host: Host, *refusals: Refusal) -> None:
        """Run them, all at once, and look at what each says and leaves."""
        folder = self.mesh.folder / "refused"
        folder.mkdir()
        programs = []
        for each in refusals:
            argv = [*each.under, *TWISTD, "--nodaemon", "--pidfile=", "tunnelmesh"]
            argv += [f"--role={role}", f"--state-dir={folder / each.name}"]
            argv += [f"--name={each.name}"] if role == "peer" else []
            programs.append(host.popen([*argv, *each.options], stdout=PIPE, stderr=PIPE, text=True))
        for each, program in zip(refusals, programs, strict=True):
            told, complaint = program.communicate(timeout=PATIENCE)
            self.assertIn(each.words, complaint, f"{each.name}: {complaint}")
            self.assertEqual(complaint.count("\n"), 1, each.name)
            self.assertTrue(complaint.startswith("tunnelmesh: "), each.name)
            self.assertEqual(program.returncode, each.status, each.name)
            self.assertNotIn("Traceback", told, f"{each.name}: {told}")
            if each.left is not None:
                self.assertEqual(files(folder / each.name), each.left, each.name)

    def expired(self, token: Token) -> str:
        """A token like that one, which has expired a moment ago."""
        now = int(time.time())
        late = replace(token, secret=os.urandom(16), expires=now - 1)
        store = SQLiteStore(self.mesh.coordinator.state_dir / FILE_NAME)
        self.successResultOf(
            Deferred.fromCoroutine(store.invite(late.secret, 1, late.expires, now))
        )
        store.close()
        return late.encode()


def files(folder: Path) -> set[str]:
    """The names of what is in a folder, if there is one."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
