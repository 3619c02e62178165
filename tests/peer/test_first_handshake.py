"""The first packet between two peers, when their first handshakes are lost."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer
from tunnelmesh.transports.relay import RelayPath
from tunnelmesh.wire.wireguard import INITIATION


class FirstHandshakeTests(SynchronousTestCase):
    """Nobody waits five seconds for a first answer."""

    def test_lost_twice(self) -> None:
        """With the first two initiations lost, a packet still arrives within two seconds."""
        internet = Internet(seed=3)
        internet.install(self)
        state = Path(self.mktemp())
        coordinator = SimulatedCoordinator(internet, state / "coordinator")
        coordinator.start()
        token = coordinator.invite()
        nats = [internet.nat(f"198.51.100.{n + 1}", kind="udp-blocked") for n in range(2)]
        here, there = (
            SimulatedPeer(internet, nat.host(name=name), state / name, token, relay_only=True)
            for nat, name in zip(nats, ("here", "there"), strict=True)
        )
        lost = []
        write = RelayPath.write

        def lossy(path, datagrams):
            if len(lost) < 2 and datagrams[0].startswith(INITIATION):
                lost.append(datagrams)
            else:
                write(path, datagrams)

        self.patch(RelayPath, "write", lossy)
        for peer in (here, there):
            peer.start()
        internet.run_until(lambda: here.path_to("there") and there.path_to("here"), 5)
        assert here.inner is not None
        assert there.inner is not None
        answered = here.inner.ping(there.inner.address)
        internet.run(2.0)
        self.assertEqual(2, len(lost))
        self.assertLess(self.successResultOf(answered), 2.0)
