"""Values that people type."""

from ipaddress import IPv4Network
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh import parse

READERS = [
    parse.name,
    parse.text,
    parse.port,
    parse.flag,
    parse.path,
    parse.mode,
    parse.interface,
    parse.proxy,
    parse.host,
    parse.address,
    parse.pool,
    parse.names,
    parse.endpoints,
    parse.listen,
    parse.exposed,
]

TOML_VALUES = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.dates(),
    st.lists(st.text(), max_size=2),
    st.dictionaries(st.text(), st.integers(), max_size=2),
)


class ParseTests(SynchronousTestCase):
    """What is taken, what it becomes, and what is refused."""

    def test_taken(self) -> None:
        """Ordinary values become what the program works with."""
        for reader, value, result in [
            (parse.name, "Home-Lab2", "home-lab2"),
            (parse.name, "x" * 63, "x" * 63),
            (parse.text, "tm1:abc", "tm1:abc"),
            (parse.port, "51820", 51820),
            (parse.port, 0, 0),
            (parse.port, 65535, 65535),
            (parse.flag, True, True),
            (parse.path, "/a/b", Path("/a/b")),
            (parse.path, "a", Path.cwd() / "a"),
            (parse.path, "~/a", Path.home() / "a"),
            (parse.mode, "userspace", "userspace"),
            (parse.interface, "tm0", "tm0"),
            (parse.proxy, "auto", "auto"),
            (parse.proxy, "none", "none"),
            (parse.proxy, "http://u:p%40@proxy:3128", "http://u:p%40@proxy:3128"),
            (parse.proxy, "http://[2001:db8::1]:80/", "http://[2001:db8::1]:80/"),
            (parse.host, "VPS.example.org", "vps.example.org"),
            (parse.host, "2001:DB8::0", "2001:db8::"),
            (parse.host, "192.0.2.1", "192.0.2.1"),
            (parse.address, "192.0.2.1", "192.0.2.1"),
            (parse.pool, "10.9.0.0/16", IPv4Network("10.9.0.0/16")),
            (parse.names, "Home, robot", frozenset({"home", "robot"})),
            (parse.names, ["home"], frozenset({"home"})),
            (
                parse.endpoints,
                "192.0.2.1:51820,[2001:DB8::1]:1,Home.example:9",
                (("192.0.2.1", 51820), ("2001:db8::1", 1), ("home.example", 9)),
            ),
            (parse.endpoints, ["192.0.2.1:51820"], (("192.0.2.1", 51820),)),
            (parse.listen, "1080", ("127.0.0.1", 1080)),
            (parse.listen, 0, ("127.0.0.1", 0)),
            (parse.listen, "[::]:9586", ("::", 9586)),
            (parse.exposed, 22, ((22, "127.0.0.1", 22),)),
            (
                parse.exposed,
                "22, 80=10.0.0.7:8000",
                ((22, "127.0.0.1", 22), (80, "10.0.0.7", 8000)),
            ),
            (parse.exposed, [22, "80=nas:8000"], ((22, "127.0.0.1", 22), (80, "nas", 8000))),
        ]:
            self.assertEqual(reader(value), result, (reader, value))

    def test_refused(self) -> None:
        """Values that are nearly right are refused."""
        for reader, value in [
            (parse.name, ""),
            (parse.name, "x" * 64),
            (parse.name, "a.b"),
            (parse.name, "-a"),
            (parse.name, "a\n"),
            (parse.name, "größe"),
            (parse.text, "two\nlines"),
            (parse.port, "65536"),
            (parse.port, -1),
            (parse.port, "-1"),
            (parse.port, "٣"),
            (parse.port, True),
            (parse.port, 1.0),
            (parse.port, "9" * 5000),
            (parse.flag, "true"),
            (parse.flag, 1),
            (parse.path, ""),
            (parse.path, "a\0b"),
            (parse.path, "~nobody-of-that-name/a"),
            (parse.mode, "TUN"),
            (parse.interface, "x" * 16),
            (parse.interface, "a/b"),
            (parse.interface, "tm%d"),
            (parse.proxy, "proxy:3128"),
            (parse.proxy, "https://proxy:3128"),
            (parse.proxy, "http://proxy"),
            (parse.proxy, "http://proxy:0"),
            (parse.proxy, "http://proxy:99999"),
            (parse.proxy, "http://[::1:80"),
            (parse.proxy, "http://proxy:80/path"),
            (parse.host, "example.org:8443"),
            (parse.host, "192.0.2.256"),
            (parse.host, "a..b"),
            (parse.host, "a b"),
            (parse.address, "example.org"),
            (parse.names, ""),
            (parse.names, "a,,b"),
            (parse.names, ["a", 1]),
            (parse.names, ["a"] * 65),
            (parse.names, {"a": 1}),
            (parse.endpoints, ""),
            (parse.listen, "65536"),
            (parse.listen, "here"),
            (parse.listen, True),
            (parse.exposed, "0"),
            (parse.exposed, "22,22=nas:1"),
            (parse.exposed, "22=nas"),
            (parse.exposed, ""),
            (parse.endpoints, "192.0.2.1"),
            (parse.endpoints, "192.0.2.1:0"),
            (parse.endpoints, "192.0.2.1:65536"),
            (parse.endpoints, "2001:db8::1:80"),
            (parse.endpoints, "me@192.0.2.1:80"),
            (parse.endpoints, "192.0.2.1:80/x"),
            (parse.endpoints, [":80"]),
            (parse.endpoints, [80]),
            (parse.pool, "100.96.0.1/16"),
            (parse.pool, "100.96.0.0/30"),
            (parse.pool, "fd00::/48"),
        ]:
            self.assertRaises(ValueError, reader, value)

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.sampled_from(READERS), TOML_VALUES)
    def test_only_value_errors(self, reader, value) -> None:
        """Whatever a file holds, a reader answers with a value or a ValueError."""
        try:
            reader(value)
        except ValueError as error:
            self.assertTrue(str(error))

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.from_regex(r"[A-Za-z0-9-]{1,70}", fullmatch=True))
    def test_names_are_labels(self, text) -> None:
        """A name that is taken is lower case, short, and stays the same when read again."""
        try:
            name = parse.name(text)
        except ValueError:
            self.assertTrue(len(text) > 63 or text[0] == "-" or text[-1] == "-")
        else:
            self.assertEqual((name, parse.name(name)), (text.lower(), name))
