"""Tests for :mod:`tunnelmesh.policy.evaluation` and :mod:`tunnelmesh.policy.parts`."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.policy.document import Entry, Policy
from tunnelmesh.policy.evaluation import Evaluation, Reaches
from tunnelmesh.policy.parts import MOST_PARTS, Assembly, join, split
from tunnelmesh.policy.ports import Reach
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.administration import Rule, Rules

NAMES = ["laptop", "desk", "homelab", "nas", "phone"]
MEMBERS = {name: IPv4Address("100.96.0.1") + n for n, name in enumerate(NAMES)}
WORDS = ["tcp/22", "udp/5000-5100", "icmp", "*"]

names = st.sampled_from([*NAMES, "nobody"])
ends = st.lists(names | st.sampled_from(["admins", "servers", "*"]), max_size=3).map(tuple)
policies = st.builds(
    Policy,
    st.fixed_dictionaries(
        {word: st.lists(names, max_size=3).map(tuple) for word in ("admins", "servers")}
    ),
    st.lists(
        st.builds(Entry, ends, ends, st.lists(st.sampled_from(WORDS), max_size=2).map(tuple)),
        max_size=4,
    ).map(tuple),
)


def oracle(policy: Policy, source: str, target: str) -> set[str]:
    """What a policy allows between two members, entry by entry and word by word."""

    def means(words: tuple[str, ...], name: str) -> bool:
        return any(
            word == "*" or name in policy.groups.get(word, ()) or name == word for word in words
        )

    return {
        port
        for entry in policy.allow
        if means(entry.sources, source) and means(entry.targets, target)
        for port in entry.ports
    }


class EvaluationTests(SynchronousTestCase):
    """Rules for everybody."""

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(policies)
    def test_oracle(self, policy: Policy) -> None:
        """For each pair, both ends' rules say what the policy says; also after the wire."""
        evaluation = Evaluation(policy, MEMBERS)
        rules = {}
        for name, address in MEMBERS.items():
            found = evaluation.rules(evaluation.part(address))
            ((_, body),) = frame.FrameDecoder().receive(signal.encode(found))
            self.assertEqual(signal.decode(body), found)
            rules[name] = found
        for source in NAMES:
            for target in NAMES:
                allowed = oracle(policy, source, target)
                inbound = Reaches(rules[target].inbound)[MEMBERS[source]]
                outbound = Reaches(rules[source].outbound)[MEMBERS[target]]
                self.assertEqual(set(inbound.words), allowed)
                self.assertEqual(set(outbound.words), allowed)

    def test_nobody_is_not_everybody(self) -> None:
        """An entry for members that do not exist yet concerns nobody, and not everybody."""
        policy = Policy({"new": ("nobody",)}, (Entry(("new",), ("nas",), ("*",)),))
        evaluation = Evaluation(policy, MEMBERS)
        rules = evaluation.rules(evaluation.part(MEMBERS["nas"]))
        self.assertEqual(rules, Rules(restricted=True))
        self.assertEqual(Reaches(rules.inbound)[MEMBERS["desk"]], Reach.of([]))

    def test_everybody_is_short(self) -> None:
        """A rule for everybody lists nobody, however large the mesh is."""
        members = {f"m{n}": IPv4Address("100.96.0.0") + n for n in range(5000)}
        policy = Policy({}, (Entry(("*",), ("m1",), ("tcp/22",)),))
        evaluation = Evaluation(policy, members)
        rules = evaluation.rules(evaluation.part(members["m1"]))
        self.assertEqual(rules.inbound, (Rule((), ("tcp/22",), everybody=True),))
        self.assertEqual(len({evaluation.part(address) for address in members.values()}), 2)


class PartTests(SynchronousTestCase):
    """Rules that are longer than a signal."""

    def large(self) -> Rules:
        """What a member of a mesh of thousands may be told."""
        members = tuple(IPv4Address("100.96.100.0") + n for n in range(5000))
        words = tuple(f"udp/{10000 + n}-{20000 + n}" for n in range(500))
        many = [Rule((), (word,), everybody=True) for word in words]
        return Rules(
            restricted=True,
            inbound=(Rule(members, words), *many, Rule((), words, everybody=True)),
            outbound=(Rule(members[::2], ("tcp/22", "icmp")), *many, Rule(members[:1], words)),
        )

    def test_small(self) -> None:
        """Small ones are one part."""
        rules = Rules(restricted=True, inbound=(Rule((), ("*",), everybody=True),))
        (part,) = split(rules)
        self.assertEqual(join([part]), rules)
        self.assertEqual(join(split(Rules())), Rules())

    def test_large(self) -> None:
        """Each part fits a signal, and together they mean the same, in any order and repeated."""
        rules = self.large()
        parts = split(rules)
        self.assertTrue(2 < len(parts) <= MOST_PARTS)
        sent = []
        for part in parts:
            ((_, body),) = frame.FrameDecoder().receive(signal.encode(part))
            read = signal.decode(body)
            assert isinstance(read, Rules)
            sent.append(read)
        assembly = Assembly()
        random.Random(1).shuffle(sent)
        for part in [*sent[:-1], sent[0]]:
            self.assertIsNone(assembly.received(part))
        whole = assembly.received(sent[-1])
        assert whole is not None
        for before, after in [(rules.inbound, whole.inbound), (rules.outbound, whole.outbound)]:
            expected, found = Reaches(before), Reaches(after)
            for n in (0, 1, 2, 4999, 5000):
                address = IPv4Address("100.96.100.0") + n
                self.assertEqual(set(found[address].words), set(expected[address].words))

    def test_another_whole(self) -> None:
        """Parts of one whole are never mixed with those of another."""
        one, other = split(self.large()), split(Rules(restricted=True))
        assembly = Assembly()
        for part in one[:-1]:
            assembly.received(part)
        self.assertEqual(assembly.received(other[0]), Rules(restricted=True))
        self.assertIsNone(assembly.received(one[-1]))

    def test_impossible(self) -> None:
        """Parts that cannot be are left aside."""
        assembly = Assembly()
        for part, parts in [(-1, 1), (1, 1), (0, 0), (0, MOST_PARTS + 1), (5, 3)]:
            self.assertIsNone(assembly.received(Rules(part=part, parts=parts)))
