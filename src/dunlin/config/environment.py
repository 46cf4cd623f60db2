"""Variables that stand for options, and the user's directories.

    DUNLIN_<FLAG>    the value of an option that the command line does not give: DUNLIN_BLOCK_SIZE=1M is
                     --block-size 1M. "" means off; where a number may be found out by the program 0 means automatic.
    DUNLIN_<SECTION>_<KEY>    the same by the name in the configuration file: DUNLIN_PERFORMANCE_BANDWIDTH_LIMIT
    getblobz_…, SYNC4LOONG_…  the same, for people who come from there; `settings` tells them the new name
    XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR
                     XDG Base Directory Specification 0.8: relative values are ignored
    NO_COLOR, TERM   no-color.org; terminfo's names of terminals that can move the cursor
"""

from __future__ import annotations

import os
import sys

PREFIX = "DUNLIN_"


def variable_name(flag: str) -> str:
    """The variable that stands for an option: ``--block-size`` is ``DUNLIN_BLOCK_SIZE``."""
    return PREFIX + flag.lstrip("-").replace("-", "_").upper()


def variable(flag: str) -> str | None:
    """What the environment says for an option; None when it says nothing."""
    return os.environ.get(variable_name(flag))


def user_config_dir() -> str:
    """The user's directory for configuration files; it need not exist."""
    if sys.platform == "win32":
        return os.path.join(os.environ.get("APPDATA") or os.path.expanduser("~"), "dunlin")
    base = _absolute("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "dunlin")


def user_state_dir() -> str:
    """The user's directory for dunlin's state; it need not exist yet."""
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~"), "dunlin")
    base = _absolute("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "dunlin")


def user_cache_dir() -> str:
    """The user's directory for what can be fetched again; it need not exist yet."""
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~"), "dunlin", "cache")
    base = _absolute("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "dunlin")


def repository_cache(given: object) -> str | None:
    """The directory for what was read of repositories and can be fetched again; None: nothing is kept.

    `given`: what ``--cache`` or its key says: a directory, or "none" or "" for nothing; None: they say nothing.
    """
    if given is None:
        return os.path.join(user_cache_dir(), "repositories")
    return None if given in ("", "none") else str(given)


def runtime_dir() -> str:
    """Where locks lie: the user's runtime directory, else the system's directory for temporary files.

    A job of cron has no XDG_RUNTIME_DIR although the directory is there; both must find each other's locks.
    """
    places = [_absolute("XDG_RUNTIME_DIR")]
    if hasattr(os, "getuid"):
        places.append(f"/run/user/{os.getuid()}")
        # What `tempfile` would answer almost anywhere; to import it takes longer than to look through a small tree.
        places += [_absolute("TMPDIR")] if "TMPDIR" in os.environ else ["/tmp"]
    for place in places:
        if place and os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    import tempfile

    return tempfile.gettempdir()


def color() -> bool:
    """Whether colours are welcome (``NO_COLOR`` is unset or empty)."""
    return not os.environ.get("NO_COLOR")


def moves_cursor() -> bool:
    """Whether a terminal of the kind that ``TERM`` names can be drawn on."""
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown") or sys.platform == "win32"


def _absolute(name: str) -> str | None:
    value = os.environ.get(name)
    return value if value and os.path.isabs(value) else None
