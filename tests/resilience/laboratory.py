"""What the tests of resilience share: a mesh in a world of its own."""

from __future__ import annotations

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.traffic import Probe, Stream, reflector
from tunnelmesh.lab.kernel import Host, Site, World, available
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until


class ResilienceTestCase(SynchronousTestCase):
    """A test in a world of its own, with a coordinator."""

    def setUp(self) -> None:
        """Build the world and start the coordinator, or skip."""
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.world = World("resilience")
        self.world.__enter__()
        self.addCleanup(self.world.down)
        self.mesh = Mesh(self.world)
        self.mesh.coordinator.start()
        self.addCleanup(self.log_clean)
        self.token = self.mesh.coordinator.invite(uses=10)

    def join(self, site: Site, name: str, *options: str, **environment: str) -> Peer:
        """Put a machine on a site's LAN, and start a peer on it."""
        host = site.add_host(name)
        return self.mesh.add_peer(host, f"--join={self.token}", *options, **environment)

    def log_clean(self) -> None:
        """Whatever happened, nobody printed a traceback."""
        for program in (self.mesh.coordinator, *self.mesh.peers.values()):
            said = program.log.read_text(errors="replace")
            _, found, trace = said.partition("Traceback")
            self.assertFalse(found, f"{program.name}: {trace[:3000]}")

    def pair(self, one_kind: str, other_kind: str) -> tuple[Site, Site, Peer, Peer]:
        """Two peers behind two gateways; the second sends datagrams back."""
        home = self.world.add_site("home", one_kind)
        office = self.world.add_site("office", other_kind)
        laptop, server = self.join(home, "laptop"), self.join(office, "server")
        self.until_path(laptop, server)
        reflector(server.host)
        return home, office, laptop, server

    def until_path(self, one: Peer, other: Peer) -> None:
        """Wait until each knows a way to the other."""
        wait_until(lambda: one.path_to(other.name) and other.path_to(one.name), "a path")

    def until_direct(self, one: Peer, other: Peer) -> None:
        """Wait until both use UDP."""
        wait_until(
            lambda: one.path_to(other.name) == "udp" == other.path_to(one.name), "a direct path"
        )

    def probe(self, by: Peer, to: Peer) -> Probe:
        """Datagrams, until the end of the test."""
        probe = Probe(by.host, to.address, self.world.folder / f"{by.name}.answers")
        self.addCleanup(probe.stop)
        return probe

    def stream(self, by: Peer, to: Peer, rate: int = 1_000_000) -> Stream:
        """A stream whose every byte is checked."""
        return Stream(to.host, to.address, by.host, self.world.folder / "progress", rate)

    def assert_reaches(self, host: Host, address: str) -> None:
        """Ordinary pings, of ordinary and of full size, come back."""
        for size in ("56", "1300"):
            host.run(["ping", "-c2", "-i0.2", "-W2", f"-s{size}", address], timeout=10)
