"""Tests for :mod:`tunnelmesh.wire.signal` and :mod:`tunnelmesh.wire.schema`."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import schema, signal
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.frame import HEADER, SIGNAL, FrameDecoder
from tunnelmesh.wire.signal import (
    Allocation,
    Candidate,
    Challenge,
    Connect,
    Describe,
    Gone,
    Hold,
    Meet,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Punched,
    Refused,
    Release,
    Roster,
    RosterEntry,
    SignIn,
    Tactic,
    Welcome,
)

WORDS = st.text(max_size=20)
KEYS = st.binary(min_size=32, max_size=32)
MESH = st.integers(0, 2**32 - 1).map(IPv4Address)
ENDPOINTS = st.builds(Endpoint, MESH.map(str), st.integers(0, 65535))
PORTS = st.lists(st.integers(0, 65535), max_size=5).map(tuple)
SECONDS = st.floats(0, 1e6)
PORT = st.integers(0, 65535)
ALLOCATION = st.builds(Allocation, WORDS, PORT, PORT, PORT, PORT, PORT, SECONDS)
TACTIC = st.builds(Tactic, WORDS, PORT, PORTS, PORT, PORT)
MEETING = st.integers(0, 2**32)
DESCRIBE = st.builds(
    Describe,
    st.lists(st.builds(Candidate, WORDS, ENDPOINTS), max_size=4).map(tuple),
    mapping=WORDS,
    filtering=WORDS,
    flavour=WORDS,
    external=st.none() | ENDPOINTS,
    ports=PORTS,
    link=WORDS,
    proxied=st.booleans(),
    relay_only=st.booleans(),
    allocation=ALLOCATION,
)
ENTRY = st.builds(RosterEntry, WORDS, KEYS, MESH, st.booleans())
SIGNALS = st.one_of(
    st.builds(Challenge, KEYS),
    st.builds(SignIn, KEYS, st.binary(max_size=64), software=WORDS),
    st.builds(Welcome, WORDS, MESH, st.integers(0, 32), PORTS, WORDS),
    st.builds(Refused, WORDS, WORDS),
    st.builds(Roster, st.lists(ENTRY, max_size=4).map(tuple), st.booleans()),
    DESCRIBE,
    st.builds(Connect, MESH),
    st.builds(Meet, MESH, MEETING, SECONDS, DESCRIBE, st.none() | TACTIC),
    st.builds(Prepare, MEETING),
    st.builds(Prepared, MEETING, st.none() | ENDPOINTS, ALLOCATION, SECONDS),
    st.builds(Punched, MEETING, st.booleans(), PORT, st.booleans()),
    st.builds(Hold, MESH),
    st.builds(Release, MESH),
    st.builds(Gone, MESH),
    st.builds(Ping, st.integers(0, 2**48)),
    st.builds(Pong, st.integers(0, 2**48)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


class SignalTests(SynchronousTestCase):
    """Signalling messages on the wire."""

    @given(SIGNALS)
    @settings(max_examples=200, derandomize=True)
    def test_round_trip(self, message: signal.Signal) -> None:
        """Every message comes out as it went in, in one frame."""
        ((kind, body),) = FrameDecoder().receive(signal.encode(message))
        self.assertEqual(SIGNAL, kind)
        self.assertEqual(message, signal.decode(body))

    @given(st.binary(max_size=100))
    @settings(max_examples=200, derandomize=True)
    def test_hostile_bytes(self, body: bytes) -> None:
        """Arbitrary bytes raise only DecodeError."""
        try:
            signal.decode(body)
        except DecodeError:
            pass

    @given(SIGNALS, st.data())
    @settings(max_examples=200, derandomize=True)
    def test_hostile_fields(self, message: signal.Signal, data: st.DataObject) -> None:
        """A field of any other type raises only DecodeError, or is a value of the right type."""
        values = json.loads(signal.encode(message)[HEADER:])
        name = data.draw(st.sampled_from(sorted(values)))
        values[name] = data.draw(JSON)
        try:
            signal.decode(json.dumps(values).encode())
        except DecodeError:
            pass

    def test_newer_minor_version(self) -> None:
        """A field that is not known is ignored, a message that is not known is None."""
        body = b'{"type": "ping", "token": 7, "colour": "green"}'
        self.assertEqual(Ping(7), signal.decode(body))
        self.assertIsNone(signal.decode(b'{"type": "dance"}'))

    def test_older_minor_version(self) -> None:
        """A field that has a default may be missing; another may not."""
        self.assertEqual(Describe(()), signal.decode(b'{"type": "describe", "candidates": []}'))
        self.assertRaises(DecodeError, signal.decode, b'{"type": "ping"}')

    def test_bombs(self) -> None:
        """What is cheap to send and dear to read is refused."""
        for body in (
            b"[" * 60_000,
            b'{"type": "ping", "token": ' + b"9" * 60_000 + b"}",
            b'{"type": "ping", "token": NaN}',
            b'{"type": "meet", "after": Infinity}',
            b" " * (signal.MAX_SIGNAL + 1),
            json.dumps({"type": "describe", "candidates": [], "ports": [1] * 513}).encode(),
            json.dumps({"type": "refused", "code": "x", "message": "y" * 2000}).encode(),
        ):
            self.assertRaises(DecodeError, signal.decode, body)

    def test_truth_is_no_number(self) -> None:
        """JSON's true is not 1."""
        self.assertRaises(DecodeError, signal.decode, b'{"type": "ping", "token": true}')


class SchemaTests(SynchronousTestCase):
    """The mapping from dataclasses to JSON."""

    def test_errors_name_the_field(self) -> None:
        """The message says which field of which part is wrong."""
        body = b'{"type": "describe", "candidates": [{"kind": "host", "endpoint": "here"}]}'
        error = self.assertRaises(DecodeError, signal.decode, body)
        self.assertIn("candidates: endpoint:", str(error))

    def test_unknown_type(self) -> None:
        """A field type without a JSON form is a mistake of ours, found at first use."""

        @dataclass
        class Odd:
            value: complex

        self.assertRaises(TypeError, schema.dump, Odd(1j))
