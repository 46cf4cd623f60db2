"""Writing a page to a file: whole or not at all, and never over something else."""

from __future__ import annotations

import os
from contextlib import suppress

from dunlin.errors import DunlinError, ErrorKind, translate, usage
from dunlin.web.history import MARK

_WHAT = "write the page"


def check(path: str, force: bool) -> None:
    """Refuse what `write` would refuse, before anything is gathered. Raises USAGE, DENIED and their like."""
    try:
        if os.path.isdir(path):
            raise DunlinError(_WHAT, path, ErrorKind.USAGE, "it is a directory", "name a file")
        if not force and os.path.lexists(path) and not _is_ours(path):
            raise usage(f"{path} is there already, and is no history", "--force replaces it, or name another file")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise DunlinError(_WHAT, path, ErrorKind.NOT_FOUND, "there is no such directory", "make it first")
    except OSError as error:
        raise translate(error, _WHAT, path) from error


def write(path: str, text: str, force: bool = False) -> None:
    """Write `text` to `path`; what is there is replaced if it is such a page itself, or with `force`.

    Raises USAGE when it is something else; DENIED, NO_SPACE and their like.
    """
    check(path, force)
    part = f"{path}.part-{os.getpid()}"
    try:
        try:
            with open(part, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
    except OSError as error:
        raise translate(error, _WHAT, path) from error


def _is_ours(path: str) -> bool:
    """Whether a file begins as a page does. What is no plain file is never read: a FIFO would keep us waiting."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK.encode()
