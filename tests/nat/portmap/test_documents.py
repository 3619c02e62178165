"""Descriptions and SOAP: what honest routers write, and what dishonest ones do."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.portmap import soap
from tunnelmesh.nat.portmap.description import MOST, Connection, connections
from tunnelmesh.nat.portmap.markup import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, parse

HOST = "192.168.1.1"
LOCATION = f"http://{HOST}:5000/rootDesc.xml"
KIND = "urn:schemas-upnp-org:service:WANIPConnection:1"

SERVICE = "<service><serviceType>{}</serviceType><controlURL>{}</controlURL></service>"


def root(*services: tuple[str, str], base: str = "") -> bytes:
    """A description with services."""
    listed = "".join(SERVICE.format(*each) for each in services)
    return (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">'
        f"<URLBase>{base}</URLBase><device><serviceList>{listed}</serviceList></device></root>"
    ).encode()


class MarkupTests(SynchronousTestCase):
    """XML without its teeth."""

    def refused(self, document: bytes) -> None:
        """It is, and quickly."""
        started = time.process_time()
        self.assertRaises(DecodeError, parse, document)
        self.assertLess(time.process_time() - started, 1)

    def test_namespaces(self) -> None:
        """Tags come without them."""
        found = parse(b'<a:x xmlns:a="u" a:y="1"><z xmlns="v">text</z></a:x>')
        self.assertEqual((found.tag, found[0].tag, found[0].text), ("x", "z", "text"))

    def test_entities(self) -> None:
        """No document type, and so neither a billion laughs nor a look at other files."""
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
        self.refused(f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l9;</a>'.encode())
        self.refused(b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>')
        self.refused(b'<!DOCTYPE a SYSTEM "http://192.168.1.9/evil.dtd"><a/>')
        self.refused(b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://192.168.1.9/">%p;]><a/>')
        self.refused(b"<a>&unknown;</a>")

    def test_sizes(self) -> None:
        """Neither too long, nor too deep, nor too many."""
        self.refused(b"<a>" + b"x" * MAX_BYTES + b"</a>")
        self.refused(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1))
        self.refused(b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>")
        parse(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)

    def test_nonsense(self) -> None:
        """What is not XML is refused, whatever it claims to be encoded in."""
        for document in (b"", b"text", b"<a>", b"<a></b>", b"<a/><b/>", b"\0", b"<a>\xff</a>"):
            self.refused(document)
        self.refused(b'<?xml version="1.0" encoding="klingon"?><a/>')
        self.refused(b'<?xml version="1.0" encoding="utf-16"?><a/>')

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                (
                    *(b"<a>", b"</a>", b"<b c='", b"'/>", b"<!--", b"-->", b"<![CDATA[", b"]]>"),
                    *(b"&lt;", b"&#x41;", b"<?x ?>", b"\xff", b"\0", b"<!DOCTYPE", b" a>"),
                    b'<?xml version="1.0"?>',
                )
            ),
            max_size=12,
        ).map(b"".join)
    )
    def test_anything(self, document: bytes) -> None:
        """Any bytes are a document or a DecodeError."""
        for read in (
            parse,
            lambda d: connections(d, LOCATION, HOST),
            lambda d: soap.answer(d, "A"),
        ):
            try:
                read(document)
            except DecodeError:
                pass


class DescriptionTests(SynchronousTestCase):
    """Where a router's actions are."""

    def test_relative_and_absolute(self) -> None:
        """A control URL is taken relative to the base if there is one, or to the description."""
        for url, base, control in (
            ("/ctl", "", f"http://{HOST}:5000/ctl"),
            ("ctl", "", f"http://{HOST}:5000/ctl"),
            ("ctl", f"http://{HOST}:80/igd/", f"http://{HOST}:80/igd/ctl"),
            (f"http://{HOST}:1234/x", "", f"http://{HOST}:1234/x"),
        ):
            found = connections(root((KIND, url), base=base), LOCATION, HOST)
            self.assertEqual(found, [Connection(KIND, control)])

    def test_other_services(self) -> None:
        """Only those that map ports count, and only a few of them."""
        other = KIND.replace("WANIPConnection", "Layer3Forwarding")
        found = connections(
            root((other, "/l3"), *[(KIND, f"/{n}") for n in range(9)]), LOCATION, HOST
        )
        self.assertEqual([each.control[-2:] for each in found], [f"/{n}" for n in range(MOST)])
        self.assertRaises(DecodeError, connections, root((other, "/l3")), LOCATION, HOST)

    def test_elsewhere(self) -> None:
        """Actions are sent to the router and to nobody else."""
        for url, base in (
            ("http://192.168.1.9/ctl", ""),
            ("//192.168.1.9/ctl", ""),
            ("/ctl", "http://192.168.1.9/"),
            ("http://[", ""),
            ("javascript:alert(1)", ""),
        ):
            document = root((KIND, url), base=base)
            self.assertRaises(DecodeError, connections, document, LOCATION, HOST)


class SoapTests(SynchronousTestCase):
    """Actions and answers."""

    def test_request(self) -> None:
        """Arguments are written in order, and escaped."""
        body = soap.request(KIND, "Act", {"NewA": "<&>", "NewB": 7}).decode()
        self.assertIn(
            f'<u:Act xmlns:u="{KIND}"><NewA>&lt;&amp;&gt;</NewA><NewB>7</NewB></u:Act>', body
        )

    def test_answer(self) -> None:
        """What was returned, by name."""
        body = f'<e:Envelope xmlns:e="x"><e:Body><u:ActResponse xmlns:u="{KIND}"><NewA> 1 </NewA>'
        body += "<NewB/></u:ActResponse></e:Body></e:Envelope>"
        self.assertEqual(soap.answer(body.encode(), "Act"), {"NewA": "1", "NewB": ""})
        self.assertRaises(DecodeError, soap.answer, body.encode(), "Other")

    def test_faults(self) -> None:
        """The code tells why; without one that makes sense, it is a fault all the same."""
        for code, number in (("718", 718), ("", 0), ("x", 0), ("-1", 0), ("9" * 5000, 0)):
            body = f"<f><UPnPError><errorCode>{code}</errorCode></UPnPError></f>".encode()
            self.assertEqual(soap.answer(body, "Act"), soap.Fault(number))
        self.assertEqual(str(soap.Fault(606)), "does not allow it")
        self.assertEqual(str(soap.Fault(999)), "refuses with UPnP error 999")
