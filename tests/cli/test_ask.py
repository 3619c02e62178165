"""Tests for :mod:`tunnelmesh.cli.ask` and the command line as a whole."""

from __future__ import annotations

import os
import socket

from tests.cli.answers import CommandTestCase
from tunnelmesh.cli import COMMANDS, main
from tunnelmesh.cli.ask import FILE_NAME

NOBODY = 65534

QUESTIONS = (
    ("status",),
    ("peers",),
    ("ping", "home"),
    ("netcheck",),
    ("explain", "home"),
    ("history", "home"),
    ("forget", "home"),
    ("ssh-config",),
)


class AskTests(CommandTestCase):
    """Whatever is wrong with the service is one line and status 1."""

    def test_not_running(self) -> None:
        """Without a service, every command says how to start one."""
        for words in QUESTIONS:
            self.assertOneLine(self.run_command(*words), "tunnelmesh up", str(self.state))

    def test_left_over_socket(self) -> None:
        """A socket that nobody listens on any more is no service."""
        path = self.state / FILE_NAME
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
        self.addCleanup(path.unlink)
        self.assertOneLine(self.run_command("status"), "no TunnelMesh is running")

    def test_another_users(self) -> None:
        """A state directory that one may not look into belongs to another user."""
        self.run_command("status")  # nothing is left to import that others may not read
        self.state.chmod(0)
        self.addCleanup(self.state.chmod, 0o700)
        if os.geteuid() == 0:  # root may look into every directory
            self.addCleanup(os.seteuid, 0)
            os.seteuid(NOBODY)
        self.assertOneLine(self.run_command("status"), "another user")

    def test_error(self) -> None:
        """What the service says is wrong is shown as it is."""
        for words in QUESTIONS:
            self.serve({"error": "there is no peer 'home'"}, status=400)
            self.assertOneLine(self.run_command(*words), "there is no peer 'home'")
            self.doCleanups()
            self.setUp()

    def test_strange_answers(self) -> None:
        """What is no answer of ours is no traceback."""
        for answer in (
            b"",
            b"\x00\xff\xfe",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nnot json\n",
            b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe\n",
            b"HTTP/1.1 500 Oh\r\n\r\n[1]\n",
            b"HTTP/1.1 404 No\r\n\r\n<html>\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        ):
            self.serve_raw(answer)
            self.assertOneLine(self.run_command("status"))
            self.doCleanups()
            self.setUp()

    def test_names_are_quoted(self) -> None:
        """A peer's name cannot become part of the question."""
        self.serve({"forgotten": "x"})
        self.run_command("forget", "a b&count=9/é")
        self.assertEqual(self.asked, ["/forget?peer=a+b%26count%3D9%2F%C3%A9"])


class UsageTests(CommandTestCase):
    """What is typed wrongly."""

    def test_usage(self) -> None:
        """Usage errors have status 2."""
        for words in ((), ("dance",), ("ping",), ("ping", "home", "-c", "0"), ("status", "--x")):
            self.assertEqual(self.run_command(*words)[0], 2, words)

    def test_odd_numbers(self) -> None:
        """Numbers that are none, in whatever script, are usage errors."""
        for times in ("-1", "1.5", "²", "٣", "", "1" * 5000):
            self.assertEqual(self.run_command("ping", "home", "-c", times)[0], 2, times)

    def test_help(self) -> None:
        """Every command has a help of its own, and the whole names them all."""
        for command in COMMANDS:
            status, out, _ = self.run_command(command, "--help")
            self.assertEqual(status, 0)
            self.assertIn("usage: tunnelmesh", out)
        _, out, _ = self.run_command("--help")
        for command in COMMANDS:
            self.assertIn(command, out)

    def test_token_twice(self) -> None:
        """``up`` takes a token one way or the other."""
        status, _, err = self.run_command("up", "tm1:a", "--join=tm1:b")
        self.assertEqual((status, err.count("\n")), (2, 1))

    def test_interrupted(self) -> None:
        """Ctrl-C ends a command with the status that shells expect."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(socket, "socket", interrupt)
        self.assertEqual(main(["status", f"--state-dir={self.state}"]), 130)
