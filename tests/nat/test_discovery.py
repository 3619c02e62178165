"""The two machines that discover a NAT, against modelled NATs and servers."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.nat.model import ALTERNATE, PRIMARY, SECOND, Nat, Server, World, entropy
from tunnelmesh.nat.behaviour import Filtering, Flavour, Mapping, NatBehaviour
from tunnelmesh.nat.discovery import (
    Filtered,
    FilteringDiscovery,
    Mapped,
    MappingDiscovery,
    Reflexive,
    Send,
    behaviour,
)
from tunnelmesh.nat.mapping import classify
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Change, Class, Message

EIM, ADM, APDM = (
    Mapping.ENDPOINT_INDEPENDENT,
    Mapping.ADDRESS_DEPENDENT,
    Mapping.ADDRESS_AND_PORT_DEPENDENT,
)
EIF, ADF, APDF = (
    Filtering.ENDPOINT_INDEPENDENT,
    Filtering.ADDRESS_DEPENDENT,
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
)
ONE_ADDRESS = Server(two_addresses=False)
BOTH_PORTS = (PRIMARY, SECOND)


def mapping(world: World, servers: tuple[Endpoint, ...] = (PRIMARY,)) -> list[tuple[float, Any]]:
    return world.run(MappingDiscovery(servers, entropy()), 50001)


def filtering(world: World, servers: tuple[Endpoint, ...] = (PRIMARY,)) -> tuple[float, Filtered]:
    return world.run(FilteringDiscovery(servers, entropy()), 50002)[-1]


def discover(world: World, servers: tuple[Endpoint, ...] = (PRIMARY,)) -> NatBehaviour:
    """Everything, as a peer does it."""
    mapped = mapping(world, servers)[-1][1]
    local = {world.nat.host} if world.nat.mapping is Mapping.NONE else {"10.0.0.2"}
    return behaviour(mapped, filtering(world, servers)[1], local)


class MappingTests(SynchronousTestCase):
    """How one socket is mapped."""

    def test_every_mapping(self) -> None:
        """Each mapping is told by a server with two addresses, in three round trips at most."""
        for kind, filter_ in product((EIM, ADM, APDM), (EIF, ADF, APDF)):
            told = mapping(World(Nat(kind, filter_)))
            self.assertEqual([type(each) for _, each in told], [Reflexive, Mapped])
            self.assertEqual(told[-1][1].mapping, kind)
            self.assertLessEqual(told[-1][0], 0.1)

    def test_reflexive_at_once(self) -> None:
        """The external endpoint is told after one round trip."""
        told = mapping(World(Nat(EIM, APDF)))
        self.assertEqual(told[0], (0.05, Reflexive(Endpoint("203.0.113.1", 40000))))

    def test_samples_in_order(self) -> None:
        """A sequential NAT's ports come out in the order in which they were made."""
        mapped = mapping(World(Nat(APDM, APDF, step=3)), BOTH_PORTS)[-1][1]
        self.assertEqual([each.port for each in mapped.samples], [40000, 40003, 40006, 40009])
        self.assertEqual(mapped.external, mapped.samples[0])

    def test_one_address(self) -> None:
        """Two ports of one address tell a symmetric NAT from the others."""
        for kind, verdict in ((EIM, EIM), (APDM, APDM)):
            found = mapping(World(Nat(kind, APDF), ONE_ADDRESS), BOTH_PORTS)[-1][1]
            self.assertEqual((found.mapping, len(found.samples)), (verdict, 2))

    def test_one_port(self) -> None:
        """One port of one address tells the external endpoint, and no mapping."""
        found = mapping(World(Nat(EIM, APDF), ONE_ADDRESS))[-1][1]
        self.assertEqual(found.mapping, Mapping.UNKNOWN)
        self.assertEqual(found.external, Endpoint("203.0.113.1", 40000))

    def test_blocked(self) -> None:
        """With no answer at all UDP is blocked, which takes five packets and 3.1 s."""
        world = World(Nat(EIM, APDF), Server(silent=True))
        self.assertEqual(mapping(world), [(3.1, Mapped(Mapping.BLOCKED, None, ()))])
        self.assertEqual([at for at, _ in world.sent], [0, 0.1, 0.3, 0.7, 1.5])

    def test_loss(self) -> None:
        """Any two packets in a row may be lost."""
        for first in range(6):
            world = World(Nat(APDM, APDF), lost=lambda n, first=first: n in (first, first + 1))
            self.assertEqual(mapping(world)[-1][1].mapping, APDM)

    def test_unreachable_alternate(self) -> None:
        """A server that lies about its alternate address costs a second, not the answer."""
        server = Server()
        world = World(Nat(EIM, APDF), server)
        answer = server.answer
        server.answer = lambda d, s, to: answer(d, s, to) if to == PRIMARY else (b"", to)  # type: ignore[method-assign]
        told = mapping(world)
        self.assertEqual(told[-1], (1.05, Mapped(Mapping.UNKNOWN, *expected(40000))))

    def test_slow_path(self) -> None:
        """A round trip of 900 ms is waited for."""
        world = World(Nat(ADM, ADF), round_trip=0.9)
        self.assertEqual(mapping(world)[-1][1].mapping, ADM)

    def test_classify_addresses_only(self) -> None:
        """Two hosts that see different endpoints speak for the common kind, the symmetric one."""
        seen = {PRIMARY: Endpoint("203.0.113.1", 1), ALTERNATE: Endpoint("203.0.113.1", 2)}
        self.assertEqual(classify(seen), APDM)


def expected(port: int) -> tuple[Endpoint, tuple[Endpoint, ...]]:
    return Endpoint("203.0.113.1", port), (Endpoint("203.0.113.1", port),)


class FilteringTests(SynchronousTestCase):
    """Who is let in."""

    def test_every_filtering(self) -> None:
        """Each filtering is told whatever the mapping; silence is believed after a second."""
        for kind, filter_ in product((Mapping.NONE, EIM, ADM, APDM), (EIF, ADF, APDF)):
            after, filtered = filtering(World(Nat(kind, filter_)))
            self.assertEqual(filtered, Filtered(filter_))
            self.assertEqual(after, 0.05 if filter_ is EIF else 1.0)

    def test_one_address(self) -> None:
        """One address tells filtering by port from less; its proof takes one more round trip."""
        for filter_, verdict in ((EIF, ADF), (ADF, ADF), (APDF, APDF)):
            after, filtered = filtering(World(Nat(EIM, filter_), ONE_ADDRESS), BOTH_PORTS)
            self.assertEqual(filtered, Filtered(verdict, exact=verdict is APDF))
            self.assertEqual(after, 0.05 if verdict is ADF else 1.05)

    def test_servers_that_do_not_change(self) -> None:
        """Nothing is concluded from servers that ignore, refuse or drop a CHANGE-REQUEST."""
        for server in (
            Server(obeys=False),
            Server(two_addresses=False, obeys=False),
            Server(two_addresses=False, drops_changes=True),
        ):
            for filter_ in (EIF, APDF):
                found = filtering(World(Nat(EIM, filter_), server), BOTH_PORTS)[1]
                self.assertEqual(found.filtering, Filtering.UNKNOWN)

    def test_no_second_port(self) -> None:
        """Without a second port there is no proof, and no verdict."""
        found = filtering(World(Nat(EIM, APDF), ONE_ADDRESS))[1]
        self.assertEqual(found.filtering, Filtering.UNKNOWN)

    def test_blocked(self) -> None:
        """With no answer at all nothing is known about filtering."""
        after, filtered = filtering(World(Nat(EIM, APDF), Server(silent=True)))
        self.assertEqual((after, filtered.filtering), (3.1, Filtering.UNKNOWN))

    def test_loss(self) -> None:
        """Any two packets in a row may be lost."""
        for first, filter_ in product(range(6), (EIF, ADF, APDF)):
            world = World(Nat(EIM, filter_), lost=lambda n, first=first: n in (first, first + 1))
            self.assertEqual(filtering(world)[1].filtering, filter_)

    def test_slow_path(self) -> None:
        """A round trip of 900 ms is waited for."""
        for filter_ in (EIF, ADF, APDF):
            world = World(Nat(EIM, filter_), round_trip=0.9)
            self.assertEqual(filtering(world)[1].filtering, filter_)


class BehaviourTests(SynchronousTestCase):
    """Both verdicts together."""

    def test_every_nat(self) -> None:
        """Against a server with two addresses every NAT is known exactly."""
        for kind, filter_ in product((Mapping.NONE, EIM, ADM, APDM), (EIF, ADF, APDF)):
            found = discover(World(Nat(kind, filter_)))
            self.assertEqual((found.mapping, found.filtering), (kind, filter_))

    def test_one_address(self) -> None:
        """Against a server with one address only a full cone looks more restricted than it is."""
        for kind, filter_, flavour in (
            (Mapping.NONE, EIF, Flavour.OPEN),
            (Mapping.NONE, APDF, Flavour.FIREWALL),
            (EIM, EIF, Flavour.RESTRICTED_CONE),
            (EIM, ADF, Flavour.RESTRICTED_CONE),
            (EIM, APDF, Flavour.PORT_RESTRICTED),
            (APDM, APDF, Flavour.SYMMETRIC),
        ):
            found = discover(World(Nat(kind, filter_), ONE_ADDRESS), BOTH_PORTS)
            self.assertEqual(found.flavour, flavour)
            if kind is APDM:
                self.assertEqual(found.filtering, APDF)

    def test_blocked(self) -> None:
        """Without an answer, mapping and filtering are both blocked."""
        found = discover(World(Nat(EIM, APDF), Server(silent=True)))
        self.assertEqual(found, NatBehaviour(Mapping.BLOCKED, Filtering.BLOCKED))

    def test_filtering_not_known_yet(self) -> None:
        """The mapping alone makes a behaviour too."""
        mapped = Mapped(APDM, *expected(4))
        found = behaviour(mapped, None, [])
        self.assertEqual((found.mapping, found.filtering), (APDM, Filtering.UNKNOWN))


class HostileTests(SynchronousTestCase):
    """Datagrams that are not answers."""

    def started(self) -> tuple[MappingDiscovery, bytes]:
        machine = MappingDiscovery((PRIMARY,), entropy())
        (send,) = machine.start(0.0)
        return machine, stun.decode(send.datagram).transaction

    def test_forged(self) -> None:
        """An answer with another transaction, or from elsewhere, is no answer."""
        machine, transaction = self.started()
        mapped = Endpoint("192.0.2.66", 6)

        def forged(transaction: bytes) -> bytes:
            attribute = stun.xor_mapped_address(mapped, transaction)
            return stun.encode(Message(Class.SUCCESS, transaction, (attribute,)))

        self.assertEqual(machine.receive(forged(bytes(12)), PRIMARY, 0.01), [])
        self.assertEqual(machine.receive(forged(transaction), SECOND, 0.01), [])
        self.assertEqual(machine.receive(forged(transaction), ALTERNATE, 0.01), [])
        request = stun.encode(Message(Class.REQUEST, transaction))
        self.assertEqual(machine.receive(request, PRIMARY, 0.01), [])
        self.assertIn(Reflexive(mapped), machine.receive(forged(transaction), PRIMARY, 0.01))

    def test_useless_answers(self) -> None:
        """An error, or an answer that names port 0 or no address, ends in an unknown mapping."""
        for attributes, kind in (
            ((stun.error_code(500, "no"),), Class.ERROR),
            ((), Class.SUCCESS),
            ((stun.address(1, Endpoint("192.0.2.66", 0)),), Class.SUCCESS),
        ):
            machine, transaction = self.started()
            useless = stun.encode(Message(kind, transaction, attributes))
            self.assertEqual(
                machine.receive(useless, PRIMARY, 0.01), [Mapped(Mapping.UNKNOWN, None, ())]
            )
            self.assertIsNone(machine.deadline)

    def test_changed_answer_from_elsewhere(self) -> None:
        """An answer from the wrong place proves nothing about the filter."""
        machine = FilteringDiscovery((PRIMARY,), entropy())
        sends = [each for each in machine.start(0.0) if isinstance(each, Send)]
        by_change = {stun.decode(each.datagram).change: each.datagram for each in sends}
        transaction = stun.decode(by_change[Change.ADDRESS | Change.PORT]).transaction
        answer = stun.encode(Message(Class.SUCCESS, transaction))
        for source in (SECOND, Endpoint(ALTERNATE.host, PRIMARY.port)):
            self.assertEqual(machine.receive(answer, source, 0.01), [])
        self.assertEqual(machine.receive(answer, ALTERNATE, 0.01), [Filtered(EIF)])

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_noise(self, datagrams: list[bytes]) -> None:
        """Noise is ignored, at any time."""
        for machine in (
            MappingDiscovery((PRIMARY,), entropy()),
            FilteringDiscovery((PRIMARY,), entropy()),
        ):
            machine.start(0.0)
            for datagram in datagrams:
                self.assertEqual(machine.receive(datagram, PRIMARY, 0.0), [])
