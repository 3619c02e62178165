"""Access rules, from the coordinator's file to the packets: whole services on the simulated
internet."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import super_packet
from tests.coordinator.machine import Machine
from tests.peer.pair.test_bulk import WrittenDevice
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.errors import ConfigError, PolicyError, StreamError
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.peer.access import FILE, Access
from tunnelmesh.peer.answers.control import routes
from tunnelmesh.peer.pair.guard import NOT_ALLOWED
from tunnelmesh.wire.administration import Rules
from tunnelmesh.wire.signal import Roster, Welcome
from tunnelmesh.wire.token import Token

ALL_TO_ALL = '[[allow]]\nfrom = ["*"]\nto = ["*"]\nports = ["*"]\n'
NOTHING = "allow = []\n"


def allow(source: str, target: str, *ports: str) -> str:
    """An entry."""
    return f'[[allow]]\nfrom = ["{source}"]\nto = ["{target}"]\nports = {list(ports)}\n'


class AccessTestCase(WorldTestCase):
    """A coordinator with a file of rules."""

    rules = ALL_TO_ALL

    def setUp(self) -> None:
        super().setUp()
        self.coordinator.kill()
        self.file = Path(self.mktemp())
        self.file.write_text(self.rules)
        self.start_coordinator(self.file)

    def start_coordinator(self, policy: Path | None) -> None:
        """Start it with a file of rules, or without."""
        self.coordinator._config = replace(self.coordinator._config, policy=policy)
        self.coordinator.start()

    def change(self, rules: str) -> None:
        """Write the file, and let the coordinator and everybody see it."""
        self.file.write_text(rules)
        self.internet.run(3)

    def connects(self, here: SimulatedPeer, there: SimulatedPeer, port: int) -> bool:
        """Whether a TCP connection inside the mesh is made."""
        assert here.inner is not None
        assert there.inner is not None
        endpoint = TCP4ClientEndpoint(here.inner, there.inner.address, port, timeout=5)
        result: list[Any] = []
        endpoint.connect(Factory.forProtocol(Protocol)).addBoth(result.append)
        self.until(lambda: result, 6)
        if isinstance(result[0], Protocol):
            result[0].transport.abortConnection()
            return True
        result[0].trap(TwistedTimeoutError)
        return False

    def serve(self, there: SimulatedPeer, *ports: int) -> None:
        """Listen inside the mesh."""
        for port in ports:
            TCP4ServerEndpoint(there.inner, port).listen(Factory.forProtocol(Protocol))

    def pings(self, here: SimulatedPeer, there: SimulatedPeer) -> bool:
        """Whether a ping inside the mesh is answered."""
        assert here.inner is not None
        assert there.inner is not None
        result: list[Any] = []
        here.inner.ping(there.inner.address, timeout=2).addBoth(result.append)
        self.until(lambda: result, 3)
        return isinstance(result[0], float)

    def explain(self, peer: SimulatedPeer, name: str) -> list[str]:
        """What ``explain`` says of the rules."""
        assert peer.service is not None
        answer: Any = routes(peer.service, peer.host)["/explain"]({"peer": name})
        return [line for line in answer["evidence"] if "access rules" in line]


class SceneTests(AccessTestCase):
    """Two peers."""

    def test_ports(self) -> None:
        """An allowed port is reached, another is not, and the other way is another rule."""
        here, there = self.pair()
        self.serve(there, 22, 23)
        self.serve(here, 22)
        self.assertTrue(self.connects(here, there, 23))
        self.assertIsNone(remote(there, "here").guard)
        self.change(allow("here", "there", "tcp/22"))
        self.assertTrue(self.connects(here, there, 22))
        self.assertFalse(self.connects(here, there, 23))
        self.assertFalse(self.connects(there, here, 22))
        self.assertFalse(self.pings(here, there))
        self.assertTrue(node(there).mesh.dropped[NOT_ALLOWED])
        self.assertTrue(there.status()["restricted"])

    def test_ping(self) -> None:
        """A ping is answered by its own rule only; the answer needs none."""
        here, there = self.pair()
        self.change(allow("here", "there", "icmp"))
        self.assertTrue(self.pings(here, there))
        self.assertFalse(self.pings(there, here))

    def test_open_connection(self) -> None:
        """A connection that is open goes on when no rule allows it any more."""
        here, there = self.pair()
        self.serve(there, 22)
        assert here.inner is not None
        assert there.inner is not None
        heard: list[bytes] = []

        class Listens(Protocol):
            """Keeps what it hears."""

            def dataReceived(self, data: bytes) -> None:
                heard.append(data)

        TCP4ServerEndpoint(there.inner, 23).listen(Factory.forProtocol(Listens))
        endpoint = TCP4ClientEndpoint(here.inner, there.inner.address, 23)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        self.internet.run(1)
        connection: Any = self.successResultOf(connecting)
        self.change(NOTHING)
        connection.transport.write(b"still there")
        self.internet.run(1)
        self.assertEqual(heard, [b"still there"])
        self.assertFalse(self.connects(here, there, 22))

    def test_mistake(self) -> None:
        """A mistake changes nothing, and is told; so does a file that is gone."""
        here, there = self.pair()
        self.serve(there, 22, 23)
        self.change(allow("here", "there", "tcp/22"))
        for spoil in (lambda: self.file.write_text("[[alow]]"), self.file.unlink):
            spoil()
            self.internet.run(3)
            self.assertTrue(self.connects(here, there, 22))
            self.assertFalse(self.connects(here, there, 23))
            assert self.coordinator.service is not None
            told = self.coordinator.service.status({})["policy"]
            self.assertIn(str(self.file), told["mistake"])
        self.change(allow("here", "there", "tcp/23"))
        self.assertTrue(self.connects(here, there, 23))
        self.assertIsNone(self.coordinator.service.status({})["policy"]["mistake"])

    def test_mistake_at_start(self) -> None:
        """A coordinator does not start with a mistake."""
        self.coordinator.kill()
        self.file.write_text("[[alow]]")
        error = self.assertRaises(PolicyError, self.start_coordinator, self.file)
        self.assertIn("did you mean allow?", str(error))

    def test_rename(self) -> None:
        """Rules follow names: who takes a name gets what is its."""
        here, there = self.pair()
        self.serve(there, 22)
        self.change(allow("desk", "there", "tcp/22"))
        self.assertFalse(self.connects(here, there, 22))
        assert self.coordinator.service is not None
        signalling = self.coordinator.service.signalling
        assert signalling is not None
        (member,) = [each for each in signalling.members.values() if each.name == "here"]
        signalling.update_member(replace(member, name="desk"))
        self.internet.run(3)
        self.assertTrue(self.connects(here, there, 22))

    def test_streams(self) -> None:
        """Streams are opened to allowed ports only."""
        here, there = self.pair()
        self.change(allow("here", "there", "tcp/22"))
        said = {}
        for port in (22, 23):
            endpoint = node(here).streams.endpoint("there", port)
            connecting = endpoint.connect(Factory.forProtocol(Protocol))
            self.internet.run(3)
            said[port] = str(self.failureResultOf(connecting, StreamError).value)
        self.assertIn("access rules", said[23])
        self.assertNotIn("access rules", said[22])
        guard = remote(there, "here").guard
        assert guard is not None
        self.assertEqual(guard.refusals.keys(), {"tcp/23"})

    def test_explain(self) -> None:
        """Both sides can say what is allowed, and what was dropped."""
        here, there = self.pair()
        self.assertEqual(
            self.explain(here, "there"),
            ["access rules: here may reach there: everything; there may reach here: everything"],
        )
        self.change(allow("here", "there", "tcp/22", "icmp"))
        self.connects(here, there, 23)
        self.assertEqual(
            self.explain(here, "there"),
            ["access rules: here may reach there: tcp/22, icmp; there may reach here: nothing"],
        )
        rules, drops = self.explain(there, "here")
        self.assertIn("there may reach here: nothing", rules)
        self.assertRegex(
            drops, r"^\d packets \(tcp/23\) from here were dropped by the access rules, the last \d"
        )


class PacketTests(AccessTestCase):
    """Packets that the simulated machines do not send."""

    rules = allow("here", "there", "tcp/22", "udp/53")

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.pair()
        self.device = WrittenDevice()
        node(self.there).mesh.switch.use(self.device)  # type: ignore[arg-type]
        to, of = remote(self.here, "there"), remote(self.there, "here")
        self.carriers = (
            IP(src=str(of.address), dst=str(to.address)),
            IPv6(src=str(of.address6), dst=str(to.address6)),
        )

    def arrive(self, send: Callable[[Packet], object], packet: Packet) -> list[bool]:
        """Whether it arrives when it is sent, over IPv4 and IPv6."""
        arrived = []
        for carrier in self.carriers:
            self.device.packets.clear()
            send(carrier / packet)
            self.internet.run(0.5)
            arrived.append(bool(self.device.packets))
        return arrived

    def test_packets(self) -> None:
        """A hostile member's packets are looked at one by one."""

        def send(packet: Packet) -> None:
            node(self.here).mesh.switch.packets_leaving([bytes(packet)])

        self.assertEqual(self.arrive(send, TCP(dport=22, flags="S")), [True, True])
        self.assertEqual(self.arrive(send, TCP(dport=23, flags="S")), [False, False])
        self.assertEqual(self.arrive(send, UDP(dport=53)), [True, True])
        self.assertEqual(self.arrive(send, UDP(dport=54)), [False, False])

    def test_records(self) -> None:
        """So is what it puts into a record."""

        def send(packet: Packet) -> None:
            remote(self.here, "there").send_bulk(super_packet(packet, bytes(9000), 1200))

        self.assertEqual(self.arrive(send, TCP(dport=23, flags="A")), [True, True])
        self.assertEqual(self.arrive(send, TCP(dport=23, flags="S")), [False, False])
        self.assertEqual(self.arrive(send, TCP(dport=22, flags="S")), [True, True])
        self.assertEqual(self.arrive(send, UDP(dport=54)), [False, False])
        self.assertEqual(self.arrive(send, UDP(dport=53)), [True, True])

    def test_answers(self) -> None:
        """UDP that this machine asked for passes, whether it asked in packets or in bulk."""

        def answer(packet: Packet) -> None:
            node(self.here).mesh.switch.packets_leaving([bytes(packet)])

        def question(port: int) -> Packet:
            carrier = IP(src=self.carriers[0].dst, dst=self.carriers[0].src)
            return carrier / UDP(sport=port, dport=99)

        switch = node(self.there).mesh.switch
        self.assertEqual(self.arrive(answer, UDP(sport=99, dport=4000)), [False, False])
        switch.packets_leaving([bytes(question(4000))])
        self.assertEqual(self.arrive(answer, UDP(sport=99, dport=4000)), [True, True])
        switch.bulk_leaving(super_packet(question(4001), bytes(9000), 1200))
        self.assertEqual(self.arrive(answer, UDP(sport=99, dport=4001)), [True, True])
        self.internet.run(121)
        self.assertEqual(self.arrive(answer, UDP(sport=99, dport=4001)), [False, False])


class DevicelessTests(AccessTestCase):
    """A machine without a device, which exposes two ports."""

    rules = allow("here", "there", "tcp/22")

    def test_plain_connection(self) -> None:
        """A program elsewhere that connects to a port that is not allowed is refused."""
        here = self.add("here")
        expose = ((22, "127.0.0.1", 22), (80, "127.0.0.1", 80))
        there = self.add("there", mode="userspace", expose=expose)
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"))
        assert here.inner is not None
        results: dict[int, Any] = {}
        for port in (22, 80):
            there.host.listenTCP(port, Factory.forProtocol(Protocol), interface="127.0.0.1")
            address = str(node(there).membership.address)
            endpoint = TCP4ClientEndpoint(here.inner, address, port, timeout=5)
            connecting = endpoint.connect(Factory.forProtocol(Protocol))
            connecting.addBoth(partial(results.__setitem__, port))
            self.until(lambda port=port: port in results, 6)
        self.assertIsInstance(results[22], Protocol)
        self.assertIsInstance(results[80], Failure)
        self.assertEqual(node(there).mesh.dropped[NOT_ALLOWED], 1)


class RestartTests(AccessTestCase):
    """Rules outlive programs."""

    rules = allow("here", "there", "tcp/22")

    def test_kept(self) -> None:
        """A peer that restarts while the coordinator is away has its rules, for its owner only."""
        _, there = self.pair()
        address = remote(there, "here").address
        path = self.folder / "there" / FILE
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.coordinator.kill()
        there.kill()
        there.start()
        self.until(lambda: there.node)
        access = node(there).mesh.access
        self.assertTrue(access.restricted)
        self.assertEqual(str(access.inbound(address)), "tcp/22")

    def test_before_anybody_is_known(self) -> None:
        """Who joins hears the rules before it hears of any member: until then it knows nobody, and
        answers nobody."""
        self.add("here")
        for kind in ("ssh", "websocket"):
            host = self.internet.host(f"203.0.113.{len(kind) + 50}", name=kind)
            machine = Machine(host, Token.decode(self.token), kind)
            machine.enrol()
            self.internet.run(2)
            machine.open(kind)
            self.internet.run(2)
            heard = [type(message) for _, message in machine.heard]
            self.assertLess(heard.index(Welcome), heard.index(Rules))
            self.assertLess(heard.index(Rules), heard.index(Roster))

    def test_lifted(self) -> None:
        """A coordinator without a file tells everybody that nothing is restricted."""
        here, there = self.pair()
        self.serve(there, 23)
        self.assertFalse(self.connects(here, there, 23))
        self.coordinator.kill()
        self.start_coordinator(None)
        self.until(lambda: not there.status()["restricted"])
        self.assertTrue(self.connects(here, there, 23))


class KeptTests(SynchronousTestCase):
    """The file in a peer's state directory."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_all(self) -> None:
        """Before any rules were told, everything is allowed, and nothing is written."""
        access = Access(self.folder)
        self.assertFalse(access.received(Rules()))
        self.assertFalse(access.restricted)
        self.assertTrue(access.inbound(IPv4Address("100.96.0.1")).everything)
        self.assertIsNone(access.guard(IPv4Address("100.96.0.1")))
        self.assertEqual([*self.folder.iterdir()], [])

    def test_damaged(self) -> None:
        """A damaged file is refused, in one line that says what to do."""
        for content in (b"", b"{", b'{"parts": [{"inbound": 7}]}', b"\xff"):
            (self.folder / FILE).write_bytes(content)
            error = self.assertRaises(ConfigError, Access, self.folder)
            self.assertIn("delete it", str(error))

    def test_unwritable(self) -> None:
        """Rules that cannot be written are in force all the same."""
        access = Access(self.folder / "absent")
        self.assertTrue(access.received(Rules(restricted=True)))
        self.assertTrue(access.restricted)
