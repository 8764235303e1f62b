"""
TLS: it authenticates both ends. It knows neither the tunnel nor QEMU.

From the ground up; a module imports only what stands above it here:

    ktls         whether the kernel does the encryption
    fips         whether the system wants its validated module alone
    records      TLS 1.3 records of our own
    certificate  the names and the validity of a certificate
    store        where the certificates and keys are: in QEMU's layout or in libvirt's
    files        certificates and keys, as they are read
    presented    what the other end has presented in a handshake
    revocation   revocation lists, read as GnuTLS reads them
    failures     why TLS failed, as one line for an operator
    contexts     TLS 1.3, with certificates at both ends
    throwaway    certificates for one migration, of which nothing touches a disk
    keylog       the secrets of our own connections
    handshake    OpenSSL's handshake, after which records are ours
    renewal      contexts that are reloaded when their files change
    trust        one end's contexts, and what it checks beyond OpenSSL
    pki          a CA that signs, the requests of others, and what expires when
    issue        a small CA, for sites without one (`nbdtun certs`)
"""
