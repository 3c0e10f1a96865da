"""The server's own certificate: kubectl sends a token over TLS only, even on loopback."""

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeapi.settings import write_private

_NAME: Final = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "embedded Kubernetes API")])
_VALID: Final = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC))
"""Fixed, so that a clock which is wrong or fast never invalidates it; the file is thrown away with the
state."""


def ensure_certificate(state: Path) -> Path:
    """The PEM certificate of this state folder, made the first time; its key lies beside it (mode 0600)."""
    certificate, key = state / "tls.crt", state / "tls.key"
    if not (certificate.exists() and key.exists()):
        private = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8
        write_private(key, private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        write_private(certificate, _signed(private).public_bytes(serialization.Encoding.PEM))
    return certificate


def server_context(certificate: Path) -> ssl.SSLContext:
    """TLS for the server's side."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def _signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    addresses = [ipaddress.ip_address(text) for text in ("127.0.0.1", "::1")]
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), *(x509.IPAddress(a) for a in addresses)]
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
        crl_sign=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder(issuer_name=_NAME, subject_name=_NAME, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())
