"""How aioquic is configured between two peers; what is different from QUIC on the open internet.

The datagrams travel inside a session that has authenticated both peers by their keys, and nobody
else can put any there. So the certificate that TLS insists on says nothing: it is made by each
process for itself, and not looked at. And how long a datagram may be is known from elsewhere.
"""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from functools import cache

from aioquic.quic import connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tunnelmesh.streams.congestion import NAME

ALPN = "tunnelmesh/1"

IDLE = 3600.0
"""Seconds without a word after which a connection is given up although streams are open on it: a
machine that has slept for less finds its streams as it left them."""

FIRST_WINDOW = 128 * 1024
"""Bytes that a stream's sender may be ahead of its reader, at first: with all streams open and none
read this is 32 MB."""

DATAGRAM = 1164
"""Bytes of a datagram that fits every path: 1,200 (:data:`tunnelmesh.paths.path_mtu.BASE`), less 32
of the tunnel's overhead and 4 of the control message."""

_UNLIMITED = 1 << 60

# RFC 9000 pads the first packets to 1,200 bytes, and drops shorter ones.
connection.SMALLEST_MAX_DATAGRAM_SIZE = DATAGRAM  # type: ignore[attr-defined]

# A peer that breaks the protocol must not be able to fill somebody's log.
logging.getLogger("quic").setLevel(logging.CRITICAL + 1)


@cache
def configuration(opener: bool) -> QuicConfiguration:
    """How a side is configured: the one that opens connections, or the other."""
    made = QuicConfiguration(
        is_client=opener,
        alpn_protocols=[ALPN],
        idle_timeout=IDLE,
        congestion_control_algorithm=NAME,
        max_datagram_size=DATAGRAM,
        max_data=_UNLIMITED,
        max_stream_data=FIRST_WINDOW,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256],
        verify_mode=ssl.CERT_NONE,
    )
    if not opener:
        made.private_key = Ed25519PrivateKey.generate()
        made.certificate = _certificate(made.private_key)
    return made


def _certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    """What TLS insists on."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tunnelmesh")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .sign(key, None)
    )
