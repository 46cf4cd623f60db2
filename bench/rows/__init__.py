"""The rows of the table, in its order. A row is a function from the context to a measured ``Row``."""

from __future__ import annotations

from collections.abc import Callable

from bench.context import Context
from bench.results import Row
from bench.rows import (
    azfiles,
    backups,
    billion,
    chaos,
    copies,
    faults,
    index,
    limits,
    listing,
    mounts,
    objects,
    publishing,
    queues,
    scale,
    small,
    spread,
    strain,
)

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
    "sharelist": azfiles.sharelist,
    "faults": faults.through_faults,
    "scale-again": scale.again,
    "scale-generated": scale.generated,
    "scale-onedir": scale.one_directory,
    "scale-failing": strain.failing,
    "scale-caps": strain.caps,
    "queue": queues.queue,
    "queue-clients": queues.clients,
    "spread": spread.spread,
    "chaos": chaos.chaos,
    "publish": publishing.publish,
    "api": publishing.api,
    "index": index.index,
    "backup-small": backups.small,
    "backup-large": backups.large,
    "backup-memory": backups.memory,
    "backup-azfiles": backups.azfiles,
    "backup-billion": billion.billion,
}
