"""How soon a dashboard shows a mesh, how far behind it is, and what it costs the coordinator.

``python -m bench.dashboard [--peers 200] [--seconds N] [--json]``

The coordinator is a process of its own, with made-up members in it: each has a path to ten others,
every fourth path carries something, and once a second a path changes. What it uses while nobody
looks is measured first; the other figure has in it what it takes to make the members up. The viewer
is a headless Chromium on the same machine, whose clock tells how old what it shows is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from bench import chromium
from bench.stun import cpu
from bench.synthetic import FLAVOURS, Mesh

NEIGHBOURS = 10
"""Paths that a member has, in each direction round the ring half of them."""

reactor: Any = any_reactor

PROBE = "100.96.0.1 100.96.0.2"
"""The pair whose path changes at times that are written down."""

RECORD = f"""
window.flips = [];
new MutationObserver(() => {{ flips.push(Date.now() / 1000); }})
    .observe(document.querySelector('[data-pair="{PROBE}"]'), {{attributeFilter: ["class"]}});
"""

PAINT = """
new Promise((done) => {
    const look = () => {
        const painted = performance.getEntriesByName("first-contentful-paint")[0];
        const drawn = performance.getEntriesByName("first-picture")[0];
        if (painted && drawn) done([painted.startTime, drawn.startTime]);
        else setTimeout(look, 20);
    };
    look();
})
"""


class Members:
    """Made-up members at work."""

    def __init__(self, mesh: Mesh, say: Any) -> None:
        self._mesh = mesh
        self._say = say
        self._steps = 0
        count = len(mesh.peers)
        for number, peer in enumerate(mesh.peers):
            mesh.come(peer, "websocket" if number % 7 == 5 else "ssh", FLAVOURS[number % 6])
        self._pairs = [
            (mesh.peers[number], mesh.peers[(number + step) % count])
            for number in range(count)
            for step in range(1, NEIGHBOURS // 2 + 1)
        ]
        self._kinds = [mesh.random.choice(["udp", "udp", "udp", "tcp", "ssh"]) for _ in self._pairs]
        self._watched = False
        self._busy = list(range(1, len(self._pairs), 4))

    def work(self) -> None:
        """A fifth of a second of all of them."""
        reactor.callLater(0.2, self.work)
        mesh = self._mesh
        link = mesh.peers[0].link
        assert link is not None
        if link.watched and not self._watched:
            for number, (one, other) in enumerate(self._pairs):
                mesh.path(one, other, self._kinds[number])
        self._watched = bool(link.watched)
        if not self._watched:
            return
        # Each busy pair's turn comes every two seconds: both ends report.
        for number in self._busy[self._steps % 10 :: 10]:
            one, other = self._pairs[number]
            carried = mesh.random.randrange(1000, 10_000_000)
            mesh.path(one, other, self._kinds[number], carried=carried)
        self._steps += 1
        if self._steps % 5 == 0:
            number = mesh.random.randrange(1, len(self._pairs))
            self._change(number)
        if self._steps % 13 == 0:  # out of step with updates
            self._change(0)
            self._say({"flip": time.time()})

    def _change(self, number: int) -> None:
        self._kinds[number] = "ssh" if self._kinds[number] == "udp" else "udp"
        self._mesh.path(*self._pairs[number], self._kinds[number])


def serve(peers: int, folder: Path) -> None:
    """Be the coordinator: tell where, and when the probed path changed, a line each."""

    def say(line: Any) -> None:
        print(json.dumps(line), flush=True)

    mesh = Mesh(reactor, folder, [f"node-{number:03d}" for number in range(1, peers + 1)])

    def begin() -> None:
        members = Members(mesh, say)
        say({"url": mesh.link()})
        members.work()

    reactor.callLater(0.2, begin)
    reactor.run()


async def measure(program: subprocess.Popen[str], seconds: float, folder: Path) -> dict[str, Any]:
    """Look at the mesh, and at the clock."""
    assert program.stdout is not None
    url = json.loads(program.stdout.readline())["url"]
    await deferLater(reactor, 2.0)
    idle = await _load(program.pid, seconds / 2)
    browser = chromium.start(reactor, folder / "profile")
    try:
        page = await chromium.new_page(reactor, browser)
        await page.looks(1440, 900)
        await page.go(url)
        await page.click("#sign-in")
        await page.until("document.querySelectorAll('.node').length > 0")
        # The door was a page of its own; now as everyday: signed in, from nothing to all of it.
        await page.do("Page.reload")
        paints = await page.run(PAINT)
        await page.until(f"document.querySelector('[data-pair=\"{PROBE}\"]') !== null")
        await page.run(RECORD)
        begun = time.time()
        busy = await _load(program.pid, seconds)
        ended = time.time()
        seen = await page.run("flips")
    finally:
        await chromium.stop(browser)
        program.terminate()
    flips = [json.loads(line)["flip"] for line in program.stdout if '"flip"' in line]
    lags = list(_lags([flip for flip in flips if begun < flip < ended - 2], seen))
    return {
        "first_paint_ms": round(paints[0]),
        "first_picture_ms": round(paints[1]),
        "lag_median_ms": round(sorted(lags)[len(lags) // 2] * 1000) if lags else None,
        "lag_worst_ms": round(max(lags) * 1000) if lags else None,
        "updates": len(lags),
        "cpu_percent": round(100 * busy, 1),
        "cpu_percent_unwatched": round(100 * idle, 1),
    }


async def _load(pid: int, seconds: float) -> float:
    """Cores that a process uses."""
    used, begun = cpu(pid), time.monotonic()
    await deferLater(reactor, seconds)
    return (cpu(pid) - used) / (time.monotonic() - begun)


def _lags(flips: list[float], seen: list[float]) -> Iterator[float]:
    """How long after each change something of that path was shown to have changed."""
    for flip in flips:
        later = [at for at in seen if at >= flip]
        yield min(later) - flip if later else float("inf")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__)
    parser.add_argument("--peers", type=int, default=200, help="members of the mesh (default 200)")
    parser.add_argument("--seconds", type=float, default=30.0, help="to look for (default 30)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.peers, options.serve)
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "bench.dashboard", f"--peers={options.peers}"]
        program = subprocess.Popen(
            [*command, f"--serve={folder / 'state'}"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

        async def run() -> None:
            results.update(await measure(program, options.seconds, folder))

        def over(result: Any) -> None:
            reactor.stop()
            if result is not None:
                result.printTraceback()

        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()).addBoth(over))
        try:
            reactor.run()
        finally:
            program.kill()
            program.wait()
    if options.json:
        print(json.dumps({"peers": options.peers} | results))
        return
    if not results:
        sys.exit(1)
    print(f"{options.peers} peers, one viewer")
    print(f"first paint {results['first_paint_ms']} ms, with the mesh in it after"
          f" {results['first_picture_ms']} ms")  # fmt: skip
    print(f"changes shown after {results['lag_median_ms']} ms, at most {results['lag_worst_ms']} ms"
          f" ({results['updates']} changes)")  # fmt: skip
    print(f"coordinator {results['cpu_percent']} % of a core, of which"
          f" {results['cpu_percent_unwatched']} % while nobody looks")  # fmt: skip


if __name__ == "__main__":
    main()
