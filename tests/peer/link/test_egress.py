"""Tests for :mod:`tunnelmesh.peer.link.egress` and what is made of the answer to an enrolment."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import ConfigError, EnrolmentError
from tunnelmesh.peer.enrol import _membership
from tunnelmesh.peer.link.egress import Egress, Whereabouts
from tunnelmesh.wire.token import Token

WHERE = Whereabouts("vpn.example", 8443, 2222, bytes(32), False)
TOKEN = Token("vpn.example", 8443, 2222, False, bytes(32), bytes(16), 1_800_000_000)


def routes(setting: str, **environment: str) -> list[str]:
    """The ways out, as text."""
    return [str(route) for route in Egress(Clock(), WHERE, setting, environment).routes]


class EgressTests(SynchronousTestCase):
    """In which order the ways out are tried."""

    def test_direct(self) -> None:
        """Without a proxy: SSH, then WebSocket."""
        self.assertEqual(routes("none"), ["ssh", "websocket"])
        self.assertEqual(routes("auto"), ["ssh", "websocket"])
        self.assertEqual(routes("none", https_proxy="http://p:1"), ["ssh", "websocket"])

    def test_environment(self) -> None:
        """A proxy from the environment is tried beside the direct ways."""
        found = routes("auto", https_proxy="http://p.example:3128")
        self.assertEqual(found[0], "ssh")
        self.assertEqual(found[-1], "websocket")
        self.assertEqual(len([each for each in found if "p.example:3128" in each]), 2)

    def test_given(self) -> None:
        """A proxy that the user gives is used alone; its password is shown nowhere."""
        found = routes("http://me:secret@p.example:3128")
        self.assertEqual(len(found), 2)
        for each in found:
            self.assertIn("p.example:3128", each)
            self.assertNotIn("secret", each)

    def test_malformed(self) -> None:
        """A proxy that is none is an error, not a direct connection."""
        self.assertRaises(ConfigError, routes, "gopher://p.example")


class AnswerTests(SynchronousTestCase):
    """What the coordinator, or something in its place, answers."""

    def answer(self, status: int = 200, **changes: Any) -> Any:
        """Take an answer that is right but for the changes."""
        body = {
            "name": "laptop",
            "address": "100.96.0.7",
            "prefix": 16,
            "address6": "fd00::1",
            "coordinator_key": "",
        }
        return _membership(status, json.dumps(body | changes).encode(), TOKEN)

    def test_right(self) -> None:
        """The membership keeps the key of the token, whatever the answer says."""
        member = self.answer(coordinator_key="AAAA", colour="blue")
        self.assertEqual((member.name, member.coordinator_key), ("laptop", TOKEN.key))

    def test_wrong(self) -> None:
        """Impossible values are no membership."""
        for changes in (
            {"prefix": 99},
            {"prefix": -1},
            {"prefix": "16"},
            {"address": "nowhere"},
            {"name": None},
        ):
            self.assertRaises(EnrolmentError, self.answer, **changes)

    def test_refused(self) -> None:
        """The coordinator's own words are shown."""
        body = b'{"error": "expired", "message": "the invitation has expired"}'
        error = self.assertRaises(EnrolmentError, _membership, 403, body, TOKEN)
        self.assertEqual(str(error), "the invitation has expired")

    def test_no_coordinator(self) -> None:
        """A web server in its place is said to be none."""
        for status, body in ((200, b"<html>"), (404, b"not found"), (200, b""), (500, b"\xff{")):
            error = self.assertRaises(EnrolmentError, _membership, status, body, TOKEN)
            self.assertIn(f"status {status}", str(error))
