"""sqlite: what a file may be, how it is opened, how errors are told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from dunlin import sqlite
from dunlin.errors import DunlinError, ErrorKind
from dunlin.sqlite import Database, Schema, load_statements, network_mount, open_database, translate_sqlite

V1 = "CREATE TABLE t (a INTEGER)"
V2 = "ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT 'old'"
V3 = "CREATE INDEX t_b ON t (b)"


def schema(version: int = 1) -> Schema:
    whole = {1: V1, 2: f"{V1}; {V2}", 3: f"{V1}; {V2}; {V3}"}
    return Schema("test file", "--test-db", 0x1234, version, lambda: whole[version], {2: lambda: V2, 3: lambda: V3})


def refuse(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "x.db")


@pytest.fixture
def database(path: str) -> Iterator[Database]:
    opened = open_database(path, schema(), refuse, mountinfo="")
    yield opened
    opened.close()


def fails(call: Callable[[], object]) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        call()
    return caught.value


def apsw_errors() -> list[type[apsw.Error]]:
    return [c for c in vars(apsw).values() if isinstance(c, type) and issubclass(c, apsw.Error) and c is not apsw.Error]


def test_every_apsw_exception_has_a_kind() -> None:
    assert len(apsw_errors()) > 30
    assert {c.__name__ for c in apsw_errors()} == {c.__name__ for c in sqlite._KINDS}


@pytest.mark.parametrize("cls", apsw_errors(), ids=lambda c: c.__name__)
def test_translation_keeps_a_reason_and_the_path(cls: type[apsw.Error]) -> None:
    error = translate_sqlite(cls("odd words"), "read the test file", "/x.db", "--test-db")
    assert error.kind is sqlite._KINDS[cls]
    assert error.where == "/x.db"
    assert error.reason


def test_shared_memory_that_cannot_grow_means_a_full_disk() -> None:
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE  # type: ignore[attr-defined]
    assert translate_sqlite(error, "write", "/x").kind is ErrorKind.NO_SPACE


def test_new_file_has_our_marks_and_pragmas(database: Database) -> None:
    assert database.journal == "wal"
    assert database.value("PRAGMA journal_mode") == "wal"
    assert database.value("PRAGMA synchronous") == 1
    assert database.value("PRAGMA mmap_size") == 0
    assert database.value("PRAGMA wal_autocheckpoint") == sqlite.CHECKPOINT_PAGES
    assert database.value("PRAGMA journal_size_limit") == 64 << 20
    assert database.value("PRAGMA temp_store") == 1
    assert database.value("PRAGMA cache_size") == -sqlite.CACHE_KIB
    assert database.value("PRAGMA application_id") == 0x1234
    assert database.value("PRAGMA user_version") == 1
    assert database.writable


def test_temporary_database_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = open_database(None, schema(), refuse)
    database.execute("INSERT INTO t VALUES (7)")
    assert database.value("SELECT a FROM t") == 7
    assert database.value("PRAGMA synchronous") == 0
    assert database.value("PRAGMA locking_mode") == "exclusive"
    database.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("start", [1, 2])
def test_older_file_is_migrated_to_what_a_new_one_is(tmp_path: Path, start: int) -> None:
    old = open_database(str(tmp_path / "old.db"), schema(start), refuse, mountinfo="")
    old.execute("INSERT INTO t (a) VALUES (1)")
    old.close()
    old = open_database(str(tmp_path / "old.db"), schema(3), refuse, mountinfo="")
    new = open_database(str(tmp_path / "new.db"), schema(3), refuse, mountinfo="")
    columns = "SELECT name, type FROM pragma_table_info('t')"
    names = "SELECT type, name FROM sqlite_schema ORDER BY name"
    assert old.query(columns) == new.query(columns)
    assert old.query(names) == new.query(names)
    assert old.query("SELECT a, b FROM t") == [(1, "old")]
    assert old.value("PRAGMA user_version") == 3
    old.close()
    new.close()


def test_failed_migration_leaves_the_old_file(path: str) -> None:
    open_database(path, schema(1), refuse, mountinfo="").close()
    broken = Schema("test file", "--test-db", 0x1234, 3, lambda: "", {2: lambda: V2, 3: lambda: "NOT SQL"})
    assert fails(lambda: open_database(path, broken, refuse, mountinfo="")).kind is ErrorKind.INTERNAL
    again = open_database(path, schema(1), refuse, mountinfo="")
    assert [row[0] for row in again.query("SELECT name FROM pragma_table_info('t')")] == ["a"]
    again.close()


def test_newer_file_is_refused_and_not_changed(path: str) -> None:
    open_database(path, schema(3), refuse, mountinfo="").close()
    before = Path(path).read_bytes()
    error = fails(lambda: open_database(path, schema(2), refuse, mountinfo=""))
    assert error.kind is ErrorKind.NEWER
    assert error.exit_code == 1
    assert "schema 3" in error.reason
    assert "2" in error.reason
    assert Path(path).read_bytes() == before


def test_database_of_another_program_is_refused_and_not_changed(path: str) -> None:
    foreign = apsw.Connection(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = Path(path).read_bytes()
    error = fails(lambda: open_database(path, schema(), refuse, mountinfo=""))
    assert error.kind is ErrorKind.USAGE
    assert "another program" in error.reason
    assert Path(path).read_bytes() == before


def test_something_that_is_no_database(path: str) -> None:
    Path(path).write_bytes(b"these are notes, not tables\n" * 100)
    error = fails(lambda: open_database(path, schema(), refuse, mountinfo=""))
    assert error.kind is ErrorKind.CORRUPT
    assert "--test-db" in error.hint
    assert "move it aside" in error.hint


def test_damaged_pages_are_told_as_corrupt(path: str) -> None:
    database = open_database(path, schema(), refuse, mountinfo="")
    database.many("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)])
    database.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    database = open_database(path, schema(), refuse, mountinfo="")
    error = fails(lambda: database.query("SELECT sum(a) FROM t"))
    assert (error.kind, error.reason) == (ErrorKind.CORRUPT, "the file is damaged")
    database.close()


def test_empty_file_becomes_ours(path: str) -> None:
    Path(path).touch()
    database = open_database(path, schema(), refuse, mountinfo="")
    assert database.value("PRAGMA user_version") == 1
    database.close()


def test_locked_file(path: str, database: Database) -> None:
    other = open_database(path, schema(), refuse, busy_ms=20, mountinfo="")
    with database.transaction():
        error = fails(lambda: other.execute("INSERT INTO t VALUES (1)"))
    assert error.kind is ErrorKind.LOCKED
    assert error.exit_code == 1
    other.execute("INSERT INTO t VALUES (1)")
    other.close()


def test_file_locked_while_it_is_opened(path: str) -> None:
    holder = apsw.Connection(path)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE z (x)").fetchall()
    assert fails(lambda: open_database(path, schema(), refuse, busy_ms=20, mountinfo="")).kind is ErrorKind.LOCKED
    holder.close(True)


def test_whoever_waits_for_a_lock_is_told_once_and_goes_on(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "QUIET", 0.0)
    told = []
    holder = open_database(path, schema(), refuse, mountinfo="")

    def waits() -> None:
        told.append("waits")
        holder.execute("COMMIT")

    other = open_database(path, schema(), refuse, waits=waits, mountinfo="")
    assert told == []
    for number in (1, 2):
        holder.execute("BEGIN IMMEDIATE")
        if number == 2:
            monkeypatch.setattr(sqlite.time, "sleep", lambda seconds: holder.execute("COMMIT"))
        other.execute("INSERT INTO t VALUES (?)", (number,))
    assert told == ["waits"]
    assert other.query("SELECT * FROM t") == [(1,), (2,)]
    other.close()
    holder.close()


def test_the_time_to_wait_is_that_of_all_statements(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = open_database(path, schema(), refuse, mountinfo="")
    other = open_database(path, schema(), refuse, busy_ms=10_000, waits=lambda: None, mountinfo="")
    now = [0.0]
    monkeypatch.setattr(sqlite.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sqlite.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    holder.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        assert fails(lambda: other.execute("INSERT INTO t VALUES (1)")).kind is ErrorKind.LOCKED
        assert now[0] == pytest.approx(10)
    holder.execute("COMMIT")
    other.close()
    holder.close()


def test_an_empty_file_is_filled_by_who_may_make_one_and_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    for write in (False, True):
        error = fails(
            lambda write=write: open_database(str(path), schema(), refuse, create=False, write=write, mountinfo="")
        )
        assert (error.kind, error.where, error.exit_code) == (ErrorKind.NOT_FOUND, str(path), 1)
        assert "file is empty" in error.reason
        assert error.hint
        assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("x.db", 0)]
    open_database(str(path), schema(), refuse, mountinfo="").close()
    open_database(str(path), schema(), refuse, create=False, mountinfo="").close()


def test_missing_things_are_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "no" / "x.db")
    error = fails(lambda: open_database(gone, schema(), refuse, mountinfo=""))
    assert error.kind is ErrorKind.NOT_FOUND
    assert str(tmp_path / "no") in error.reason
    error = fails(lambda: open_database(str(tmp_path / "y.db"), schema(), refuse, create=False, mountinfo=""))
    assert error.kind is ErrorKind.NOT_FOUND
    assert not (tmp_path / "y.db").exists()
    assert fails(lambda: open_database(str(tmp_path), schema(), refuse, mountinfo="")).reason == "it is a directory"


DROPPED = "-dac_override,-dac_read_search"
PROBE = """
import sys
from dunlin.errors import DunlinError
from dunlin.sqlite import Schema, open_database
schema = Schema("test file", "--test-db", 0x1234, 1, lambda: "CREATE TABLE t (a INTEGER)")
try:
    d = open_database(sys.argv[1], schema, print, write=sys.argv[2] == "write", mountinfo="")
    print("opened", d.writable, d.value("SELECT count(*) FROM t"))
except DunlinError as error:
    print(error.kind.value, "|", error.reason, "|", error.hint)
"""


def probe(path: str, mode: str) -> str:
    """What a process without root's power to ignore permissions says."""
    command = [sys.executable, "-c", PROBE, path, mode]
    if os.geteuid() == 0:
        command = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}", *command]
    source = str(Path(sqlite.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def test_directory_that_is_not_writable(tmp_path: Path) -> None:
    directory = tmp_path / "shut"
    directory.mkdir()
    directory.chmod(0o500)
    kind, reason, hint = probe(str(directory / "x.db"), "write").split(" | ")
    assert kind == "denied"
    assert "writable" in reason or "Permission" in reason
    assert "--test-db" in hint
    directory.chmod(0o700)


def test_file_that_can_only_be_read(path: str) -> None:
    open_database(path, schema(), refuse, mountinfo="").close()
    os.chmod(path, 0o400)
    assert probe(path, "write").startswith("denied |")
    assert probe(path, "read") == "opened False 0"


def test_full_disk_keeps_what_was_committed(path: str, database: Database) -> None:
    database.execute("INSERT INTO t VALUES (1)")
    database.execute(f"PRAGMA max_page_count={database.value('PRAGMA page_count') + 2}")

    def fill() -> None:
        with database.transaction():
            database.many("INSERT INTO t VALUES (?)", [(n,) for n in range(100_000)])

    error = fails(fill)
    assert error.kind is ErrorKind.NO_SPACE
    assert error.fatal
    assert not database.in_transaction
    assert database.query("SELECT a FROM t") == [(1,)]
    assert database.value("PRAGMA integrity_check") == "ok"
    with database.transaction():
        database.execute("DELETE FROM t")


def test_script_runs_to_its_end_although_a_statement_gives_rows(database: Database) -> None:
    database.execute("INSERT INTO t VALUES (1); SELECT a FROM t; INSERT INTO t VALUES (2)")
    assert database.query("SELECT a FROM t") == [(1,), (2,)]


def test_transaction_is_all_or_nothing_also_within_another(database: Database) -> None:
    def fail() -> None:
        with database.transaction():
            with database.transaction():
                database.execute("INSERT INTO t VALUES (1)")
            assert database.in_transaction
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert database.value("SELECT count(*) FROM t") == 0
    with database.transaction():
        database.execute("INSERT INTO t VALUES (2)")
    assert database.value("SELECT count(*) FROM t") == 1


def test_changes_of_others_are_noticed_and_own_ones_are_not(path: str, database: Database) -> None:
    other = open_database(path, schema(), refuse, mountinfo="")
    database.changed_elsewhere()
    database.execute("INSERT INTO t VALUES (1)")
    assert not database.changed_elsewhere()
    other.execute("INSERT INTO t VALUES (2)")
    assert database.changed_elsewhere()
    assert not database.changed_elsewhere()
    other.close()


def test_reading_never_makes_a_later_write_stale(path: str, database: Database) -> None:
    """A half-read cursor would make the next write fail with SQLITE_BUSY_SNAPSHOT."""
    database.many("INSERT INTO t VALUES (?)", [(n,) for n in range(100)])
    assert database.one("SELECT a FROM t") == (0,)
    assert database.value("SELECT a FROM t") == 0
    other = open_database(path, schema(), refuse, mountinfo="")
    other.execute("INSERT INTO t VALUES (100)")
    other.close()
    with database.transaction():
        database.execute("INSERT INTO t VALUES (101)")
    assert database.value("SELECT count(*) FROM t") == 102


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /mnt/share rw - nfs4 server:/export rw
31 22 0:26 / /mnt/with\\040space rw shared:2 master:3 - cifs //server/share rw
32 30 8:2 / /mnt/share/local rw - xfs /dev/sdb1 rw
33 22 0:27 / /mnt/ssh rw - fuse.sshfs host: rw
34 22 0:28 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
35 22 0:29 / /mnt/over rw - ext4 /dev/sdd1 rw
36 35 0:30 / /mnt/over rw - smb3 //server/x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x.db", None),
        ("/mnt/share/x.db", "nfs4"),
        ("/mnt/sharex/x.db", None),
        ("/mnt/with space/x.db", "cifs"),
        ("/mnt/share/local/x.db", None),
        ("/mnt/ssh/a/x.db", "fuse.sshfs"),
        ("/mnt/ntfs/x.db", None),
        ("/mnt/over/x.db", "smb3"),
    ],
)
def test_network_mount(path: str, kind: str | None) -> None:
    assert network_mount(path, MOUNTS) == kind


def test_network_mount_falls_back_from_wal_with_one_warning(path: str) -> None:
    warnings: list[str] = []
    mounts = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:25 / {os.path.dirname(path)} rw - nfs4 s:/x rw\n"
    database = open_database(path, schema(), warnings.append, mountinfo=mounts)
    assert database.journal == "delete"
    assert database.value("PRAGMA synchronous") == 2
    database.execute("INSERT INTO t VALUES (1)")
    assert not os.path.exists(path + "-wal")
    assert len(warnings) == 1
    assert "nfs4" in warnings[0]
    database.close()


def test_file_made_with_wal_loses_it_on_a_network_mount(path: str, database: Database) -> None:
    database.execute("INSERT INTO t VALUES (1)")
    database.close()
    mounts = f"30 22 0:25 / {os.path.dirname(path)} rw - nfs s:/x rw\n"
    again = open_database(path, schema(), lambda message: None, mountinfo=mounts)
    assert again.value("PRAGMA journal_mode") == "delete"
    assert again.value("SELECT a FROM t") == 1
    again.close()


def test_statements_are_named_and_names_are_unique(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- head\n\n-- name: one\nSELECT 1\n\n-- ---- part ----\n\n-- name: two\nSELECT\n  2\n")
    statements = load_statements(str(file))
    assert set(statements) == {"one", "two"}
    assert statements["two"] == "SELECT\n  2"
    file.write_text("\n-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")
    with pytest.raises(ValueError, match="two statements are named one"):
        load_statements(str(file))


AT_ONCE = """
import sys, time
from dunlin.errors import DunlinError
from dunlin.sqlite import Schema, open_database

directory, begin = sys.argv[1], float(sys.argv[2])
for round in range(60):
    while time.time() < begin + round * 0.03:
        pass
    try:
        database = open_database(
            f"{directory}/{round}.db", Schema("test file", "--test-db", 1, 1, lambda: "CREATE TABLE t (a)", {}), print
        )
        print(database.journal)
        database.close()
    except DunlinError as error:
        print(error)
"""


def test_several_may_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    begin = time.time() + 1
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path), str(begin)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert said == [["wal"] * 60] * 6
