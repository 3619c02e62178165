"""Tests for :mod:`tunnelmesh.policy.document`."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import PolicyError
from tunnelmesh.policy.document import MAX_SIZE, Entry, parse

GOOD = """
[groups]
admins = ["laptop", "desk"]
servers = ["homelab", "NAS"]

[[allow]]
from = ["admins"]
to = ["*"]
ports = ["*"]

[[allow]]
from = ["*", "server1"]
to = ["servers", "printer"]
ports = ["tcp/22", 80, "icmp"]
"""


def entry(**keys: str) -> str:
    """An entry with these keys in place of good ones; ``None`` to leave one out."""
    values = {"from": '["*"]', "to": '["*"]', "ports": '["*"]'} | keys
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    return "\n".join(["[[allow]]", *lines, ""])


class ParseTests(SynchronousTestCase):
    """The file."""

    def test_good(self) -> None:
        """What it says is what comes out, names in small letters."""
        policy = parse(GOOD.encode(), "rules.toml")
        self.assertEqual(
            policy.groups, {"admins": ("laptop", "desk"), "servers": ("homelab", "nas")}
        )
        self.assertEqual(
            policy.allow,
            (
                Entry(("admins",), ("*",), ("*",)),
                Entry(
                    ("*", "server1"),
                    ("servers", "printer"),
                    ("tcp/22", "tcp/80", "udp/80", "icmp"),
                ),
            ),
        )

    def test_nothing_allowed(self) -> None:
        """Nothing is allowed where that is written, which is worth a word; a file that is empty, or
        not written to its end yet, is a mistake."""
        policy = parse(b"allow = []", "rules.toml")
        self.assertEqual(policy.allow, ())
        self.assertEqual(policy.doubts([]), ["nothing is allowed"])
        for data in (b"", b"[groups]\na = []"):
            error = self.assertRaises(PolicyError, parse, data, "rules.toml")
            self.assertIn("write: allow = []", str(error))

    def test_documented(self) -> None:
        """The example in the how-to is in order."""
        page = Path(__file__).parents[2] / "docs" / "howto" / "access.md"
        example = page.read_text("utf-8").split("```toml\n")[1].split("```")[0]
        policy = parse(example.encode(), "rules.toml")
        self.assertEqual(len(policy.allow), 2)

    def test_mistakes(self) -> None:
        """Each mistake is told with the file, the place, and what may have been meant."""
        group = '[groups]\nadmins = ["laptop"]\n'
        for text, said in [
            ("[groups", "is not TOML"),
            ("a" * (MAX_SIZE + 1), "longer"),
            ("[group]", "did you mean groups?"),
            ("[[allows]]", "did you mean allow?"),
            ("zzz = 1", "it has groups, allow"),
            ("groups = 1", "groups must be a table"),
            ("allow = 1", "[[allow]]"),
            ("allow = {}", "[[allow]]"),
            ("allow = [1]", "allow entry 1 must have"),
            ('[groups]\n"a b" = []', "group a b"),
            ('[groups]\nadmins = "laptop"', 'must be a list, such as ["laptop"]'),
            ('[groups]\nadmins = ["*"]', "group admins: '*' is not a name"),
            ("[groups]\nadmins = [1]", "group admins: '1' is not a name"),
            (group + 'all = ["admins"]', "group all: admins is a group"),
            (entry() + entry(ports=""), "allow entry 2: ports is missing"),
            (
                entry() + entry(port="[22]"),
                "'port' is not a key of allow entry 2 (did you mean ports?)",
            ),
            (entry(ports='"tcp/22"'), "allow entry 1: ports: must be a list"),
            (entry(ports='["tcp/ssh"]'), "allow entry 1: ports: 'tcp/ssh' is none"),
            (entry(ports="[[22]]"), "allow entry 1: ports: '[22]' is none"),
            (entry(ports=f"{list(range(1, 400))}"), "more than 512"),
            (entry(to='["a_b"]'), "allow entry 1: to: 'a_b' is not a name"),
            (group + entry(**{"from": '["admin"]'}), "no group admin (did you mean admins?)"),
            (group + entry(to='["admisn"]'), "did you mean admins?"),
            (group + entry(to='["adnins"]'), "did you mean admins?"),
            (group + entry(to='["aadmins"]'), "did you mean admins?"),
        ]:
            error = self.assertRaises(PolicyError, parse, text.encode(), "rules.toml")
            self.assertTrue(str(error).startswith("rules.toml: "), error)
            self.assertIn(said, str(error))
            self.assertNotIn("\n", str(error))

    def test_members_like_groups(self) -> None:
        """A member may be called nearly like a group if a group lists it, or if a digit tells them
        apart."""
        for name, groups in [
            ("server1", 'servers = ["nas"]'),
            ("admin", 'admins = ["admin"]'),
            ("desk", 'admins = ["laptop"]'),
        ]:
            text = f"[groups]\n{groups}\n" + entry(to=f'["{name}"]')
            self.assertEqual(parse(text.encode(), "f").allow[0].targets, (name,))

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    @example(b"a=" + b"[" * 5000)
    @example(b"\xff")
    def test_anything(self, data: bytes) -> None:
        """Whatever the file holds, it is a policy or one clear error."""
        try:
            parse(data, "rules.toml")
        except PolicyError as error:
            self.assertTrue(str(error).startswith("rules.toml: "))


class DoubtTests(SynchronousTestCase):
    """What is no mistake, but may be one."""

    def test_no_such_member(self) -> None:
        """Names that nobody has are told, with the nearest that somebody has."""
        policy = parse(GOOD.encode(), "rules.toml")
        self.assertEqual(
            policy.doubts(["laptop", "desk", "homelab", "nas", "printer", "server1"]), []
        )
        (doubt,) = policy.doubts(["laptop", "desk", "homelab", "nas", "printers", "server1"])
        self.assertIn("no member printer yet (did you mean printers?)", doubt)

    def test_clash(self) -> None:
        """A member that is called as a group gains nothing by it."""
        policy = parse(b'[groups]\nadmins = ["desk"]\n' + entry(to='["admins"]').encode(), "f")
        (doubt,) = policy.doubts(["desk", "admins"])
        self.assertIn("admins is a member and a group", doubt)
        self.assertEqual(policy.members_of("admins"), ("desk",))
