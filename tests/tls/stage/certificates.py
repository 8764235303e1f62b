"""Certificates with any names, and the taking back of one, as an authority does both."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nbdtun.tls.store import CA_CERT, CA_CRL, CA_KEY, CLIENT_CERT

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*common: str, alternative: tuple[x509.GeneralName, ...] = ()) -> bytes:
    """A self-signed certificate in DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def revoke_client(directory: Path) -> None:
    """Write the revocation list of the authority in ``directory``, with its client's certificate in it."""
    now = datetime.datetime.now(datetime.UTC)
    ca = x509.load_pem_x509_certificate((directory / CA_CERT).read_bytes())
    key = serialization.load_pem_private_key((directory / CA_KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    serial = x509.load_pem_x509_certificate((directory / CLIENT_CERT).read_bytes()).serial_number
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    issued = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now - datetime.timedelta(hours=1))
    crl = issued.next_update(now + datetime.timedelta(hours=1)).add_revoked_certificate(revoked).sign(key, hashes.SHA256())
    (directory / CA_CRL).write_bytes(crl.public_bytes(serialization.Encoding.PEM))
