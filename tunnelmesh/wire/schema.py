"""Frozen dataclasses to JSON and back, for messages whose sender is not trusted.

A message is a dataclass whose field types are among those that :func:`_converter` knows. Fields
that are not known are ignored, so that a newer minor version can add some; a field with a default
may be missing, so that an older one can leave it out.
"""

from __future__ import annotations

import binascii
import json
import math
import types
import typing
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.endpoint import Endpoint

MAX_TEXT = 1024
"""Longest string taken, in characters: ample for a name, a reason or an address."""

MAX_ITEMS = 512
"""Longest list taken; longer things (a roster) come in several messages."""

_MAX_INT = 1 << 53
"""JSON numbers are exact up to here in every language."""


class _Converter(NamedTuple):
    """Python value to JSON value, and back with every check."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise DecodeError("not a short string")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > _MAX_INT:
        raise DecodeError("not a whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _MAX_INT:
        raise DecodeError("not a number")
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise DecodeError("neither true nor false")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("not base64") from None


def _ipv4(value: Any) -> IPv4Address:
    try:
        return IPv4Address(_text(value))
    except ValueError:
        raise DecodeError("not an IPv4 address") from None


def _same(value: Any) -> Any:
    return value


_SCALARS: dict[Any, _Converter] = {
    str: _Converter(_same, _text),
    int: _Converter(_same, _integer),
    float: _Converter(_same, _number),
    bool: _Converter(_same, _truth),
    bytes: _Converter(lambda value: b64encode(value).decode("ascii"), _bytes),
    Endpoint: _Converter(str, lambda value: Endpoint.parse(_text(value))),
    IPv4Address: _Converter(str, _ipv4),
}


def _optional(inner: _Converter) -> _Converter:
    return _Converter(
        lambda value: None if value is None else inner.write(value),
        lambda value: None if value is None else inner.read(value),
    )


def _list(inner: _Converter) -> _Converter:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise DecodeError("not a short list")
        return tuple(inner.read(item) for item in value)

    return _Converter(lambda value: [inner.write(item) for item in value], read)


@cache
def _converter(hint: Any) -> _Converter:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if is_dataclass(hint):
        return _record(typing.cast(type, hint))
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType) and arguments[1:] == (types.NoneType,):
        return _optional(_converter(arguments[0]))
    if typing.get_origin(hint) is tuple and arguments[1:] == (...,):
        return _list(_converter(arguments[0]))
    raise TypeError(f"no JSON form for {hint}")


def _record(cls: type) -> _Converter:
    hints = typing.get_type_hints(cls)
    columns = [
        (field.name, _converter(hints[field.name]), field.default is MISSING)
        for field in fields(cls)
    ]

    def write(value: Any) -> dict[str, Any]:
        return {name: convert.write(getattr(value, name)) for name, convert, _ in columns}

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise DecodeError("not an object")
        found = {}
        for name, convert, required in columns:
            if name in value:
                try:
                    found[name] = convert.read(value[name])
                except DecodeError as error:
                    raise DecodeError(f"{name}: {error}") from None
            elif required:
                raise DecodeError(f"{name} is missing")
        return cls(**found)

    return _Converter(write, read)


def dump(value: Any) -> dict[str, Any]:
    """A dataclass as JSON-able values."""
    return typing.cast("dict[str, Any]", _converter(typing.cast(Any, type(value))).write(value))


T = typing.TypeVar("T")


def load(cls: type[T], value: Any) -> T:
    """Read a *cls* out of decoded JSON.

    :raises DecodeError: naming the field that is wrong.
    """
    return typing.cast(T, _converter(typing.cast(Any, cls)).read(value))


def _no_constant(name: str) -> None:
    raise DecodeError(f"{name} is not JSON")


def parse(data: bytes) -> Any:
    """Decode JSON from a stranger.

    :raises DecodeError: for anything but JSON, however it is broken.
    """
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DecodeError("not JSON") from None
