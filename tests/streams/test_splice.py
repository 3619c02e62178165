"""Two connections made one."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.streams.splice import splice


class Transport:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.protocol: object = None
        self.done: list[object] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.done.append("pause")

    def resumeProducing(self) -> None:
        self.done.append("resume")

    def loseWriteConnection(self) -> None:
        self.done.append("end")

    def loseConnection(self) -> None:
        self.done.append("close")

    def abortConnection(self) -> None:
        self.done.append("abort")


class SpliceTests(SynchronousTestCase):
    """What happens to one happens to the other."""

    def setUp(self) -> None:
        self.one, self.other = Transport(), Transport()
        splice(self.one, self.other)
        for transport in (self.one, self.other):
            self.assertEqual(transport.done, ["resume"])
            transport.done.clear()

    def test_data(self) -> None:
        """Bytes go both ways."""
        self.one.protocol.dataReceived(b"there")  # type: ignore[attr-defined]
        self.other.protocol.dataReceived(b"back")  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), ([b"back"], [b"there"]))

    def test_back_pressure(self) -> None:
        """Who cannot take more pauses the other's reading."""
        self.one.producer.pauseProducing()  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), ([], ["pause"]))
        self.one.producer.resumeProducing()  # type: ignore[attr-defined]
        self.assertEqual(self.other.done, ["pause", "resume"])

    def test_half_close(self) -> None:
        """The end of one direction leaves the other open; both ends close both."""
        self.one.protocol.readConnectionLost()  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), ([], ["end"]))
        self.other.protocol.writeConnectionLost()  # type: ignore[attr-defined]
        self.other.protocol.readConnectionLost()  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), (["end", "close"], ["end", "close"]))

    def test_nobody_reads(self) -> None:
        """Who does not read any more is listened to until it has said all."""
        self.one.protocol.writeConnectionLost()  # type: ignore[attr-defined]
        self.one.protocol.dataReceived(b"last")  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), ([], [b"last"]))
        self.one.protocol.readConnectionLost()  # type: ignore[attr-defined]
        self.assertEqual((self.one.done, self.other.done), (["close"], [b"last", "end", "close"]))

    def test_lost(self) -> None:
        """A connection that is closed closes the other, one that is lost aborts it."""
        for reason, done in ((ConnectionDone, "close"), (ConnectionLost, "abort")):
            one, other = Transport(), Transport()
            splice(one, other)
            failure = Failure(reason())
            one.producer.stopProducing()  # type: ignore[attr-defined]
            one.protocol.connectionLost(failure)  # type: ignore[attr-defined]
            self.assertEqual(other.done, ["resume", done])
            other.protocol.connectionLost(failure)  # type: ignore[attr-defined]
            self.assertEqual(one.done, ["resume"])
