"""Why a connection failed or ended, in words for people."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure

from tunnelmesh.errors import TunnelMeshError

LONGEST = 200
"""Characters shown of a text that came from the other end: enough for any honest message."""

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (error.ConnectionRefusedError, "connection refused"),
    (error.NoRouteError, "no route to it"),
    (error.TCPTimedOutError, "no answer"),
    (error.TimeoutError, "no answer"),
    (error.ConnectionDone, "the other end closed the connection"),
    (error.ConnectionAborted, "the connection was aborted here"),
    (error.ConnectionLost, "the connection was lost"),
)


def printable(text: str) -> str:
    """Text from a stranger, made safe to show on one line of a terminal or a log."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def reason_text(problem: BaseException) -> str:
    """What *problem* means, without the name of a class and without a traceback."""
    if isinstance(problem, TunnelMeshError):
        return str(problem)
    if isinstance(problem, error.DNSLookupError):
        return "its name is not known to the DNS"
    if isinstance(problem, SSL.Error):
        return _tls_text(problem)
    for kind, words in _WORDS:
        if isinstance(problem, kind):
            return words
    if isinstance(problem, error.ConnectError) and isinstance(problem.args[0], Failure):
        return "no connection"  # Twisted has seen an error on the socket, and not asked which
    if isinstance(problem, error.ConnectError) and problem.osError is not None:
        problem = OSError(problem.osError, str(problem))
    if isinstance(problem, OSError) and problem.strerror:
        return printable(problem.strerror)
    return printable(str(problem) or type(problem).__name__)


def _tls_text(problem: SSL.Error) -> str:
    """OpenSSL's own words: its errors are a list of (library, function, reason)."""
    queue = problem.args[0] if problem.args and isinstance(problem.args[0], list) else []
    words = "; ".join(entry[2] for entry in queue if entry[2])
    return f"TLS failed: {printable(words)}" if words else "TLS failed"
