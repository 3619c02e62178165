"""A program: measure the gateway in front of this host, and print what it does as JSON.

Arguments: the two addresses of the correspondent. The method is that of RFC 5780 §4.3 and §4.4,
with plain datagrams in place of STUN.
"""

import json
import select
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

UDP_PORTS = (3478, 3479)
TCP_PORTS = (80, 443, 2222, 8080, 8443)

PATIENCE = 0.4
"""Seconds after which a datagram counts as lost; the links have no delay."""


def ask(udp, addresses, to, reply_from=None):
    """Send to one of the correspondent's four sockets; return what it saw, or None."""
    i, j = to
    request = "{} {}".format(*(reply_from or to)).encode()
    udp.sendto(request, (addresses[i], UDP_PORTS[j]))
    if not select.select([udp], [], [], PATIENCE)[0]:
        return None
    host, port = udp.recv(2048).decode().split()
    return host, int(port)


def fresh():
    """Return a socket that the gateway has never seen."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 0))
    return udp


def mapping(addresses):
    """Classify the mapping, and return with it the outer ports seen."""
    udp = fresh()
    first = ask(udp, addresses, (0, 0))
    if first is None:
        return "blocked", []
    other_port = ask(udp, addresses, (0, 1))
    other_address = ask(udp, addresses, (1, 0))
    seen = [first[1], other_port[1], other_address[1]]
    udp.connect((addresses[0], UDP_PORTS[0]))
    if first == udp.getsockname():
        return "none", seen
    if first == other_address == other_port:
        return "endpoint-independent", seen
    if first == other_port:
        return "address-dependent", seen
    return "address-and-port-dependent", seen


def admits(addresses, stranger):
    """Whether a socket that spoke to the first of the four hears another one."""
    return ask(fresh(), addresses, (0, 0), reply_from=stranger) is not None


def tcp(address):
    """Return the TCP ports that can be reached, tried all at once."""
    waiting = {}
    for port in TCP_PORTS:
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex((address, port))
        waiting[stream] = port
    reached, deadline = [], time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        for stream in select.select([], list(waiting), [], deadline - time.monotonic())[1]:
            port = waiting.pop(stream)
            if not stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                reached.append(port)
    return sorted(reached)


def main(addresses):
    """Measure and print. The mapping comes first and alone: ports may be counted."""
    way, ports = mapping(addresses)
    with ThreadPoolExecutor() as pool:
        other_address = pool.submit(admits, addresses, (1, 1))
        other_port = pool.submit(admits, addresses, (0, 1))
        reached = pool.submit(tcp, addresses[0])
    if way == "blocked":
        filtering = "blocked"
    elif other_address.result():
        filtering = "endpoint-independent"
    elif other_port.result():
        filtering = "address-dependent"
    else:
        filtering = "address-and-port-dependent"
    result = {"mapping": way, "filtering": filtering, "ports": ports, "tcp": reached.result()}
    print(json.dumps(result))


main(sys.argv[1:])
