"""Read XML that a router wrote: small, and without the parts of XML that can do harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunnelmesh.errors import DecodeError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 64 * 1024
"""Longest document read. The descriptions of real routers have 3 to 20 KB."""

MAX_ELEMENTS = 2000
MAX_DEPTH = 32
"""Many times what real ones have: a device in a device in a device."""


def parse(document: bytes) -> Element:
    """Read a document; tags are given without their prefixes, which some routers do not declare.

    A document type is refused, and with it everything that it could define: entities that grow a
    thousandfold, and entities that are files or other hosts.

    :raises DecodeError: if it is too long, too deep, has a document type, or is not XML.
    """
    if len(document) > MAX_BYTES:
        raise DecodeError(f"XML of more than {MAX_BYTES} bytes")
    # Imported here because few networks have a router that speaks XML.
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers import expat

    builder = TreeBuilder()
    elements = depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal elements, depth
        elements += 1
        depth += 1
        if elements > MAX_ELEMENTS or depth > MAX_DEPTH:
            raise DecodeError("XML with too many elements")
        builder.start(tag.rpartition(":")[2], {})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition(":")[2])

    def refuse(*_: object) -> None:
        raise DecodeError("XML with a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(document, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError):
        raise DecodeError("not XML") from None


def text_of(element: Element, tag: str) -> str:
    """The text of an element's child, without the space around it; empty if there is none."""
    return (element.findtext(tag) or "").strip()
