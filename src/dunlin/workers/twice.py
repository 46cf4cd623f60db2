"""Directories that are done for a second time after a part of what is in them was told: every name counts once."""

from __future__ import annotations

from collections import Counter

_SEEN = (
    *("scanned_files", "scanned_directories", "scanned_bytes", "equal_files", "equal_bytes", "skipped_files"),
    *("extra_files", "extra_directories", "missing_files", "missing_directories", "differing_files", "verified_files"),
    *("pending_files", "pending_bytes", "vanished_files", "failed_files"),
)
"""Counts of names that were looked at, whatever was done about them. Not the errors, which speak against deleting."""

_DONE = ("copied_files", "created_links", "created_specials", "metadata_entries")
"""Counts of names that are in sync when they are seen for a second time."""


def owed_for(told: Counter[str]) -> Counter[str]:
    """What is to be taken off the counts of the second time, where `told` was counted before."""
    owed = Counter({name: told[name] for name in _SEEN})
    owed["equal_files"] += sum(told[name] for name in _DONE)
    owed["equal_bytes"] += told["copied_bytes"]
    return owed


def settle(owed: Counter[str], counts: Counter[str]) -> None:
    """Take what is owed off `counts`, as far as they go; what is left is owed still."""
    for name in owed:
        paid = min(owed[name], counts[name])
        if paid:
            owed[name] -= paid
            counts[name] -= paid
