"""From the bytes of a question to the bytes of its answer (RFC 1035 §4)."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from twisted.names import dns

from tunnelmesh.names.zone import DOMAIN, REFUSED, Answer, Code, Kind, Record, Zone

TTL = 0
"""Seconds to keep an answer, or that there is none. The server is on the machine that asks, so that
keeping would save nothing, and would hide who joined, left or has another name by now."""

PAYLOAD = 1232
"""Bytes of a datagram that we say we take (RFC 6891 §6.2.5): what fits everywhere."""

_OPT = 41
_IN = (dns.IN, dns.ANY)


def respond(query: bytes, zone: Zone) -> bytes | None:
    """Answer a message.

    :returns: the answer, which fits in 512 bytes; None if it is no question to anybody.
    """
    message = dns.Message()
    try:
        message.fromStr(query)
    except (EOFError, ValueError):
        return None
    if message.answer:
        return None
    response = dns.Message(message.id, answer=1, opCode=message.opCode, recDes=message.recDes)
    if message.opCode != dns.OP_QUERY:
        response.rCode = Code.NOT_IMPLEMENTED
    elif len(message.queries) != 1:
        response.rCode = Code.MALFORMED
    else:
        question = message.queries[0]
        response.queries = [question]  # as it was spelt: some check that (0x20)
        name = question.name.name.decode("latin-1")
        known = question.cls in _IN
        _tell(response, zone.answer(name, question.type) if known else REFUSED, zone)
    if any(record.type == _OPT for record in message.additional):
        response.additional = [dns.RRHeader(b"", _OPT, PAYLOAD, 0, dns.UnknownRecord(b""))]
    return response.toStr()


def _tell(response: dns.Message, answer: Answer, zone: Zone) -> None:
    response.rCode = answer.code
    if answer.code is Code.REFUSED:
        return
    response.auth = True
    asked = response.queries[0].name.name
    response.answers = [_header(asked, _payload(record, zone)) for record in answer.records]
    if not answer.records:  # RFC 2308 §3
        response.authority = [_header(answer.apex.encode(), _soa(zone))]


def _payload(record: Record, zone: Zone) -> dns.IEncodableRecord:
    match record.kind:
        case Kind.A:
            return dns.Record_A(str(record.value), TTL)
        case Kind.AAAA:
            return dns.Record_AAAA(str(record.value), TTL)
        case Kind.PTR:
            return dns.Record_PTR(str(record.value), TTL)
        case Kind.NS:
            return dns.Record_NS(str(record.value), TTL)
        case _:
            return _soa(zone)


def _soa(zone: Zone) -> dns.IEncodableRecord:
    # Nobody copies the zone, so that its serial number and intervals mean nothing.
    return dns.Record_SOA(zone.server, f"hostmaster.{DOMAIN}", 1, 3600, 600, 86400, TTL, TTL)


def _header(name: bytes, payload: dns.IEncodableRecord) -> dns.RRHeader:
    return dns.RRHeader(name, payload.TYPE, dns.IN, TTL, payload, auth=True)
