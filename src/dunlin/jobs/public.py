"""What of the options of a run is put on record, for whoever continues, repeats or shows it."""

from __future__ import annotations

import os
from typing import Any

from dunlin.hashing import blake2b
from dunlin.jobs.options import Again, SyncOptions
from dunlin.jobs.pair import selection_hash
from dunlin.plan import Policy
from dunlin.stores.open import shown_place
from dunlin.transfer import Options as Transfer

_POLICY = ("compare", "window", "update", "skip_existing", "links", "specials", "devices", "perms", "owner", "group",
           "hard_links", "attributes")  # fmt: skip
_TRANSFER = ("checksum", "block_size", "queue_capacity", "buffer_bytes", "in_place", "sparse", "fsync", "perms",
             "owner", "group", "xattrs", "acls", "hard_links", "attempts")  # fmt: skip
_OTHERS = ("begin", "batch_size", "verify", "backup_dir")


def rules_of(options: SyncOptions) -> str:
    """A fingerprint of what decides about files: what an interrupted run finished under other rules is not finished."""
    if options.again is not None:
        return options.again.rules
    deciding = (options.policy._replace(delete=False), options.transfer.xattr_space)
    return blake2b(repr(deciding).encode(), digest_size=8).hexdigest()


def public_of(options: SyncOptions) -> dict[str, object]:
    """The options as they are put on record. They hold no secrets: places are without their logins."""
    public: dict[str, object] = {
        "mode": options.mode,
        "compare": options.policy.compare,
        "checksum": options.transfer.checksum,
        "delete": options.policy.delete,
        "attempts": options.transfer.attempts,
        "rules": rules_of(options),
        "pid": os.getpid(),
        "watch": options.watch is not None,
        "selection": selection_of(options),
        "places": [shown_place(options.source), shown_place(options.destination)],
        # Most have their usual values, and there is a row for each run.
        "how": {
            "policy": _unusual(options.policy, Policy(), _POLICY),
            "transfer": _unusual(options.transfer, Transfer(), _TRANSFER),
            "others": _unusual(options, SyncOptions("", ""), _OTHERS),
        },
    }
    if options.again is not None:
        public["retry"] = list(options.again.runs)
    return public


def selection_of(options: SyncOptions) -> str:
    """A fingerprint of the files that are selected."""
    return options.again.selection if options.again is not None else selection_hash(options)


def as_before(options: SyncOptions, public: dict[str, Any], runs: tuple[int, ...]) -> SyncOptions | None:
    """The options with what `public_of` put on record of a run, to try again what failed in `runs`.

    None where the run was made by a version that did not put it on record.
    """
    how = public.get("how")
    if not how:
        return None
    return options._replace(
        policy=Policy()._replace(**_known(how["policy"], _POLICY)),
        transfer=options.transfer._replace(**_known(how["transfer"], _TRANSFER)),
        again=Again(runs, str(public.get("selection", "")), str(public.get("rules", ""))),
        **_known(how["others"], _OTHERS),
    )


def _unusual(values: Any, usual: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(values, name) for name in names if getattr(values, name) != getattr(usual, name)}


def _known(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
