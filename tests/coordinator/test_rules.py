"""Tests for :mod:`tunnelmesh.coordinator.rules` and :mod:`~tunnelmesh.coordinator.policy_file`."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.coordinator.fakes import FakeLink, present
from tunnelmesh.coordinator.policy_file import PolicyFile, read
from tunnelmesh.coordinator.presence import Line, Presence
from tunnelmesh.coordinator.rules import LOOK, AccessRules
from tunnelmesh.errors import PolicyError
from tunnelmesh.policy.evaluation import Reaches
from tunnelmesh.policy.parts import Assembly
from tunnelmesh.wire.administration import Leave, Rename, Renamed, Rules

FIRST = """
[groups]
some = ["m1", "m2"]

[[allow]]
from = ["some"]
to = ["m3"]
ports = ["tcp/22"]
"""
OTHER = FIRST.replace("22", "80")


class PolicyFileTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(FIRST)
        self.said: list[str] = []
        observe: Any = lambda event: self.said.append(event.get("mistake", ""))  # noqa: E731
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_unchanged(self) -> None:
        """A file that is as it was is not news, nor is one that says the same."""
        file = PolicyFile(self.path)
        self.assertFalse(file.look())
        self.path.write_text("# a remark\n" + FIRST)
        self.assertFalse(file.look())

    def test_changed(self) -> None:
        """One that says something else is, also where it was put in the other's place."""
        file = PolicyFile(self.path)
        self.path.write_text(OTHER)
        self.assertTrue(file.look())
        self.assertEqual(file.policy.allow[0].ports, ("tcp/80",))
        new = self.path.with_suffix(".new")
        new.write_text(FIRST)
        os.utime(new, ns=(1, 1))
        new.replace(self.path)
        self.assertTrue(file.look())

    def test_mistake(self) -> None:
        """With a mistake what was read before stays, and that is said once."""
        file = PolicyFile(self.path)
        for _ in range(3):
            self.path.write_text("[[alow]]\n")
            self.assertFalse(file.look())
        self.assertIn("did you mean allow?", file.mistake)
        self.assertEqual(file.policy.allow[0].ports, ("tcp/22",))
        self.assertEqual(len([said for said in self.said if "alow" in said]), 1)
        self.path.write_text(FIRST)
        self.assertFalse(file.look())
        self.assertEqual(file.mistake, "")

    def test_unreadable(self) -> None:
        """What is no file, or none that can be read, is a mistake, and never waited for."""
        pipe = Path(self.mktemp())
        os.mkfifo(pipe)
        folder = Path(self.mktemp())
        folder.mkdir()
        for path in (pipe, folder, folder / "absent"):
            error = self.assertRaises(PolicyError, read, path)
            self.assertIn(str(path), str(error))


class AccessRulesTests(SynchronousTestCase):
    """Who is told what, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text(FIRST)
        self.members = {f"m{n}": IPv4Address("100.96.0.0") + n for n in range(1, 5)}
        self.rules = AccessRules(self.clock, self.path, lambda: dict(self.members))
        self.rules.start()
        self.addCleanup(self.rules.stop)

    def arrive(self, number: int) -> tuple[Presence, FakeLink]:
        """A member comes online."""
        presence, link = present(number)
        self.rules.arrived(presence)
        return presence, link

    def told(self, link: FakeLink) -> Rules | None:
        """The rules that came by a link since the last look."""
        assembly = Assembly()
        whole = None
        for part in link.take(Rules):
            assert isinstance(part, Rules)
            whole = assembly.received(part) or whole
        return whole

    def reaches(self, rules: Rules | None, source: int) -> str:
        """What a member may reach by them."""
        assert rules is not None
        return str(Reaches(rules.inbound)[IPv4Address("100.96.0.0") + source])

    def test_arrival(self) -> None:
        """Who arrives is told what concerns it."""
        _, target = self.arrive(3)
        told = self.told(target)
        self.assertEqual(self.reaches(told, 1), "tcp/22")
        self.assertEqual(self.reaches(told, 4), "nothing")
        _, other = self.arrive(4)
        self.assertEqual(self.told(other), Rules(restricted=True))

    def test_each_link(self) -> None:
        """By every link: the one in use so far may be dead already."""
        presence, old = self.arrive(3)
        old.take()
        new = FakeLink()
        presence.lines.insert(-1, Line(new))
        self.rules.arrived(presence)
        self.assertIsNotNone(self.told(new))
        self.assertIsNotNone(self.told(old))

    def test_changes(self) -> None:
        """When the file changes, those are told for whom something is different."""
        links = [self.arrive(number)[1] for number in range(1, 5)]
        for link in links:
            link.take()
        self.clock.advance(LOOK)
        self.assertEqual([self.told(link) for link in links], [None] * 4)
        self.path.write_text(OTHER)
        self.clock.advance(LOOK)
        told = [self.told(link) for link in links]
        self.assertEqual([bool(each) for each in told], [True, True, True, False])
        self.assertEqual(self.reaches(told[2], 1), "tcp/80")

    def test_members_change(self) -> None:
        """Who is renamed, or comes new, is known within one look; or at once, when it arrives."""
        _, target = self.arrive(3)
        target.take()
        self.members["m5"] = self.members.pop("m1")
        self.clock.advance(LOOK)
        told = self.told(target)
        self.assertEqual([self.reaches(told, n) for n in (1, 2)], ["nothing", "tcp/22"])
        self.members["m1"] = IPv4Address("100.96.0.9")
        presence, link = present(9)
        presence.member = presence.member.__class__("m1", b"k" * 32, self.members["m1"], 0)
        self.rules.arrived(presence)
        self.assertEqual(self.reaches(self.told(target), 9), "tcp/22")
        self.assertIsNotNone(self.told(link))

    def test_left(self) -> None:
        """Who is gone is told nothing; it is told all when it comes back."""
        presence, link = self.arrive(3)
        self.rules.left(presence)
        link.take()
        self.path.write_text(OTHER)
        self.clock.advance(LOOK)
        self.assertIsNone(self.told(link))
        self.rules.arrived(presence)
        self.assertEqual(self.reaches(self.told(link), 1), "tcp/80")

    def test_rename(self) -> None:
        """Nobody takes a name by itself that the rules speak of, and with it what they give."""
        presence, link = self.arrive(4)
        link.take()
        self.assertTrue(self.rules.told(presence, Rename("m1")))
        (answer,) = link.take(Renamed)
        assert isinstance(answer, Renamed)
        self.assertEqual(answer.name, "m4")
        self.assertIn("access rules", answer.refusal)
        self.assertFalse(self.rules.told(presence, Rename("some")))
        self.assertFalse(self.rules.told(presence, Rename("free")))
        self.assertFalse(self.rules.told(presence, Leave()))

    def test_without_file(self) -> None:
        """Without a file everybody is told that nothing is restricted."""
        rules = AccessRules(self.clock, None, dict)
        rules.start()
        presence, link = present(1)
        rules.arrived(presence)
        self.assertEqual(self.told(link), Rules())
        self.assertIsNone(rules.status())
        self.assertRaises(PolicyError, rules.show, {})
        rules.stop()

    def test_thousands(self) -> None:
        """Members with the same part in the rules get the same bytes; long ones come in parts."""
        self.members = {f"m{n}": IPv4Address("100.96.0.0") + n for n in range(1, 4000)}
        groups = [
            f"g{g} = {[f'm{n}' for n in range(max(1, g * 500), g * 500 + 500)]}" for g in range(8)
        ]
        entry = f'from = {[f"g{g}" for g in range(1, 8)]}\nto = ["g0"]\nports = ["tcp/22"]'
        self.path.write_text("\n".join(["[groups]", *groups, "[[allow]]", entry]))
        _, link = self.arrive(1)
        parts = link.take(Rules)
        self.assertGreater(len(parts), 1)
        assembly = Assembly()
        (whole,) = filter(None, map(assembly.received, parts))  # type: ignore[arg-type]
        self.assertEqual(self.reaches(whole, 3999), "tcp/22")
        self.assertEqual(self.reaches(whole, 2), "nothing")
        for number in range(2, 20):
            self.arrive(number)
        self.assertEqual(len(self.rules._encoded), 1)

    def test_show(self) -> None:
        """What people are shown: all of it, with what is doubtful."""
        self.members.pop("m2")
        shown = self.rules.show({})
        self.assertEqual(shown["groups"], {"some": ["m1", "m2"]})
        self.assertEqual(shown["allow"], [{"from": ["some"], "to": ["m3"], "ports": ["tcp/22"]}])
        self.assertIn("no member m2", shown["doubts"][0])
        self.assertIsNone(shown["mistake"])
        self.path.write_text("x")
        self.assertIn("not TOML", self.rules.show({})["mistake"])
