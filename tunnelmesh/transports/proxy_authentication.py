"""Signing in to an HTTP proxy: Basic (RFC 7617) and Digest (RFC 7616).

Pure: takes what the proxy demands, returns what to answer. Text here stands for bytes, one
character each (ISO 8859-1), so that what a proxy sends is returned to it unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunnelmesh.errors import ProxyError
from tunnelmesh.transports.proxy_settings import Proxy
from tunnelmesh.transports.reasons import printable

_HASHES: dict[str, Callable[[bytes], str]] = {
    "sha-256": lambda data: hashlib.sha256(data).hexdigest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
"""Digest's algorithms that proxies really use, the best first."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))'
_SCHEME = rf"({_TOKEN})(?:\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?"
_PART = re.compile(f"{_PARAMETER}|{_SCHEME}")
"""In a list of challenges: a parameter, or a scheme's name, perhaps with a token68."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a proxy demands.

    :ivar scheme: in lower case.
    :ivar parameters: by their names in lower case.
    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def strength(self) -> int:
        """How good a way to sign in this is; 0 if we cannot."""
        if self.scheme == "basic":
            return 1
        qop = re.split(r"[,\s]+", self.parameters.get("qop", "").lower())
        if self.scheme != "digest" or "auth" not in qop or "nonce" not in self.parameters:
            return 0
        return {"md5": 2, "sha-256": 3}.get(self.algorithm, 0)

    @property
    def algorithm(self) -> str:
        """Digest's hash, in lower case."""
        return self.parameters.get("algorithm", "MD5").lower()

    @property
    def stale(self) -> bool:
        """The nonce was too old, the password right."""
        return self.parameters.get("stale", "").lower() == "true"


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Read the values of all ``Proxy-Authenticate`` lines; what cannot be read is left out."""
    challenges: list[Challenge] = []
    for value in values:
        for part in _PART.finditer(value):
            name, quoted, plain, scheme = part.groups()
            if scheme is not None:
                challenges.append(Challenge(scheme.lower()))
            elif challenges:
                text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                challenges[-1].parameters.setdefault(name.lower(), text)
    return challenges


class ProxyAuthentication:
    """One user at one proxy, over any number of connections.

    Nothing is sent unasked: a password goes out in the clear only to a proxy that wants no better.

    :param proxy: who demands, and who we are.
    :param entropy: random bytes.
    """

    def __init__(self, proxy: Proxy, entropy: Callable[[int], bytes]) -> None:
        self._proxy = proxy
        self._entropy = entropy
        self._challenge: Challenge | None = None
        self._count = 0
        username, password = proxy.username or "", proxy.password or ""
        self._username = username.encode().decode("latin-1")
        self._password = password.encode().decode("latin-1")

    def challenged(self, values: Sequence[str], answered: bool) -> None:
        """The proxy demands that we sign in.

        :param values: of its ``Proxy-Authenticate`` lines.
        :param answered: whether this is its reply to an answer to a challenge just received.
        :raises ProxyError: if there is nothing (more) to answer.
        """
        challenges = parse_challenges(values)
        best = max(challenges, key=lambda challenge: challenge.strength, default=None)
        if self._proxy.username is None:
            raise ProxyError(
                f"the proxy {self._proxy} wants a user name and a password: give them with"
                " --proxy=http://user:password@host:port"
            )
        if answered and (best is None or not best.stale):
            raise ProxyError(
                f"the proxy {self._proxy} does not accept the user name or the password: correct"
                " them in --proxy or in the environment"
            )
        if best is None or best.strength == 0:
            wanted = printable(", ".join(c.scheme for c in challenges)) or "nothing we know"
            raise ProxyError(
                f"the proxy {self._proxy} wants {wanted} to sign in; only Basic and Digest (MD5,"
                " SHA-256) are known here"
            )
        self._challenge = best
        self._count = 0

    def header(self, method: str, uri: str) -> str | None:
        """The value of ``Proxy-Authorization`` for one request; None until challenged."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            pair = f"{self._username}:{self._password}".encode("latin-1")
            return "Basic " + base64.b64encode(pair).decode()
        return self._digest(self._challenge, method, uri)

    def _digest(self, challenge: Challenge, method: str, uri: str) -> str:
        """RFC 7616 §3.4, with qop=auth."""

        def hashed(*parts: str) -> str:
            return _HASHES[challenge.algorithm](":".join(parts).encode("latin-1"))

        realm = challenge.parameters.get("realm", "")
        nonce = challenge.parameters["nonce"]
        self._count += 1
        count = f"{self._count:08x}"
        cnonce = self._entropy(16).hex()
        secret = hashed(self._username, realm, self._password)
        response = hashed(secret, nonce, count, cnonce, "auth", hashed(method, uri))
        fields = {
            "username": _quoted(self._username),
            "realm": _quoted(realm),
            "nonce": _quoted(nonce),
            "uri": _quoted(uri),
            "response": _quoted(response),
            "cnonce": _quoted(cnonce),
            "nc": count,
            "qop": "auth",
        }
        for name, form in (("algorithm", str), ("opaque", _quoted)):
            if name in challenge.parameters:
                fields[name] = form(challenge.parameters[name])
        return "Digest " + ", ".join(f"{name}={value}" for name, value in fields.items())


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
