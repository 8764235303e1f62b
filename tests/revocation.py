"""Taking a client's certificate back, as an authority does."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nbdtun.tls.files import CA_CERT, CA_CRL, CA_KEY, CLIENT_CERT


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
