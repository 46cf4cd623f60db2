"""What was read from a repository stays in a directory of the user, readable by nobody else: a copy, and never more.

    {directory}/{id of the repository}/{key of the object}

Objects never change, so a copy is good for as long as the object is there. It may be lost at any moment, and a disk
that is full or may not be written to is no error: then it is read from the store again. Nothing here is flushed, since
a backup would wait for that: after a power cut a copy can be short, empty or full of zeros. Whoever reads one must be
able to tell; then it is dropped, and read from the store once more (`repository.Repository.parsed`).
"""

from __future__ import annotations

import mmap
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

Unpacked = bytes | mmap.mmap
"""The bytes of an object: in memory, or mapped into it."""

_MAPPED = 1 << 20
"""Bytes from which a file is mapped. A mapping holds a descriptor; there may be thousands of small files."""

_LEFT = 86400.0
"""Seconds after which a temporary file is nobody's."""


class Cache:
    """Copies of objects of one repository. Threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: str) -> Path | None:
        """Where the copy of an object lies, if there is one."""
        path = self._folder / key
        return path if path.exists() else None

    def get(self, key: str) -> Unpacked | None:
        """The copy of an object, or None. What is wrong with it is for the caller to see."""
        try:
            with open(self._folder / key, "rb") as file:
                if os.fstat(file.fileno()).st_size < _MAPPED:
                    return file.read()
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None

    def put(self, key: str, pieces: Iterable[bytes]) -> None:
        """Keep a copy, whole or not at all. Raises what `pieces` raises."""

        def write(temp: Path) -> None:
            with open(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(pieces)

        self._place(key, write)

    def adopt(self, key: str, path: Path) -> None:
        """Take a file as the copy of an object; it is moved or left alone."""

        def move(temp: Path) -> None:
            shutil.move(path, temp)
            os.chmod(temp, 0o600)

        self._place(key, move)

    def drop(self, key: str) -> None:
        """Throw a copy away."""
        with suppress(OSError):
            (self._folder / key).unlink(missing_ok=True)

    def names(self, directory: str) -> set[str]:
        """The last parts of the keys right below `directory` of which there are copies."""
        try:
            with os.scandir(self._folder / directory) as found:
                return {each.name for each in found if not each.name.startswith(".") and each.is_file()}
        except OSError:
            return set()

    def keep(self, directory: str, names: Collection[str]) -> None:
        """Throw away what lies right below `directory`, but for these names and what is being written."""
        with suppress(OSError), os.scandir(self._folder / directory) as found:
            for each in found:
                if each.name.startswith("."):
                    if not each.name.endswith(".tmp") or time.time() - each.stat().st_mtime < _LEFT:
                        continue
                elif each.name in names or not each.is_file():
                    continue
                os.unlink(each.path)

    def _place(self, key: str, fill: Callable[[Path], None]) -> None:
        path = self._folder / key
        temp = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                fill(temp)
                os.replace(temp, path)
            finally:
                temp.unlink(missing_ok=True)
