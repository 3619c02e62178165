"""What was sent while there was no way at all (on the simulated internet)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer


class WaitingTests(SynchronousTestCase):
    """The last of it goes out as soon as there is a way again."""

    def test_across_a_restart_of_the_coordinator(self) -> None:
        """A packet of a relayed pair, sent while the coordinator was away, arrives."""
        internet = Internet(seed=3)
        internet.install(self)
        state = Path(self.mktemp())
        coordinator = SimulatedCoordinator(internet, state / "coordinator")
        coordinator.start()
        token = coordinator.invite()
        here, there = (
            SimulatedPeer(
                internet,
                internet.nat(f"198.51.100.{n}", kind="udp-blocked").host(name=name),
                state / name,
                token,
            )
            for n, name in enumerate(("here", "there"))
        )
        for peer in (here, there):
            peer.start()
        internet.run_until(lambda: here.path_to("there") == "ssh" == there.path_to("here"), 10)
        internet.run(1)
        assert here.inner is not None
        assert there.inner is not None
        coordinator.kill()
        internet.run_until(lambda: here.path_to("there") is None, 10)
        pinged = here.inner.ping(there.inner.address, timeout=20)
        internet.run(5)
        self.assertNoResult(pinged)
        coordinator.start()
        internet.run(4)
        self.assertGreater(self.successResultOf(pinged), 5.0)
