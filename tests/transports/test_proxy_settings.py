"""Where the proxy comes from."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import ConfigError
from tunnelmesh.transports.proxy_settings import Proxy, parse_proxy, proxy_for

HERE = {"HTTPS_PROXY": "http://proxy.example:3128"}
PROXY = Proxy("proxy.example", 3128)


class UrlTests(SynchronousTestCase):
    """A proxy's URL."""

    def test_forms(self) -> None:
        """With and without scheme, user, password and port; percent-encoding is undone."""
        cases = {
            "http://proxy.example:3128": PROXY,
            "http://proxy.example:3128/": PROXY,
            "proxy.example:3128": PROXY,
            "http://proxy.example": Proxy("proxy.example", 80),
            "http://[2001:db8::1]:8080": Proxy("2001:db8::1", 8080),
            "http://me:p%40ss%3Aw%2Frd@192.0.2.1:1": Proxy("192.0.2.1", 1, "me", "p@ss:w/rd"),
            "me@proxy.example:3128": Proxy("proxy.example", 3128, "me"),
            "http://me:@proxy.example:3128": Proxy("proxy.example", 3128, "me", ""),
            "HTTP://J%C3%BCrgen:x@PROXY.example:3128": Proxy("proxy.example", 3128, "Jürgen", "x"),
        }
        for url, proxy in cases.items():
            self.assertEqual(parse_proxy(url, "--proxy"), proxy)

    def test_password_hidden(self) -> None:
        """Neither text form of a proxy shows the password."""
        proxy = Proxy("2001:db8::1", 3128, "me", "secret")
        self.assertEqual(str(proxy), "me@[2001:db8::1]:3128")
        self.assertNotIn("secret", f"{proxy} {proxy!r}")

    def test_malformed(self) -> None:
        """What is no HTTP proxy's URL is an error that names its origin, and not the password."""
        for url in (
            "http://",
            "http://:3128",
            "http://me:secret@",
            "http://me:secret@proxy:port",
            "http://me:secret@proxy:99999",
            "http://me:secret@proxy:0",
            "http://me:secret@proxy:1/path",
            "http://me:secret@proxy:1?query",
            "http://me:secret@[::1:3128",
            "http://me%0d%0aX: y:secret@proxy:1",
            "http://me:secret@pro xy:1",
            "https://me:secret@proxy:1",
            "socks5://me:secret@proxy:1080",
        ):
            problem = self.assertRaises(ConfigError, parse_proxy, url, "ALL_PROXY")
            self.assertIn("ALL_PROXY", str(problem))
            self.assertNotIn("secret", str(problem))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.text() | st.text().map("http://{}".format))
    def test_any_text(self, url: str) -> None:
        """Any text is a proxy or an error."""
        try:
            proxy = parse_proxy(url, "--proxy")
        except ConfigError:
            return
        self.assertTrue(proxy.host and 0 < proxy.port < 65536)


class ChoiceTests(SynchronousTestCase):
    """Whether a proxy is used, and which."""

    def chosen(self, environment: dict[str, str], host: str = "vps.example") -> Proxy | None:
        """The proxy for a coordinator, with --proxy=auto."""
        return proxy_for("auto", host, 8443, environment)

    def test_option(self) -> None:
        """The command line outranks the environment, its exceptions included."""
        environment = HERE | {"NO_PROXY": "*"}
        self.assertIsNone(proxy_for("none", "vps.example", 8443, HERE))
        self.assertEqual(
            proxy_for("http://other:1", "vps.example", 8443, environment), Proxy("other", 1)
        )
        problem = self.assertRaises(ConfigError, proxy_for, "ftp://x", "vps.example", 8443, {})
        self.assertIn("--proxy", str(problem))

    def test_variables(self) -> None:
        """HTTPS_PROXY comes before ALL_PROXY, in either case; an empty one is none."""
        self.assertIsNone(self.chosen({}))
        self.assertIsNone(self.chosen({"HTTP_PROXY": "http://proxy.example:3128"}))
        self.assertEqual(self.chosen(HERE), PROXY)
        for name in ("https_proxy", "ALL_PROXY", "all_proxy"):
            self.assertEqual(self.chosen({name: "proxy.example:3128"}), PROXY)
        self.assertEqual(self.chosen(HERE | {"ALL_PROXY": "other:1"}), PROXY)
        self.assertEqual(
            self.chosen({"HTTPS_PROXY": "", "ALL_PROXY": "other:1"}), Proxy("other", 1)
        )
        problem = self.assertRaises(ConfigError, self.chosen, {"all_proxy": "socks5://x:1080"})
        self.assertIn("all_proxy", str(problem))

    def test_exceptions(self) -> None:
        """NO_PROXY: names and all below them, addresses, networks, ports, and everything."""
        direct = (
            ("*", "vps.example"),
            ("vps.example", "vps.example"),
            ("VPS.Example", "vps.example."),
            ("example", "vps.example"),
            (".example", "vps.example"),
            ("*.example", "vps.example"),
            ("localhost, other.org vps.example", "vps.example"),
            ("vps.example:8443", "vps.example"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.9"),
            ("192.0.2.7:8443", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8:0::7"),
            ("[2001:db8::7]:8443", "2001:db8::7"),
        )
        proxied = (
            ("", "vps.example"),
            (",. ,", "vps.example"),
            ("ps.example", "vps.example"),
            ("www.vps.example", "vps.example"),
            ("vps.example:443", "vps.example"),
            ("198.51.100.0/24", "192.0.2.7"),
            ("2", "192.0.2.2"),
            ("192.0.2.7:443", "192.0.2.7"),
            ("2001:db8::/32", "192.0.2.7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
        )
        for name in ("NO_PROXY", "no_proxy"):
            for exceptions, host in direct:
                self.assertIsNone(self.chosen(HERE | {name: exceptions}, host), exceptions)
            for exceptions, host in proxied:
                self.assertEqual(self.chosen(HERE | {name: exceptions}, host), PROXY, exceptions)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.text(), st.sampled_from(["vps.example", "192.0.2.7", "2001:db8::7"]))
    def test_any_exceptions(self, exceptions: str, host: str) -> None:
        """No NO_PROXY is an error."""
        self.assertIn(self.chosen(HERE | {"NO_PROXY": exceptions}, host), (None, PROXY))
