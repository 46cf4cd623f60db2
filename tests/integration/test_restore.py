"""Snapshots as stores: looked at and read as a restore does it, with the costs that this may have, and after damage."""

from __future__ import annotations

import os
import pickle
import random
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.backup import snapshot as module
from dunlin.backup.looked import Named
from dunlin.backup.snapshot import SnapshotStore
from dunlin.backup.tree.view import Directory
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.browse import Place as Spot
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.repo import Place as Where
from dunlin.jobs.restore import Snapshot, restoring, verifying
from dunlin.jobs.sync import run
from dunlin.model import MODE, MTIME, SIZE, UID, Entry, is_directory, is_file, join, sort_key
from dunlin.pace.stop import Stop
from dunlin.plan import Policy
from dunlin.report import RecordingReport
from dunlin.stores.base import MakesLinks, ReadsBatch, SetsMeta, power
from dunlin.stores.local import LocalStore
from dunlin.transfer import Options as Transfer
from tests.integration.test_saving import Place, everything

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.backup.keys.SCRYPT", {"n": 2, "r": 8, "p": 1})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fill(place: Place, files: int = 100) -> None:
    rng = random.Random(2)
    for number in range(files):
        place.write(f"d/f{number:03}", rng.randbytes(rng.randrange(1, 9000)))
    place.write("d/sub/inner", "below")
    place.write("d/f050-between/x", "a directory among files")
    place.write("large", rng.randbytes(6 << 20))


def opener(place: Place, path: str = "") -> Snapshot:
    area = place.area()
    spot = Spot(area, area.manifest(area.resolve("latest")), path)
    return Snapshot(Where(str(place.target), cache=str(place.cache)), area.repository, spot)


def asked(place: Place, target: Path, path: str = "", **how: object) -> SyncOptions:
    kept = Policy(perms=True, owner=True, group=True, hard_links=True, attributes=True)
    moved = Transfer(perms=True, owner=True, group=True, hard_links=True, xattrs=True, acls=True)
    given = SyncOptions("", str(target), policy=kept, transfer=moved, runtime=str(target.parent), **how)  # type: ignore[arg-type]
    return restoring(given, opener(place, path))


def test_listings_are_in_order_whatever_is_kept_of_them(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place)
    place.back_up()
    kept = everything(place.snapshot())
    assert kept == everything(LocalStore(str(place.source)))
    monkeypatch.setattr(module, "_MOST_KEPT", 10)
    monkeypatch.setattr(module, "_BATCH", 7)
    monkeypatch.setattr("dunlin.backup.looked.PIECE", 9)
    found = place.snapshot()
    assert everything(found) == kept
    keys = [sort_key(name, is_directory(facts)) for batch in found.list("d") for name, facts in batch]
    assert keys == sorted(keys)
    assert len(keys) == 102


def test_a_directory_of_small_files_takes_few_reads(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place)
    place.back_up()
    found = place.snapshot()
    reads: Counter[str] = Counter()
    inner = LocalStore.read

    def read(self: LocalStore, entry: Entry, *how: object) -> Iterator[object]:
        reads[entry.path] += 1
        return inner(self, entry, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "read", read)
    rows = [row for batch in found.list("d") for row in batch if is_file(row[1])]
    batch = power(found, ReadsBatch)
    assert batch is not None
    reads.clear()
    gathered = list(batch.read_batch("d", rows, ("user.",)))
    assert [len(each.data) for each in gathered] == [facts[SIZE] for _, facts in rows]
    assert [bytes(each.data) for each in gathered] == [(place.source / "d" / name).read_bytes() for name, _ in rows]
    # 450 KB in frames of 128 KiB, in one bundle or, with two movers, two.
    assert sum(reads.values()) <= 2
    reads.clear()
    assert all(each.error is None for each in batch.read_batch("d", rows, ()))
    assert not reads


def test_files_come_in_the_order_in_which_they_are_asked_for(place: Place) -> None:
    fill(place)
    place.write("d/empty", b"")
    place.write("d/long", random.Random(5).randbytes(3 << 20))
    os.setxattr(place.source / "d/f007", "user.a", b"1")
    place.back_up()
    found = place.snapshot()
    batch = power(found, ReadsBatch)
    assert batch is not None
    rows = [row for each in found.list("d") for row in each if is_file(row[1])]
    random.Random(3).shuffle(rows)
    for wanted in (rows, rows[:7], sorted(rows)[3:9], [("gone", rows[0][1]), *rows[:3]]):
        gathered = list(batch.read_batch("d", wanted, ("user.",)))
        for (name, _), each in zip(wanted, gathered, strict=True):
            if name == "gone":
                assert each.error is not None
                continue
            assert each.error is None
            assert each.data == (place.source / "d" / name).read_bytes()
            assert each.xattrs == ({"user.a": b"1"} if name == "f007" else {})


def test_a_directory_is_looked_at_once_however_many_lie_in_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        place.write(f"d/{number:02}/f", "content")
    place.back_up()
    looks: Counter[int] = Counter()
    inner = SnapshotStore._of_directory

    def look(self: SnapshotStore, node: Directory) -> Named:
        looks[node.node] += 1
        return inner(self, node)

    monkeypatch.setattr(SnapshotStore, "_of_directory", look)
    monkeypatch.setattr("dunlin.workers.coordinator.LAZY_SECONDS", 1e9)  # all of it in this process
    assert run(asked(place, tmp_path / "out"), Stop(), RecordingReport()).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out/d").iterdir()) == [f"{number:02}" for number in range(40)]
    assert len(looks) == 42  # the root, which nobody lists, and `d` itself
    assert max(looks.values()) <= 3


def test_what_is_damaged_is_an_error_of_the_files_that_need_it(place: Place) -> None:
    fill(place)
    place.back_up()
    bundles = [path for path in (place.target / "acme/docs").iterdir() if path.is_file()]
    for path in bundles:
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        path.write_bytes(data)
    found = place.snapshot()
    rows = [row for batch in found.list("d") for row in batch if is_file(row[1])]
    errors = [each.error for each in found.read_batch("d", rows, ())]
    wrong = [error for error in errors if error is not None]
    assert 0 < len(wrong) < len(rows)
    assert {error.kind for error in wrong} == {ErrorKind.IO}
    assert {error.where for error in wrong} == {
        join("d", name) for (name, _), error in zip(rows, errors, strict=True) if error is not None
    }
    assert b"".join(map(bytes, found.read(found.stat("large")))) == (place.source / "large").read_bytes()
    for path in bundles:
        path.unlink()
    found = place.snapshot()
    with pytest.raises(DunlinError) as lost:
        list(found.read(found.stat("d/f001")))
    assert (lost.value.kind, lost.value.where) == (ErrorKind.IO, "d/f001")


def test_what_has_a_damaged_page_is_listed_and_fails_by_name(place: Place) -> None:
    fill(place)
    place.back_up()
    before = place.snapshot()
    names = {name for batch in before.list("d") for name, _ in batch}
    (pages,) = (place.target / "acme/docs/tree").glob("*.pages")
    data = bytearray(pages.read_bytes())
    known = module.open_pages(place.area(), before.manifest.segments[0].id)
    for space, ((start, _),) in enumerate(known._spans):  # of directories, of files
        pages.write_bytes(bytes([*data[: start + 20], data[start + 20] ^ 1, *data[start + 21 :]]))
        found = place.snapshot()
        listed = {name: stat.S_IFMT(facts[MODE]) for batch in found.list("d") for name, facts in batch}
        assert listed.keys() == names
        if space == 0:
            assert b"".join(map(bytes, found.read(found.stat("d/f001")))) == (place.source / "d/f001").read_bytes()
            with pytest.raises(DunlinError) as damaged:
                found.get_xattrs("d", ("user.",))
        else:
            with pytest.raises(DunlinError) as damaged:
                list(found.read(found.stat("d/f001")))
            (gathered,) = found.read_batch("d", [("f001", found.stat("d/f001").facts)], ())
            assert gathered.error is not None
            assert gathered.error.kind is ErrorKind.IO
        assert damaged.value.kind is ErrorKind.IO


def test_a_part_of_a_file_is_read_from_its_chunks_alone(place: Place) -> None:
    fill(place)
    place.back_up()
    found = place.snapshot()
    whole = (place.source / "large").read_bytes()
    entry = found.stat("large")
    for start, length in ((0, 10), (1 << 20, 3 << 20), (len(whole) - 5, None), (len(whole), 10), (7, 0)):
        end = len(whole) if length is None else start + length
        assert b"".join(map(bytes, found.read(entry, start, length))) == whole[start:end]


def test_one_file_is_a_tree_of_one_name(place: Place) -> None:
    fill(place)
    place.back_up()
    area = place.area()
    found = SnapshotStore(area, area.manifest(area.resolve("latest")), "d/f007")
    assert [name for batch in found.list("") for name, _ in batch] == ["f007"]
    assert (found.stat("").facts[MTIME], found.stat("").facts[UID]) == (None, None)
    assert b"".join(map(bytes, found.read(found.stat("f007")))) == (place.source / "d/f007").read_bytes()
    for absent in ("f008", "d", "d/f007"):
        with pytest.raises(DunlinError, match="no such thing"):
            found.stat(absent)


def test_snapshots_are_never_changed(place: Place) -> None:
    fill(place, 1)
    place.back_up()
    found = place.snapshot()
    links, meta = power(found, MakesLinks), power(found, SetsMeta)
    assert links is not None
    assert meta is not None
    for act in (
        lambda: found.delete(["d/f000"]),
        lambda: links.make_hard_link("large", "new"),
        lambda: links.make_link("new", "target", None),  # type: ignore[arg-type]
        lambda: links.make_special("new", 0o10600, 0, None),  # type: ignore[arg-type]
        lambda: meta.set_meta("large", None),  # type: ignore[arg-type]
    ):
        with pytest.raises(DunlinError) as refused:
            act()
        assert refused.value.kind is ErrorKind.READ_ONLY


def test_the_words_for_overwriting_are_those_of_the_command_line() -> None:
    from dunlin.cli import restore as command
    from dunlin.jobs import restore as job

    assert command.OVERWRITE == job.OVERWRITE


def test_a_process_that_was_started_anew_needs_no_password(place: Place) -> None:
    fill(place)
    place.back_up()
    made = opener(place, "d")
    made()
    sent = pickle.dumps(made)
    assert b"word" not in sent
    again = pickle.loads(sent)
    assert again.url == made.url
    store = again()
    assert b"".join(map(bytes, store.read(store.stat("f001")))) == (place.source / "d/f001").read_bytes()
    store.close()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_movers_restore_what_one_process_would(place: Place, tmp_path: Path, start: str) -> None:
    for number in range(400):
        place.write(f"d{number % 20}/e/f{number}", f"content {number}")
    os.setxattr(place.source / "d1/e/f1", "user.mark", b"value")
    os.chmod(place.source / "d2", 0o555)
    place.back_up()
    options = asked(place, tmp_path / "target")
    options = options._replace(crew=options.crew._replace(movers=2, start=start))
    result = run(options, Stop(), RecordingReport())
    assert (result.exit_code, result.stats.copied_files) == (0, 400)
    assert everything(LocalStore(str(tmp_path / "target"))).keys() == everything(place.snapshot()).keys()
    assert os.getxattr(tmp_path / "target/d1/e/f1", "user.mark") == b"value"
    check = run(verifying(options), Stop(), RecordingReport())
    assert (check.exit_code, check.stats.verified_files or check.stats.equal_files) == (0, 400)
    again = run(options, Stop(), RecordingReport())
    assert (again.exit_code, again.stats.copied_files, again.stats.equal_files) == (0, 0, 400)
