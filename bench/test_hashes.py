"""Throughput of every checksum: for small files (4 KiB in one call) and for streams (64 MiB in 256 KiB blocks).

Run: pytest bench/test_hashes.py --benchmark-group-by=group --benchmark-columns=median,ops
The extra column ``GB_per_s`` is in the JSON output (--benchmark-json).
"""

from __future__ import annotations

from typing import Any

import pytest

from dunlin import hashing

NAMES = [name for name in hashing.ALGORITHMS if name != "none"]
SMALL = 4096
BLOCK, BLOCKS = 256 * 1024, 256


@pytest.mark.benchmark(group="4 KiB files")
@pytest.mark.parametrize("name", NAMES)
def test_small_files(benchmark: Any, name: str) -> None:
    once = hashing.one_shot(name)
    assert once is not None
    data = memoryview(bytearray(range(256)) * (SMALL // 256))
    digest = benchmark.pedantic(once, (data,), rounds=20, iterations=2000, warmup_rounds=1)
    if benchmark.enabled:  # in `make test` nothing is measured
        benchmark.extra_info["GB_per_s"] = round(SMALL / benchmark.stats.stats.median / 1e9, 2)
    assert len(digest) == hashing.size(name)


@pytest.mark.benchmark(group="64 MiB streams")
@pytest.mark.parametrize("name", NAMES)
def test_streams(benchmark: Any, name: str) -> None:
    data = memoryview(bytearray(range(256)) * (BLOCK // 256))

    def stream() -> bytes:
        hasher = hashing.new(name)
        assert hasher is not None
        for _ in range(BLOCKS):
            hasher.update(data)
        return hasher.digest()

    digest = benchmark.pedantic(stream, rounds=5, iterations=1, warmup_rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["GB_per_s"] = round(BLOCK * BLOCKS / benchmark.stats.stats.median / 1e9, 2)
    assert len(digest) == hashing.size(name)
