"""What only a real file system can do to a store."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DEV, IDENT, MODE, SIZE, Entry
from dunlin.report import NullReport
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.local import LocalStore, WriteOptions, local_caps
from dunlin.stores.local import store as store_module
from tests.contract.support import body, content, get, names, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def local(root: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(root))
    yield store
    store.close()


def descriptors() -> int:
    gc.collect()  # stores that others let go give their descriptors back whenever that happens
    return len(os.listdir("/proc/self/fd"))


# ---- links planted below the root ----


@pytest.mark.parametrize("where", ["d", "d/e"])
def test_no_verb_follows_a_planted_link(local: LocalStore, root: Path, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    for place in (outside, outside / "e"):
        (place / "f").write_text("secret")
    local.make_directory("d")
    if where == "d":
        (root / "d").rmdir()
    (root / where).symlink_to(outside)
    path = f"{where}/f"
    entry = Entry(path, local_facts(outside / "f"))
    before = {found: (found.stat().st_mtime_ns, found.stat().st_mode) for found in outside.rglob("*")}
    attempts: list[Callable[[], Any]] = [
        lambda: names(local, where),
        lambda: local.stat(path),
        lambda: content(local, entry),
        lambda: put(local, path),
        lambda: local.delete([path]),
        lambda: local.make_directory(f"{where}/new"),
        lambda: local.set_meta(path, Meta(mode=0o777, mtime=1)),
        lambda: local.make_link(path, "x", Meta()),
        lambda: local.make_hard_link(path, "g"),
        lambda: local.move(path, "g"),
        lambda: local.get_xattrs(path, ("user.",)),
        lambda: local.copy_into(entry, local, "g", meta=Meta(), report=NullReport()),
    ]
    for attempt in attempts:
        with pytest.raises(DunlinError) as error:
            attempt()
        assert error.value.kind is ErrorKind.CHANGED
    assert {found: (found.stat().st_mtime_ns, found.stat().st_mode) for found in outside.rglob("*")} == before


def local_facts(path: Path) -> tuple[Any, ...]:
    return store_module.facts_of(os.stat(path, follow_symlinks=False))


def test_set_meta_on_a_link_spares_its_target(local: LocalStore, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("x")
    target.chmod(0o600)
    os.utime(target, ns=(5, 5))
    (root / "l").symlink_to(target)
    local.set_meta("l", Meta(mode=0o777, mtime=9, atime=9, xattrs={}, xattr_space=("user.",)))
    assert target.stat().st_mtime_ns == 5
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (root / "l").lstat().st_mtime_ns == 9
    assert local.refused == {}


# ---- listing ----


def test_a_listing_has_every_fact_of_stat(local: LocalStore, root: Path) -> None:
    (root / "f").write_bytes(b"12345")
    (root / "l").symlink_to("nowhere")
    os.mkfifo(root / "p")
    for batch in local.list(""):
        for name, what in batch:
            assert what == local_facts(root / name)
            assert what == local.stat(name).facts


def test_long_listings_come_in_batches(local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LIST_BATCH", 10)
    for number in range(40):
        (root / str(number)).touch()
    batches = list(local.list(""))
    assert [len(batch) for batch in batches] == [10, 10, 10, 10]
    assert len({name for batch in batches for name, _ in batch}) == 40
    for number in range(35):
        (root / str(number)).unlink()
    assert [len(batch) for batch in local.list("")] == [5]


@pytest.mark.parametrize(("batch", "sizes"), [(0, [10, 10, 5]), (4, [4, 4, 4, 4, 4, 4, 1]), (99, [10, 10, 5])])
def test_a_store_may_be_told_to_list_in_smaller_batches(
    root: Path, monkeypatch: pytest.MonkeyPatch, batch: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(store_module, "LIST_BATCH", 10)
    for number in range(25):
        (root / str(number)).touch()
    assert [len(found) for found in LocalStore(str(root), batch=batch).list("")] == sizes


class Dirent:
    """A directory entry whose `stat` does as it is told."""

    def __init__(self, name: str, error: OSError | None) -> None:
        self.name = name
        self.error = error

    def stat(self, follow_symlinks: bool) -> os.stat_result:
        assert follow_symlinks is False
        if self.error is not None:
            raise self.error
        return os.stat("/")


def test_a_vanished_name_is_dropped_but_an_unreadable_one_is_an_error() -> None:
    entries: Any = iter([Dirent("a", None), Dirent("gone", FileNotFoundError(2, "")), Dirent("b", OSError(5, ""))])
    batch, more, failed = store_module._next_batch(entries, 2)
    assert [name for name, _ in batch] == ["a"]
    assert more
    assert failed is None
    _, more, failed = store_module._next_batch(entries, 2)
    assert not more
    assert failed is not None
    assert failed.errno == 5


def test_what_came_before_a_failure_is_handed_on_before_it_is_raised(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entries(contextlib.nullcontext[Any]):
        entries = iter([Dirent("a", None), Dirent("b", OSError(5, "")), Dirent("c", None)])

        def __iter__(self) -> Any:
            return self.entries

    # Undone here: the directory of the test is removed before the fixture would do it.
    with monkeypatch.context() as patch:
        patch.setattr(store_module.os, "scandir", lambda fd: Entries())
        listing = local.list("")
        assert [name for name, _ in next(listing)] == ["a"]
        with pytest.raises(DunlinError) as error:
            next(listing)
    assert error.value.kind is ErrorKind.IO


def test_a_directory_removed_while_it_is_listed_is_not_empty(local: LocalStore, root: Path) -> None:
    (root / "d").mkdir()
    real = os.scandir

    def late(fd: int) -> Any:
        (root / "d").rmdir()
        return real(fd)

    store_module.os.scandir = late  # type: ignore[attr-defined,assignment]
    try:
        with pytest.raises(DunlinError) as error:
            names(local, "d")
    finally:
        store_module.os.scandir = real  # type: ignore[attr-defined]
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_an_abandoned_listing_leaks_nothing(local: LocalStore, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "f").touch()
    names(local, "d")
    before = descriptors()
    for _ in range(20):
        next(local.list("d"))
    assert descriptors() == before


def test_many_listings_of_one_directory_at_once(local: LocalStore, root: Path) -> None:
    for number in range(500):
        (root / str(number)).touch()
    found: list[int] = []

    def work() -> None:
        found.extend(len(set(names(local))) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [500] * 60


# ---- reading ----


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "socket"])
def test_something_else_in_the_place_of_a_file_does_not_hang(local: LocalStore, root: Path, kind: str) -> None:
    entry = put(local, "f", b"x")
    (root / "f").unlink()
    if kind == "directory":
        (root / "f").mkdir()
    elif kind == "link":
        (root / "f").symlink_to("/etc/passwd")
    else:
        os.mknod(root / "f", (stat.S_IFIFO if kind == "fifo" else stat.S_IFSOCK) | 0o600)
    before = descriptors()
    with pytest.raises(DunlinError) as error:
        content(local, entry)
    assert error.value.kind in (ErrorKind.CHANGED, ErrorKind.IO if kind == "socket" else ErrorKind.CHANGED)
    assert descriptors() == before


def test_a_file_cut_off_or_appended_to_while_it_is_read(local: LocalStore, root: Path) -> None:
    for change in (lambda: os.truncate(root / "f", 300_000), lambda: os.truncate(root / "f", 2_000_000)):
        entry = put(local, "f", b"a" * 1_000_000, mtime=1)
        before = descriptors()
        chunks = local.read(entry)
        next(chunks)
        change()
        with pytest.raises(DunlinError) as error:
            list(chunks)
        assert error.value.kind is ErrorKind.CHANGED
        assert descriptors() == before


def test_reading_leaves_the_access_time_alone(local: LocalStore, root: Path) -> None:
    entry = put(local, "f", b"x", mtime=2_000_000_000, atime=1_000_000_000)
    assert content(local, entry) == b"x"
    assert (root / "f").stat().st_atime_ns == 1_000_000_000


def test_an_abandoned_read_closes_its_file(local: LocalStore) -> None:
    entry = put(local, "f", b"a" * 1_000_000)
    before = descriptors()
    chunks = local.read(entry)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert descriptors() == before


# ---- writing ----


def test_readers_see_the_old_file_until_the_new_one_is_whole(local: LocalStore, root: Path) -> None:
    put(local, "f", b"old")
    seen: list[tuple[bytes, list[str]]] = []

    def open_at(start: int) -> Iterator[Data]:
        for _ in range(3):
            yield b"new"
            temps = [name for name in os.listdir(root) if name != "f"]
            seen.append(((root / "f").read_bytes(), temps))

    local.write("f", Body(9, open_at), meta=Meta())
    assert [old for old, _ in seen] == [b"old"] * 3
    for _, temps in seen:
        assert [bool(TEMPORARY.fullmatch(name)) for name in temps] == [True]
    assert os.listdir(root) == ["f"]
    assert (root / "f").read_bytes() == b"new" * 3


def test_a_secret_file_is_secret_from_its_first_byte(local: LocalStore, root: Path) -> None:
    modes: list[int] = []

    def open_at(start: int) -> Iterator[Data]:
        yield b"secret"
        (temp,) = filter(TEMPORARY.fullmatch, os.listdir(root))
        modes.append(stat.S_IMODE((root / temp).stat().st_mode))

    local.write("f", Body(6, open_at), meta=Meta(mode=0o644))
    assert modes == [0o600]
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o644


def test_without_a_mode_the_umask_or_the_old_file_decides(local: LocalStore, root: Path) -> None:
    old = os.umask(0o027)
    try:
        put(local, "new")
        (root / "f").write_text("x")
        (root / "f").chmod(0o4600)
        put(local, "f")
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o600


def test_an_error_of_the_body_removes_the_temporary_file(local: LocalStore, root: Path) -> None:
    def open_at(start: int) -> Iterator[Data]:
        yield b"x"
        raise KeyboardInterrupt

    put(local, "warm")
    before = descriptors()
    with pytest.raises(KeyboardInterrupt):
        local.write("f", Body(9, open_at), meta=Meta())
    assert os.listdir(root) == ["warm"]
    assert descriptors() == before


def test_a_file_that_grows_too_large_leaves_no_temp(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from dunlin.errors import DunlinError
        from dunlin.stores.base import Body, Meta
        from dunlin.stores.local import LocalStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            LocalStore(sys.argv[1]).write("f", Body(9000, lambda start: iter([bytes(9000)])), meta=Meta())
        except DunlinError as error:
            print(error.kind.value, error.reason)
    """
    assert run(code, str(tmp_path)).startswith("io File too large")
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_a_full_disk_is_no_space_and_keeps_the_old_file(tmp_path: Path) -> None:
    code = """
        import os, subprocess, sys
        from dunlin.errors import DunlinError
        from dunlin.stores.base import Body, Meta
        from dunlin.stores.local import LocalStore
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", sys.argv[1]], check=True)
        store = LocalStore(sys.argv[1])
        def put(size):
            store.write("f", Body(size, lambda start: iter([bytes(4096)] * (size // 4096))), meta=Meta())
        put(8192)
        try:
            put(1 << 20)
        except DunlinError as error:
            print(error.kind.value, error.fatal, os.listdir(sys.argv[1]), store.stat("f").size)
    """
    assert run(code, str(tmp_path), before=["unshare", "--mount"]) == "no-space True ['f'] 8192\n"


LOST = "-dac_override,-dac_read_search"
TEMPORARY = re.compile(r"\.dunlin-0-w[0-9a-f]+x[0-9a-f]+\.tmp")
BARE = ["setpriv", f"--bounding-set={LOST}", f"--inh-caps={LOST}"]
"""Runs a command as root without the right to ignore permissions."""


def run(code: str, *args: str, before: Sequence[str] = ()) -> str:
    """What a process prints that runs `code`, started by the command `before`."""
    source = str(Path(store_module.__file__).parents[3])
    command = [*before, sys.executable, "-c", textwrap.dedent(code), *args]
    environment = dict(os.environ, PYTHONPATH=source)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_name_that_is_too_long(local: LocalStore) -> None:
    for name in ("x" * 256, "\u00e9" * 128, "\u20ac" * 255):
        for attempt in (lambda name=name: put(local, name), lambda name=name: local.make_directory(name)):
            with pytest.raises(DunlinError) as error:
                attempt()
            assert error.value.kind is ErrorKind.NAME
    assert names(local) == []


def test_in_place_keeps_the_inode_and_other_names(root: Path) -> None:
    store = LocalStore(str(root), options=WriteOptions(in_place=True))
    for before, after in [(b"long" * 5000, b"short"), (b"short", b"long" * 5000)]:
        put(store, "f", before)
        ident = store.stat("f").facts[IDENT]
        os.link(root / "f", root / "g")
        put(store, "f", after)
        assert store.stat("f").facts[IDENT] == ident
        assert (root / "g").read_bytes() == after
        (root / "g").unlink()
    store.close()


def test_in_place_never_writes_through_a_link_or_into_a_fifo(root: Path, tmp_path: Path) -> None:
    store = LocalStore(str(root), options=WriteOptions(in_place=True))
    (tmp_path / "target").write_text("keep")
    (root / "l").symlink_to(tmp_path / "target")
    os.mkfifo(root / "p")
    put(store, "l", b"new")
    assert (tmp_path / "target").read_text() == "keep"
    assert get(store, "l") == b"new"
    with pytest.raises(DunlinError):
        put(store, "p", b"new")
    store.close()


def test_sparse_files_have_holes_and_the_same_content(root: Path) -> None:
    store = LocalStore(str(root), options=WriteOptions(sparse=True))
    data = bytes(3 << 20) + b"x" + bytes(5 << 20)
    for step in (1 << 20, 5000, 4096):
        store.write("f", body(data, step=step), meta=Meta())
        assert get(store, "f") == data
        assert (root / "f").stat().st_blocks * 512 <= 64 << 10
    store.close()


def test_pushing_waits_for_the_block_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dunlin.stores.local import posix

    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(posix, "push_start", lambda fd, at, n: calls.append(("start", at, n)) or True)
    monkeypatch.setattr(posix, "push_wait", lambda fd, at, n: calls.append(("wait", at, n)) or True)
    store = LocalStore(str(root), options=WriteOptions(push=True))
    store.write("f", body(b"a" * 300, step=100), meta=Meta())
    assert calls == [
        ("start", 0, 100),
        ("start", 100, 100),
        ("wait", 0, 100),
        ("start", 200, 100),
        ("wait", 100, 100),
    ]
    store.close()


def test_pushing_without_the_call_syncs_every_8_mib(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dunlin.stores.local import posix

    synced: list[int] = []
    monkeypatch.setattr(posix, "push_start", lambda fd, at, n: False)
    monkeypatch.setattr(posix, "sync_data", lambda fd: synced.append(os.fstat(fd).st_size))
    store = LocalStore(str(root), options=WriteOptions(push=True))
    store.write("f", body(bytes(20 << 20), step=1 << 20), meta=Meta())
    assert synced == [8 << 20, 16 << 20]
    store.close()


def test_if_absent_where_the_newer_call_is_missing(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from dunlin.stores.local import posix

    monkeypatch.setattr(posix, "rename_no_replace", lambda *args: False)
    local.write("f", body(b"first"), meta=Meta(), if_absent=True)
    with pytest.raises(DunlinError) as error:
        local.write("f", body(b"second"), meta=Meta(), if_absent=True)
    assert error.value.kind is ErrorKind.EXISTS

    def open_at(start: int) -> Iterator[Data]:
        put(local, "g", b"somebody else")
        yield b"ours"

    with pytest.raises(DunlinError) as error:
        local.write("g", Body(4, open_at), meta=Meta(), if_absent=True)
    assert error.value.kind is ErrorKind.EXISTS
    assert get(local, "g") == b"somebody else"
    assert sorted(names(local)) == ["f", "g"]


def test_temporary_names_are_short_and_tell_their_run() -> None:
    from dunlin.stores.local import temp_name

    one, other = temp_name("0"), temp_name("0")
    assert TEMPORARY.fullmatch(one)
    assert len(one) < 64
    assert one != other
    with pytest.raises(ValueError, match="run id"):
        WriteOptions(run_id="a/b")


def test_many_threads_write_and_read_one_tree(local: LocalStore, root: Path) -> None:
    before = descriptors()
    for number in range(4):
        local.make_directory(f"d{number}")
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            for number in range(60):
                path = f"d{number % 4}/f{number % 5}"
                data = bytes([65 + seed]) * 5000
                put(local, path, data)
                try:
                    seen = get(local, path)
                except DunlinError as error:
                    if not error.retryable and error.kind is not ErrorKind.VANISHED:
                        raise
                else:
                    if len(seen) != 5000 or len(set(seen)) != 1:
                        wrong.append(path)
        except Exception as error:  # a thread must not die silently
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {path.name for path in root.glob("d*/*")} == {f"f{number}" for number in range(5)}
    local.close()
    assert descriptors() == before


# ---- permissions ----


@pytest.mark.root
def test_a_directory_without_its_write_bit_is_lent_it(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "old").write_text("x")
    directory.chmod(0o555)
    code = """
        import sys
        from dunlin.stores.base import Body, Meta
        from dunlin.stores.local import LocalStore
        store = LocalStore(sys.argv[1])
        def put(path):
            store.write(path, Body(1, lambda start: iter([b"y"])), meta=Meta())
        put("d/new"); put("d/old"); put("d/gone")
        store.make_directory("d/sub"); store.make_link("d/link", "x", Meta())
        store.move("d/new", "d/moved"); print(store.delete(["d/gone"]))
    """
    assert run(code, str(tmp_path), before=BARE) == "[True]\n"
    assert sorted(os.listdir(directory)) == ["link", "moved", "old", "sub"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o555


@pytest.mark.root
def test_what_may_not_be_read_is_denied_not_absent(tmp_path: Path) -> None:
    for name, mode in [("unlistable", 0o311), ("closed", 0o000), ("passable", 0o111)]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("x")
        (tmp_path / name).chmod(mode)
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0)
    code = """
        import sys
        from dunlin.errors import DunlinError
        from dunlin.stores.local import LocalStore
        store = LocalStore(sys.argv[1])
        def kind(act):
            try:
                act(); print("fine")
            except DunlinError as error:
                print(error.kind.value)
        kind(lambda: list(store.list("unlistable")))
        kind(lambda: list(store.list("closed")))
        kind(lambda: store.stat("closed/f"))
        kind(lambda: store.stat("passable/f"))
        kind(lambda: list(store.read(store.stat("f"))))
        kind(lambda: list(store.read(store.stat("unlistable/f"))))
    """
    wanted = ["denied", "denied", "denied", "fine", "denied", "fine"]
    assert run(code, str(tmp_path), before=BARE).split() == wanted


# ---- names and the rest ----


def test_birth_time(local: LocalStore, root: Path) -> None:
    put(local, "f", mtime=1)
    born = local.birth_time("f")
    ctime = (root / "f").stat().st_ctime_ns
    assert born is not None
    assert abs(born - ctime) < 60_000_000_000
    with pytest.raises(DunlinError) as error:
        local.birth_time("absent")
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_acls_go_with_the_attributes(local: LocalStore, root: Path) -> None:
    space = ("system.posix_acl_",)
    local.make_directory("d")
    subprocess.run(["setfacl", "-m", "u:1234:r", "-d", "-m", "g:99:rx", str(root / "d")], check=True)
    acls = local.get_xattrs("d", space)
    assert sorted(acls) == ["system.posix_acl_access", "system.posix_acl_default"]
    put(local, "plain", mode=0o640)
    subprocess.run(["setfacl", "-m", "u:1234:rw", str(root / "plain")], check=True)
    wanted = local.get_xattrs("plain", space)
    put(local, "f", mode=0o660, xattrs=wanted, xattr_space=space, mtime=7)
    assert local.get_xattrs("f", space) == wanted
    assert local.stat("f").mtime == 7
    put(local, "f", mode=0o640, xattrs={}, xattr_space=space)
    local.set_meta("plain", Meta(xattrs={}, xattr_space=space))
    assert local.get_xattrs("f", space) == local.get_xattrs("plain", space) == {}


def test_checkpoint_flushes_each_file_system_once(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dunlin.stores.local import posix

    flushed: list[int] = []
    monkeypatch.setattr(posix, "sync_file_system", lambda fd: flushed.append(os.fstat(fd).st_dev))
    local.make_directory("d")
    put(local, "d/f")
    local.checkpoint()
    assert flushed == [root.stat().st_dev]
    assert local.stat("").facts[DEV] == flushed[0]


def test_making_the_root(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "new"))
    assert store.make_directory("", 0o750) is True
    assert store.make_directory("") is False
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750
    store.close()
    (tmp_path / "file").touch()
    with pytest.raises(DunlinError) as error:
        LocalStore(str(tmp_path / "file")).make_directory("")
    assert error.value.kind is ErrorKind.EXISTS
    with pytest.raises(DunlinError) as error:
        LocalStore(str(tmp_path / "no" / "parent")).make_directory("")
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_a_source_that_is_missing_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(DunlinError) as error:
            names(LocalStore(str(tmp_path / name)))
        assert error.value.kind is ErrorKind.NOT_FOUND


def test_a_hard_link_to_itself_leaves_no_temp(local: LocalStore, root: Path) -> None:
    put(local, "f")
    local.make_hard_link("f", "f")
    assert os.listdir(root) == ["f"]


def test_a_link_needs_a_target(local: LocalStore) -> None:
    for target in ("", "a\0b"):
        with pytest.raises(DunlinError) as error:
            local.make_link("l", target, Meta())
        assert error.value.kind is ErrorKind.NAME
    assert names(local) == []


def test_a_path_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    path = "/".join(["d" * 10] * 600)  # 6,599 characters: more than PATH_MAX
    for end in [at for at, char in enumerate(path) if char == "/"] + [len(path)]:
        store.make_directory(path[:end])
    entry = put(store, f"{path}/f", b"deep", mtime=3)
    assert get(store, f"{path}/f") == b"deep"
    assert names(store, path) == ["f"]
    assert entry.facts[SIZE] == 4
    store.set_meta(path, Meta(mode=0o700, mtime=4))
    assert stat.S_IMODE(store.stat(path).facts[MODE]) == 0o700
    store.delete([f"{path}/f"])
    while path:
        assert store.delete([path]) == [True]
        path = path.rpartition("/")[0]
    store.close()


def test_caps_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    caps = local_caps(str(tmp_path / "not" / "yet"))
    assert caps == local_caps(str(tmp_path))
    assert caps.max_name == 255
    assert caps.modes
    assert caps.links
    assert local_caps(str(tmp_path), in_place=True).atomic_replace is False


def test_a_batch_is_copied_from_one_local_store_to_another(local: LocalStore, root: Path, tmp_path: Path) -> None:
    from dunlin.pace.bucket import Bucket
    from dunlin.stores.local.batch import BatchOptions, new_worker
    from dunlin.stores.memory import MemoryStore
    from dunlin.stores.wrap import Paced, ReadOnly

    (tmp_path / "target" / "d").mkdir(parents=True)
    target = LocalStore(str(tmp_path / "target"))
    local.make_directory("s")
    for name in ("a", "b"):
        put(local, f"s/{name}", name.encode() * 100, mtime=1_000_000_007, mode=0o640)
    rows: list[Any] = [(name, what, None) for batch in local.list("s") for name, what in batch]
    bucket = Bucket.create()
    options, worker = BatchOptions(token="t", perms=True), new_worker()
    for source in (local, ReadOnly(local)):
        result = target.copy_batch(source, "s", "d", rows, options, bucket, worker)
        assert sorted(row[0] for row in result.rows) == ["a", "b"]
        assert get(target, "d/a") == b"a" * 100
        assert stat.S_IMODE(target.stat("d/b").facts[MODE]) == 0o640
        assert target.stat("d/b").mtime == 1_000_000_007
        target.delete(["d/a", "d/b"])
    for other in (MemoryStore(), Paced(local, bucket)):
        assert target.copy_batch(other, "s", "d", rows, options, bucket, worker) is None
    with pytest.raises(DunlinError) as error:
        target.copy_batch(local, "absent", "d", rows, options, bucket, worker)
    assert error.value.kind is ErrorKind.NOT_FOUND
    target.close()
    bucket.close()
