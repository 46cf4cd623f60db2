"""From a path below the root to an open descriptor of its directory, without ever following a link.

Why not simply open ``root + "/" + path``? Three reasons. Somebody may plant a symbolic link in the
middle of a path while we work, and the kernel would follow it out of the tree; `O_NOFOLLOW` guards
only the last component. A path of more than 4,096 bytes cannot be handed to the kernel at all, but
trees 10,000 levels deep exist. And every component costs the kernel a look-up, again for every file.

So directories are opened one component at a time, each relative to its parent's descriptor with
`O_NOFOLLOW | O_DIRECTORY`, and the descriptors are kept for a while. A path is resolved from its
nearest ancestor that is still open: one `open` per directory when a tree is visited in order. Of a
very long path the last part is kept, and some rungs evenly spaced above it, so that the way back up
from 10,000 levels starts from a rung each time and not from the root.

A kept descriptor goes on naming the directory that it was opened on, even when that was renamed or
removed. Therefore nothing is kept for longer than a second: what a live look says may be that old.
The root is opened by its path each time, and must stay the directory it was: when an unmount turns
it into the empty mount point below, that is an error, not an empty tree.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

from dunlin.errors import DunlinError, ErrorKind, translate

CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
O_PATH: int = getattr(os, "O_PATH", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | CLOEXEC
_COMPONENT = _ROOT | NOFOLLOW

_UNFIT = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|\0")
_UNRESERVED = re.compile(r"[0-9A-Za-z_.~/-]*")
"""What a URL holds as it is (RFC 3986); nearly every path is of these."""


def check_path(path: str, root: str = "") -> str:
    """`path` if it stays below the root: no empty, ``.`` or ``..`` component, no NUL. Raises NAME."""
    if path:
        # The plain searches settle nearly every path; the pattern takes 100 µs for one of 20,000 characters.
        suspect = path[0] in "./" or path[-1] == "/" or "/." in path or "//" in path or "\0" in path
        if suspect and _UNFIT.search(path):
            raise DunlinError("use the name", where(root, path), ErrorKind.NAME, "a local path cannot hold it")
        if not path.isascii():
            try:
                path.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                reason = "it cannot be written in UTF-8"
                raise DunlinError("use the name", where(root, ascii(path)), ErrorKind.NAME, reason) from error
    return path


def where(root: str, path: str) -> str:
    """The path as people know it, for messages."""
    return f"{root.rstrip('/')}/{path}" if path else root


def split(path: str) -> tuple[str, str]:
    """The directory and the last name of `path`."""
    directory, _, name = path.rpartition("/")
    return directory, name


def _is_above(key: str, path: str) -> bool:
    return not key or (path.startswith(key) and path[len(key) : len(key) + 1] == "/")


def file_url(path: str) -> str:
    """The canonical URL of a local path: absolute, links resolved, undecodable bytes escaped."""
    real = os.path.realpath(path)
    if os.sep != "/":
        real = "/" + real.replace(os.sep, "/")
    if not _UNRESERVED.fullmatch(real):
        from urllib.parse import quote

        real = quote(os.fsencode(real))
    return "file://" + real


class _Held:
    """One open directory: a context manager that yields its descriptor."""

    __slots__ = ("_keeper", "dropped", "fd", "path", "users")

    def __init__(self, keeper: DirFds, path: str, fd: int) -> None:
        self._keeper = keeper
        self.path = path
        self.fd = fd
        self.users = 1
        self.dropped = False

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._keeper.give_back(self)


class DirFds:
    """Open directories of one tree; see the module docstring. Safe to use from many threads.

    Args:
        root: the tree's root, absolute or relative to the working directory; links in it are followed.
        keep: how many descriptors stay open while nobody uses them.
        max_age: seconds after which the kept descriptors are opened anew.
        clock: seconds that never go back.
    """

    def __init__(
        self, root: str, *, keep: int = 64, max_age: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = root
        self.devices: dict[int, str] = {}
        self._keep = keep
        self._max_age = max_age
        self._clock = clock
        self._opened = clock()
        self._kept: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None

    def open(self, path: str) -> _Held:
        """``with dirs.open(path) as fd``: a descriptor of the directory, for ``dir_fd=``.

        It is shared: do not list with it (`os.scandir` moves its offset) and do not close it.
        Raises NOT_FOUND when there is no such directory, CHANGED when a link stands in its place, DENIED, NAME.
        """
        held = self._known(path)
        if held is None:
            check_path(path, self.root)
            held = self._descend(path)
        return held

    def fresh(self, path: str) -> _Held:
        """Like `open`, but the last component is opened anew, and nobody else moves the descriptor's offset."""
        check_path(path, self.root)
        if not path:
            return self._remember(self._open_root())
        parent, name = split(path)
        with self.open(parent) as fd:
            return self._remember(self._open_component(fd, path, name, readable=True))

    def forget(self, path: str) -> None:
        """`path` was removed or renamed: let go of it and of everything below."""
        below = path + "/" if path else ""
        with self._lock:
            for key in [key for key in self._kept if key == path or key.startswith(below)]:
                self._drop(self._kept.pop(key))

    def close(self) -> None:
        """Let go of every descriptor; those in use are closed when they are given back."""
        self.forget("")

    def __del__(self) -> None:
        """A tree that was let go without `close` uses up no descriptors."""
        if hasattr(self, "_lock"):
            self.forget("")

    def give_back(self, held: _Held) -> None:
        """One user of `held` is done with it."""
        with self._lock:
            held.users -= 1
            if held.dropped and held.users == 0:
                os.close(held.fd)

    def _drop(self, held: _Held) -> None:
        held.dropped = True
        if held.users == 0:
            os.close(held.fd)

    def _known(self, path: str) -> _Held | None:
        with self._lock:
            now = self._clock()
            if now - self._opened > self._max_age:
                self._opened = now
                while self._kept:
                    self._drop(self._kept.popitem()[1])
            held = self._kept.get(path)
            if held is not None:
                held.users += 1
                self._kept.move_to_end(path)
            return held

    def _nearest(self, path: str) -> _Held | None:
        """The deepest open ancestor: nearly always the parent, else found among the few that are kept."""
        with self._lock:
            best = self._kept.get(split(path)[0])
            if best is None:
                above = [key for key in self._kept if _is_above(key, path)]
                # All of them lead to where work goes on now: they outlive whatever lies elsewhere.
                for key in sorted(above, key=len):
                    self._kept.move_to_end(key)
                    best = self._kept[key]
            if best is not None:
                best.users += 1
            return best

    def _descend(self, path: str) -> _Held:
        held = self._nearest(path) if path else None
        if held is None:
            held = self._remember(self._open_root())
        if not path:
            return held
        position = len(held.path) + 1 if held.path else 0
        names = path[position:].split("/")
        share = max(1, self._keep // 4)
        tail, stride = len(names) - share, max(1, len(names) // share)
        for number, name in enumerate(names):
            position += len(name)
            with held as fd:
                below = self._open_component(fd, path[:position], name)
            held = below
            if number >= tail or number % stride == stride - 1:
                self._remember(held)
            else:
                held.dropped = True
            position += 1
        return held

    def _remember(self, held: _Held) -> _Held:
        with self._lock:
            older = self._kept.pop(held.path, None)
            if older is not None:
                self._drop(older)
            self._kept[held.path] = held
            while len(self._kept) > self._keep:
                self._drop(self._kept.popitem(last=False)[1])
        return held

    def _open_root(self) -> _Held:
        try:
            fd = os.open(self.root, _ROOT)
        except OSError as error:
            raise translate(error, "open the directory", self.root) from error
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        if self._identity not in (None, identity):
            os.close(fd)
            reason = "another directory stands there now; was it unmounted?"
            raise DunlinError("open the directory", self.root, ErrorKind.CHANGED, reason)
        self._identity = identity
        self.devices.setdefault(status.st_dev, "")
        return _Held(self, "", fd)

    def _open_component(self, parent: int, path: str, name: str, readable: bool = False) -> _Held:
        try:
            fd = self._open_directory(parent, name, readable)
        except OSError as error:
            raise self._explain(error, parent, path, name) from error
        try:
            device = os.fstat(fd).st_dev
        except OSError as error:
            os.close(fd)
            raise self._explain(error, parent, path, name) from error
        if device not in self.devices:
            self.devices[device] = path
        return _Held(self, path, fd)

    def _open_directory(self, parent: int, name: str, readable: bool) -> int:
        try:
            return os.open(name, _COMPONENT, dir_fd=parent)
        except PermissionError:
            if readable or not O_PATH:
                raise
            # A directory may be passed through (x) without being listed (r).
            return os.open(name, _COMPONENT | O_PATH, dir_fd=parent)

    def _explain(self, error: OSError, parent: int, path: str, name: str) -> DunlinError:
        shown = where(self.root, path)
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            try:
                mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            except OSError:
                mode = 0
            if stat.S_ISLNK(mode):
                reason = "a symbolic link stands where a directory was"
                return DunlinError("open the directory", shown, ErrorKind.CHANGED, reason)
        return translate(error, "open the directory", shown)


def respelled(fd: int, old: str, new: str) -> bool:
    """Whether the two names differ in case or Unicode form only and lead to the same thing."""
    if old == new or _folded(old) != _folded(new):
        return False
    try:
        one, other = (os.stat(name, dir_fd=fd, follow_symlinks=False) for name in (old, new))
    except FileNotFoundError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
