"""Cuts the content of larger files into chunks, by what it holds: FastCDC.

A cut is made where a rolling hash of the last bytes has some zero bits, so a byte that is put in moves the cuts
behind it along with the content: all chunks but one or two are those that are stored already. FastCDC (Xia et al.,
"The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 2020) skips the
least length, and asks for more zero bits before the average length than behind it, which keeps lengths together.

The table of the rolling hash is seeded for each tenant (`keys.TenantKeys.seed`): else lengths of chunks would tell
which well-known file was stored. That is no cipher. Somebody who can have files of their choice stored next to secret
ones, and sees lengths, may learn the seed in the end; packs hide lengths from all but who can list frames.

A cut depends on the bytes since the one before and on nothing else, so content is looked at in windows: all chunks of
a window but the last are final, and the last is looked at again with what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from blake3 import blake3

from dunlin.backup.words import ChunkId

WINDOW = 8 << 20
"""Bytes of content in memory; at least twice the longest chunk."""


class Sizes(NamedTuple):
    """Least, average and greatest length of a chunk, bytes."""

    least: int = 256 << 10
    average: int = 1 << 20
    greatest: int = 4 << 20


SIZES = Sizes()


class Fill(Protocol):
    def __call__(self, space: memoryview, /) -> int:
        """Put the next bytes of the content into `space`; how many there were, 0 at the end."""


class Chunker:
    """Cuts contents, one after the other; one for each thread.

    Args:
        seed: of the tenant.
        sizes: of the repository; with other ones nothing is found again.
    """

    __slots__ = ("_cdc", "_sizes", "_space")

    def __init__(self, seed: int, sizes: Sizes = SIZES) -> None:
        from pyfastcdc import FastCDC  # who only reads what was stored needs none of it

        self._cdc = FastCDC(sizes.average, min_size=sizes.least, max_size=sizes.greatest, seed=seed)
        self._sizes = sizes
        self._space = bytearray()

    def cut(self, fill: Fill) -> Iterator[memoryview]:
        """The chunks of a content; each is a view that the next step of the iteration overwrites."""
        if not self._space:
            self._space = bytearray(max(WINDOW, 2 * self._sizes.greatest))
        space = memoryview(self._space)
        held, ended = 0, False
        while not ended:
            held, ended = _fill(fill, space, held)
            start = 0
            for chunk in self._cdc.cut_buf(space[:held]):
                if chunk.offset + chunk.length == held and not ended:
                    break
                yield space[chunk.offset : chunk.offset + chunk.length]
                start = chunk.offset + chunk.length
            space[: held - start] = bytes(space[start:held])
            held -= start


def identify(key: bytes) -> Callable[[bytes | memoryview], ChunkId]:
    """The function from the content of a chunk to its id, for the tenant whose key of chunk ids this is."""
    return lambda data: blake3(data, key=key).digest()


def identifier(key: bytes) -> Callable[[bytes | memoryview], ChunkId]:
    """The same function for one thread that has many chunks to identify: three quarters of the time for a small one."""
    hasher = blake3(key=key)
    reset, update, digest = hasher.reset, hasher.update, hasher.digest

    def identify(data: bytes | memoryview) -> ChunkId:
        reset()
        update(data)
        return digest()

    return identify


def _fill(fill: Fill, space: memoryview, held: int) -> tuple[int, bool]:
    """Bytes in `space` after it was filled, and whether the content has ended."""
    while held < len(space):
        count = fill(space[held:])
        if not count:
            return held, True
        held += count
    return held, False
