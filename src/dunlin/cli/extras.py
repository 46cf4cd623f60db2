"""Packages that only some commands need: the launcher's environment gets them when the first one is missing.

`./dunlin` makes an environment with the core alone. Whoever needs more imports it where it is used, so the way to
know what is missing is the `ImportError` at the beginning of a chain of errors: no list of commands, logins or URLs
has to agree with what the stores import. In an environment that the launcher made, scripts/add.sh then adds the
extra, and the same command takes the place of this process, once: the new one is told which extra it got, and says
what is missing like any other program when it still is. By then nothing has been done, because a run opens its stores
before everything else, and the locks of the first attempt go with its descriptors.

An environment that pip made is left alone; the error has the command that adds the extra.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import click

from dunlin import config
from dunlin.stores.open import local_path

EXTRAS = {
    "azure": "cloud",
    "boto3": "cloud",
    "botocore": "cloud",
    "cronsim": "web",
    "cryptography": "backup",
    "flatbuffers": "backup",
    "google": "cloud",
    "litestar": "web",
    "numpy": "backup",
    "psycopg": "queue",
    "pyfastcdc": "backup",
    "redis": "queue",
    "requests": "cloud",
    "textual": "tui",
    "uvicorn": "web",
    "watchfiles": "watch",
    "zstandard": "backup",
}
"""The extra that brings a package."""

STAMP = ".dunlin-core"
"""The file in an environment of the launcher that ends with the path of its checkout (scripts/environment.sh)."""


def missing(error: BaseException) -> str:
    """The extra whose absence led to an error, or ""."""
    link: BaseException | None = error
    seen: list[BaseException] = []
    while link is not None and link not in seen:
        if isinstance(link, ImportError) and link.name:
            return EXTRAS.get(link.name.partition(".")[0], "")
        seen.append(link)
        link = link.__cause__ or link.__context__
    return ""


def addable(error: BaseException) -> bool:
    """Whether `begin_again` would try to add what is missing."""
    extra = missing(error)
    return bool(extra) and f"dunlin_{extra}" not in sys._xoptions and _checkout() is not None


def begin_again(error: BaseException) -> int | None:
    """Add what is missing and run the same command in place of this process.

    Returns None when nothing can be added, else the exit code with which to end: why it ends has been said.
    """
    if not addable(error):
        return None
    extra = missing(error)
    added = _add(extra)
    if isinstance(added, int):
        return added
    if not _input_was_read():
        _replace(added, extra)
    click.echo("dunlin: run the command again: standard input, with the names, has been read", err=True)
    return 1


def prepare_watch(source: str) -> None:
    """Have the extra `watch` for a local source.

    Watching goes on without it, at intervals: the run need not end because it could not be added.
    """
    if local_path(source) is None or importlib.util.find_spec("watchfiles") is not None:
        return
    if "dunlin_watch" not in sys._xoptions and _checkout() is not None:
        added = _add("watch")
        if added == 130:
            raise KeyboardInterrupt
        importlib.invalidate_caches()
        elsewhere = isinstance(added, str) and importlib.util.find_spec("watchfiles") is None
        if elsewhere and not _input_was_read():
            _replace(str(added), "watch")


def _checkout() -> Path | None:
    """The checkout whose launcher started us; None for any other way to run dunlin."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is None or main.name != "dunlin.__main__":
        return None
    try:
        words = os.fsdecode(Path(sys.prefix, STAMP).read_bytes()).rstrip("\n").split(" ", 3)
    except OSError:
        return None
    return Path(words[3]) if len(words) == 4 else None


def _add(extra: str) -> str | int:
    """The interpreter of the environment that has the extra now, or the exit code of the attempt."""
    import subprocess

    script = Path(_checkout() or "", "scripts", "add.sh")
    try:
        done = subprocess.run(["/bin/sh", script, extra], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    except KeyboardInterrupt:
        return 130
    if done.returncode:
        return done.returncode if done.returncode > 0 else 128 - done.returncode  # as a shell tells of a signal
    return os.fsdecode(done.stdout).rstrip("\n")


def _replace(python: str, extra: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(python, [python, "-X", f"dunlin_{extra}", *sys.orig_argv[1:]])


def _input_was_read() -> bool:
    """Whether names came from standard input and are gone: a file is read again from its beginning, a pipe is not."""
    words = sys.argv[1:]
    asked = ("--files-from", "-") in pairwise(words) or "--files-from=-" in words
    return (asked or config.variable("--files-from") == "-") and not stat.S_ISREG(os.fstat(0).st_mode)
