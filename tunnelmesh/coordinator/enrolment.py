"""Where machines with an invitation enrol: ``POST /v1/enrol`` (:mod:`tunnelmesh.wire.enrol`)."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, ip_address

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.store import IStore, Member, RefusalError
from tunnelmesh.errors import DecodeError, IdentityError, StoreError
from tunnelmesh.identity import (
    Identity,
    fingerprint,
    mesh_address6,
    mesh_network6,
    verify,
    x25519_public,
)
from tunnelmesh.wire import schema
from tunnelmesh.wire.enrol import Enrol, Enrolled, NotEnrolled, enrol_text, is_name

FAILURES = 10
FAILURE_INTERVAL = 6.0
"""Failed attempts that an address has at once, and seconds until it has another one: a person
who mistypes notices nothing, and guessing a secret of 128 bits is hopeless at any speed."""

FAILURES_KEPT = 4096
"""Addresses whose failures are remembered: half a megabyte."""

_STATUS = {
    "malformed": 400,
    "name": 400,
    "name-taken": 409,
    "key-taken": 409,
    "slow-down": 429,
    "pool-exhausted": 503,
    "unavailable": 503,
}
"""HTTP status by code; of all others 403."""

_log = Logger()


class EnrolResource(Resource):
    """Makes members.

    :param identity: the coordinator's.
    :param pool: the mesh's network.
    :param enrolled: is called with each member after it is in the store.
    :param unix_time: the time of day, which invitations expire by.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: IReactorTime,
        identity: Identity,
        store: IStore,
        pool: IPv4Network,
        enrolled: Callable[[Member], None],
        unix_time: Callable[[], float],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._identity = identity
        self._store = store
        self._pool = pool
        self._enrolled = enrolled
        self._unix_time = unix_time
        self._failures = TokenBuckets(FAILURES, FAILURE_INTERVAL, FAILURES_KEPT)

    def render_POST(self, request: Request) -> int:
        """Answer now, or as soon as the store has."""
        waiting = request.notifyFinish()
        # A machine that hangs up before its answer asks again, and gets the same one.
        waiting.addErrback(lambda _: None)
        Deferred.fromCoroutine(self._answer(request, waiting)).addErrback(
            lambda failure: _log.failure("an enrolment went wrong", failure)
        )
        return NOT_DONE_YET

    async def _answer(self, request: Request, waiting: Deferred[None]) -> None:
        visitor = _network(request)
        now = self._reactor.seconds()
        answer: Enrolled | NotEnrolled
        if self._failures.left(visitor, now) < 1:
            answer = NotEnrolled("slow-down", "too many failed attempts: wait a minute")
        else:
            assert request.content is not None
            try:
                answer = await self._enrol(request.content.read())
            except RefusalError as refusal:
                self._failures.take(visitor, now)
                answer = NotEnrolled(refusal.code, str(refusal))
            except StoreError as error:
                _log.error("cannot enrol: {error}", error=error)
                answer = NotEnrolled(
                    "unavailable", "the coordinator's database fails: tell its owner"
                )
        if waiting.called:
            return
        if isinstance(answer, NotEnrolled):
            request.setResponseCode(_STATUS.get(answer.error, 403))
        body = json.dumps(schema.dump(answer)).encode() + b"\n"
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()

    async def _enrol(self, body: bytes) -> Enrolled:
        """Check everything that needs no store, then ask the store.

        The store finds an invitation by its secret's hash, so that the time it takes tells nothing.
        """
        try:
            asked = schema.load(Enrol, schema.parse(body))
            x25519_public(asked.key)
        except (DecodeError, IdentityError) as error:
            raise RefusalError("malformed", f"the request is malformed: {error}") from None
        if not is_name(asked.name):
            raise RefusalError(
                "name", "the name must be 1 to 63 letters, digits and inner hyphens, in lower case"
            )
        text = enrol_text(self._identity.public_key, asked.secret, asked.name)
        if not verify(asked.key, asked.signature, text):
            raise RefusalError(
                "signature", "the request is not signed by the key that it wants to enrol"
            )
        now = int(self._unix_time())
        member = await self._store.enrol(asked.secret, asked.name, asked.key, now)
        _log.info(
            "{name} is a member: {address}, {fingerprint}",
            name=member.name,
            address=member.address,
            fingerprint=fingerprint(member.key),
        )
        self._enrolled(member)
        return Enrolled(
            member.name,
            member.address,
            self._pool.prefixlen,
            str(mesh_address6(mesh_network6(self._identity.public_key), member.key)),
            self._identity.public_key,
        )


def _network(request: Request) -> str:
    """Whom to count failures against: an IPv4 address, or the /64 that one IPv6 site has."""
    host = getattr(request.getClientAddress(), "host", "")
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return host
