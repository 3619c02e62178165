"""Random worlds on the simulated internet, and random things that happen to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tunnelmesh.lab.sim import KINDS, Internet, Link
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer
from tunnelmesh.lab.sim.nat import Nat

SSH_PORT = 2222

PROXIED = ("proxy-only", "proxy-auth")
LOGIN = ("user", "secret")

TRANSLATING = tuple(kind for kind, b in KINDS.items() if b.translates and kind not in PROXIED)
"""Kinds that a gateway can become with machines behind it."""

DUAL_STACK = 0.4
"""The share of places that have IPv6, behind a firewall: about that of today's internet."""

STRICT = "address-and-port-dependent"


@dataclass(eq=False)
class Place:
    """A network behind one gateway, or behind a gateway that is behind another.

    :ivar gateways: the innermost first.
    :ivar prefix6: what its IPv6 addresses begin with; empty without IPv6.
    """

    gateways: list[Nat]
    proxy: str = "none"
    machines: list[SimulatedPeer] = field(default_factory=list)
    addresses: int = 1
    prefix6: str = ""

    @property
    def kinds(self) -> str:
        """For people."""
        kinds = " in ".join(_kind(gateway) for gateway in self.gateways)
        return f"{kinds}, with IPv6" if self.prefix6 else kinds

    @property
    def is_private(self) -> bool:
        """Whether machines here have private addresses."""
        return self.gateways[0].behaviour.translates

    def unblock(self, udp: bool = False, tcp_port: int | None = None) -> None:
        """Undo what any gateway blocks."""
        for gateway in self.gateways:
            gateway.unblock(udp, tcp_port)

    def free_addresses(self) -> list[str]:
        """Addresses for one more machine."""
        self.addresses += 1
        four = f"192.168.1.{self.addresses}" if self.is_private else self.gateways[0].address
        return [four, f"{self.prefix6}{self.addresses:x}"] if self.prefix6 else [four]


def _kind(gateway: Nat) -> str:
    return next((k for k, b in KINDS.items() if b == gateway.behaviour), "?")


def may_be_direct(a: Place, b: Place) -> bool | None:
    """Whether there is a direct way between two machines' places.

    :returns: None where it takes guessing ports, which may be in vain on such lines, or where one
        NAT of two spoils it.
    """
    if a is b:
        return True
    for place in (a, b):
        if any(gate._blocks_udp or not gate.behaviour.udp for gate in place.gateways):
            return False
    if a.prefix6 and b.prefix6:
        return True

    def symmetric(place: Place) -> bool:
        return any(g.behaviour.translates and g.behaviour.mapping == STRICT for g in place.gateways)

    def strict(place: Place) -> bool:
        return any(gate.behaviour.filtering == STRICT for gate in place.gateways)

    if not (symmetric(a) and strict(b)) and not (symmetric(b) and strict(a)):
        return True
    random = all(_kind(gate) == "symmetric" for place in (a, b) for gate in place.gateways)
    return False if random else None


class World:
    """Two to five machines behind random gateways, on random lines, and a coordinator.

    :param folder: where they keep their state.

    :ivar story: what happened, for people.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(f"{seed} scenario")
        self.internet = Internet(seed)
        self.story: list[str] = []
        self.places: list[Place] = []
        self.peers: list[SimulatedPeer] = []
        self._folder = folder
        self._numbers = iter(range(1, 250))
        self._random6 = Random(f"{seed} IPv6")

    def build(self) -> None:
        """Set everything up, and start it."""
        random = self.random
        self.internet.link = Link(latency=random.uniform(0.001, 0.020))
        self.coordinator = SimulatedCoordinator(self.internet, self._folder / "coordinator")
        self.coordinator.start()
        self._token = self.coordinator.invite()
        for number in range(random.randint(2, 5)):
            shareable = [
                place for place in self.places if place.is_private and place.proxy == "none"
            ]
            share = bool(shareable) and random.random() < 0.2
            place = random.choice(shareable) if share else self._place()
            self._add_peer(f"p{number}", place)
        for peer in self.peers:
            self.internet.run(random.uniform(0.0, 1.0))
            peer.start()

    def _place(self, *, proxies: bool = True) -> Place:
        random, internet = self.random, self.internet
        kind = random.choice([k for k in KINDS if proxies or k not in PROXIED])
        address = f"198.51.100.{next(self._numbers)}"
        if random.random() < 0.15:
            outer = internet.nat(address, kind=random.choice(TRANSLATING))
            inner = outer.nat("10.0.0.2", kind=random.choice(TRANSLATING))
            place = Place([inner, outer])
        else:
            place = Place([internet.nat(address, kind=kind)])
        place.gateways[-1].uplink = Link(
            latency=0.001 * 150 ** random.random(),
            jitter=random.choice((0.0, 0.0, 0.003, 0.01)),
            loss=random.choice((0.0, 0.0, 0.005, 0.02, 0.05)),
            reorder=random.choice((0.0, 0.0, 0.02)),
            duplicate=random.choice((0.0, 0.0, 0.01)),
        )
        if len(place.gateways) == 1 and kind in PROXIED:
            login = LOGIN if kind == "proxy-auth" else None
            place.gateways[0].proxy(login=login)
            place.proxy = f"http://{'' if login is None else ':'.join(login) + '@'}192.168.1.1:3128"
        if self._random6.random() < DUAL_STACK:
            place.prefix6 = f"2001:db8:{len(self.places) + 1:x}::"
        self.places.append(place)
        return place

    def _add_peer(self, name: str, place: Place) -> None:
        host = place.gateways[0].host(*place.free_addresses(), name=name)
        folder = self._folder / name
        peer = SimulatedPeer(self.internet, host, folder, self._token, proxy=place.proxy)
        place.machines.append(peer)
        self.peers.append(peer)
        uplink = place.gateways[-1].uplink
        assert uplink is not None
        self.tell(f"{name}: {place.kinds}, {uplink.latency * 1000:.0f} ms, {uplink.loss:.1%} lost")

    def place_of(self, peer: SimulatedPeer) -> Place:
        """Where a peer is now."""
        return next(place for place in self.places if peer in place.machines)

    def tell(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.internet.clock.elapsed:8.2f}  {what}")

    # What happens.

    def change(self) -> str:
        """Let something happen; what it was."""
        random = self.random
        peer = random.choice(self.peers)
        place = self.place_of(peer)
        gateway = random.choice(place.gateways)
        outer = place.gateways[-1]

        def restart(ends: Callable[[], None], begins: Callable[[], None]) -> Callable[[], None]:
            def act() -> None:
                ends()
                self.internet.run(random.uniform(0.1, 5.0))
                begins()

            return act

        happenings: dict[str, Callable[[], None]] = {
            "block udp": lambda: gateway.block(udp=True),
            "unblock udp": lambda: place.unblock(udp=True),
            "block ssh": lambda: gateway.block(tcp_port=SSH_PORT),
            "unblock ssh": lambda: place.unblock(tcp_port=SSH_PORT),
            "forget": gateway.forget,
            "kill coordinator": restart(self.coordinator.kill, self.coordinator.start),
            "kill peer": restart(peer.kill, peer.start),
            "sleep": restart(
                lambda: peer.host.sleep(random.uniform(2, 20)),
                lambda: self.internet.run(max(0.0, peer.host.wakes - peer.host.seconds())),
            ),
        }
        if gateway.behaviour.translates and place.proxy == "none":
            happenings["change kind"] = lambda: gateway.change(random.choice(TRANSLATING))
            happenings["roam"] = lambda: outer.roam(f"198.51.100.{next(self._numbers)}")
            happenings["move"] = lambda: self._move(peer, place)
        name = random.choice(sorted(happenings))
        happenings[name]()
        self.tell(f"{name}: {peer.host.name}, now {self.place_of(peer).kinds}")
        return name

    def _move(self, peer: SimulatedPeer, place: Place) -> None:
        place.machines.remove(peer)
        to = self._place(proxies=False)
        to.machines.append(peer)
        peer.host.move_to(to.gateways[0], *to.free_addresses())
