"""Passwords and tokens as the ledger keeps them: never themselves.

A password is kept as ``scrypt$N$r$p$SALT$DIGEST`` (RFC 7914; the last two in hexadecimal). N = 2**15, r = 8, p = 3 is
one of the settings of OWASP's "Password Storage Cheat Sheet": 32 MB and some 0.2 s for each attempt. The settings stand
in the text, so that a later dunlin may choose others and still knows the old ones. No more than two are computed at a
time: a crowd at the login must not take all memory of a small machine.

Tokens have 256 bits of chance, so that nobody finds one by trying, and a plain SHA-256 keeps them as well as scrypt
would, thousands of times a second. Digests are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

N, R, P = 1 << 15, 8, 3
_MEMORY = 128 << 20
_TURNS = threading.BoundedSemaphore(2)
SHORTEST = 8
"""Characters that a password has at least."""


def kept_password(password: str, *, n: int = N, r: int = R, p: int = P) -> str:
    """What is kept of a password."""
    salt = secrets.token_bytes(16)
    return f"scrypt${n}${r}${p}${salt.hex()}${_digest(password, salt, n, r, p).hex()}"


def fits_password(password: str, kept: str) -> bool:
    """Whether it is the password of which this was kept."""
    try:
        name, n, r, p, salt, digest = kept.split("$")
        settings = int(n), int(r), int(p)
        if name != "scrypt":
            return False
        return hmac.compare_digest(_digest(password, bytes.fromhex(salt), *settings), bytes.fromhex(digest))
    except (ValueError, TypeError, OverflowError):  # what hashlib says of settings that make no sense
        return False


def token() -> str:
    """32 bytes by chance, as text for URLs and cookies."""
    return secrets.token_urlsafe(32)


def kept_token(text: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _digest(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    with _TURNS:
        return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)
