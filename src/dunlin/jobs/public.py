"""What of the options of a run is put on record, for whoever continues or shows it."""

from __future__ import annotations

import os

from dunlin.hashing import blake2b
from dunlin.jobs.options import SyncOptions


def rules_of(options: SyncOptions) -> str:
    """A fingerprint of what decides about files: what an interrupted run finished under other rules is not finished."""
    deciding = (options.policy._replace(delete=False), options.transfer.xattr_space)
    return blake2b(repr(deciding).encode(), digest_size=8).hexdigest()


def public_of(options: SyncOptions) -> dict[str, object]:
    """The options as they are put on record; they hold no secrets for local places."""
    return {
        "mode": options.mode,
        "compare": options.policy.compare,
        "checksum": options.transfer.checksum,
        "delete": options.policy.delete,
        "rules": rules_of(options),
        "pid": os.getpid(),
        "watch": options.watch is not None,
    }

