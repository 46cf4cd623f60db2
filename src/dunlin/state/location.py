"""Where the state file lives, and which files are our own and therefore never synced nor deleted."""

from __future__ import annotations

import os
from typing import NamedTuple

DEFAULT_NAME = ".sync-state.db"
FALLBACK_NAME = "sync-state.db"
SIDECARS = ("", "-wal", "-shm", "-journal")


class Location(NamedTuple):
    """Where the state is. `path`: None for a private temporary file. `note`: one line for the user, or ""."""

    path: str | None
    note: str = ""


def locate(option: str | None, directory: str, user_state: str) -> Location:
    """Decide where the state file is; makes nothing.

    Args:
        option: what ``--state-db`` says: a path, "none", or None when it was not given.
        directory: where dunlin was started; the default file is ``.sync-state.db`` in it.
        user_state: the user's state directory for dunlin, used when the default file cannot be written.
            The caller makes it before opening the file.
    """
    if option == "none":
        return Location(None)
    if option:
        return Location(os.path.join(directory, option))
    path = os.path.join(directory, DEFAULT_NAME)
    # SQLite needs the directory too, for its journal
    usable = os.access(directory, os.W_OK | os.X_OK)
    if usable and os.path.lexists(path):
        usable = os.access(path, os.W_OK)
    if usable:
        return Location(path)
    fallback = os.path.join(user_state, FALLBACK_NAME)
    return Location(fallback, f"{path} cannot be written: the state is kept in {fallback}")


def own_files(path: str | None) -> list[str]:
    """The state file and the files that SQLite keeps beside it, whether they exist or not."""
    return [] if path is None else [path + suffix for suffix in SIDECARS]
