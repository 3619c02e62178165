"""Names of the mesh, asked of real peers in the laboratory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.mesh.meshes import PATIENCE, MeshTestCase
from tunnelmesh.lab.kernel.mesh import Peer

ASK = """
import ipaddress, json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.names import client, dns

async def ask(where, questions):
    host, port = where.split(":")
    resolver = client.Resolver(servers=[(host, int(port))], timeout=(5,))
    for question in json.loads(questions):
        answers = []
        for by in (resolver.queryUDP, resolver.queryTCP):
            message = await by([dns.Query(*question)])
            answers.append([message.rCode, [told(each.payload) for each in message.answers]])
        print(json.dumps(answers))

def told(payload):
    if payload.TYPE == dns.PTR:
        return str(payload.name)
    return str(ipaddress.ip_address(payload.address))

task.react(lambda _: Deferred.fromCoroutine(ask(*sys.argv[1:])))
"""
"""Asks each question over UDP and over TCP."""

RESOLVECTL = """#!/bin/sh
echo "$@" >> "$0.told"
"""

A, AAAA, PTR = 1, 28, 12
FOUND, NO_SUCH_NAME, REFUSED = 0, 3, 5


class NameTests(MeshTestCase):
    """What programs on a member's machine are told."""

    def ask(self, peer: Peer, *questions: tuple[str, int]) -> list[Any]:
        """The answers of a peer's server to questions of its own machine, code and records."""
        where = peer.status()["names"]["server"]
        words = [sys.executable, "-c", ASK, where, json.dumps(questions)]
        done = peer.host.run(words, timeout=PATIENCE)
        answers = []
        for line in done.stdout.splitlines():
            over_udp, over_tcp = json.loads(line)
            self.assertEqual(over_udp, over_tcp)
            answers.append(tuple(over_udp))
        return answers

    def test_names(self) -> None:
        """A member's name leads to its addresses and they to it, as soon as it has joined; the
        resolver of the machine is told, and told again that the name server is gone."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "resolvectl").write_text(RESOLVECTL)
        (folder / "resolvectl").chmod(0o755)
        told = folder / "resolvectl.told"
        home = self.world.add_site("home", "port-restricted")
        first, second = home.add_host("laptop"), home.add_host("homelab")
        join = f"--join={self.mesh.coordinator.invite(uses=2)}"
        laptop = self.mesh.add_peer(first, join, PATH=f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
        self.until(lambda: laptop.link, "laptop's link")
        self.until(lambda: laptop.status()["names"]["resolved"], "the resolver to be told")
        self.assertEqual(laptop.status()["names"]["hint"], "")
        self.assertEqual(told.read_text().splitlines()[-1], f"dns tm0 {laptop.address}")
        self.assertEqual(self.ask(laptop, ("homelab.mesh", A)), [(NO_SUCH_NAME, [])])

        homelab = self.mesh.add_peer(second, join, "--no-dns")
        self.until(lambda: "homelab" in laptop.paths(), "homelab to join")
        address, address6 = (homelab.status()[key] for key in ("address", "address6"))
        self.assertEqual(
            self.ask(
                laptop,
                ("homelab.mesh", A),
                ("HomeLab.mesh", AAAA),
                (".".join([*reversed(address.split(".")), "in-addr.arpa"]), PTR),
                ("laptop.mesh", A),
                ("example.com", A),
            ),
            [
                (FOUND, [address]),
                (FOUND, [address6]),
                (FOUND, ["homelab.mesh"]),
                (FOUND, [laptop.address]),
                (REFUSED, []),
            ],
        )
        without = homelab.status()["names"]
        self.assertEqual((without["server"], without["resolved"]), (None, False))
        self.assertIn("--no-dns", without["hint"])

        laptop.stop()
        self.until(lambda: told.read_text().endswith("revert tm0\n"), "the resolver to be told")
