"""The checksums that dunlin can compute while it moves bytes. Pure: no I/O.

Which one to choose
    name      bits  GB/s  4 KB us  cryptographic  parts combine
    blake3     256   4.5      2.5  yes            no             the default
    sha256     256   1.7      2.7  yes            no
    blake2b    512   0.9      4.5  yes            no
    sha1       160   1.8      2.5  broken         no             kept for comparing with old lists
    md5        128   0.7      5.8  broken         no             what object stores and old lists state
    xxh3       128  25        0.2  no             no             XXH3 with 128 bits
    crc64       64  28        0.3  no             yes            CRC-64/NVME
    none         -    -        -   -              -              no checksum is computed

    (one core; the machine decides the absolute figures, `bench/test_hashes.py` measures them.)

What a checksum is good for
    *Cryptographic* ones (blake3, sha256, blake2b) cannot be forged: equal values mean equal content, even
    when somebody wishes otherwise. For md5 and sha1 two different contents with one value can be made on
    purpose, which is no matter for the faults of disks and wires. xxh3 and crc64 find accidents only: a
    random fault goes unseen once in 2^128 or 2^64 times (crc64 certainly sees every burst of up to 64
    wrong bits), and anybody can make a collision. Nothing is ever taken for a duplicate by them.

Order
    All of them depend on the order of the bytes, so a file is hashed from its first byte to its last.
    crc64 alone lets parts be hashed apart and put together afterwards: it is linear over GF(2). For a
    message A followed by n bytes B, crc(AB) = crc(A) * x^(8n) + crc(B) in GF(2)[x] modulo the CRC's
    polynomial, addition being XOR; the initial and the final inversion cancel out. Multiplying by x^(8n) is
    a 64 x 64 matrix over GF(2), and repeated squaring makes it in log2(8n) steps: `combine_crc64`.
    (blake3 is a tree inside, but its library gives no way to join subtrees computed apart.)

Values are digests as `bytes`, in the byte order in which their standard prints them; crc64 is big-endian.
What services state of objects may also be a crc32 or a crc32c (`stated`): 32 bits find the faults of wires and disks
all but once in four billion times, and are too few to be kept in the state.
`blake2b` is `hashlib`'s own. It is here for whoever needs a short digest at the start of every run: `hashlib` loads
OpenSSL first, which takes as long as to look through some hundred files, so it waits for an algorithm that needs it.

Sources: RFC 1321 (md5), FIPS 180-4 (sha1, sha256), RFC 7693 (blake2b), the BLAKE3 paper, the XXH3
specification of xxHash 0.8, NVM Express NVM Command Set specification 1.0 (CRC-64/NVME).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol, cast

from dunlin.errors import DunlinError, ErrorKind, usage

try:
    from _blake2 import blake2b as blake2b
except ImportError:  # Python's own name for it is not promised
    from hashlib import blake2b as blake2b

Data = bytes | bytearray | memoryview
"""What can be hashed: contiguous bytes."""

ALGORITHMS = ("blake3", "sha256", "blake2b", "sha1", "md5", "xxh3", "crc64", "none")
"""Every name that `new` and `one_shot` take."""

DEFAULT = "blake3"

_BYTES = {"blake3": 32, "sha256": 32, "blake2b": 64, "sha1": 20, "md5": 16, "xxh3": 16, "crc64": 8, "none": 0}
_CRYPTOGRAPHIC = frozenset({"blake3", "sha256", "blake2b"})
_PARALLEL = frozenset({"crc64"})


class Hasher(Protocol):
    """A checksum being computed: bytes go in, in order; the digest can be asked for at any time."""

    def update(self, data: Data, /) -> object:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """The checksum of all bytes so far."""

    def hexdigest(self) -> str:
        """The same in lower-case hexadecimal digits."""


def check(name: str) -> str:
    """`name` if it is one of `ALGORITHMS`; raises USAGE naming those otherwise."""
    if name not in _BYTES:
        raise usage(f"unknown checksum {name!r}", f"choose one of {', '.join(ALGORITHMS)}")
    return name


def size(name: str) -> int:
    """Bytes of a digest; 0 for ``none``."""
    return _BYTES[check(name)]


def cryptographic(name: str) -> bool:
    """Whether equal values prove equal content even against somebody who wants to deceive."""
    return check(name) in _CRYPTOGRAPHIC


def parallel(name: str) -> bool:
    """Whether checksums of parts can be combined into the checksum of the whole."""
    return check(name) in _PARALLEL


def new(name: str) -> Hasher | None:
    """A fresh hasher, or None for ``none``. Raises USAGE for an unknown name."""
    match check(name):
        case "none":
            return None
        case "blake3":
            from blake3 import blake3

            return blake3()
        case "xxh3":
            import xxhash

            return xxhash.xxh3_128()
        case "crc64":
            return _Crc(_crc64(), 8)
        case _:
            import hashlib

            return cast(Hasher, hashlib.new(name, usedforsecurity=False))


def stated(name: str) -> Hasher:
    """A fresh hasher for what a service states of an object: any but ``none``, also ``crc32`` and ``crc32c``.

    Raises USAGE for an unknown name.
    """
    if name == "crc32":
        import zlib

        return _Crc(zlib.crc32, 4)
    if name == "crc32c":
        return _Crc(_awscrt("crc32c"), 4)
    hasher = new(name)
    if hasher is None:
        raise usage("a checksum that is compared cannot be none")
    return hasher


def one_shot(name: str) -> Callable[[Data], bytes] | None:
    """The fastest function from one small buffer to its digest, or None for ``none``.

    The function holds no state: threads may share it. (A hasher that is reset instead of made anew would
    save a sixth of blake3's time for 4 KB, and mix up files when two threads meet in it.)
    Raises USAGE for an unknown name.
    """
    match check(name):
        case "none":
            return None
        case "blake3":
            from blake3 import blake3

            return lambda data: blake3(data).digest()
        case "xxh3":
            import xxhash

            return cast(Callable[[Data], bytes], xxhash.xxh3_128_digest)
        case "crc64":
            crc = _crc64()
            return lambda data: crc(data).to_bytes(8, "big")
        case "blake2b":
            make = blake2b
            return lambda data: make(data).digest()
        case _:
            import hashlib

            openssl = getattr(hashlib, name)
            return lambda data: openssl(data, usedforsecurity=False).digest()


def hex(digest: bytes) -> str:
    """A digest as people and audit logs see it: lower-case hexadecimal digits."""
    return digest.hex()


def _crc64() -> Callable[..., int]:
    return _awscrt("crc64nvme")


def _awscrt(name: str) -> Callable[..., int]:
    # Imported when first wanted: the library takes 70 ms, more than all the others together.
    try:
        checksums = importlib.import_module("awscrt.checksums")
    except ImportError as error:
        raise DunlinError(
            "compute the checksum", name, ErrorKind.UNSUPPORTED, "awscrt is not installed", "pip install awscrt"
        ) from error
    return cast(Callable[..., int], getattr(checksums, name))


class _Crc:
    __slots__ = ("_bytes", "_crc", "_value")

    def __init__(self, crc: Callable[..., int], size: int) -> None:
        self._crc = crc
        self._bytes = size
        self._value = 0

    def update(self, data: Data, /) -> None:
        self._value = self._crc(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._bytes, "big")

    def hexdigest(self) -> str:
        return self.digest().hex()


_POLYNOMIAL = 0x9A6C9329AC4BC9B5  # CRC-64/NVME, reflected: bit 63 is x^0, bit 0 is x^63
_ONE = 1 << 63


def _multiply(a: int, b: int) -> int:
    """a * b modulo the polynomial, both reflected."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFFFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def combine_crc64(a: bytes, b: bytes, len_b: int) -> bytes:
    """The crc64 of a message whose first part has digest `a` and whose other `len_b` bytes have digest `b`."""
    if len_b < 0:
        raise ValueError(f"a part cannot have {len_b} bytes")
    shift, square = _ONE, _ONE >> 8  # x^0 and x^8: one byte
    while len_b:
        if len_b & 1:
            shift = _multiply(shift, square)
        square = _multiply(square, square)
        len_b >>= 1
    value = _multiply(int.from_bytes(a, "big"), shift) ^ int.from_bytes(b, "big")
    return value.to_bytes(8, "big")
