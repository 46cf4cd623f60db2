"""Our own SQLite files: open, pragmas, numbered migrations, transactions, errors.

One writer, many readers. The writer holds a file open for the whole run and commits small batches;
`dunlin status`, the dashboard and `dunlin control` read and write the same file from other processes.

Journal
    WAL, so that readers never block the writer, with ``synchronous=NORMAL``: a killed process loses
    nothing, a power cut may lose the last commits but never the file. WAL needs memory shared
    between processes, which network mounts do not give; there the journal mode is DELETE with
    ``synchronous=FULL``, and `warn` is told so once.

No cursor stays open
    A read that is half done keeps its snapshot. If another process commits meanwhile, the next write
    on the same connection fails at once with SQLITE_BUSY_SNAPSHOT, and no time-out helps. So `query`
    returns a list: queries carry a LIMIT and page by key. It also lets checkpoints reset the WAL.

Locks
    A statement that meets another process's lock waits for it, as long as `open_database` was told. For a person who
    waits before a terminal, `waits` is called once when that takes longer than a moment, and the time is that of all
    statements together, so that what was said of it holds.

Memory
    A page cache of 8 MB and no mmap (mapped pages count as resident memory).

Errors
    Every apsw exception becomes a `DunlinError` in `translate_sqlite`; a test walks all apsw classes.
    The class methods of `Database` are the only place where apsw is called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, NamedTuple

import apsw

from dunlin.errors import DunlinError, ErrorKind, translate

Warn = Callable[[str], None]
"""Takes one sentence for the person who runs dunlin."""

BUSY_MS = 10_000
QUIET = 0.3
"""Seconds for which a lock is waited for before anybody is told: transactions of a run take less."""
_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.025, 0.025, 0.05, 0.05, 0.1)  # those of SQLite itself
CACHE_KIB = 8_000
CHECKPOINT_PAGES = 4_000  # 16 MB of WAL: every checkpoint costs two fsyncs in the writer

_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "orangefs",
        "pvfs2",
        "9p",
        "virtiofs",
        "vboxsf",
        "drvfs",
        "davfs",
        "acfs",
        "ocfs2",
        "gfs2",
        "fuse",
    }
)
_LOCAL_FUSE = frozenset({"fuse.overlayfs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs"})


class Schema(NamedTuple):
    """What a file of ours must look like.

    Attributes:
        what: what people call the file: "state file".
        option: the option that names another file, for hints: "--state-db".
        application_id: marks the file as ours (the pragma of that name).
        version: the schema this program writes (``user_version``).
        create: gives the SQL that makes `version` in an empty file; called only then.
        migrations: from the version before to the key: ``{2: sql that turns schema 1 into 2}``.
    """

    what: str
    option: str
    application_id: int
    version: int
    create: Callable[[], str]
    migrations: Mapping[int, Callable[[], str]] = MappingProxyType({})


_KINDS: dict[type[apsw.Error], ErrorKind] = {
    apsw.BusyError: ErrorKind.LOCKED,
    apsw.LockedError: ErrorKind.LOCKED,
    apsw.ProtocolError: ErrorKind.LOCKED,
    apsw.FullError: ErrorKind.NO_SPACE,
    apsw.CorruptError: ErrorKind.CORRUPT,
    apsw.NotADBError: ErrorKind.CORRUPT,
    apsw.FormatError: ErrorKind.CORRUPT,
    apsw.EmptyError: ErrorKind.CORRUPT,
    apsw.IOError: ErrorKind.IO,
    apsw.NoLFSError: ErrorKind.IO,
    apsw.CantOpenError: ErrorKind.IO,
    apsw.ReadOnlyError: ErrorKind.READ_ONLY,
    apsw.PermissionsError: ErrorKind.DENIED,
    apsw.AuthError: ErrorKind.DENIED,
    apsw.InterruptError: ErrorKind.INTERRUPTED,
    apsw.AbortError: ErrorKind.INTERRUPTED,
    # what remains can only be our own fault: bad SQL, misuse, values that do not fit
    apsw.ThreadingViolationError: ErrorKind.INTERNAL,
    apsw.ForkingViolationError: ErrorKind.INTERNAL,
    apsw.IncompleteExecutionError: ErrorKind.INTERNAL,
    apsw.ExecutionCompleteError: ErrorKind.INTERNAL,
    apsw.ConnectionNotClosedError: ErrorKind.INTERNAL,
    apsw.ConnectionClosedError: ErrorKind.INTERNAL,
    apsw.CursorClosedError: ErrorKind.INTERNAL,
    apsw.BindingsError: ErrorKind.INTERNAL,
    apsw.ExecTraceAbort: ErrorKind.INTERNAL,
    apsw.ExtensionLoadingError: ErrorKind.INTERNAL,
    apsw.VFSNotImplementedError: ErrorKind.INTERNAL,
    apsw.VFSFileClosedError: ErrorKind.INTERNAL,
    apsw.NoFTS5Error: ErrorKind.INTERNAL,
    apsw.InvalidContextError: ErrorKind.INTERNAL,
    apsw.SQLError: ErrorKind.INTERNAL,
    apsw.MismatchError: ErrorKind.INTERNAL,
    apsw.NotFoundError: ErrorKind.INTERNAL,
    apsw.InternalError: ErrorKind.INTERNAL,
    apsw.MisuseError: ErrorKind.INTERNAL,
    apsw.RangeError: ErrorKind.INTERNAL,
    apsw.SchemaChangeError: ErrorKind.INTERNAL,
    apsw.ConstraintError: ErrorKind.INTERNAL,
    apsw.NoMemError: ErrorKind.INTERNAL,
    apsw.TooBigError: ErrorKind.INTERNAL,
}

# the -shm file cannot grow: the file system that holds it is full
_FULL_CODES = frozenset({apsw.SQLITE_IOERR_SHMSIZE})


def translate_sqlite(error: apsw.Error, operation: str, where: str, option: str = "") -> DunlinError:
    """The `DunlinError` for an apsw exception; raise it `from` the original.

    `option` is the command-line option that names another file, for the hint.
    """
    kind = _KINDS.get(type(error), ErrorKind.INTERNAL)
    code = getattr(error, "extendedresult", 0)
    if code in _FULL_CODES:
        kind = ErrorKind.NO_SPACE
    reason, hint = str(error) or type(error).__name__, ""
    other = f" or name another one with {option}" if option else ""
    match kind:
        case ErrorKind.LOCKED:
            reason, hint = "another process holds its lock", f"wait for it to end{other}"
        case ErrorKind.NO_SPACE:
            reason, hint = "no space left on the device that holds it", f"free some space{other}"
        case ErrorKind.CORRUPT:
            damaged = isinstance(error, apsw.CorruptError)
            reason = "the file is damaged" if damaged else "the file is not a SQLite database"
            hint = f"move it aside (with its -wal and -shm){other}"
        case ErrorKind.READ_ONLY:
            reason = "it can be read but not written"
            hint = f"check its permissions and those of its directory{other}"
        case ErrorKind.DENIED:
            reason = "permission denied"
    return DunlinError(operation, where, kind, reason, hint)


class Database:
    """One connection; to be used by one thread at a time, and never after a fork in the child.

    Queries are finished when a method returns (see the module docstring), errors are `DunlinError`.
    """

    __slots__ = ("_connection", "_data_version", "_depth", "journal", "path", "schema")

    def __init__(self, connection: apsw.Connection, path: str, schema: Schema, journal: str) -> None:
        self._connection = connection
        self.path = path
        self.schema = schema
        self.journal = journal
        self._depth = 0
        self._data_version = -1

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Run one statement or script and return how many rows it changed."""
        try:
            self._connection.execute(sql, bindings).fetchall()  # apsw pauses a script at its first row
            return self._connection.changes()
        except apsw.Error as error:
            raise self._translated(error, "write to") from error

    def many(self, sql: str, bindings: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of `bindings`.

        Raises `UnicodeEncodeError` for text with lone surrogates and `OverflowError` for integers
        beyond 64 bits, with the bindings before that one already written.
        """
        try:
            self._connection.executemany(sql, bindings)
        except apsw.Error as error:
            raise self._translated(error, "write to") from error

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        """All rows, as tuples. The statement bounds how many there are."""
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._translated(error, "read") from error

    def query_many(self, sql: str, bindings: Iterable[Sequence[Any]]) -> list[Any]:
        """The rows of one statement run for each of `bindings`, in order; also for RETURNING."""
        try:
            return self._connection.executemany(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._translated(error, "read") from error

    def one(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        rows = self.query(sql, bindings)
        return rows[0] if rows else None

    def value(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.query(sql, bindings)
        return rows[0][0] if rows else None

    def last_id(self) -> int:
        """The rowid of the last row inserted by this connection."""
        return self._connection.last_insert_rowid()

    def changed_elsewhere(self) -> bool:
        """Whether another connection committed since the last call (true on the first); costs a microsecond."""
        version = self.value("PRAGMA data_version")
        changed = version != self._data_version
        self._data_version = version
        return bool(changed)

    @property
    def writable(self) -> bool:
        """Whether the file was opened for writing."""
        return not self._connection.readonly("main")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._depth > 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a transaction within a transaction is part of it.

        It takes the write lock at once (BEGIN IMMEDIATE), so that it can wait for another writer.
        """
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # a full disk or a failed read has already rolled back
            if self._connection.in_transaction:
                with suppress(DunlinError):  # the error that led here matters more
                    self.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0

    def checkpoint(self) -> None:
        """Move what the WAL holds into the file, as far as readers allow."""
        if self.journal == "wal":
            self.query("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close; the last connection to a file also empties its WAL. Safe to call twice."""
        try:
            self._connection.close()
        except apsw.Error as error:
            raise self._translated(error, "close") from error

    def _translated(self, error: apsw.Error, verb: str) -> DunlinError:
        return translate_sqlite(error, f"{verb} the {self.schema.what}", self.path, self.schema.option)


def _is_empty(path: str) -> bool:
    """Whether it is a file without a single byte. What keeps us from knowing is told by the attempt to open it."""
    with suppress(OSError):
        return os.path.isfile(path) and not os.path.getsize(path)
    return False


def open_database(
    path: str | None,
    schema: Schema,
    warn: Warn,
    *,
    create: bool = True,
    write: bool = True,
    busy_ms: int = BUSY_MS,
    mountinfo: str | None = None,
    waits: Callable[[], None] | None = None,
) -> Database:
    """Open `path`, make or migrate its schema, and return the connection.

    Args:
        path: the file; None for a private temporary database that vanishes when it is closed.
        schema: what the file must look like.
        warn: told when the journal falls back to DELETE.
        create: make the file when it is missing, or fill an empty one; else NOT_FOUND.
        write: the caller must write: a file that can only be read is an error.
        busy_ms: how long to wait for another process's lock, milliseconds.
        mountinfo: text in the format of /proc/self/mountinfo (proc(5)); None: read that file.
        waits: called once when a lock has to be waited for; `busy_ms` is then for all statements together.

    Raises:
        DunlinError: NOT_FOUND, DENIED, READ_ONLY, NO_SPACE, LOCKED, CORRUPT (no database, or damaged),
            USAGE (a database of another program), NEWER (written by a newer dunlin).
    """
    where = path or ""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create or not path else 0)
    operation = f"open the {schema.what}"
    if path and not create and not os.path.lexists(path):
        raise DunlinError(operation, path, ErrorKind.NOT_FOUND, "there is none", f"name it with {schema.option}")
    if path and not create and _is_empty(path):
        # Without this whoever only reads would make the tables, and find nothing in them.
        hint = f"a run fills it; name another one with {schema.option}"
        raise DunlinError(operation, path, ErrorKind.NOT_FOUND, f"the {schema.what} is empty", hint)
    connection = None
    try:
        connection = apsw.Connection(os.path.abspath(path) if path else "", flags=flags)
        if waits is None:
            connection.set_busy_timeout(busy_ms)
        else:
            connection.set_busy_handler(_patience(busy_ms / 1000, waits))
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}; PRAGMA temp_store=FILE; PRAGMA mmap_size=0").fetchall()
        database = Database(connection, where, schema, "memory")
        if not path:
            database.execute("PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE")
            _prepare(database)
            return database
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # is it a database at all?
        if database.writable:
            _check(database)  # look before the journal mode is changed in somebody else's file
            database.journal = _set_journal(connection, path, warn, mountinfo, busy_ms / 1000)
            _prepare(database)
        elif write:
            raise _why_not(path, schema, apsw.ReadOnlyError())
        else:
            _check(database, exact=True)
        return database
    except apsw.Error as error:
        if connection is not None:
            connection.close(True)
        if path and isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError):
            raise _why_not(path, schema, error) from error
        raise translate_sqlite(error, operation, where, schema.option) from error
    except BaseException:
        if connection is not None:
            connection.close(True)
        raise


def _patience(seconds: float, waits: Callable[[], None]) -> Callable[[int], bool]:
    """A busy handler that waits as SQLite's own does, but so long in all; `waits` is called after `QUIET` seconds."""
    waited, told = 0.0, False

    def busy(tries: int) -> bool:
        nonlocal waited, told
        if waited >= seconds:
            return False
        if waited >= QUIET and not told:
            told = True
            waits()
        begun = time.monotonic()
        time.sleep(min(_PAUSES[min(tries, len(_PAUSES) - 1)], seconds - waited))
        waited += time.monotonic() - begun
        return True

    return busy


def _check(database: Database, exact: bool = False) -> int:
    """The file's schema version; 0 for an empty file. Raises USAGE, NEWER, and with `exact` READ_ONLY if older."""
    schema = database.schema
    operation = f"open the {schema.what}"
    database.execute("SAVEPOINT look")  # all at one moment: another process may just be making the tables
    application = database.value("PRAGMA application_id")
    version = int(database.value("PRAGMA user_version"))
    tables = database.value("SELECT count(*) FROM sqlite_schema")
    database.execute("RELEASE look")
    other = f"name another file with {schema.option}"
    if application != schema.application_id:
        if application == 0 and version == 0 and tables == 0:
            if not exact:
                return 0
            raise DunlinError(operation, database.path, ErrorKind.READ_ONLY, "it is empty and cannot be written", other)
        reason = "it is the database of another program"
        raise DunlinError(operation, database.path, ErrorKind.USAGE, reason, other)
    if version > schema.version:
        reason = f"it was written by a newer dunlin (schema {version}, this one knows {schema.version})"
        raise DunlinError(operation, database.path, ErrorKind.NEWER, reason, f"update dunlin or {other}")
    if exact and version < schema.version:
        reason = f"its schema {version} must be brought to {schema.version}, but it cannot be written"
        raise DunlinError(operation, database.path, ErrorKind.READ_ONLY, reason, "check its permissions")
    return version


def _prepare(database: Database) -> None:
    schema = database.schema
    if _check(database) == schema.version:
        return
    with database.transaction():
        version = _check(database)  # again: another process may have been faster
        if version == schema.version:
            return
        if version == 0:
            database.execute(schema.create())
        for step in range(version + 1 if version else schema.version + 1, schema.version + 1):
            database.execute(schema.migrations[step]())
        database.execute(f"PRAGMA application_id={schema.application_id}; PRAGMA user_version={schema.version}")


def _set_journal(
    connection: apsw.Connection, path: str, warn: Warn, mountinfo: str | None, seconds: float
) -> str:  # fmt: skip
    network = network_mount(path, mountinfo)
    reason = f"is on a network mount ({network})" if network else "cannot have shared memory here"
    if network is None:
        try:
            if _write_ahead(connection, seconds) == "wal":
                pragmas = f"wal_autocheckpoint={CHECKPOINT_PAGES}; PRAGMA journal_size_limit={64 << 20}"
                connection.execute(f"PRAGMA synchronous=NORMAL; PRAGMA {pragmas}").fetchall()
                return "wal"
        except apsw.IOError as error:
            if getattr(error, "extendedresult", 0) not in (
                apsw.SQLITE_IOERR_SHMOPEN,
                apsw.SQLITE_IOERR_SHMMAP,
                apsw.SQLITE_IOERR_SHMLOCK,
                apsw.SQLITE_IOERR_LOCK,
            ):
                raise
    mode = str(connection.execute("PRAGMA journal_mode=DELETE").fetchall()[0][0])
    connection.execute("PRAGMA synchronous=FULL").fetchall()
    warn(f"{path} {reason}: slower journal, and readers may have to wait")
    return mode


def _write_ahead(connection: apsw.Connection, seconds: float) -> str:
    """The journal mode after asking for WAL, which is waited for up to so many seconds.

    Of several processes that open a new file at the same moment each holds a shared lock and wants to be alone. SQLite
    sees that waiting would last for ever and fails at once, without asking the busy handler; a moment later it works.
    """
    until = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchall()[0][0])
        except apsw.BusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1


def _why_not(path: str, schema: Schema, error: apsw.Error) -> DunlinError:
    """SQLite says only that it could not open or write; the operating system knows why."""
    operation = f"open the {schema.what}"
    directory = os.path.dirname(os.path.abspath(path))
    hint = f"name another file with {schema.option}"
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        if not os.path.isdir(directory):
            return DunlinError(operation, path, ErrorKind.NOT_FOUND, f"there is no directory {directory}", hint)
    except IsADirectoryError:
        return DunlinError(operation, path, ErrorKind.USAGE, "it is a directory", hint)
    except OSError as cause:
        found = translate(cause, operation, path)
        found.hint = hint
        return found
    read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    if read_only:
        return DunlinError(operation, path, ErrorKind.READ_ONLY, "its file system is mounted read-only", hint)
    if not os.access(directory, os.W_OK | os.X_OK):
        return DunlinError(operation, path, ErrorKind.DENIED, "its directory is not writable", hint)
    return translate_sqlite(error, operation, path, schema.option)


def network_mount(path: str, mountinfo: str | None = None) -> str | None:
    """The file system type when `path` lies on a network or FUSE mount, else None.

    `mountinfo` is text in the format of /proc/self/mountinfo, see proc(5); None reads that file.
    Where there is none (macOS, Windows) the answer is None.
    """
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo = file.read()
        except OSError:
            return None
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or " - " not in line:
            continue
        point = fields[4]
        if "\\" in point:
            point = _unescape(point)
        inside = point == "/" or real == point or real.startswith(point + "/")
        if inside and len(point) >= best:  # of equals the later one hides the earlier
            best, kind = len(point), line.partition(" - ")[2].split(" ", 1)[0]
    if kind in _LOCAL_FUSE:
        return None
    return kind if kind in _NETWORK or kind.startswith("fuse.") else None


def _unescape(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def load_statements(path: str) -> dict[str, str]:
    """The named statements of an .sql file: each begins with a line ``-- name: word``.

    Comments between the name and the statement stay in it: they cost nothing once prepared.
    """
    with open(path, encoding="utf-8") as file:
        parts = file.read().split("\n-- name: ")
    statements = {}
    for part in parts[1:]:
        name, _, sql = part.partition("\n")
        if name.strip() in statements:
            raise ValueError(f"{path}: two statements are named {name.strip()}")
        statements[name.strip()] = sql.strip()
    return statements
