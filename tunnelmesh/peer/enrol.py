"""Joining: turn an invitation into a membership."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from tunnelmesh.errors import DecodeError, EnrolmentError, TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.peer.link.egress import Egress
from tunnelmesh.peer.membership import Membership
from tunnelmesh.transports import http_exchange
from tunnelmesh.transports.http_exchange import Answer
from tunnelmesh.transports.proxy_settings import Proxy
from tunnelmesh.transports.reasons import printable, reason_text
from tunnelmesh.wire import enrol, schema
from tunnelmesh.wire.enrol import Enrol, Enrolled, NotEnrolled
from tunnelmesh.wire.token import Token

SECONDS = 15.0
"""Seconds for the whole exchange, by one way out."""

MAX_ANSWER = 16 * 1024
"""Longest answer read, in bytes, its head included."""


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
) -> Answer:
    host = f"[{token.host}]" if ":" in token.host else token.host
    where = f"{host}:{token.https_port}"
    headers = {"Content-Type": "application/json"}
    body = json.dumps(schema.dump(request)).encode()
    asked = http_exchange.written("POST", enrol.PATH, where, headers, body)
    asking = Deferred.fromCoroutine(http_exchange.exchange(egress.https(proxy), asked, MAX_ANSWER))
    try:
        return await asking.addTimeout(SECONDS, reactor)
    except TunnelMeshError:
        raise
    except Exception as error:
        through = "" if proxy is None else f" through {proxy}"
        raise EnrolmentError(
            f"the coordinator at {where}{through} cannot be reached: {reason_text(error)}"
        ) from error


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
