"""The dashboard in a real browser: what its owner sees and does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

from bench import chromium
from bench.chromium import Chromium, Page
from bench.synthetic import Mesh

reactor: Any = any_reactor

EVIL = "<img src=x onerror=document.title=1>"
EDGE = "document.querySelector('[data-pair=\"100.96.0.1 100.96.0.2\"]')"


class BrowserTests(TestCase):
    """A coordinator with three members, two of them online, and Chromium."""

    timeout = 90
    browser: Chromium

    async def setUp(self) -> None:
        folder = self.mktemp()
        self.mesh = Mesh(reactor, Path(folder, "state"), ["laptop", "homelab", "nas"])
        self.addCleanup(self.mesh.coordinator.stopService)
        try:
            self.browser = chromium.start(reactor, Path(folder, "profile"))
        except FileNotFoundError as error:
            raise SkipTest(str(error)) from None
        self.addCleanup(lambda: Deferred.fromCoroutine(chromium.stop(self.browser)))
        self.laptop, self.homelab = self.mesh["laptop"], self.mesh["homelab"]
        self.mesh.come(self.laptop)
        self.mesh.come(self.homelab, "websocket", "symmetric")
        self.page = await chromium.new_page(reactor, self.browser)
        await self.page.looks(1280, 900)

    async def enter(self, link: str = "") -> Page:
        """Sign in with a new link."""
        await self.page.go(link or self.mesh.link())
        await self.page.click("#sign-in")
        await self.page.until("document.querySelectorAll('.node').length === 3")
        return self.page

    async def shows(self, words: str) -> None:
        """Wait until the page shows these words."""
        await self.page.until(f"document.body?.innerText.includes({words!r})")

    async def test_mesh(self) -> None:
        """Peers appear, a path appears, changes its colour live, and is told of in words."""
        link = self.mesh.link()
        page = await self.enter(link)
        self.assertEqual("", await page.run("location.hash"))
        self.assertEqual(
            "2 of 3", await page.run("document.querySelector('#fact-online').textContent")
        )
        self.mesh.path(self.laptop, self.homelab, "ssh")
        await page.until(f"{EDGE}?.classList.contains('ssh')")
        before = await page.run(f"getComputedStyle({EDGE}).stroke")
        self.mesh.path(self.laptop, self.homelab, "udp", 0.0123)
        await page.until(f"{EDGE}?.classList.contains('udp')")
        await self.shows("homelab: SSH, relayed → UDP, direct")
        await page.until(f"getComputedStyle({EDGE}).stroke !== {before!r}")
        await page.click("[data-id='100.96.0.1'] button")
        await page.until("document.querySelector('#detail tbody')?.innerText.includes('12 ms')")
        self.mesh.come(self.mesh["nas"])
        await page.until("document.querySelector('#fact-online').textContent === '3 of 3'")
        self.mesh.go(self.mesh["nas"])
        await self.shows("nas went offline")

        other = await chromium.new_page(reactor, self.browser)
        await other.go(link)
        await other.click("#sign-in")
        await other.until("document.body.innerText.includes('used already')")

    async def test_owner(self) -> None:
        """An invitation is made and cancelled; a member is removed after its name was typed."""
        page = await self.enter()
        await page.click("#invite")
        await page.click("#invite-make")
        await page.until("document.querySelector('#invite-command').innerText.includes('tm1:')")
        await page.until("document.querySelector('#invite-picture').naturalWidth > 0")
        await page.click("#invite-dialog [data-close]")
        await page.click("#invitations li button")
        await page.until("document.querySelector('#invitations').innerText.includes('None')")
        await page.click("tr[data-id='100.96.0.2'] button")
        await page.click("#detail .danger")
        self.assertTrue(await page.run("document.querySelector('#remove-do').disabled"))
        await page.type("#remove-typed", "homelab")
        await page.click("#remove-do:not(:disabled)")
        await page.until("document.querySelectorAll('.node').length === 2")
        self.assertEqual(["laptop", "nas"], self.mesh.names)

    async def test_hostile_words(self) -> None:
        """What peers say of themselves is shown as text."""
        presence = self.mesh.signalling.presence_of(self.laptop.member)
        assert presence is not None
        presence.link.remote = EVIL  # type: ignore[misc]
        page = await self.enter()
        await page.click("tr[data-id='100.96.0.1'] button")
        await self.shows(EVIL)
        self.assertEqual("TunnelMesh", await page.run("document.title"))
        self.assertEqual(0, await page.run("document.querySelectorAll('[onerror]').length"))

    async def test_not_live(self) -> None:
        """A page whose connection breaks is live again by itself, until it is signed out."""
        page = await self.enter()
        await page.until("document.body.classList.contains('live')")
        await page.run(
            "new MutationObserver(() => { window.seen = (window.seen ?? '') +"
            " document.querySelector('#state').textContent })"
            ".observe(document.querySelector('#state'), {childList: true})"
        )
        dashboard = self.mesh.coordinator.dashboard
        assert dashboard is not None
        dashboard.close()
        await page.until("window.seen === 'Not liveLive'")
        await page.click("#sign-out")
        await self.shows("You are not signed in")
        await self.enter()  # a new link in the same tab changes nothing but the fragment

    async def test_looks_and_keys(self) -> None:
        """Light and dark differ, a phone has room for all, and the picture can do without mouse."""
        page = await self.enter()
        colours = []
        for dark in (False, True):
            await page.looks(360, 780, dark=dark)
            colours.append(await page.run("getComputedStyle(document.body).backgroundColor"))
            await page.click("tr[data-id='100.96.0.1'] button")
            await page.until("document.documentElement.scrollWidth <= 360")
        self.assertNotEqual(*colours)
        await page.run("document.querySelector('#detail button').click()")
        await page.run("document.querySelector('.node[tabindex=\"0\"]').focus()")
        for key in ("ArrowRight", "Enter"):
            for kind in ("rawKeyDown", "keyUp"):
                await page.do("Input.dispatchKeyEvent", type=kind, key=key)
        await page.until("document.querySelector('#detail-name')?.innerText === 'homelab'")
