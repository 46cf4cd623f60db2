"""The rows of the table, in its order. A row is a function from the context to a measured ``Row``."""

from __future__ import annotations

from collections.abc import Callable

from bench.context import Context
from bench.results import Row
from bench.rows import copies, faults, limits, listing, mounts, objects, small

ROWS: dict[str, Callable[[Context], Row]] = {
    "small": copies.small,
    "onedir": copies.onedir,
    "again": copies.again,
    "big": copies.big,
    "duplex": limits.duplex,
    "bwlimit": limits.bwlimit,
    "latency": mounts.latency,
    "million": copies.million,
    "ten": small.ten,
    "hashes": small.hashes,
    "azure10k": objects.azure10k,
    "s3small": objects.s3small,
    "s3big": objects.s3big,
    "list100k": listing.list100k,
    "again100k": listing.again100k,
    "list1m": listing.list1m,
    "faults": faults.through_faults,
}
