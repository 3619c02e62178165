"""TLS between peers and coordinator: the coordinator's key pinned, or ordinary verification.

The coordinator's identity is one Ed25519 key. TLS clients (browsers above all) do not take Ed25519
for a server's own key, so the server shows an ECDSA P-256 leaf signed by a self-signed Ed25519
root whose key is the identity. A peer that was given the identity by an invitation needs nothing
else to know the server, whatever its name and address.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import ConfigError, InterceptionError, TrustError, TunnelMeshError
from tunnelmesh.identity import fingerprint
from tunnelmesh.transports.reasons import printable

ALPN = (b"http/1.1",)
"""WebSocket's upgrade exists in HTTP/1.1 only (RFC 6455 §4.1)."""

NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)
"""Small machines without a clock of their own wake up in 1970; the pin counts, not the date."""

LEAF_LIFETIME = timedelta(days=5 * 365)
"""Longer than a coordinator runs without a restart, which makes a new leaf; short of for ever."""

ROOT_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280 §4.1.2.5: a certificate without a defined end. The identity does not expire."""

# Results of OpenSSL's X509_verify_cert (x509_vfy.h) that are told apart here.
_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED_IN_CHAIN = 19


@dataclass(frozen=True, slots=True)
class Chain:
    """What a server shows of itself, and the key to prove it with.

    :ivar certificates: the leaf first, then what leads from it to the root.
    :ivar key: the leaf's private key.
    """

    certificates: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes


def certificate_chain(identity: Ed25519PrivateKey, names: Sequence[str], now: datetime) -> Chain:
    """A new leaf for a coordinator, under a root that is its identity.

    :param identity: the coordinator's key.
    :param names: host names and IP addresses it is reached by, for browsers; may be empty.
    :param now: the time, with its zone.
    """
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TunnelMesh coordinator")])
    root = (
        x509.CertificateBuilder(root_name, root_name, identity.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(ROOT_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(identity, None)
    )
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder(
            root_name,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TunnelMesh")]),
            key.public_key(),
        )
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(now + LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        leaf = leaf.add_extension(alternatives, critical=False)
    return Chain((leaf.sign(identity, None), root), key)


def read_chain(certificate_file: Path, key_file: Path) -> Chain:
    """A certificate from an ordinary authority: PEM files as ACME clients write them.

    :param certificate_file: the leaf, then what leads from it to the root.
    :raises ConfigError: naming the file that is missing, not PEM, or not the other's counterpart.
    """
    try:
        certificates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
    except OSError as problem:
        raise ConfigError(f"{certificate_file} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise ConfigError(f"{certificate_file} holds no PEM certificates") from None
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except OSError as problem:
        raise ConfigError(f"{key_file} cannot be read: {problem.strerror}") from None
    except TypeError:
        raise ConfigError(f"{key_file} is locked by a password: give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{key_file} holds no PEM private key") from None
    if certificates[0].public_key() != key.public_key():
        raise ConfigError(
            f"{key_file} is not the key of the first certificate in {certificate_file}"
        )
    return Chain(tuple(certificates), key)


def server_tls(chain: Chain) -> CertificateOptions:
    """How a server speaks TLS: 1.2 at least (1.3 with all who can), HTTP/1.1 inside."""
    leaf, *rest = (crypto.X509.from_cryptography(each) for each in chain.certificates)
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(chain.key),  # type: ignore[arg-type]
        certificate=leaf,
        extraCertChain=rest,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=ALPN,
    )


def client_tls(
    host: str, pin: bytes | None, proxy: str | None = None
) -> IOpenSSLClientConnectionCreator:
    """How a client speaks TLS and whom it believes.

    What the server shows is checked within the handshake; a connection that fails is lost with
    :exc:`~tunnelmesh.errors.TrustError`, or :exc:`~tunnelmesh.errors.InterceptionError` through a
    proxy, as its reason.

    :param host: the name or IP address that the user gave.
    :param pin: the Ed25519 public key (32 bytes) that must have signed the server's certificate,
        or None for the platform's authorities and a certificate for *host*.
    :param proxy: the proxy that the connection goes through, for messages.
    """
    return _Client(host, pin, proxy)


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    """Makes connections and judges the server's certificates, one by one, as OpenSSL shows them.

    Twisted's optionsForClientTLS would do for the authorities, but cannot say whose certificate it
    refused, which is what a user behind an inspecting proxy needs to know. For a pin, OpenSSL is
    given no authority to trust: it has to ask about the root of every chain, and where the answer
    is yes goes on to verify the signatures down from that root, and the dates.
    """

    def __init__(self, host: str, pin: bytes | None, proxy: str | None) -> None:
        self._host = host
        self._pin = pin
        self._proxy = proxy
        self._options = CertificateOptions(
            trustRoot=platformTrust() if pin is None else None,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableProtocols=ALPN,
        )

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        if _address(self._host) is None:
            connection.set_tlsext_host_name(self._host.encode("idna"))

        def verify(_: SSL.Connection, shown: crypto.X509, error: int, depth: int, ok: int) -> bool:
            try:
                problem = self._judge(shown.to_cryptography(), 0 if ok else error, depth)
            except ValueError:
                problem = TrustError(f"{self._host} shows a certificate that cannot be read")
            if problem is not None:
                tlsProtocol.failVerification(Failure(problem))
            return problem is None

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection

    def _judge(
        self, certificate: x509.Certificate, error: int, depth: int
    ) -> TunnelMeshError | None:
        """What is wrong with a certificate of which OpenSSL says *error* (0: nothing), if any."""
        if error == 0:
            return self._name_problem(certificate) if self._pin is None and depth == 0 else None
        if error in (_NOT_YET_VALID, _EXPIRED):
            begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            return TrustError(
                f"the certificate of {self._host} is good from {begin:%Y-%m-%d} to {end:%Y-%m-%d}"
                " only: check this machine's clock, then restart the coordinator to renew it"
            )
        seen = _ed25519(certificate) if error == _SELF_SIGNED_IN_CHAIN else None
        if self._pin is not None and seen == self._pin:
            return None
        expected = "one of a known authority" if self._pin is None else fingerprint(self._pin)
        shown = f"a certificate issued by {printable(certificate.issuer.rfc4514_string()) or '?'}"
        if seen is not None:
            shown += f" with the key {fingerprint(seen)}"
        if self._proxy is not None:
            return InterceptionError(
                f"the proxy {self._proxy} opens TLS: instead of {expected}, {self._host} shows"
                f" {shown}; ask for {self._host} to be exempted from inspection"
            )
        return TrustError(
            f"{self._host} shows {shown} instead of {expected}: somebody is in between, or the"
            " coordinator was set up anew; if so, join it with a new invitation"
        )

    def _name_problem(self, leaf: x509.Certificate) -> TrustError | None:
        try:
            if _address(self._host) is None:
                verify_certificate_hostname(leaf, self._host.encode("idna").decode())
            else:
                verify_certificate_ip_address(leaf, self._host)
        except (VerificationError, CertificateError):
            return TrustError(
                f"the certificate that {self._host} shows is for another name: give the"
                " coordinator's name as its certificate has it"
            )
        return None


def _ed25519(certificate: x509.Certificate) -> bytes | None:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _general_name(name: str) -> x509.GeneralName:
    address = _address(name)
    if address is None:
        return x509.DNSName(name.encode("idna").decode())
    return x509.IPAddress(address)
