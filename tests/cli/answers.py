"""A control socket with given answers, for the commands' tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import main
from tunnelmesh.cli.ask import FILE_NAME


class CommandTestCase(SynchronousTestCase):
    """Runs commands against a service that is faked on a thread: they block, as commands do."""

    def setUp(self) -> None:
        # A socket's path may have 107 bytes, and trial's folders are deep.
        self.state = Path("/tmp", f"tm-cli-{os.getpid()}-{id(self):x}")
        self.state.mkdir(mode=0o700)
        self.addCleanup(self.state.rmdir)
        self.asked: list[str] = []

    def serve(self, *lines: Any, status: int = 200) -> None:
        """Answer one question with these lines, JSON unless they are bytes."""
        body = b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
        self.serve_raw(head.encode() + body)

    def serve_raw(self, answer: bytes) -> None:
        """Answer one question with these bytes, and hang up."""
        path = self.state / FILE_NAME
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(10)

        def answer_one() -> None:
            with listener, listener.accept()[0] as connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                self.asked.append(request.split()[1].decode())
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one, daemon=True)
        thread.start()

        def tidy() -> None:
            path.unlink(missing_ok=True)
            thread.join(10)

        self.addCleanup(tidy)

    def run_command(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([*words, f"--state-dir={self.state}"])
            except SystemExit as leaving:
                status = int(str(leaving.code))
        return status, out.getvalue(), err.getvalue()

    def assertOneLine(self, ran: tuple[int, str, str], *words: str) -> None:
        """The command failed with one clear line and status 1."""
        status, _, err = ran
        self.assertEqual((status, err.count("\n")), (1, 1), err)
        self.assertTrue(err.startswith("tunnelmesh: "), err)
        for word in words:
            self.assertIn(word, err)
