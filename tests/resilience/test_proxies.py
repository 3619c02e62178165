"""Machines whose only way out is the web, or a proxy: good ones and bad ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel import Host
from tunnelmesh.lab.kernel.mesh import TUNNELMESH, Peer, wait_until

ROOT = Path(__file__).parents[2]

PORT = 8080


class WaysOutTests(ResilienceTestCase):
    """Everybody is reached."""

    def test_all_at_once(self) -> None:
        """Guests of a web-only network, and two companies' behind proxies, reach each other."""
        add = self.world.add_site
        guest = self.join(add("hotel", "web-only"), "guest")
        company, bank = add("company", "proxy-only"), add("bank", "proxy-auth")
        clerk = self.join(company, "clerk", https_proxy=company.proxy or "")
        teller = self.join(bank, "teller", f"--proxy={bank.proxy}")
        for one, other in ((guest, clerk), (clerk, teller), (teller, guest)):
            self.until_path(one, other)
            self.assertEqual(one.path_to(other.name), "websocket")
            self.assert_reaches(one.host, other.address)
        proxies = [each.status()["coordinator"]["proxy"] for each in (guest, clerk, teller)]
        without_password = f"tunnel@{(bank.proxy or '').partition('@')[2].rstrip('/')}"
        plain = (company.proxy or "").removeprefix("http://").rstrip("/")
        self.assertEqual(proxies, [None, plain, without_password])
        verdict = clerk.ask("explain", peer="teller")
        self.assertIn("through a proxy", " ".join(verdict["evidence"]))
        for peer in (guest, clerk, teller):
            self.assertNotIn(":mesh@", peer.log.read_text())


class BadProxyTests(ResilienceTestCase):
    """Each ends in one line that says what is wrong, and the peer goes on answering."""

    def member(self) -> Peer:
        """A peer that has joined, on a network that now has a proxy, and is not running."""
        self.site = self.world.add_site("office", "linux")
        peer = self.join(self.site, "clerk")
        wait_until(lambda: peer.link, "the link")
        peer.stop()
        return peer

    def proxy(self, kind: str) -> Host:
        """Run a hostile proxy on the gateway."""
        program = self.site.gateway.popen(
            [sys.executable, "-m", "tests.resilience.hostile_proxy", kind, str(PORT)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        self.addCleanup(program.stdout.close)
        self.assertEqual(program.stdout.readline(), "ready\n")
        self.hostile = program
        return self.site.gateway

    def failures(self, peer: Peer) -> dict[str, str]:
        """Why there is no link, by route."""
        told: dict[str, str] = peer.status().get("coordinator", {}).get("failures", {})
        return told

    def shown(self, peer: Peer) -> list[str]:
        """What ``tunnelmesh status`` prints."""
        argv = [*TUNNELMESH, "status", f"--state-dir={peer.state_dir}"]
        return peer.host.run(argv).stdout.splitlines()

    def check(self, peer: Peer, proxy: str, words: str) -> None:
        """Start a peer that is to use a proxy, and hear why it cannot."""
        again = self.mesh.add_peer(peer.host, f"--proxy={proxy}")
        name = proxy.removeprefix("http://").replace(":wrong@", "@").rstrip("/")
        route = f"websocket through {name}"
        wait_until(lambda: words in self.failures(again).get(route, ""), f"{words!r}")
        shown = [line for line in self.shown(again) if words in line]
        self.assertIn(len(shown), (1, 2), shown)  # one for each route that tells it
        self.assertIsNone(again.link)
        lines = [line for line in again.log.read_text().splitlines() if words in line]
        self.assertLessEqual(len(lines), 2, lines)  # one for each route
        again.stop()

    def test_wrong_password(self) -> None:
        """The proxy does not accept the password, and that is said; the password is not."""
        peer = self.member()
        self.site.change("proxy-auth")
        wrong = (self.site.proxy or "").replace(":mesh@", ":wrong@")
        self.check(peer, wrong, "does not accept the user name or the password")
        self.assertNotIn(":wrong@", peer.log.read_text())

    def test_hostile_proxies(self) -> None:
        """One hangs, one talks nonsense, one opens TLS: it is named, and told nothing."""
        peer = self.member()
        url = f"http://{self.site.lan.router}:{PORT}"
        for kind, words in (
            ("hang", "did not answer within"),
            ("babble", "does not answer as an HTTP proxy"),
            ("intercept", "opens TLS"),
        ):
            self.proxy(kind)
            self.check(peer, url, words)
            self.hostile.terminate()
            self.assertEqual(self.hostile.communicate()[0], "")
