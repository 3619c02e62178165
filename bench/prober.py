"""A program: ping an address every few milliseconds until the first answer; print when it came.

It may start long before there is a route. Argument: the address. Prints ``ready``, then the time of
the answer in seconds of the machine's monotonic clock, which all its processes share.
"""

import os
import select
import socket
import struct
import sys
import time

INTERVAL = 0.005
"""Seconds between echo requests: the resolution of what is measured."""


def checksum(data):
    """RFC 1071's, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(sequence):
    """An ICMP echo request (RFC 792) of this process."""
    fields = [8, 0, 0, os.getpid() & 0xFFFF, sequence & 0xFFFF]
    fields[2] = checksum(struct.pack("!BBHHH", *fields))
    return struct.pack("!BBHHH", *fields)


def answers(icmp):
    """Whether what waits in the socket has an echo reply to this process."""
    packet = icmp.recv(2048)
    kind, _, _, process = struct.unpack_from("!BBHH", packet, 4 * (packet[0] & 15))
    return kind == 0 and process == os.getpid() & 0xFFFF


def main(address):
    """Ping until answered."""
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    print("ready", flush=True)
    sequence = 0
    while True:
        sequence += 1
        try:
            icmp.sendto(echo_request(sequence), (address, 0))
        except OSError:
            pass  # no route to it yet
        end = time.monotonic() + INTERVAL
        while select.select([icmp], [], [], max(0.0, end - time.monotonic()))[0]:
            if answers(icmp):
                print(time.monotonic(), flush=True)
                return


main(sys.argv[1])
