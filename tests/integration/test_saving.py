"""Backups of real directories into real repositories, looked at through the snapshot."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import keys, repository
from dunlin.backup.chunker import Sizes
from dunlin.backup.content import bounded
from dunlin.backup.looked import Named
from dunlin.backup.mend import trees
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Area, Repository, Settings
from dunlin.backup.snapshot import SnapshotStore
from dunlin.backup.tree.compact import MOST_SEGMENTS
from dunlin.backup.verify import verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Rule, Selection
from dunlin.model import DEV, FACTS, IDENT, MODE, MTIME, NLINK, SIZE, Entry, Facts, join
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport
from dunlin.stores.base import Store
from dunlin.stores.local import LocalStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import Outcome, back_up
from tests.unit.backup import held
from tests.unit.backup.held import Held

PASSWORD = b"word"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


class Place:
    """A source, a repository, and backups from the one into the other."""

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self.source, self.target = root / "source", root / "repository"
        self.cache = root / "cache"
        self.source.mkdir()
        self.target.mkdir()
        self.repository = repository.init(self.objects(), PASSWORD, settings or Settings(), self.cache)

    def objects(self) -> Objects:
        return Objects(LocalStore(str(self.target)))

    def again(self) -> Repository:
        return repository.open_repository(self.objects(), lambda: PASSWORD, self.cache)

    def area(self) -> Area:
        return self.again().area("acme", "docs")

    def back_up(self, source: Callable[[], Store] | None = None, stop: Stop | None = None, **how: object) -> Outcome:
        self.report = RecordingReport()
        asked = Asked(f"file://{self.source}", movers=2, **how)  # type: ignore[arg-type]
        opened = source or (lambda: LocalStore(str(self.source)))
        return back_up(asked, self.area(), opened, self.again, stop or Stop(), self.report)

    def snapshot(self, text: str = "latest") -> SnapshotStore:
        area = self.area()
        return SnapshotStore(area, area.manifest(area.resolve(text)))

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def objects_of(self, *parts: str) -> list[str]:
        folder = self.target.joinpath(*parts)
        return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def everything(store: Store) -> Held:
    """What is in a store, with content and the facts that a backup keeps."""
    return {path: (_kept(facts), content) for path, (facts, content) in held.everything(store).items()}


def _kept(facts: Facts) -> Facts:
    """Without what is the file system's own: device, access time, size of a directory."""
    known = dict(zip(FACTS, facts, strict=False))
    known.pop("atime")
    if known["nlink"] < 2 or stat.S_ISDIR(facts[MODE]):
        known["dev"] = known["nlink"] = 0
    if stat.S_ISDIR(facts[MODE]):
        known["size"] = 0
    return tuple(known.values())


def same(place: Place) -> None:
    """The latest snapshot is the source, to the last byte and fact."""
    assert everything(place.snapshot()) == everything(LocalStore(str(place.source)))


def test_a_tree_of_all_kinds_comes_back_whole(place: Place) -> None:
    rng = random.Random(1)
    for number in range(200):
        place.write(f"d{number % 7}/e{number % 3}/f{number}", rng.randbytes(rng.randrange(0, 3000)))
    place.write("large", rng.randbytes(5 << 20))
    place.write("medium", rng.randbytes(70_000))
    place.write("empty", b"")
    (place.source / "nothing").mkdir()
    (place.source / "link").symlink_to("nowhere/at all")
    os.mkfifo(place.source / "pipe")
    os.link(place.source / "medium", place.source / "twin")
    place.write("é\n\udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), "odd name")
    os.chmod(place.write("tool", "#!"), 0o4755)
    os.utime(place.source / "empty", ns=(5, -5_000_000_001))
    done = place.back_up()
    same(place)
    totals = done.manifest.totals
    assert (totals.files, totals.directories) == (208, 30)
    assert totals.bytes == sum(path.lstat().st_size for path in place.source.rglob("*") if not path.is_dir())
    found = place.snapshot()
    assert found.stat("twin").facts[IDENT] == found.stat("medium").facts[IDENT]
    assert found.stat("twin").facts[NLINK] == 2
    assert found.stat("twin").facts[DEV] == found.stat("medium").facts[DEV]
    assert found.stat("empty").facts[MTIME] == -5_000_000_001


def test_what_is_as_it_was_writes_nothing_but_a_manifest(place: Place) -> None:
    for number in range(50):
        place.write(f"d{number % 5}/f{number}", f"content {number}")
    first = place.back_up()
    before = place.objects_of()
    second = place.back_up()
    assert len(place.objects_of()) == len(before) + 1
    assert second.manifest.segments == first.manifest.segments
    assert second.manifest.totals.read_bytes == 0
    assert second.manifest.totals.files == 50
    assert second.manifest.parent == first.manifest.id
    same(place)


def test_only_what_changed_is_read_and_nodes_stay(place: Place) -> None:
    for number in range(40):
        place.write(f"d{number % 4}/f{number}", f"content {number}")
    place.back_up()
    nodes = {path: place.snapshot().tree.lookup(path.encode()).node for path in ("d1", "d1/f1", "d1/f5")}  # type: ignore[union-attr]
    place.write("d1/f1", "another")
    place.write("d1/new", "new")
    (place.source / "d2/f2").unlink()
    done = place.back_up()
    same(place)
    totals = done.manifest.totals
    assert (totals.changed_files, totals.new_files, totals.removed_files) == (1, 1, 1)
    assert totals.read_bytes == len("another") + len("new")
    assert {path: place.snapshot().tree.lookup(path.encode()).node for path in nodes} == nodes  # type: ignore[union-attr]


def test_directories_come_and_go(place: Place) -> None:
    place.write("gone/below/f", "x")
    place.write("turns/f", "x")
    place.write("stays/f", "x")
    place.back_up()
    for path in ("gone/below/f", "turns/f"):
        (place.source / path).unlink()
    for path in ("gone/below", "gone", "turns"):
        (place.source / path).rmdir()
    place.write("turns", "a file now")
    place.write("new/below/f", "y")
    os.chmod(place.source / "stays", 0o700)
    place.back_up()
    same(place)
    assert "gone/below" in everything(place.snapshot(place.area().snapshots()[0].id))


def test_a_same_size_edit_within_the_second_is_seen(place: Place) -> None:
    path = place.write("f", "one")
    place.back_up()
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 100))
    place.back_up()
    same(place)


def test_sizes_beyond_32_bits_stand_in_a_tree(place: Place) -> None:
    sizes = {"just below": (1 << 32) - 2, "the mark itself": (1 << 32) - 1, "4 GiB": 1 << 32, "3 TiB": 3 << 40}
    for name, size in sizes.items():
        with open(place.write(name, b""), "wb") as file:
            file.truncate(size)
    place.back_up(content=False)
    found = place.snapshot()
    assert {name: found.stat(name).size for name in sizes} == sizes
    assert found.tree.directory(1).size == sum(sizes.values())  # type: ignore[union-attr]


def test_a_time_beyond_the_formats_is_the_latest_they_can_hold() -> None:
    """2^63 steps of 100 ns are over in the year 31,197; some file systems go on."""
    beyond = (0o100644, 5, 10**21, 0, 0, 1, 1, 0, 7, 0, 0)
    assert bounded(beyond)[MTIME] == ((1 << 63) - 1) * 100
    assert bounded((*beyond[:2], -(1 << 80), *beyond[3:]))[MTIME] == (1 - (1 << 63)) * 100
    assert bounded((*beyond[:2], 1 << 69, *beyond[3:]))[MTIME] == 1 << 69


FAR_TIMES = {
    "in the year 3000": 32_503_680_000 * 10**9 + 123_456_789,
    "before 1678": -11_676_096_000 * 10**9 + 123_456_789,
    "before 1970": -5 * 10**9 - 1,
    "after 2106": 4_294_967_296 * 10**9 + 999_999_999,
    "the last of 64 bits": (1 << 63) - 1,
    "the next": 1 << 63,
    "the first of 64 bits": -(1 << 63),
    "the one before": -(1 << 63) - 1,
    "the last of all": ((1 << 63) - 1) * 100,
    "beyond all": 10**21,
    "before all": -(10**21),
}


class Centuries(LocalStore):
    """Files whose names say when they were modified, as told by a file system that can hold such times."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self._own: dict[str, Facts] = {}

    def list(self, directory: str):  # type: ignore[no-untyped-def]
        for batch in super().list(directory):
            yield [(name, self._far(join(directory, name), facts)) for name, facts in batch]

    def stat(self, path: str) -> Entry:
        return Entry(path, self._far(path, super().stat(path).facts))

    def read(self, entry: Entry, *how: object, **more: object):  # type: ignore[no-untyped-def]
        return super().read(Entry(entry.path, self._own[entry.path]), *how, **more)  # type: ignore[arg-type]

    def read_batch(self, directory, rows, space):  # type: ignore[no-untyped-def]
        own = [(name, self._own[join(directory, name)]) for name, _ in rows]
        return super().read_batch(directory, own, space)

    def _far(self, path: str, facts: Facts) -> Facts:
        self._own[path] = facts
        name = path.rpartition("/")[2]
        return (*facts[:MTIME], FAR_TIMES[name], *facts[MTIME + 1 :]) if name in FAR_TIMES else facts


def test_times_of_any_century_come_back(place: Place) -> None:
    source = Centuries(place.source)
    for number, name in enumerate(FAR_TIMES):
        place.write(f"small/{name}", "x" * number)
        place.write(f"large/{name}", os.urandom(70_000))
        place.write(f"directories/{name}/f", "y")
    assert place.back_up(lambda: source).errors == []
    most = ((1 << 63) - 1) * 100
    held = {name: max(-most, min(time, most)) for name, time in FAR_TIMES.items()}
    for folder in ("small", "large", "directories"):
        found = {name: facts[MTIME] for batch in place.snapshot().list(folder) for name, facts in batch}
        assert found == held
        for name, moment in held.items():
            node = place.snapshot().tree.lookup(f"{folder}/{name}".encode())
            assert node is not None
            assert node.mtime == moment // 100 * 100
    assert place.back_up(lambda: source).manifest.totals.read_bytes == 0, "nothing has changed"
    place.write("small/new", "z")
    place.back_up(lambda: source)  # rows that go on as they were go into a new run
    assert place.snapshot().stat("small/the next").facts[MTIME] == 1 << 63


def test_equal_content_is_stored_once(place: Place) -> None:
    content = os.urandom(30_000)
    for number in range(20):
        place.write(f"d{number}/f", content)
    done = place.back_up()
    # Two movers may each store it, in the moment before they know of each other.
    assert done.manifest.totals.new_bytes <= 2 * len(content)
    place.write("later", content)
    assert place.back_up().manifest.totals.new_bytes == 0
    same(place)


def test_deltas_that_have_grown_become_a_new_base_with_what_was_there(place: Place) -> None:
    for number in range(30):
        place.write(f"d{number % 3}/f{number}", f"content {number}")
    place.write("gone/with/all", "x")
    bases = {place.back_up().manifest.segments[0].id}
    shutil.rmtree(place.source / "gone")
    for number in range(6):
        place.write(f"d{number % 3}/f{number}", f"changed {number}")
        done = place.back_up()
        assert done.manifest.totals.files == 30
        assert done.manifest.totals.new_bytes == len(f"changed {number}")
        assert len(done.manifest.segments) < 3
        bases.add(done.manifest.segments[0].id)
        same(place)
    assert len(bases) > 2
    assert done.manifest.segments[0].rows < 36, "what is gone is not carried along"


def test_many_small_deltas_are_joined_and_cost_what_has_changed(place: Place) -> None:
    for number in range(600):
        place.write(f"d{number % 300}/f{number}", b"")
    first = place.back_up().manifest.segments
    for number in range(MOST_SEGMENTS + 6):
        place.write(f"d{number % 20}/new {number}", f"changed {number}")
        if number % 4 == 1:
            shutil.rmtree(place.source / f"d{100 + number}")
        if number % 4 == 2:
            os.chmod(place.source / f"d{200 + number}", 0o700)
        if number % 4 == 3:
            shutil.rmtree(place.source / f"d{250 + number}")
            place.write(f"d{250 + number}/again/new", b"")
        done = place.back_up()
        assert done.manifest.segments[0] == first[0], "the base stays as it is"
        assert len(done.manifest.segments) <= MOST_SEGMENTS
        if number % 5 == 0:
            same(place)
    same(place)
    assert sum(ref.rows for ref in done.manifest.segments[1:]) < 200
    checked = verify([place.area()])
    assert checked.whole
    # What a joined segment's pages say makes it again, byte by byte.
    joined = next(ref for ref in done.manifest.segments[1:] if ref.rows > 30)
    path = next(place.target.rglob(joined.id))
    path.unlink()
    shutil.rmtree(place.cache)
    trees(place.repository, "acme", "me")
    same(place)


def test_deltas_whose_pages_are_damaged_stay_as_they_are_and_the_backup_goes_on(place: Place) -> None:
    for number in range(300):
        place.write(f"d{number}/f", b"")
    for number in range(MOST_SEGMENTS):
        place.write(f"d{number}/f", f"changed {number}")
        done = place.back_up()
    assert len(done.manifest.segments) == MOST_SEGMENTS
    for ref in done.manifest.segments[1:]:
        path = next(place.target.rglob(f"{ref.id}.pages"))
        path.write_bytes(bytes(path.stat().st_size))
    place.write("d299/f", "changed, too")
    done = place.back_up()
    assert len(done.manifest.segments) == MOST_SEGMENTS + 1
    assert any(event.name == "backup.apart" for event in place.report.events)
    found = place.snapshot()
    assert b"".join(map(bytes, found.read(found.stat("d299/f")))) == b"changed, too"


def test_what_a_filter_leaves_out_is_not_in_the_snapshot(place: Place) -> None:
    place.write("a.txt", "x")
    place.write("b.tmp", "x")
    place.write("cache/c.txt", "x")
    rules = Selection(rules=(Rule(False, "*.tmp"), Rule(False, "cache/")))
    place.back_up(selection=rules)
    assert set(everything(place.snapshot())) == {"a.txt"}


def test_a_scan_holds_the_tree_and_a_backup_after_it_reads_everything(place: Place) -> None:
    place.write("d/f", "content")
    done = place.back_up(content=False)
    assert done.manifest.totals.read_bytes == 0
    found = place.snapshot()
    assert found.stat("d/f").size == 7
    with pytest.raises(DunlinError, match="a scan"):
        list(found.read(found.stat("d/f")))
    place.back_up()
    same(place)


class Flaky(LocalStore):
    """A source whose files are written to, or fail, when they are read."""

    def __init__(self, root: Path, fail: dict[str, DunlinError], touch: tuple[str, ...] = ()) -> None:
        super().__init__(str(root))
        self._fail, self._touch = fail, touch

    def list(self, directory: str):  # type: ignore[no-untyped-def]
        if directory in self._fail:
            raise self._fail[directory]
        yield from super().list(directory)

    def powers(self) -> frozenset[type]:
        return frozenset()

    def read(self, entry, start=0, length=None, into=None):  # type: ignore[no-untyped-def]
        if entry.path in self._fail:
            raise self._fail[entry.path]
        if entry.path in self._touch:
            os.utime(os.path.join(self.root, entry.path))
        yield from super().read(entry, start, length, into)


def test_a_file_that_is_always_written_to_is_kept_and_flagged(place: Place) -> None:
    place.write("log", "lines")
    done = place.back_up(lambda: Flaky(place.source, {}, ("log",)))
    assert done.manifest.totals.torn_files == 1
    assert everything(place.snapshot())["log"][1] == b"lines"
    assert place.back_up().manifest.totals.read_bytes == 5  # the next one reads it again


def test_what_cannot_be_read_stays_as_it_was_and_is_told(place: Place) -> None:
    for name in ("d/f", "d/g", "e/h"):
        place.write(name, "first")
    place.back_up()
    for name in ("d/f", "d/g", "e/h"):
        place.write(name, "second")
    broken = {path: DunlinError("read", path, ErrorKind.IO, "Input/output error") for path in ("d/f", "e")}
    done = place.back_up(lambda: Flaky(place.source, broken))
    assert sorted(error.where for error in done.errors) == ["d/f", "e"]
    assert not done.manifest.complete
    assert {path: content for path, (_, content) in everything(place.snapshot()).items() if content} == {
        "d/f": b"first", "d/g": b"second", "e/h": b"first",
    }  # fmt: skip
    assert place.back_up().manifest.complete
    same(place)


def test_a_directory_that_goes_between_two_looks_at_it_is_gone(place: Place) -> None:
    for name in ("d/f", "e/g", "h"):
        place.write(name, "content")

    class Fleeting(LocalStore):
        def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
            if path == "d":
                raise DunlinError("read the attributes of", path, ErrorKind.NOT_FOUND, "No such file or directory")
            return super().get_xattrs(path, space)

    done = place.back_up(lambda: Fleeting(str(place.source)))
    assert (done.errors, done.vanished) == ([], 1)
    assert set(everything(place.snapshot())) == {"e", "e/g", "h"}
    place.back_up()
    same(place)


def test_a_root_that_cannot_be_listed_makes_no_snapshot(place: Place) -> None:
    error = DunlinError("list", "", ErrorKind.IO, "Input/output error")
    with pytest.raises(DunlinError, match="Input/output"):
        place.back_up(lambda: Flaky(place.source, {"": error}))
    assert place.area().snapshots() == []
    assert place.objects_of("acme", "leases") == []


def test_an_interrupted_backup_leaves_no_snapshot_and_what_it_stored_is_found(place: Place) -> None:
    for number in range(300):
        place.write(f"d{number}/f", os.urandom(5000))
    stop, (reading, writing), (leave, gate) = Stop(), os.pipe(), os.pipe()
    os.write(gate, bytes(150))  # so many directories are read before it is stopped, and not one more

    class Gated(LocalStore):
        def list(self, directory: str):  # type: ignore[no-untyped-def]
            os.write(writing, b".")  # movers are processes: this is what all of them have begun
            os.read(leave, 1)
            yield from super().list(directory)

    def stopping() -> None:
        for _ in range(151):
            os.read(reading, 1)
        stop.request("a signal")
        os.write(gate, bytes(300))

    thread = threading.Thread(target=stopping, daemon=True)
    thread.start()
    with pytest.raises(DunlinError) as error:
        place.back_up(lambda: Gated(str(place.source)), stop)
    thread.join(20)
    for each in (reading, writing, leave, gate):
        os.close(each)
    assert error.value.kind is ErrorKind.INTERRUPTED
    assert place.area().snapshots() == []
    done = place.back_up()
    assert 0 < done.manifest.totals.new_bytes < 300 * 5000
    same(place)


def test_a_mover_that_is_killed_ends_the_run_and_the_next_is_whole(place: Place) -> None:
    for number in range(100):
        place.write(f"d{number}/f", os.urandom(2000))

    class Deadly(LocalStore):
        def list(self, directory: str):  # type: ignore[no-untyped-def]
            if directory == "d50":
                os.kill(os.getpid(), signal.SIGKILL)
            yield from super().list(directory)

    with pytest.raises(DunlinError, match="a mover died"):
        place.back_up(lambda: Deadly(str(place.source)))
    assert place.area().snapshots() == []
    place.back_up()
    same(place)


def test_one_backup_of_a_share_at_a_time(place: Place) -> None:
    place.write("f", "x")
    inside: list[DunlinError] = []

    class Nested(LocalStore):
        def stat(self, path: str):  # type: ignore[no-untyped-def]
            if not inside:
                inside.append(DunlinError("", "", ErrorKind.INTERNAL))
                with pytest.raises(DunlinError) as error:
                    place.back_up()
                inside[0] = error.value
            return super().stat(path)

    place.back_up(lambda: Nested(str(place.source)))
    assert inside[0].kind is ErrorKind.LOCKED


def test_a_clock_that_was_set_back_makes_no_snapshot_older_than_the_last(place: Place) -> None:
    place.write("f", "x")
    first = place.back_up()
    asked = Asked("file:///x", movers=1)
    second = back_up(
        asked, place.area(), lambda: LocalStore(str(place.source)), place.again, Stop(), RecordingReport(),
        clock=lambda: 1_000_000_000,
    )  # fmt: skip
    assert second.manifest.time > first.manifest.time
    assert [name.id for name in place.area().snapshots()] == [first.manifest.id, second.manifest.id]


def test_sizes_of_what_is_stored_are_told(place: Place) -> None:
    place.write("f", b"a" * 50_000)
    totals = place.back_up().manifest.totals
    assert totals.new_bytes == totals.read_bytes == totals.bytes == 50_000
    assert 0 < totals.stored_bytes < 5000
    assert everything(place.snapshot())["f"][0][SIZE] == 50_000


@pytest.fixture(autouse=True)
def no_folders_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    yield
    assert list(scratch.iterdir()) == []


def test_a_directory_that_was_not_found_once_and_is_there_is_no_deleted_one(place: Place) -> None:
    """An automounter or a gateway says so for a moment; what lies in it stays as it was."""
    for number in range(3):
        place.write(f"mount/f{number}", "content")
    place.back_up()

    class Away(LocalStore):
        def list(self, directory: str) -> Any:
            if directory == "mount":
                raise DunlinError("list", directory, ErrorKind.NOT_FOUND, "no such file or directory")
            yield from super().list(directory)

    outcome = place.back_up(lambda: Away(str(place.source)))
    assert [(error.where, error.kind) for error in outcome.errors] == [("mount", ErrorKind.IO)]
    assert (outcome.manifest.complete, outcome.vanished, outcome.manifest.totals.files) == (False, 0, 3)
    same(place)


def test_ranges_of_a_large_file_do_not_go_through_its_chunks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, Settings(Sizes(64, 256, 1024), small=64))
    raw = random.Random(33).randbytes(300_000)
    place.write("large", raw)
    place.back_up()
    snapshot = place.snapshot()
    entry, wanted = snapshot.stat("large"), snapshot._wanted
    asked: list[str] = []
    assert len(snapshot.chunks("large")) > 500

    def told(path: str) -> Named | DunlinError:
        asked.append(path)
        return wanted(path)

    monkeypatch.setattr(snapshot, "_wanted", told)
    for start in range(0, len(raw) + 20_000, 9_973):
        assert b"".join(map(bytes, snapshot.read(entry, start, 12_000))) == raw[start : start + 12_000]
    assert asked == ["large"]
