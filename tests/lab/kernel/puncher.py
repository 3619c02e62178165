"""A program: one side of a plain simultaneous hole punching.

Argument: the correspondent's address. It prints the outer address of its socket, reads the other
side's from its input, sends there, and prints ``met`` if the other side both arrives and answers.
"""

import select
import socket
import sys
import time

ROUNDS = 20
"""Datagrams sent before it is given up."""

INTERVAL = 0.03
"""Seconds between them."""


def main(correspondent: str) -> None:
    """Punch."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.sendto(b"0 0", (correspondent, 3478))
    print(udp.recv(2048).decode(), flush=True)
    host, port = sys.stdin.readline().split()
    heard = False
    for _ in range(ROUNDS):
        udp.sendto(b"heard you" if heard else b"hello", (host, int(port)))
        until = time.monotonic() + INTERVAL
        while select.select([udp], [], [], max(0, until - time.monotonic()))[0]:
            heard = True
            if udp.recv(2048) == b"heard you":
                udp.sendto(b"heard you", (host, int(port)))
                print("met")
                return


main(sys.argv[1])
