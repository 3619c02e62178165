"""A peer that is killed and started again, seen from the one that keeps running."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer
from tunnelmesh.peer import members


class RestartTests(SynchronousTestCase):
    """The session of the one that kept running is worth nothing after the other's restart."""

    def test_traffic_from_the_one_that_stayed(self) -> None:
        """Whoever restarts, the other's packets arrive again within two seconds."""
        self.patch(members, "EAGER", 0)  # as in a large mesh, where nobody speaks unasked
        internet = Internet(seed=5)
        internet.install(self)
        state = Path(self.mktemp())
        coordinator = SimulatedCoordinator(internet, state / "coordinator")
        coordinator.start()
        token = coordinator.invite()
        nats = [internet.nat(f"198.51.100.{n + 1}", kind="full-cone") for n in range(2)]
        peers = [
            SimulatedPeer(internet, nat.host(name=name), state / name, token, udp_port=4242)
            for nat, name in zip(nats, ("here", "there"), strict=True)
        ]
        for peer in peers:
            peer.start()
        internet.run(5)
        assert peers[0].inner is not None
        assert peers[1].inner is not None
        first = peers[0].inner.ping(peers[1].inner.address)
        internet.run(5)
        self.successResultOf(first)
        for stayed, restarted in (peers, peers[::-1]):
            # As a power cut: the coordinator has a new link before it misses the old one.
            restarted.host.crash()
            restarted.host.boot()
            restarted.start()
            assert stayed.inner is not None
            assert restarted.inner is not None
            answers = []
            for _ in range(20):
                pinged = stayed.inner.ping(restarted.inner.address)
                pinged.addCallbacks(answers.append, lambda lost: None)
                internet.run(0.1)
            self.assertGreaterEqual(len(answers), 3)
