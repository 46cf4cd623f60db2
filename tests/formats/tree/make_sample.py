"""Makes segment-N-*.tree.gz for the current format: once, when a format is new. A stored sample is never changed.

PYTHONPATH=src python tests/formats/tree/make_sample.py
"""

from __future__ import annotations

import gzip
import os
import tempfile

from dunlin.backup.tree.build import FILE, SegmentWriter
from dunlin.backup.tree.columns import CHANGED, NO_CONTENT, RAW, VERSION, ZSTD

HERE = os.path.dirname(__file__)
DAY = 86_400 * 10**9
LINK = 0o120000 >> 12


def raw(path: str) -> None:
    """A base: names as they are, node ids far apart, everything that needs a short column."""
    with SegmentWriter(path, names=RAW) as writer:
        writer.add_directory(1, 0, b"", 1_700_000_000_123_456_700, 0x1111, CHANGED)
        writer.add_directory(1 << 62, 1, "Überblick".encode(), -DAY, 0x2222)
        writer.add_directory(3, 1, b"caf\xe9", 200 * 365 * DAY, 0x3333)
        writer.add_directory(4, 1 << 62, b"empty", 5, 0x4444)
        writer.add_run(
            1, b"B" * 300 + b"big" + b"newold\xff", [300, 3, 3, 3, 1], [9_007_199_254_740_993, 11, 12, 13, 14],
            [5 << 40, (1 << 32) - 1, (1 << 32) - 2, 0, 7], [1, 17_000_000_000_000_001, 200 * 365 * DAY // 100, -1, 0],
            [0xAE8B14860A799888, 1, 2, 3, 4], [FILE, FILE | NO_CONTENT, FILE | CHANGED, LINK, FILE], [5, 6, 7, 8, 9],
        )  # fmt: skip
        writer.add_run(3, b"one", [3], [20], [42], [0], [43], [FILE], [44])
        writer.add_run(4, b"", [], [], [], [])
        writer.finish()


def delta(path: str) -> None:
    """Over it: names in frames, near node ids, columns of one value, a row without a run, a removed directory."""
    names = [b"%03d.txt" % number for number in range(200)]
    with SegmentWriter(path, names=ZSTD) as writer:
        writer.add_directory(1 << 62, 1, b"renamed", -DAY, 0x2222, files=0, size=0, check=0)
        writer.add_directory(4, 1 << 62, b"full", 5, 0x4445)
        writer.add_run(
            4, b"".join(names), [7] * 200, range(100, 300), range(200), [10**7] * 200, [7] * 200, None, [8] * 200
        )
        writer.remove(3)
        writer.finish()


if __name__ == "__main__":
    for what, make in (("raw", raw), ("zstd", delta)):
        with tempfile.TemporaryDirectory() as directory:
            made = os.path.join(directory, "sample")
            make(made)
            with open(made, "rb") as file:
                packed = gzip.compress(file.read(), 9, mtime=0)
        # "x": an existing sample is never overwritten
        with open(os.path.join(HERE, f"segment-{VERSION}-{what}.tree.gz"), "xb") as file:
            file.write(packed)
