"""``tunnelmesh invite``, run as its users run it."""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path
from time import time

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import invite, qr
from tunnelmesh.coordinator.advertised import Advertised
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.coordinator.store import RefusalError
from tunnelmesh.identity import Identity
from tunnelmesh.wire.token import Token


class InviteTests(SynchronousTestCase):
    """Tokens."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp())

    def ran(self) -> Identity:
        """A coordinator has run there."""
        identity = Identity.load_or_create(self.state)
        Advertised("vpn.example", 443, 2222, True).save(self.state)
        return identity

    def invite(self, *options: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        parser = argparse.ArgumentParser()
        invite.add_parser(parser.add_subparsers())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                args = parser.parse_args(["invite", f"--state-dir={self.state}", *options])
                status = args.run(args)
            except SystemExit as leaving:
                status = int(str(leaving.code))
        return status, out.getvalue(), err.getvalue()

    def test_token(self) -> None:
        """One token, alone, says where the coordinator is and lets one machine in."""
        identity = self.ran()
        status, out, err = self.invite()
        self.assertEqual((status, err), (0, ""))
        token = Token.decode(out)
        self.assertEqual(out, token.encode() + "\n")
        self.assertEqual(
            (token.host, token.https_port, token.ssh_port, token.tls_by_name, token.key),
            ("vpn.example", 443, 2222, True, identity.public_key),
        )
        self.assertLess(abs(token.expires - time() - 3600), 60)
        store = SQLiteStore(self.state / DATABASE)
        self.addCleanup(store.close)
        enrolling = store.enrol(token.secret, "a", b"k" * 32, int(time()))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(enrolling)).name, "a")

    def test_expiry(self) -> None:
        """Minutes, hours and days."""
        self.ran()
        for text, seconds in (("30m", 1800), ("1h", 3600), ("2d", 172_800)):
            token = Token.decode(self.invite("--expires", text)[1])
            self.assertLess(abs(token.expires - time() - seconds), 60)

    def test_never_ran(self) -> None:
        """Where no coordinator has run: one clear line, status 1, and nothing is made there."""
        status, out, err = self.invite()
        self.assertEqual((status, out), (1, ""))
        self.assertIn("start it first", err)
        self.assertEqual(err.count("\n"), 1)
        self.assertFalse(self.state.exists())

    def test_damaged(self) -> None:
        """A damaged database is one clear line too."""
        self.ran()
        (self.state / DATABASE).write_bytes(b"garbage" * 100)
        status, out, err = self.invite()
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("damaged", err)

    def test_listed_and_cancelled(self) -> None:
        """Invitations that are open are listed with a number, by which one is ended."""
        self.ran()
        self.assertIn("no invitation", self.invite("--list")[1])
        self.invite("--uses=7", "--expires=2d")
        token = Token.decode(self.invite()[1])
        _, first, second = (line.split() for line in self.invite("--list")[1].splitlines())
        self.assertEqual((first[:2], second[:2]), (["1", "7"], ["2", "1"]))
        self.assertEqual(self.invite("--cancel=2")[0], 0)
        self.assertEqual(len(self.invite("--list")[1].splitlines()), 2)
        store = SQLiteStore(self.state / DATABASE)
        self.addCleanup(store.close)
        enrolling = store.enrol(token.secret, "a", b"k" * 32, int(time()))
        self.failureResultOf(Deferred.fromCoroutine(enrolling), RefusalError)
        status, _, err = self.invite("--cancel=2")
        self.assertEqual((status, err.count("\n")), (1, 1))

    def test_drawn(self) -> None:
        """A QR code goes to standard error: the token stays alone on standard output."""
        self.ran()
        status, out, err = self.invite("--qr")
        self.assertEqual((status, out.count("\n")), (0, 1))
        self.assertEqual(err.splitlines(), list(qr.lines(out.strip(), coloured=False)))

    def test_usage(self) -> None:
        """Nonsense on the command line has status 2."""
        self.ran()
        for option in ["--uses=0", "--uses=x", "--uses=99999999", "--expires=1", "--expires=9999d"]:
            status, out, err = self.invite(option)
            self.assertEqual((status, out), (2, ""), option)
            self.assertIn("must be", err)
