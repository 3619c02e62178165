"""What the STUN server answers, and from where: a pure function."""

from __future__ import annotations

from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Attribute, Change, Class, Message

_UNDERSTOOD = {
    Attribute.CHANGE_REQUEST,
    # The server has no secrets with anybody: it answers those who sign, too.
    Attribute.USERNAME,
    Attribute.MESSAGE_INTEGRITY,
    Attribute.MESSAGE_INTEGRITY_SHA256,
}

_OPTIONAL = 0x8000
"""Attribute types from here on may be ignored (RFC 8489 §14)."""


def answer(
    request: Message, source: Endpoint, local: Endpoint, other: Endpoint
) -> tuple[Message, Endpoint] | None:
    """The answer to *request*, and the endpoint to send it from.

    At most 4.6 times as long as the request (IPv6, a second address; IPv4: 2.8), and always to
    *source*: RFC 3489's RESPONSE-ADDRESS and RFC 5780's RESPONSE-PORT and PADDING are refused.

    :param source: where the request came from.
    :param local: where it arrived.
    :param other: the server's other port, on its other address if it has one.
    :returns: None if there is nothing to answer: another method, or not a request.
    :raises DecodeError: if an attribute is malformed.
    """
    if request.kind is not Class.REQUEST or request.method != stun.BINDING:
        return None
    change = request.change
    two_addresses = other.host != local.host
    refused = [
        kind
        for kind, _ in request.attributes
        if (kind < _OPTIONAL and kind not in _UNDERSTOOD)
        or (kind == Attribute.CHANGE_REQUEST and change & Change.ADDRESS and not two_addresses)
    ]
    if refused:
        code = stun.error_code(420, "Unknown Attribute")
        return _reply(request, Class.ERROR, code, stun.unknown_attributes(refused)), local
    origin = local
    if change:
        origin = Endpoint(
            other.host if change & Change.ADDRESS else local.host,
            other.port if change & Change.PORT else local.port,
        )
    if request.classic:
        mapped = stun.address(Attribute.MAPPED_ADDRESS, source)
        names = Attribute.SOURCE_ADDRESS, Attribute.CHANGED_ADDRESS
    else:
        mapped = stun.xor_mapped_address(source, request.transaction)
        names = Attribute.RESPONSE_ORIGIN, Attribute.OTHER_ADDRESS
    if not two_addresses:
        return _reply(request, Class.SUCCESS, mapped), origin
    addresses = stun.address(names[0], origin), stun.address(names[1], other)
    return _reply(request, Class.SUCCESS, mapped, *addresses), origin


def _reply(request: Message, kind: Class, *attributes: tuple[int, bytes]) -> Message:
    return Message(kind, request.transaction, attributes, fingerprint=request.fingerprint)
