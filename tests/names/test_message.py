"""Tests for :mod:`tunnelmesh.names.message`."""

from __future__ import annotations

import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from tests.names.directory import zone
from tunnelmesh.names.message import respond

LONG_NAME = ".".join(["x" * 63] * 3 + ["y" * 56, "mesh"])


def query(name: str, kind: int = dns.A, cls: int = dns.IN, edns: bool = False) -> bytes:
    """A question."""
    message = dns.Message(0x1234, recDes=1)
    message.queries = [dns.Query(name, kind, cls)]
    if edns:
        message.additional = [dns.RRHeader(b"", 41, 4096, 0, dns.UnknownRecord(b""))]
    return message.toStr()


def ask(question: bytes) -> dns.Message:
    """Its answer."""
    answer = respond(question, zone())
    assert answer is not None
    message = dns.Message()
    message.fromStr(answer)
    return message


class MessageTests(SynchronousTestCase):
    """What an answer looks like."""

    def test_answer(self) -> None:
        """An answer has the question's number, is authoritative, and is not to be kept."""
        answer = ask(query("homelab.mesh"))
        self.assertEqual((answer.id, answer.answer, answer.auth), (0x1234, 1, 1))
        self.assertEqual((answer.recDes, answer.recAv, answer.rCode), (1, 0, dns.OK))
        (record,) = answer.answers
        self.assertEqual((record.payload.dottedQuad(), record.ttl), ("100.96.0.2", 0))

    def test_case(self) -> None:
        """The question comes back as it was spelt, since some resolvers check that."""
        answer = ask(query("hOmELab.MesH"))
        self.assertEqual(answer.queries[0].name.name, b"hOmELab.MesH")
        self.assertEqual(answer.answers[0].name.name, b"hOmELab.MesH")

    def test_negative(self) -> None:
        """That there is no such name, or no such record, is told with the SOA and not to be kept
        either."""
        for question, code in (("office.mesh", dns.ENAME), ("laptop.mesh", dns.OK)):
            answer = ask(query(question, dns.AAAA))
            self.assertEqual((answer.rCode, answer.answers), (code, []))
            (soa,) = answer.authority
            self.assertEqual((soa.name.name, soa.ttl, soa.payload.minimum), (b"mesh", 0, 0))

    def test_pointer(self) -> None:
        """An address leads to a full name."""
        answer = ask(query("2.0.96.100.in-addr.arpa", dns.PTR))
        self.assertEqual(answer.answers[0].payload.name.name, b"homelab.mesh")

    def test_refused(self) -> None:
        """Other names, and other classes, are refused without a word."""
        for question in (query("example.com"), query("homelab.mesh", cls=dns.CH)):
            answer = ask(question)
            self.assertEqual((answer.rCode, answer.auth), (dns.EREFUSED, 0))
            self.assertEqual((answer.answers, answer.authority, answer.additional), ([], [], []))

    def test_extended(self) -> None:
        """Who speaks EDNS is answered in it, and only who does."""
        (opt,) = ask(query("homelab.mesh", edns=True)).additional
        self.assertEqual((opt.type, opt.name.name, opt.cls), (41, b"", 1232))
        self.assertEqual(ask(query("homelab.mesh")).additional, [])

    def test_other_operations(self) -> None:
        """Updates and the like are not implemented; many questions at once are a mistake."""
        update = bytearray(query("homelab.mesh"))
        update[2] |= dns.OP_UPDATE << 3
        self.assertEqual(ask(bytes(update)).rCode, dns.ENOTIMP)
        two = dns.Message(1)
        two.queries = [dns.Query("laptop.mesh"), dns.Query("homelab.mesh")]
        self.assertEqual(ask(two.toStr()).rCode, dns.EFORMAT)
        self.assertEqual(ask(dns.Message(1).toStr()).rCode, dns.EFORMAT)

    def test_answers_are_not_answered(self) -> None:
        """Two servers do not talk to each other for ever."""
        answer = respond(query("homelab.mesh"), zone())
        assert answer is not None
        self.assertIsNone(respond(answer, zone()))

    def test_small(self) -> None:
        """The longest answers fit in the 512 bytes that everybody takes."""
        for kind in (dns.A, dns.ALL_RECORDS, dns.PTR):
            for name in (LONG_NAME, "homelab.mesh"):
                answer = respond(query(name, kind, edns=True), zone())
                assert answer is not None
                self.assertLess(len(answer), 512)


class HostileTests(SynchronousTestCase):
    """What is no question."""

    @settings(max_examples=150, derandomize=True)
    @given(st.binary(max_size=600))
    def test_anything(self, noise: bytes) -> None:
        """Any bytes are answered or not, and never an error."""
        for question in (noise, query("homelab.mesh")[:12] + noise):
            answer = respond(question, zone())
            self.assertLess(len(answer or b""), len(question) + 512)

    def test_damaged(self) -> None:
        """A question of which bytes are changed, or missing, is no error either."""
        chance = random.Random(6)
        whole = query("homelab.mesh", edns=True)
        for _ in range(500):
            damaged = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            respond(bytes(damaged[: chance.randrange(len(whole) + 1)]), zone())

    def test_loop(self) -> None:
        """A name that leads to itself has no end, and no answer."""
        loop = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" + struct.pack("!2H", 1, 1)
        self.assertIsNone(respond(loop, zone()))

    def test_not_ascii(self) -> None:
        """A name of other bytes is nobody's."""
        odd = query("homelab.mesh").replace(b"homelab", b"h\xf6melab")
        self.assertEqual(ask(odd).rCode, dns.ENAME)
