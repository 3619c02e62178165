"""Joining: turn an invitation into a membership."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from tunnelmesh.errors import DecodeError, EnrolmentError, TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.peer.link.egress import Egress
from tunnelmesh.peer.membership import Membership
from tunnelmesh.transports.proxy_settings import Proxy
from tunnelmesh.transports.reasons import printable, reason_text
from tunnelmesh.wire import enrol, schema
from tunnelmesh.wire.enrol import Enrol, Enrolled, NotEnrolled
from tunnelmesh.wire.token import Token

SECONDS = 15.0
"""Seconds for the whole exchange, by one way out."""

MAX_ANSWER = 16 * 1024
"""Longest answer read, in bytes."""


async def join(
    reactor: Any, egress: Egress, token: Token, identity: Identity, name: str
) -> Membership:
    """Enrol this machine.

    :raises EnrolmentError: if the coordinator says no; the message is its own.
    :raises TunnelMeshError: if it cannot be reached or is not the one that the token names.
    """
    text = enrol.enrol_text(token.key, token.secret, name)
    request = Enrol(token.secret, name, identity.public_key, identity.sign(text))
    proxies = list(dict.fromkeys(r.proxy for r in egress.routes if r.kind == "websocket"))
    failure: TunnelMeshError | None = None
    for proxy in proxies:
        try:
            status, body = await _post(reactor, egress, proxy, token, request)
        except EnrolmentError as error:
            failure = failure or error
            continue
        return _membership(status, body, token)
    assert failure is not None
    raise failure


async def _post(
    reactor: Any, egress: Egress, proxy: Proxy | None, token: Token, request: Enrol
) -> tuple[int, bytes]:
    # Imported here because a machine joins once and starts many times.
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool
    from twisted.web.http_headers import Headers

    class _Endpoints:
        def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
            return egress.https(proxy)

    pool = HTTPConnectionPool(reactor, persistent=False)
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(), pool)
    host = f"[{token.host}]" if ":" in token.host else token.host
    chunks: list[bytes] = []

    def collect(chunk: bytes) -> None:
        chunks.append(chunk)
        if sum(map(len, chunks)) > MAX_ANSWER:
            raise EnrolmentError("the coordinator's answer is too long")

    async def exchange() -> int:
        client = HTTPClient(agent)
        response = await client.post(
            f"https://{host}:{token.https_port}{enrol.PATH}",
            data=json.dumps(schema.dump(request)).encode(),
            headers=Headers({b"content-type": [b"application/json"]}),
        )
        await response.collect(collect)
        return int(response.code)

    running = Deferred.fromCoroutine(exchange())
    try:
        status = await running.addTimeout(SECONDS, reactor)
    except TunnelMeshError:
        raise
    except Exception as wrapped:
        # What came up while TLS was being set up is inside twisted.web's own exception.
        reasons = getattr(wrapped, "reasons", ())
        error = reasons[0].value if reasons else wrapped
        if isinstance(error, TunnelMeshError):
            raise error from None
        where = f"{host}:{token.https_port}" + ("" if proxy is None else f" through {proxy}")
        raise EnrolmentError(
            f"the coordinator at {where} cannot be reached: {reason_text(error)}"
        ) from error
    return status, b"".join(chunks)


def _membership(status: int, body: bytes, token: Token) -> Membership:
    try:
        answer = schema.parse(body)
        if status != 200:
            raise EnrolmentError(printable(schema.load(NotEnrolled, answer).message))
        enrolled = schema.load(Enrolled, answer)
        return Membership(
            token.host,
            token.https_port,
            token.ssh_port,
            token.key,
            token.tls_by_name,
            enrolled.name,
            enrolled.address,
            enrolled.prefix,
        )
    except DecodeError:
        raise EnrolmentError(
            f"what answers at {token.host}:{token.https_port} is no coordinator (status {status})"
        ) from None
