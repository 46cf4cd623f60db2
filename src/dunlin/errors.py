"""One error type for the whole program: operation, where, kind, cause.

    DunlinError
      .operation   what was being done, an infinitive: "read", "list", "open the state file"
      .where       the path or URL it was done to, credentials removed
      .kind        ErrorKind: what callers may act on
      .reason      the cause in words ("Permission denied")
      .hint        what the person at the terminal can do about it, or ""
      .retry_after seconds that the server wants to be left alone, or None
      .__cause__   the foreign exception, where there was one

Kinds, and what becomes of them. The class is that of an error about one name or directory among many (`class_of`):
an expected one is told and passed over, a recoverable one makes that name fail, a fatal one ends the run. What goes
wrong with a root or with our own state is fatal whatever its kind; a directory that is looked into and is not there
(a destination that does not have it yet, a source that had it a moment ago) is expected.

    kind          class         one file      the whole run      worth a retry
    USAGE         recoverable   -             exit 1             no      a wrong option, value or combination
    CONFIG        recoverable   -             exit 1             no      a configuration file that cannot be used
    AUTH          fatal         -             exit 1             no      a login was refused
    NOT_FOUND     recoverable   failed (23)   exit 1 (source)    no      not there when we asked for it by name
    VANISHED      expected      exit 24       -                  no      was listed, gone when it was read
    CHANGED       recoverable   failed (23)   -                  yes     another version than the listed one
    DENIED        recoverable   failed (23)   exit 2 (dest.)     no      permission refused
    EXISTS        recoverable   failed (23)   -                  no      something stands where nothing should
    CLASH         recoverable   failed (23)   -                  no      two names that the destination holds as one
    NAME          recoverable   failed (23)   -                  no      a name that the destination cannot hold
    UNSUPPORTED   recoverable   failed (23)   -                  no      the store has no such power
    CHECKSUM      recoverable   failed (23)   -                  yes     the bytes are not what they should be
    TIMEOUT       recoverable   failed (23)   exit 1 (start)     yes     no answer in time
    NETWORK       recoverable   failed (23)   exit 1 (start)     yes     connection lost or refused
    BUSY          recoverable   failed (23)   exit 1 (start)     yes     asked to slow down (429, 503), a lock is held
    IO            recoverable   failed (23)   -                  no      the device or the mount said EIO, ESTALE, ...
    NO_SPACE      fatal         -             exit 2             no      destination full or over quota
    READ_ONLY     fatal         -             exit 2             no      destination mounted read-only
    LOCKED        recoverable   -             exit 1             no      another run works on this pair
    CORRUPT       fatal         -             exit 2             no      our own file (state, repository) is damaged
    NEWER         recoverable   -             exit 1             no      our own file was written by a newer dunlin
    INTERRUPTED   fatal         -             exit 130           no      a signal, or `dunlin control stop`
    INTERNAL      recoverable   failed (23)   exit 2             no      a fault of dunlin itself

Foreign exceptions are translated once, where they enter: `translate` for `OSError`, and one
such function in each store that speaks through another library.
"""

from __future__ import annotations

import enum
import errno
import os


class ErrorKind(enum.Enum):
    """What went wrong, as far as a caller may act on it; the table is in the module docstring."""

    USAGE = "usage"
    CONFIG = "config"
    AUTH = "auth"
    NOT_FOUND = "not-found"
    VANISHED = "vanished"
    CHANGED = "changed"
    DENIED = "denied"
    EXISTS = "exists"
    CLASH = "clash"
    NAME = "name"
    UNSUPPORTED = "unsupported"
    CHECKSUM = "checksum"
    TIMEOUT = "timeout"
    NETWORK = "network"
    BUSY = "busy"
    IO = "io"
    NO_SPACE = "no-space"
    READ_ONLY = "read-only"
    LOCKED = "locked"
    CORRUPT = "corrupt"
    NEWER = "newer"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


RETRYABLE = frozenset(
    {
        ErrorKind.CHANGED,
        ErrorKind.CHECKSUM,
        ErrorKind.TIMEOUT,
        ErrorKind.NETWORK,
        ErrorKind.BUSY,
    }
)
"""Kinds for which the same request may succeed when it is made again."""

FATAL = frozenset(
    {ErrorKind.NO_SPACE, ErrorKind.READ_ONLY, ErrorKind.AUTH, ErrorKind.CORRUPT, ErrorKind.INTERRUPTED}
)
"""Kinds that end a run wherever they occur: going on would only repeat them for every file."""


class ErrorClass(enum.Enum):
    """What an error means for the run: pass over it, let one name fail, or stop."""

    EXPECTED = "expected"
    RECOVERABLE = "recoverable"
    FATAL = "fatal"


class Place(enum.Enum):
    """What an error is about."""

    NAME = "name"  # a file, link or directory that was listed or asked for
    DIRECTORY = "directory"  # one below the root that is looked into, on either side
    ROOT = "root"  # the source or the destination itself
    STATE = "state"  # our own files


def class_of(kind: ErrorKind, place: Place = Place.NAME) -> ErrorClass:
    """The class of an error; the one place that decides it (the table is in the module docstring)."""
    if kind in FATAL or place in (Place.ROOT, Place.STATE):
        return ErrorClass.FATAL
    if kind is ErrorKind.VANISHED or (kind is ErrorKind.NOT_FOUND and place is Place.DIRECTORY):
        return ErrorClass.EXPECTED
    return ErrorClass.RECOVERABLE

_EXIT_1 = frozenset(
    {
        *(ErrorKind.USAGE, ErrorKind.CONFIG, ErrorKind.AUTH, ErrorKind.NOT_FOUND, ErrorKind.LOCKED, ErrorKind.NEWER),
        *(ErrorKind.TIMEOUT, ErrorKind.NETWORK, ErrorKind.BUSY),
    }
)

_CATEGORY = {
    ErrorKind.NETWORK: "network",
    ErrorKind.TIMEOUT: "network",
    ErrorKind.BUSY: "network",
    ErrorKind.CHECKSUM: "checksum",
    ErrorKind.CHANGED: "checksum",
    ErrorKind.IO: "disk",
    ErrorKind.NO_SPACE: "disk",
    ErrorKind.READ_ONLY: "disk",
    ErrorKind.DENIED: "auth",
    ErrorKind.AUTH: "auth",
}


class DunlinError(Exception):
    """The one exception dunlin raises on purpose; see the module docstring for its fields."""

    def __init__(self, operation: str, where: str, kind: ErrorKind, reason: str = "", hint: str = "") -> None:
        super().__init__(operation, where, kind, reason, hint)
        self.operation = operation
        self.where = where
        self.kind = kind
        self.reason = reason
        self.hint = hint
        self.retry_after: float | None = None
        self.place = Place.NAME

    def __str__(self) -> str:
        line = f"cannot {self.operation}"
        if self.where:
            line += f" {printable(self.where)}"
        line += f": {self.reason or self.kind.value}"
        return f"{line}; {self.hint}" if self.hint else line

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed when made again."""
        return self.kind in RETRYABLE

    @property
    def fatal(self) -> bool:
        """Whether a run must stop at this error wherever it occurs."""
        return class_of(self.kind, self.place) is ErrorClass.FATAL

    @property
    def category(self) -> str:
        """The error type recorded in state: network, checksum, disk, auth or unknown."""
        return _CATEGORY.get(self.kind, "unknown")

    @property
    def exit_code(self) -> int:
        """The exit code of a command that this error ended."""
        if self.kind is ErrorKind.INTERRUPTED:
            return 130
        return 1 if self.kind in _EXIT_1 else 2


def usage(reason: str, hint: str = "") -> DunlinError:
    """A `DunlinError` for words on the command line that do not fit; ends with exit code 1."""
    return DunlinError("start", "", ErrorKind.USAGE, reason, hint)


_BY_ERRNO = {
    errno.ENOENT: ErrorKind.NOT_FOUND,
    errno.ENOTDIR: ErrorKind.NOT_FOUND,
    errno.EACCES: ErrorKind.DENIED,
    errno.EPERM: ErrorKind.DENIED,
    errno.EEXIST: ErrorKind.EXISTS,
    errno.ENOTEMPTY: ErrorKind.EXISTS,
    errno.EISDIR: ErrorKind.EXISTS,
    errno.ELOOP: ErrorKind.CHANGED,
    errno.ENOSPC: ErrorKind.NO_SPACE,
    errno.EDQUOT: ErrorKind.NO_SPACE,
    errno.EROFS: ErrorKind.READ_ONLY,
    errno.ENAMETOOLONG: ErrorKind.NAME,
    errno.EILSEQ: ErrorKind.NAME,
    errno.EINVAL: ErrorKind.NAME,
    errno.ENOTSUP: ErrorKind.UNSUPPORTED,
    errno.ETIMEDOUT: ErrorKind.TIMEOUT,
    errno.ECONNRESET: ErrorKind.NETWORK,
    errno.ECONNREFUSED: ErrorKind.NETWORK,
    errno.EPIPE: ErrorKind.NETWORK,
    errno.EHOSTUNREACH: ErrorKind.NETWORK,
    errno.ENETUNREACH: ErrorKind.NETWORK,
    errno.EBUSY: ErrorKind.BUSY,
    errno.EAGAIN: ErrorKind.BUSY,
}


def translate(error: OSError, operation: str, where: str) -> DunlinError:
    """The `DunlinError` for an `OSError`; raise it `from` the original.

    `where` is a path or URL that is fit to be shown. Numbers that no table names are `IO`:
    a mount answers with whatever it likes, and all of it means that the bytes were not had.
    """
    number = error.errno if error.errno is not None else 0
    kind = _BY_ERRNO.get(number, ErrorKind.TIMEOUT if isinstance(error, TimeoutError) else ErrorKind.IO)
    reason = os.strerror(number) if number else str(error)
    return DunlinError(operation, where, kind, reason)


def printable(text: str) -> str:
    """`text` for one line of a terminal or log: control characters and undecodable bytes escaped."""
    if text.isprintable():
        return text
    raw = text.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
