"""Who asks a router for a port in one of the three languages: what they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

PAUSES = (0.25, 0.5, 1.0, 1.25)
"""Seconds that each transmission is given for an answer: the beginning of RFC 6886 §3.1's nine,
which end after two minutes. The router is a hop away: four times silent, it does not speak it."""

LIFETIME = 3600
"""Seconds that a mapping is asked for: what a crash leaves behind is gone in an hour."""

SILENCE = "no answer"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask a web server of the router's.

    :ivar number: goes with the answer to :meth:`Speaker.fetched`.
    :ivar action: the SOAPAction header; empty in a GET.
    :ivar body: sent by POST.
    """

    number: int
    url: str
    action: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Granted:
    """The router forwards an external endpoint.

    :ivar lifetime: seconds; infinite if the router knows no other mappings.
    """

    external: Endpoint
    lifetime: float


@dataclass(frozen=True, slots=True)
class Failed:
    """It does not.

    :ivar reason: the end of a sentence that begins with the router.
    :ivar answered: whether it said so, or nothing at all.
    :ivar retry_after: seconds for which it does not want to be asked again.
    """

    reason: str
    answered: bool = True
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Released:
    """The mapping is removed, or nothing more can be done for that."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The router has lost its mappings."""


Output = Send | Fetch | Granted | Failed | Released | Restarted


class Question:
    """Datagrams to the router, sent again and again until one is answered.

    :ivar deadline: when to call :meth:`expire`; None once it was in vain.
    """

    def __init__(self, sends: Sequence[Send], now: float) -> None:
        self.deadline: float | None = now
        self._sends = sends
        self._pauses = iter(PAUSES)

    def expire(self, now: float) -> list[Send]:
        """Ask (again), or give up, if it is time to."""
        if self.deadline is None or now < self.deadline:
            return []
        pause = next(self._pauses, None)
        self.deadline = None if pause is None else now + pause
        return [] if pause is None else list(self._sends)


class Doing(Enum):
    """What a speaker is about."""

    NOTHING = auto()
    DISCOVERING = auto()
    MAPPING = auto()
    RELEASING = auto()


class Speaker(ABC):
    """Asks one router in one language. It does one thing at a time.

    :param router: its address: answers from elsewhere do not count.
    :param own: this machine's address on the router's side.
    :param port: the UDP port to be mapped.

    :ivar name: the language.
    :ivar spoken: whether the router speaks it; None while that is not known.
    :ivar trouble: why not, or what it said last where it refused; empty if all is well.
    """

    name: str

    def __init__(self, router: str, own: str, port: int) -> None:
        self.router = router
        self.own = own
        self.port = port
        self.spoken: bool | None = None
        self.trouble = ""
        self._doing = Doing.NOTHING
        self._question: Question | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._doing is not Doing.NOTHING

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        return None if self._question is None else self._question.deadline

    @abstractmethod
    def discover(self, now: float) -> list[Output]:
        """Find out whether the router speaks the language, without changing anything."""

    @abstractmethod
    def request(self, wanted: Endpoint | None, now: float) -> list[Output]:
        """Ask for a mapping, or for a longer life of the one there is.

        :param wanted: the external endpoint that would be best.
        """

    @abstractmethod
    def release(self, now: float) -> list[Output]:
        """Have the mapping removed."""

    @abstractmethod
    def received(self, datagram: bytes, source: Endpoint, now: float) -> list[Output]:
        """Take a datagram, if it is the router's, and an answer."""

    def fetched(self, number: int, document: bytes | None) -> list[Output]:
        """Take the answer to a :class:`Fetch`; None if there was none."""
        return []

    def expire(self, now: float) -> list[Output]:
        """Ask again, or give up, if it is time to."""
        if self._question is None:
            return []
        sends = self._question.expire(now)
        if self._question.deadline is None:
            return self._end(Failed(self.trouble or SILENCE, answered=False))
        return [*sends]

    def _begin(self, doing: Doing, sends: Sequence[Send], now: float) -> list[Output]:
        self._doing = doing
        if doing is Doing.DISCOVERING:
            self.spoken = None
            self.trouble = ""
        self._question = Question(sends, now)
        return [*self._question.expire(now)]

    def _end(self, outcome: Granted | Failed | None) -> list[Output]:
        """What was begun is over.

        :param outcome: None where nothing is to be told but that it went well.
        """
        doing, self._doing = self._doing, Doing.NOTHING
        self._question = None
        failed = outcome if isinstance(outcome, Failed) else None
        if doing is Doing.RELEASING:
            return [Released()]
        self.trouble = "" if failed is None else failed.reason
        if doing is Doing.DISCOVERING:
            self.spoken = failed is None
        return [outcome] if doing is Doing.MAPPING and outcome is not None else []
