"""The SSH connection service (RFC 4254), cut down to one channel of one type."""

# conch is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from struct import Struct
from typing import Any

from twisted.conch.ssh import connection as conch
from twisted.conch.ssh.common import NS, getNS

from tunnelmesh.errors import LinkError
from tunnelmesh.interfaces import ILinkUser
from tunnelmesh.transports.ssh.channel import CHANNEL_TYPE, SMALLEST_PACKET, FramesChannel
from tunnelmesh.transports.ssh.transport import quiet

_OPEN = Struct(">3L")
_DATA = Struct(">2L")


class FramesConnection(conch.SSHConnection):
    """Carries the one channel; every other channel and request is refused.

    :param user: who will use the channel; on the client's end None, as the client opens it.
    """

    _log = quiet
    transport: Any

    def __init__(self, user: ILinkUser | None = None) -> None:
        super().__init__()
        self._user = user

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """Accept the first channel of our type. (conch logs a traceback for each it refuses.)"""
        channel_type, rest = getNS(packet)
        sender, _, max_packet = _OPEN.unpack_from(rest)
        wanted = channel_type == CHANNEL_TYPE and max_packet >= SMALLEST_PACKET
        if wanted and self._user is not None:
            super().ssh_CHANNEL_OPEN(packet)
            return
        text = b"only one channel, and only of type " + CHANNEL_TYPE
        self.transport.sendPacket(
            conch.MSG_CHANNEL_OPEN_FAILURE,
            _DATA.pack(sender, conch.OPEN_ADMINISTRATIVELY_PROHIBITED) + NS(text) + NS(b""),
        )

    def getChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> Any:
        """The one channel; the next request for one will be refused."""
        assert self._user is not None
        channel = FramesChannel(self._user, windowSize, maxPacket)
        self._user = None
        channel.conn = self
        return channel

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        """Data within the window goes to the channel; the window is re-opened by the channel.

        conch would re-open it before the data is delivered, so that nothing holds a sender back.

        :raises LinkError: if the other end ignores the window.
        """
        number, length = _DATA.unpack_from(packet)
        channel = self.channels[number]
        if length > min(channel.localWindowLeft, channel.localMaxPacket):
            raise LinkError("more SSH channel data than the window allows")
        if length != len(packet) - _DATA.size:
            raise LinkError("SSH channel data of another length than it says")
        channel.localWindowLeft -= length
        channel.dataReceived(packet[_DATA.size :])

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        """:raises LinkError: always: frames have no standard error."""
        raise LinkError("extended data on a channel of frames")

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        """Refuse: no port is opened for anybody."""
        return 0
