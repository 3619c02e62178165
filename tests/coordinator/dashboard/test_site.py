"""The dashboard's web site on loopback: who is let in, and who is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bench.synthetic import Mesh
from tests.coordinator.dashboard.visitor import Visitor
from tunnelmesh.coordinator.dashboard import resource as module
from tunnelmesh.coordinator.dashboard import viewers

reactor: Any = any_reactor


class SiteTestCase(TestCase):
    """A coordinator with three members."""

    timeout = 20

    def setUp(self) -> None:
        self.mesh = Mesh(reactor, Path(self.mktemp()), ["laptop", "homelab", "nas"])
        self.addCleanup(self.mesh.coordinator.stopService)
        port = self.mesh.coordinator.status({})["listen"]["https"]
        self.visitor = Visitor(reactor, port, self.mesh.key)

    def secret(self) -> str:
        """A new link's."""
        return self.mesh.link().partition("#")[2]

    async def sign_in(self) -> str:
        """The cookie of a new session."""
        answer = await self.visitor.post("sign-in", {"link": self.secret()})
        self.assertEqual(200, answer.status)
        return answer.cookie


class PageTests(SiteTestCase):
    """What anybody gets."""

    async def test_page(self) -> None:
        """The page is given with headers that forbid everything from elsewhere."""
        answer = await self.visitor.ask("GET", "")
        self.assertEqual(200, answer.status)
        self.assertIn(b"<!doctype html>", answer.body)
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertIn("frame-ancestors 'none'", answer.headers["content-security-policy"])
        self.assertEqual("nosniff", answer.headers["x-content-type-options"])
        self.assertEqual("no-referrer", answer.headers["referrer-policy"])
        for inline in (b"<style", b"style=", b"onclick", b"javascript:", b"http:", b"https:"):
            self.assertNotIn(inline, answer.body)

    async def test_files(self) -> None:
        """Its files are there, are not sent twice, and nothing else is."""
        for name in ("dashboard.js", "dashboard.css", "icon.svg"):
            answer = await self.visitor.ask("GET", name)
            self.assertEqual(200, answer.status, name)
            again = await self.visitor.ask("GET", name, If_None_Match=answer.headers["etag"])
            self.assertEqual(304, again.status)
        for name in ("nothing", "..%2f__init__.py", "index.html/x"):
            self.assertEqual(404, (await self.visitor.ask("GET", name)).status, name)

    async def test_nothing_without_session(self) -> None:
        """What the mesh is like is for who is signed in."""
        self.assertEqual(401, (await self.visitor.ask("GET", "session")).status)
        self.assertEqual(401, (await self.visitor.ask("GET", "invitations")).status)
        for path, said in (
            ("invite", {"uses": 1, "seconds": 3600}),
            ("cancel", {"number": 1}),
            ("revoke", {"name": "nas"}),
        ):
            answer = await self.visitor.post(path, said)
            self.assertEqual((401, "not signed in"), (answer.status, answer.said["error"]))
        self.assertEqual(["laptop", "homelab", "nas"], self.mesh.names)

    async def test_odd_methods(self) -> None:
        """Nobody fills the log with methods that a page has not."""
        for method, path, status in (
            ("HEAD", "session", 405),
            ("HEAD", "sign-in", 405),
            ("GET", "revoke", 405),
            ("PUT", "session", 501),
            ("BREW", "session", 501),
            ("HEAD", "", 200),
            ("HEAD", "live", 405),
        ):
            answer = await self.visitor.ask(method, path)
            self.assertEqual((method, path, status), (method, path, answer.status))


class SignInTests(SiteTestCase):
    """Links and cookies."""

    async def test_sign_in_and_out(self) -> None:
        """A link begins a session; signing out ends it, and the cookie is worth nothing."""
        cookie = await self.sign_in()
        answer = await self.visitor.ask("GET", "session", Cookie=cookie)
        self.assertEqual((200, "no-store"), (answer.status, answer.headers["cache-control"]))
        await self.visitor.post("sign-out", {}, Cookie=cookie)
        self.assertEqual(401, (await self.visitor.ask("GET", "session", Cookie=cookie)).status)

    async def test_twice(self) -> None:
        """A link that was used says so, and what to do."""
        secret = self.secret()
        first = await self.visitor.post("sign-in", {"link": secret})
        again = await self.visitor.post("sign-in", {"link": secret})
        self.assertEqual([200, 403], [first.status, again.status])
        self.assertIn("used already", again.said["error"])
        self.assertNotIn("set-cookie", again.headers)

    async def test_opening_does_not_use_it(self) -> None:
        """Whoever fetches the page, as scanners of mail do, uses no link."""
        secret = self.secret()
        await self.visitor.ask("GET", f"?{secret}")
        await self.visitor.ask("GET", "sign-in")
        self.assertEqual(200, (await self.visitor.post("sign-in", {"link": secret})).status)

    async def test_forged(self) -> None:
        """Forged cookies and links are refused, and so is nonsense."""
        await self.sign_in()
        for cookie in ("__Host-tunnelmesh=", "__Host-tunnelmesh=AAAA", "x" * 6000):
            self.assertEqual(401, (await self.visitor.ask("GET", "session", Cookie=cookie)).status)
        for said in (None, [], {}, {"link": 5}, {"link": "AAAA"}, "AAAA"):
            self.assertEqual(403, (await self.visitor.post("sign-in", said)).status, said)

    async def test_malformed(self) -> None:
        """What is not JSON, or too long, is one short answer."""
        own = {"Origin": self.visitor.own, "Content_Type": "application/json"}
        self.assertEqual(400, (await self.visitor.ask("POST", "sign-in", b"{", **own)).status)
        long = await self.visitor.ask("POST", "sign-in", b" " * 10_000, **own)
        self.assertEqual(413, long.status)

    async def test_slowed_down(self) -> None:
        """After some failed attempts, an address has to wait, also with a good link."""
        for _ in range(module.FAILURES):
            await self.visitor.post("sign-in", {"link": "wrong"})
        answer = await self.visitor.post("sign-in", {"link": self.secret()})
        self.assertEqual(429, answer.status)

    async def test_other_process(self) -> None:
        """A session ends with the process."""
        cookie = await self.sign_in()
        await self.mesh.coordinator.stopService()
        self.mesh.coordinator.startService()
        port = self.mesh.coordinator.status({})["listen"]["https"]
        visitor = Visitor(reactor, port, self.mesh.key)
        self.assertEqual(401, (await visitor.ask("GET", "session", Cookie=cookie)).status)


class CrossSiteTests(SiteTestCase):
    """What another site's page could send, with the cookie (which browsers would not even send)."""

    async def test_post(self) -> None:
        """A POST from elsewhere, from nowhere, or of a form is refused."""
        cookie = await self.sign_in()
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"{self.visitor.own}.evil.example"},
            {"Content_Type": "text/plain"},
            {"Content_Type": "application/x-www-form-urlencoded"},
        ):
            answer = await self.visitor.post("revoke", {"name": "nas"}, Cookie=cookie, **headers)
            self.assertEqual(403, answer.status, headers)
        bare = await self.visitor.ask("POST", "revoke", b'{"name": "nas"}', Cookie=cookie)
        self.assertEqual(403, bare.status)
        read = await self.visitor.ask("GET", "revoke?name=nas", Cookie=cookie)
        self.assertEqual(405, read.status)
        self.assertEqual(["laptop", "homelab", "nas"], self.mesh.names)

    async def test_websocket(self) -> None:
        """Only our own page, signed in, gets a WebSocket, and with it everything."""
        cookie = await self.sign_in()
        own = self.visitor.own
        for expected, headers in (
            (403, {"Cookie": cookie, "Origin": "https://evil.example"}),
            (403, {"Cookie": cookie}),
            (401, {"Origin": own}),
            (401, {"Origin": own, "Cookie": "__Host-tunnelmesh=AAAA"}),
            (101, {"Origin": own, "Cookie": cookie}),
        ):
            status, talk = await self.visitor.upgrade(**headers)
            self.assertEqual(expected, status, headers)
            if status == 101:
                await until(lambda talk=talk: b"homelab" in talk.heard)
                talk.transport.abortConnection()
            await talk.lost

    async def test_too_many(self) -> None:
        """One WebSocket too many is turned away."""
        self.patch(viewers, "MOST_VIEWERS", 1)
        cookie = await self.sign_in()
        statuses = []
        for _ in range(2):
            status, talk = await self.visitor.upgrade(Cookie=cookie, Origin=self.visitor.own)
            statuses.append(status)
        await talk.lost
        self.assertEqual([101, 503], statuses)

    async def test_sign_out_closes(self) -> None:
        """Signing out ends the session's WebSockets."""
        cookie = await self.sign_in()
        _, talk = await self.visitor.upgrade(Cookie=cookie, Origin=self.visitor.own)
        await self.visitor.post("sign-out", {}, Cookie=cookie)
        await talk.lost
        self.assertIn(b"signed out", talk.heard)

    async def test_closing(self) -> None:
        """One that is closing, and never gets to the end of it, is not in the way of others."""
        cookie = await self.sign_in()
        talks = []
        for _ in range(2):
            _, talk = await self.visitor.upgrade(Cookie=cookie, Origin=self.visitor.own)
            await until(lambda talk=talk: b"homelab" in talk.heard)
            talks.append(talk)
        talks[0].transport.pauseProducing()
        talks[0].transport.write(b"\x88\x80\0\0\0\0")
        for name in ("laptop", "nas"):
            self.mesh.come(self.mesh[name])
            online = f'"what":"online","who":"{self.mesh[name].member.address}"'.encode()
            await until(lambda online=online: online in talks[1].heard)
        for talk in talks:
            talk.transport.resumeProducing()
            talk.transport.abortConnection()
            await talk.lost

    async def test_page_with_something_to_say(self) -> None:
        """A WebSocket that sends a message is cut off."""
        cookie = await self.sign_in()
        _, talk = await self.visitor.upgrade(Cookie=cookie, Origin=self.visitor.own)
        talk.transport.write(b"\x81\x85\0\0\0\0hello")
        await talk.lost


class ActionTests(SiteTestCase):
    """What the owner does."""

    async def test_invitations(self) -> None:
        """An invitation is made, listed, lets a machine in, and is cancelled."""
        cookie = await self.sign_in()
        made = await self.visitor.post("invite", {"uses": 2, "seconds": 3600}, Cookie=cookie)
        self.assertTrue(made.said["token"].startswith("tm1:"))
        self.assertIn("<svg", made.said["picture"])
        (listed,) = (await self.visitor.ask("GET", "invitations", Cookie=cookie)).said
        self.assertEqual([made.said["number"], 2], [listed["number"], listed["uses_left"]])
        gone = await self.visitor.post("cancel", {"number": listed["number"]}, Cookie=cookie)
        self.assertEqual({"cancelled": True}, gone.said)
        self.assertEqual([], (await self.visitor.ask("GET", "invitations", Cookie=cookie)).said)

    async def test_bad_wishes(self) -> None:
        """What cannot be done is told in a sentence."""
        cookie = await self.sign_in()
        for path, said in (
            ("invite", {"uses": 0, "seconds": 3600}),
            ("invite", {"uses": 1, "seconds": 10**9}),
            ("invite", {"uses": "many"}),
            ("cancel", {"number": "first"}),
            ("revoke", {"name": "nobody"}),
            ("revoke", []),
        ):
            answer = await self.visitor.post(path, said, Cookie=cookie)
            self.assertEqual(400, answer.status, (path, said))
            self.assertTrue(answer.said["error"])

    async def test_revoke(self) -> None:
        """A member that is removed is cut off."""
        self.mesh.come(self.mesh["nas"])
        link = self.mesh["nas"].link
        cookie = await self.sign_in()
        answer = await self.visitor.post("revoke", {"name": "nas"}, Cookie=cookie)
        self.assertEqual({"removed": "nas"}, answer.said)
        self.assertEqual(["laptop", "homelab"], self.mesh.names)
        assert link is not None
        self.assertIsNotNone(link.closed)


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for something to come true."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("did not come true in time")
        await deferLater(reactor, 0.005)
