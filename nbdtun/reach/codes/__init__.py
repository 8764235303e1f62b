"""
Codes for the telephone, which stand for certificates that two ends do not have yet.

From the ground up; a module imports only what stands above it here:

    words    codes that are short enough for a telephone
    code     the rules by which a code becomes trust in two certificates
    secured  TLS below another protocol
    offer    a destination that waits for the source that knows its code
"""
