"""A program: the other end of the measurements, on a host with two addresses.

Arguments: two addresses. Each UDP datagram ``<address index> <port index>`` is answered from that
socket with the source address that was seen; TCP connections are answered with the same.
"""

import selectors
import socket
import sys

UDP_PORTS = (3478, 3479)
TCP_PORTS = (80, 443, 2222, 8080, 8443)


def main(addresses: list[str]) -> None:
    """Answer for ever."""
    ready = selectors.DefaultSelector()
    datagrams = {}
    for i, address in enumerate(addresses):
        for j, port in enumerate(UDP_PORTS):
            udp = datagrams[i, j] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((address, port))
            ready.register(udp, selectors.EVENT_READ)
    for port in TCP_PORTS:
        listener = socket.create_server((addresses[0], port), backlog=64)
        ready.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _events in ready.select():
            if key.fileobj in datagrams.values():
                request, source = key.fileobj.recvfrom(2048)
                i, j = map(int, request.split())
                datagrams[i, j].sendto("{} {}".format(*source).encode(), source)
            else:
                connection, source = key.fileobj.accept()
                connection.sendall("{} {}\n".format(*source).encode())
                connection.close()


main(sys.argv[1:])
