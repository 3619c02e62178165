"""A headless Chromium, told what to do by the DevTools protocol over a pipe.

For measuring the dashboard, and for testing what people see of it.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater

SECONDS = 20.0
"""To wait for whatever is awaited: a busy machine of two cores needs a few."""

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which cannot be had as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--ignore-certificate-errors",
)


class Chromium(ProcessProtocol):
    """One browser.

    :ivar ended: fires when its process has.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._numbers = count(1)
        self._asked: dict[int, Deferred[Any]] = {}
        self._unread = b""

    async def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method of the protocol.

        :raises RuntimeError: with what the browser says is wrong.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answered: Deferred[Any] = Deferred()
        self._asked[number] = answered
        if self.transport is None:
            return await fail(ConnectionLost())
        self.transport.writeToChild(3, json.dumps(message).encode() + b"\0")
        answer = await answered
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It says something: answers by a pipe, and on its standard error what nobody asked."""
        if childFD != 4:
            return
        *messages, self._unread = (self._unread + data).split(b"\0")
        for message in messages:
            told = json.loads(message)
            answered = self._asked.pop(told.get("id"), None)
            if answered is not None:
                answered.callback(told)

    def processEnded(self, reason: Any) -> None:
        """It is gone."""
        self.transport = None
        for answered in self._asked.values():
            answered.errback(ConnectionLost())
        self.ended.callback(None)


class Page:
    """One tab, with cookies of its own."""

    def __init__(self, reactor: Any, browser: Chromium, session: str) -> None:
        self._reactor = reactor
        self._browser = browser
        self._session = session

    async def do(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol on this page."""
        return await self._browser.ask(method, self._session, **parameters)

    async def go(self, url: str) -> None:
        """Open an address."""
        await self.do("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited.

        :raises RuntimeError: with the exception that it throws.
        """
        answer = await self.do(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true, and give it.

        :raises AssertionError: if it does not become so.
        """
        end = self._reactor.seconds() + seconds
        while True:
            try:
                value = await self.run(script)
            except RuntimeError as error:  # the page is just becoming another
                value, problem = None, error
            else:
                problem = None
            if value:
                return value
            if self._reactor.seconds() > end:
                shown = await self.run("document.body?.innerText")
                raise AssertionError(f"{script} is {problem or value!r}; the page shows: {shown}")
            await deferLater(self._reactor, 0.02)

    async def click(self, selector: str) -> None:
        """Click on an element, as soon as it is there and shown."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{chosen}?.getClientRects().length > 0")
        await self.run(f"{chosen}.click()")

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.do("Input.insertText", text=text)

    async def looks(self, width: int, height: int, *, dark: bool = False, scale: int = 1) -> None:
        """Give the page that size in pixels, and colours."""
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """What is seen, as PNG."""
        taken = await self.do("Page.captureScreenshot", format="png")
        return b64decode(taken["data"])


def start(reactor: Any, folder: Path) -> Chromium:
    """Start a browser.

    :param folder: for its profile.
    :raises FileNotFoundError: if there is none on this machine.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise FileNotFoundError("chromium is not installed")
    browser = Chromium()
    options = [program, *_OPTIONS, f"--user-data-dir={folder.absolute()}", "about:blank"]
    fds: dict[int, int | str] = {0: "w", 1: "r", 2: "r", 3: "w", 4: "r"}
    reactor.spawnProcess(browser, program, options, env=None, childFDs=fds)
    return browser


async def new_page(reactor: Any, browser: Chromium) -> Page:
    """Open a tab as a visitor without cookies would."""
    context = await browser.ask("Target.createBrowserContext")
    target = await browser.ask(
        "Target.createTarget", url="about:blank", browserContextId=context["browserContextId"]
    )
    attached = await browser.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page = Page(reactor, browser, attached["sessionId"])
    await page.do("Page.enable")
    await page.do("Runtime.enable")
    return page


async def stop(browser: Chromium) -> None:
    """End it."""
    if browser.transport is not None:
        try:
            await browser.ask("Browser.close")
        except ConnectionLost:
            pass
    await browser.ended
