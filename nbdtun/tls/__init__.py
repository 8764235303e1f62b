"""
TLS: who is who. It knows neither the tunnel nor QEMU.

From the ground up; a module imports only what stands above it here:

    ktls         whether the kernel encrypts
    certificate  the names in a certificate, and from when until when it is valid
    files        the directory of certificates and keys, laid out as QEMU's own (qemu-tls-creds-x509)
    failures     why a handshake failed, in a line for an operator
    contexts     TLS 1.3, with certificates at both ends
    renewal      contexts that follow their files
    issue        a small CA, for those who have none (`nbdtun certs`)
"""
