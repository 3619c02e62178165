"""TLS with a pinned identity, and with ordinary authorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.errors import ConfigError, InterceptionError, TrustError
from tunnelmesh.identity import fingerprint
from tunnelmesh.transports import tls
from tunnelmesh.transports.tls import Chain, certificate_chain, client_tls, read_chain, server_tls

NOW = datetime.now(UTC)


class Ends(Protocol):
    """Keeps what arrives, and why it ended."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: BaseException | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep why."""
        self.lost = reason.value


def meet(server: object, client: object) -> tuple[Ends, Ends]:
    """Let a server and a client shake hands in memory; the client then says hello."""
    clock = Clock()
    ends = Ends(), Ends()
    secured = [
        TLSMemoryBIOFactory(options, is_client, Factory.forProtocol(lambda e=end: e), clock)
        for options, is_client, end in zip((server, client), (False, True), ends, strict=True)
    ]
    protocols = [factory.buildProtocol(None) for factory in secured]
    pump = connect(
        protocols[0],
        FakeTransport(protocols[0], True),
        protocols[1],
        FakeTransport(protocols[1], False),
        greet=False,
    )
    pump.flush()
    if ends[1].lost is None:
        ends[1].transport.write(b"hello")
    clock.advance(0)
    pump.flush()
    return ends


def public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_key().public_bytes_raw()


def stranger(name: str, authority: bool = False) -> Chain:
    """A certificate signed by itself, of an ordinary key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Inspecting & Co.\n")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Chain((certificate,), key)


class PinTests(SynchronousTestCase):
    """A client that was given the coordinator's key believes that key and nothing else."""

    def setUp(self) -> None:
        """An identity, and a certificate of it."""
        self.identity = Ed25519PrivateKey.generate()
        self.pin = public(self.identity)
        self.chain = certificate_chain(self.identity, ["vps.example", "192.0.2.1"], NOW)

    def refusal(self, chain: Chain, proxy: str | None = None) -> BaseException:
        """Why a client that pins the identity refuses *chain*; no byte passes in either case."""
        server, client = meet(server_tls(chain), client_tls("198.51.100.7", self.pin, proxy))
        self.assertEqual(server.received, b"")
        assert client.lost is not None
        return client.lost

    def test_right(self) -> None:
        """The pinned key is accepted under any name, by TLS 1.3 and HTTP/1.1."""
        for host in ("198.51.100.7", "whatever.example"):
            server, client = meet(server_tls(self.chain), client_tls(host, self.pin))
            self.assertEqual(server.received, b"hello")
            self.assertEqual(client.transport.negotiatedProtocol, b"http/1.1")
            self.assertEqual(client.transport.getHandle().get_protocol_version_name(), "TLSv1.3")

    def test_name_sent(self) -> None:
        """A host name is sent in the clear, as firewalls expect; an address is not."""
        for host, sent in (("vps.example", b"vps.example"), ("192.0.2.1", None)):
            server, _ = meet(server_tls(self.chain), client_tls(host, self.pin))
            self.assertEqual(server.transport.getHandle().get_servername(), sent)

    def test_wrong(self) -> None:
        """Another coordinator's key is refused; the message shows both fingerprints."""
        other = Ed25519PrivateKey.generate()
        problem = self.refusal(certificate_chain(other, [], NOW))
        self.assertIsInstance(problem, TrustError)
        self.assertIn(fingerprint(self.pin), str(problem))
        self.assertIn(fingerprint(public(other)), str(problem))

    def test_stranger(self) -> None:
        """A certificate signed by itself is refused; the message shows whose, on one line."""
        problem = self.refusal(stranger("198.51.100.7"))
        self.assertIsInstance(problem, TrustError)
        self.assertIn("Inspecting & Co.", str(problem))
        self.assertNotIn("\n", str(problem))

    def test_root_attached_to_another_leaf(self) -> None:
        """Showing the pinned root is not enough: it must have signed the leaf."""
        key = ec.generate_private_key(ec.SECP256R1())
        real = self.chain.certificates[0]
        forged = (
            x509.CertificateBuilder(real.issuer, real.subject, key.public_key())
            .serial_number(real.serial_number)
            .not_valid_before(real.not_valid_before_utc)
            .not_valid_after(real.not_valid_after_utc)
            .sign(Ed25519PrivateKey.generate(), None)
        )
        problem = self.refusal(Chain((forged, self.chain.certificates[1]), key))
        self.assertIsInstance(problem, TrustError)

    def test_leaf_alone(self) -> None:
        """A leaf without the root that signed it is refused."""
        self.assertIsInstance(
            self.refusal(Chain(self.chain.certificates[:1], self.chain.key)), TrustError
        )

    def test_expired(self) -> None:
        """A leaf of the right root that is out of date is refused with its dates."""
        old = certificate_chain(self.identity, [], NOW - tls.LEAF_LIFETIME - timedelta(days=2))
        for proxy in (None, "proxy.example:3128"):
            problem = self.refusal(old, proxy)
            self.assertIsInstance(problem, TrustError)
            self.assertIn("check this machine's clock", str(problem))

    def test_clock_behind(self) -> None:
        """A peer whose clock is at the epoch, as without a battery, can join."""
        leaf, root = self.chain.certificates
        self.assertEqual(leaf.not_valid_before_utc.timestamp(), 0)
        self.assertEqual(root.not_valid_before_utc.timestamp(), 0)

    def test_intercepted(self) -> None:
        """Through a proxy a strange certificate means interception; proxy and issuer are named."""
        problem = self.refusal(stranger("198.51.100.7"), "proxy.example:3128")
        self.assertIsInstance(problem, InterceptionError)
        for part in ("proxy.example:3128", "CN=Inspecting & Co.", "exempted"):
            self.assertIn(part, str(problem))

    def test_old_protocol(self) -> None:
        """Neither end speaks less than TLS 1.2."""
        for ours, is_server in ((server_tls(self.chain), True), (client_tls("x", self.pin), False)):
            old = CertificateOptions() if is_server else server_tls(self.chain)
            context = old.getContext()
            context.set_options(SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3)
            server, client = meet(ours, old) if is_server else meet(old, ours)
            self.assertEqual(server.received, b"")
            self.assertIsInstance(client.lost, SSL.Error)

    def test_interface(self) -> None:
        """Twisted's interface is provided."""
        verifyObject(IOpenSSLClientConnectionCreator, client_tls("x", self.pin))


class AuthorityTests(SynchronousTestCase):
    """Without a pin, certificates are verified as everywhere else."""

    def setUp(self) -> None:
        """An authority of our own stands in for the platform's."""
        self.authority = stranger("authority.example", authority=True)
        root = Certificate.loadPEM(
            self.authority.certificates[0].public_bytes(serialization.Encoding.PEM)
        )
        self.patch(tls, "platformTrust", lambda: trustRootFromCertificates([root]))

    def issued(self, *names: x509.GeneralName) -> Chain:
        """A certificate from the authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        (root,) = self.authority.certificates
        leaf = (
            x509.CertificateBuilder(root.subject, x509.Name([]), key.public_key())
            .serial_number(2)
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self.authority.key, hashes.SHA256())
        )
        return Chain((leaf,), key)

    def test_right_name(self) -> None:
        """A certificate of a known authority for the name, or the address, is accepted."""
        chain = self.issued(x509.DNSName("vps.example"), x509.IPAddress(ip_address("2001:db8::1")))
        for host in ("vps.example", "2001:db8::1"):
            server, _ = meet(server_tls(chain), client_tls(host, None))
            self.assertEqual(server.received, b"hello")

    def test_wrong_name(self) -> None:
        """The same certificate under another name, or address, is refused."""
        chain = self.issued(x509.DNSName("vps.example"))
        for host in ("evil.example", "192.0.2.1"):
            server, client = meet(server_tls(chain), client_tls(host, None))
            self.assertEqual(server.received, b"")
            self.assertIsInstance(client.lost, TrustError)
            self.assertIn("another name", str(client.lost))

    def test_unknown_authority(self) -> None:
        """A self-signed certificate is refused, and through a proxy called interception."""
        for proxy, kind in ((None, TrustError), ("proxy.example:80", InterceptionError)):
            server, client = meet(
                server_tls(stranger("vps.example")), client_tls("vps.example", None, proxy)
            )
            self.assertEqual(server.received, b"")
            self.assertIsInstance(client.lost, kind)
            self.assertIn("Inspecting & Co.", str(client.lost))

    def test_own_chain(self) -> None:
        """A coordinator's own chain is not believed without its pin."""
        chain = certificate_chain(Ed25519PrivateKey.generate(), ["vps.example"], NOW)
        server, client = meet(server_tls(chain), client_tls("vps.example", None))
        self.assertEqual(server.received, b"")
        self.assertIsInstance(client.lost, TrustError)


class FilesTests(SynchronousTestCase):
    """A certificate from an authority comes in two PEM files."""

    def setUp(self) -> None:
        """A good pair."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.certificate = self.directory / "fullchain.pem"
        self.key = self.directory / "privkey.pem"
        self.write(stranger("vps.example"))

    def write(self, chain: Chain, password: bytes | None = None) -> None:
        """Put a chain into the files."""
        encoding = serialization.Encoding.PEM
        self.certificate.write_bytes(
            b"".join(each.public_bytes(encoding) for each in chain.certificates)
        )
        lock = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        self.key.write_bytes(
            chain.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, lock)
        )

    def test_good(self) -> None:
        """What is read serves."""
        root = Certificate.loadPEM(self.certificate.read_bytes())
        self.patch(tls, "platformTrust", lambda: trustRootFromCertificates([root]))
        server, _ = meet(
            server_tls(read_chain(self.certificate, self.key)), client_tls("vps.example", None)
        )
        self.assertEqual(server.received, b"hello")

    def test_bad(self) -> None:
        """Each fault is one error that names the file."""

        def other_key() -> None:
            certificate = self.certificate.read_bytes()
            self.write(stranger("vps.example"))
            self.certificate.write_bytes(certificate)

        faults = (
            (lambda: self.certificate.write_bytes(b"x"), self.certificate),
            (lambda: self.key.write_bytes(b"x"), self.key),
            (self.certificate.unlink, self.certificate),
            (self.key.unlink, self.key),
            (lambda: self.write(stranger("x.example"), b"secret"), self.key),
            (other_key, self.key),
        )
        for spoil, culprit in faults:
            self.write(stranger("vps.example"))
            spoil()
            problem = self.assertRaises(ConfigError, read_chain, self.certificate, self.key)
            self.assertIn(str(culprit), str(problem))
