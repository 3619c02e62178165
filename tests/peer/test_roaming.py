"""What an idle pair makes of a router that gets another address."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer


class RoamingTests(SynchronousTestCase):
    """Nobody on the machine notices; the coordinator does, as soon as there is a new link."""

    def test_idle_pair_is_direct_again(self) -> None:
        """When the link comes from another address, direct paths are looked for at once."""
        internet = Internet(seed=11)
        internet.install(self)
        state = Path(self.mktemp())
        coordinator = SimulatedCoordinator(internet, state / "coordinator")
        coordinator.start()
        token = coordinator.invite()
        nats = [internet.nat(f"198.51.100.{n + 1}", kind="port-restricted") for n in range(2)]
        here, there = (
            SimulatedPeer(internet, nat.host(name=name), state / name, token)
            for nat, name in zip(nats, ("here", "there"), strict=True)
        )
        for peer in (here, there):
            peer.start()
        internet.run(60)
        self.assertEqual("udp", here.path_to("there"))
        nats[0].roam("198.51.100.77")
        assert here.node is not None
        session = here.node.link.session
        assert session is not None
        session.check()
        internet.run_until(lambda: here.node and here.node.link.session not in (session, None), 10)
        internet.run(3)
        self.assertEqual(("udp", "udp"), (here.path_to("there"), there.path_to("here")))
        external = here.status()["nat"]["external"]
        self.assertTrue(external.startswith("198.51.100.77:"), external)
