"""A port is asked for, kept, and given back: whatever the router speaks, and whatever it does."""

from __future__ import annotations

from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.nat.portmap.router import ADDRESS, OUTSIDE, OWN, PORT, Machine, Router
from tunnelmesh.nat.portmap import lease, pcp
from tunnelmesh.nat.portmap.speaker import LIFETIME, Fetch
from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

LANGUAGES = ("PCP", "NAT-PMP", "UPnP-IGD")
MAPPED = f"{OUTSIDE}:{PORT}"


class LeaseTests(SynchronousTestCase):
    """With a router that means well."""

    def machine(self, *languages: str, igd: int = 1) -> Machine:
        """A lease that has been started."""
        machine = Machine(Router(*languages, igd=igd))
        machine.start()
        return machine

    def test_each_language(self) -> None:
        """Alone, each is enough; at the end the router is as it was."""
        for language in LANGUAGES:
            machine = self.machine(language)
            self.assertEqual(machine.held, (language, MAPPED))
            self.assertEqual(machine.router.mappings, {PORT: PORT})
            machine.do(machine.lease.stop(machine.now))
            self.assertTrue(machine.lease.is_over)
            self.assertEqual(machine.router.mappings, {})
            self.assertIsNone(machine.lease.mapping)

    def test_the_best_only(self) -> None:
        """Of several the best is used to map, and the others are not."""
        for first, languages in enumerate((LANGUAGES, LANGUAGES[1:])):
            machine = self.machine(*languages)
            self.assertEqual(machine.held, (LANGUAGES[first], MAPPED))
            self.assertEqual(machine.router.asked.count("map"), 1)
            self.assertNotIn("AddPortMapping", machine.router.asked)

    def test_quick(self) -> None:
        """A router that speaks the best is asked at once, others after a head start."""
        for languages, limit in ((("PCP",), 0.0), (("NAT-PMP",), lease.HEAD_START)):
            machine = Machine(Router(*languages))
            machine.do(machine.lease.start(machine.now))
            machine.run(limit)
            self.assertIsNotNone(machine.held, languages)

    def test_head_start(self) -> None:
        """A better language that takes a moment longer to answer is waited for."""
        machine = Machine(Router("PCP", "NAT-PMP"))
        answer = machine.router.answer
        slow: list[tuple[bytes, Endpoint]] = []

        def late(send: Send, now: float) -> list[tuple[bytes, Endpoint]]:
            if send.datagram == pcp.announce(OWN):
                slow.extend(answer(send, now))
                return []
            return answer(send, now)

        machine.router.answer = late  # type: ignore[method-assign]
        machine.do(machine.lease.start(machine.now))
        self.assertIsNone(machine.held)
        machine.run(0.1)
        for data, source in slow:
            machine.do(machine.lease.received(data, source, machine.now))
        self.assertEqual(machine.held, ("PCP", MAPPED))

    def test_renewed_at_half_time(self) -> None:
        """A day long the mapping lives on, asked for twice an hour."""
        for language in LANGUAGES:
            machine = self.machine(language)
            before = len(machine.sent)
            machine.run(86400)
            self.assertEqual(machine.held, (language, MAPPED))
            asked = len(machine.sent) - before
            self.assertTrue(47 <= asked <= 2 * 48, (language, asked))

    def test_same_external_port(self) -> None:
        """What was given is asked for again, also if it is another port than ours."""
        for language, igd in (("PCP", 1), ("NAT-PMP", 1), ("UPnP-IGD", 2)):
            machine = Machine(Router(language, igd=igd))
            machine.router.shift = 5
            machine.start()
            self.assertEqual(machine.held, (language, f"{OUTSIDE}:{PORT + 5}"))
            machine.router.shift = 0
            machine.run(LIFETIME)
            self.assertEqual(machine.held, (language, f"{OUTSIDE}:{PORT + 5}"))

    def test_new_address_of_the_router(self) -> None:
        """A changed external address shows at the next renewal."""
        for language in LANGUAGES:
            machine = self.machine(language)
            machine.router.outside = "198.51.100.99"
            machine.run(LIFETIME / 2)
            self.assertEqual(machine.held, (language, f"198.51.100.99:{PORT}"))

    def test_check(self) -> None:
        """Asked to look, it finds what is gone and gets it anew, but not over and over."""
        for language in LANGUAGES:
            machine = self.machine(language)
            machine.router.mappings.clear()
            machine.do(machine.lease.check(machine.now))
            self.assertEqual(machine.router.mappings, {PORT: PORT})
            machine.router.mappings.clear()
            for _ in range(100):
                machine.do(machine.lease.check(machine.now))
            self.assertEqual(machine.router.mappings, {})
            machine.run(lease.CHECK_LEAST)
            self.assertEqual(machine.router.mappings, {PORT: PORT})

    def test_restart_announced(self) -> None:
        """A router that tells of an epoch gone back gets the request again at once."""
        for language, request in (("PCP", b"\2\0" + bytes(22)), ("NAT-PMP", b"\0\0")):
            machine = self.machine(language)
            machine.run(600)
            machine.router.mappings.clear()
            machine.router.up_since = machine.now - 3
            heard = machine.router.answer(Send(request, Endpoint(ADDRESS, 5351)), machine.now)
            for data, source in heard:
                machine.do(machine.lease.received(data, source, machine.now))
            self.assertEqual(machine.router.mappings, {PORT: PORT}, language)

    def test_announced_without_need(self) -> None:
        """An announcement of the epoch that was expected costs nothing."""
        machine = self.machine("PCP")
        machine.run(600)
        before = len(machine.sent)
        request = Send(b"\2\0" + bytes(22), Endpoint(ADDRESS, 5351))
        for data, source in machine.router.answer(request, machine.now):
            machine.do(machine.lease.received(data, source, machine.now))
        self.assertEqual(len(machine.sent), before)

    def test_permanent_only(self) -> None:
        """A router of IGD without lifetimes maps for good; it is looked at now and then."""
        machine = Machine(Router("UPnP-IGD"))
        machine.router.faults = [725]
        machine.start()
        self.assertEqual(machine.router.leased, 0)
        assert machine.lease.mapping is not None
        self.assertEqual(machine.lease.mapping.until, inf)
        machine.router.mappings.clear()
        machine.run(LIFETIME / 2)
        self.assertEqual(machine.router.mappings, {PORT: PORT})

    def test_conflict(self) -> None:
        """A port that another machine has is left to it, and never removed."""
        machine = Machine(Router("UPnP-IGD"))
        machine.router.mappings = {9: PORT}
        machine.router.faults = [718, 718]
        machine.start()
        mapped = machine.router.mappings[PORT]
        self.assertNotEqual(mapped, PORT)
        self.assertEqual(machine.held, ("UPnP-IGD", f"{OUTSIDE}:{mapped}"))
        machine.do(machine.lease.stop(machine.now))
        self.assertEqual(machine.router.mappings, {9: PORT})

    def test_stopped_while_asking(self) -> None:
        """Stopped before the router has said whose a port is, the port is nobody's to remove."""
        machine = Machine(Router("UPnP-IGD"))
        machine.router.mappings = {9: PORT}
        page = machine.router.page

        def interrupted(asked: Fetch) -> bytes | None:
            if not asked.action.endswith("#AddPortMapping"):
                return page(asked)
            machine.do(machine.lease.stop(machine.now))
            return None

        machine.web = interrupted
        machine.start()
        self.assertTrue(machine.lease.is_over)
        self.assertEqual(machine.router.mappings, {9: PORT})

    def test_second_version_that_is_none(self) -> None:
        """A router that says version 2 and does not know its action is asked as version 1."""
        machine = Machine(Router("UPnP-IGD", igd=2))
        machine.router.faults = [401]
        machine.start()
        self.assertEqual(machine.router.asked[-2:], ["AddAnyPortMapping", "AddPortMapping"])
        self.assertEqual(machine.held, ("UPnP-IGD", MAPPED))


class UnwillingRouterTests(SynchronousTestCase):
    """With one that does not."""

    def started(self, *languages: str, **how: object) -> Machine:
        """A lease with a router that is like this."""
        machine = Machine(Router(*languages))
        for name, value in how.items():
            setattr(machine.router, name, value)
        machine.start()
        return machine

    def test_speaks_nothing(self) -> None:
        """Silence is taken for a no after four attempts, and asked again ever more seldom."""
        machine = self.started()
        self.assertIsNone(machine.held)
        self.assertEqual(set(machine.lease.troubles), set(LANGUAGES))
        self.assertTrue(machine.lease.is_settled)
        first = len(machine.sent)
        self.assertLessEqual(first, 4 * (1 + 1 + 4))
        machine.run(86400)
        self.assertLessEqual(len(machine.sent), 31 * first)
        machine.router.languages = ("PCP",)
        machine.run(1.1 * lease.REST_LONGEST)
        self.assertEqual(machine.held, ("PCP", MAPPED))

    def test_refuses(self) -> None:
        """A no in one language leads to the next; from all, to the reason and to rest."""
        machine = self.started("PCP", "UPnP-IGD", result=2)
        self.assertEqual(machine.held, ("UPnP-IGD", MAPPED))
        self.assertEqual(machine.lease.troubles["PCP"], "does not allow it")
        machine = self.started(*LANGUAGES, result=2, faults=[606] * 9)
        self.assertIsNone(machine.held)
        self.assertEqual(set(machine.lease.troubles.values()), {"does not allow it"})
        before = len(machine.sent)
        machine.run(100)
        self.assertEqual(len(machine.sent), before)

    def test_asks_for_rest(self) -> None:
        """Errors of PCP say for how long they hold; that is respected, up to an hour."""
        for lifetime, quiet in ((1800, 1600), (2**32 - 1, 3200)):
            machine = self.started("PCP", result=8, lifetime=lifetime)
            before = machine.router.asked.count("map")
            machine.run(quiet)
            self.assertEqual(machine.router.asked.count("map"), before)
            machine.run(4000 - quiet)
            self.assertGreater(machine.router.asked.count("map"), before)

    def test_lease_refused_later(self) -> None:
        """A renewal that is refused ends the mapping, and the next language is tried."""
        machine = self.started("PCP", "UPnP-IGD")
        machine.router.result = 2
        machine.run(LIFETIME / 2)
        self.assertEqual(machine.held, ("UPnP-IGD", MAPPED))

    def test_falls_silent(self) -> None:
        """Unanswered, the mapping counts until it has run out, and no longer."""
        machine = self.started("NAT-PMP")
        machine.router.languages = ()
        machine.run(LIFETIME - 60)
        self.assertEqual(machine.held, ("NAT-PMP", MAPPED))
        machine.run(120)
        self.assertIsNone(machine.held)
        machine.router.languages = ("NAT-PMP",)
        machine.run(300)
        self.assertEqual(machine.held, ("NAT-PMP", MAPPED))

    def test_impossible_addresses(self) -> None:
        """An external address where nobody can be reached is no mapping."""
        for address in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"):
            for language in LANGUAGES:
                machine = self.started(language, outside=address)
                self.assertIsNone(machine.held, (language, address))

    def test_double_nat(self) -> None:
        """A private external address is kept: it may serve the neighbours."""
        machine = self.started("PCP", outside="10.1.2.3")
        self.assertEqual(machine.held, ("PCP", f"10.1.2.3:{PORT}"))

    def test_absurd_lifetimes(self) -> None:
        """A moment is no mapping; centuries are not believed; neither makes us ask often."""
        machine = self.started("PCP", lifetime=1)
        self.assertIsNone(machine.held)
        before = len(machine.sent)
        machine.run(100)
        self.assertEqual(len(machine.sent), before)
        machine = self.started("NAT-PMP", lifetime=2**32 - 1)
        before = len(machine.sent)
        machine.run(LIFETIME)
        self.assertGreater(len(machine.sent), before)

    def test_grants_and_refuses_by_turns(self) -> None:
        """A router that cannot decide is not asked more than a few times a minute."""
        machine = self.started("PCP", lifetime=60)
        turns = Random(1)
        for _ in range(600):
            machine.router.result = turns.choice((0, 2))
            machine.run(1)
        self.assertLess(machine.router.asked.count("map"), 60)

    def test_asked_for(self) -> None:
        """A router that never mapped is left in peace for long, but asked when somebody asks."""
        machine = Machine(Router())
        machine.start()
        before = len(machine.sent)
        machine.run(lease.REST_NEVER / 2)
        self.assertEqual(len(machine.sent), before)
        machine.router.languages = ("PCP",)
        machine.do(machine.lease.look(machine.now))
        self.assertEqual(machine.held, ("PCP", MAPPED))

    def test_somebody_else_answers(self) -> None:
        """Answers from anywhere but the router count for nothing."""
        machine = Machine(Router(*LANGUAGES))
        answer = machine.router.answer
        machine.router.answer = lambda send, now: [  # type: ignore[method-assign]
            (data, Endpoint("192.168.1.66", source.port)) for data, source in answer(send, now)
        ]
        machine.start()
        self.assertIsNone(machine.held)
        self.assertEqual(set(machine.lease.troubles.values()), {"no answer"})

    def test_nat_pmp_only_says_so(self) -> None:
        """A router of NAT-PMP that refuses PCP's version is asked in its own language at once."""
        machine = Machine(Router("NAT-PMP"))
        answer = machine.router.answer

        def refusing(send: Send, now: float) -> list[tuple[bytes, Endpoint]]:
            if send.datagram[0] == 2:
                return [(b"\0\x80\0\1" + bytes(4), send.to)]
            return answer(send, now)

        machine.router.answer = refusing  # type: ignore[method-assign]
        machine.do(machine.lease.start(machine.now))
        self.assertEqual(machine.held, ("NAT-PMP", MAPPED))

    def test_nothing_from_its_web(self) -> None:
        """A web server that is silent, or talks nonsense, is a router without IGD."""
        for page in (None, b"", b"<html>", b"\xff" * 100, b"<a/>", b"<root>" * 500):
            machine = Machine(Router("UPnP-IGD"))
            machine.web = lambda asked, page=page: page
            machine.start()
            self.assertIsNone(machine.held)
            machine.web = machine.router.page
            machine.run(2 * lease.REST_NEVER)
            self.assertEqual(machine.held, ("UPnP-IGD", MAPPED))
            machine.web = lambda asked, page=page: page
            machine.run(LIFETIME)
            self.assertIn("UPnP-IGD", machine.lease.troubles)

    def test_faults_without_end(self) -> None:
        """A router with a new excuse each time is asked a few times, not for ever."""
        machine = self.started("UPnP-IGD", faults=[718, 725] * 50)
        self.assertIsNone(machine.held)
        self.assertLess(len(machine.router.asked), 12)

    def test_stopped_at_any_moment(self) -> None:
        """Stopped before there is a mapping, it is over, or soon will be."""
        for language in ("", *LANGUAGES):
            for seconds in (0.0, 0.1, lease.HEAD_START):
                machine = Machine(Router(language))
                machine.do(machine.lease.start(machine.now))
                machine.run(seconds)
                machine.do(machine.lease.stop(machine.now))
                machine.run(5)
                self.assertTrue(machine.lease.is_over)
                self.assertIsNone(machine.lease.deadline)
                self.assertEqual(machine.router.mappings, {})

    @settings(derandomize=True, max_examples=60, deadline=None)
    @given(st.data())
    def test_anything(self, data: st.DataObject) -> None:
        """Whatever the router says, nothing breaks, and it is not asked without end."""
        machine = Machine(Router(*LANGUAGES, igd=data.draw(st.sampled_from((1, 2)))))
        randoms = Random(data.draw(st.integers(0, 1 << 30)))
        page = machine.router.page

        def spoil(said: bytes) -> bytes:
            spoilt = bytearray(said)
            for _ in range(randoms.choice((0, 0, 1, 3))):
                if spoilt:
                    spoilt[randoms.randrange(len(spoilt))] = randoms.randrange(256)
            return bytes(spoilt[: randoms.choice((len(spoilt), len(spoilt), 7))])

        machine.altered = spoil
        machine.web = lambda asked: spoil(page(asked) or b"")
        machine.start()
        machine.run(3 * LIFETIME)
        fetched = [each for each in machine.sent if isinstance(each, Fetch)]
        self.assertLess(len(machine.sent), 3000)
        self.assertTrue(all(each.url.startswith(f"http://{ADDRESS}") for each in fetched))
