"""The commands about who is in the mesh."""

from __future__ import annotations

import json
import time
from ipaddress import IPv4Address

from tests.cli.answers import CommandTestCase
from tunnelmesh.peer import membership as memberships
from tunnelmesh.peer.membership import Membership

HERE = {
    "name": "laptop",
    "address": "100.96.0.2",
    "fingerprint": "SHA256:abc",
    "enrolled": time.time() - 86400 * 9,
    "online": True,
    "last_seen": None,
    "mode": "userspace",
    "link": "ssh",
    "flavour": "symmetric",
}
GONE = HERE | {
    "name": "home",
    "online": False,
    "last_seen": time.time() - 3 * 3600,
    "mode": "tun",
    "link": None,
}
NEVER = GONE | {"name": "new", "last_seen": None}
STATUS = {"role": "coordinator", "peers": [HERE, GONE, NEVER]}


class MembersTests(CommandTestCase):
    """What the coordinator's owner reads and does."""

    def ran(self, *words: str) -> str:
        """What a command that works prints."""
        status, out, err = self.run_command(*words)
        self.assertEqual((status, err), (0, ""))
        return out

    def test_listed(self) -> None:
        """One member a line: whether it is there, when it was, since when it is one, its key."""
        self.serve(STATUS)
        lines = {line.split()[0]: line for line in self.ran("members").splitlines()}
        self.assertIn("by ssh, without device", lines["laptop"])
        for words in ("last seen 3 h ago", "9 days", "SHA256:abc", "100.96.0.2"):
            self.assertIn(words, lines["home"])
        self.assertIn("not seen yet", lines["new"])

    def test_json(self) -> None:
        """For programs, as it is."""
        self.serve(STATUS)
        self.assertEqual(json.loads(self.ran("members", "--json")), STATUS["peers"])

    def test_on_a_peer(self) -> None:
        """A peer does not know it."""
        self.serve({"role": "peer", "peers": []})
        self.assertOneLine(self.run_command("members"), "for the coordinator")

    def test_revoke(self) -> None:
        """What was done is said, and whether somebody can still come in."""
        self.serve({"name": "home", "address": "100.96.0.2", "online": True, "invitations": 2})
        out = self.ran("revoke", "home")
        self.assertIn("home (100.96.0.2) is no member any more: its link is closed", out)
        self.assertIn("still: 2 (see 'tunnelmesh invite --list')", out)
        self.assertEqual(self.asked, ["/revoke?name=home"])

    def test_revoke_nobody(self) -> None:
        """A name that nobody has is an error with the coordinator's advice."""
        self.serve({"error": "there is no member 'hom': did you mean 'home'?"}, status=400)
        self.assertOneLine(self.run_command("revoke", "hom"), "did you mean 'home'?")

    def test_rename(self) -> None:
        """One name is this machine's new one; two are somebody's old and new ones."""
        self.serve({"name": "workshop", "before": "laptop"})
        self.assertEqual(self.ran("rename", "workshop"), "laptop is called workshop now\n")
        self.doCleanups()
        self.setUp()
        self.serve({"name": "workshop", "address": "100.96.0.2", "online": False})
        self.assertEqual(
            self.ran("rename", "laptop", "workshop"), "laptop is called workshop now\n"
        )
        self.assertEqual(self.asked, ["/rename?new=workshop&old=laptop"])
        self.assertOneLine(self.run_command("rename", "a", "b", "c"), "no more")


class LeaveTests(CommandTestCase):
    """A machine goes."""

    def test_left(self) -> None:
        """The running service does it."""
        self.serve({"name": "laptop", "told": True})
        status, out, err = self.run_command("leave")
        self.assertEqual((status, err, self.asked), (0, "", ["/leave?"]))
        self.assertIn("laptop has left the mesh", out)
        self.assertNotIn("not told", out)

    def test_forced(self) -> None:
        """Whoever goes without telling is told what remains to be done."""
        self.serve({"name": "laptop", "told": False})
        _, out, _ = self.run_command("leave", "--force")
        self.assertEqual(self.asked, ["/leave?force=yes"])
        self.assertIn("tunnelmesh revoke laptop", out)

    def test_not_running(self) -> None:
        """Without a service the membership is forgotten, and the key is not."""
        key = self.state / "identity"
        key.touch()
        self.addCleanup(key.unlink)
        address = IPv4Address("100.96.0.2")
        memberships.save(self.state, Membership("h", 1, 2, bytes(32), False, "lap", address, 16))
        status, out, err = self.run_command("leave")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("tunnelmesh revoke lap", out)
        self.assertIsNone(memberships.load(self.state))
        self.assertTrue(key.exists())
        self.assertOneLine(self.run_command("leave"), "no TunnelMesh is running")
