"""Repositories of every format ever released can be read, verified, mended, restored and gone on with."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
from blake3 import blake3

from dunlin.backup import marks, mend, rebuild, repository, verified
from dunlin.backup.frames import unseal
from dunlin.backup.objects import Objects
from dunlin.backup.repository import FORMAT, Area
from dunlin.backup.snapshot import SnapshotStore, open_pages
from dunlin.backup.verified import Subset
from dunlin.backup.verify import verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MODE, MTIME, NLINK
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.local import LocalStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up
from tests.formats.repository.by_the_book import Book
from tests.unit.backup.held import everything

HERE = Path(__file__).parent
WRONG = "wrong password, or its configuration was changed"
PASSWORD, TENANT_PASSWORD = b"correct horse battery staple", b"of acme alone"
MOMENT, LATER = 1_700_000_000_123_456_789, 1_700_000_001_000_000_100
JOINED = "repository-1-joined-sealed.tar.gz"
"""With joins, and marks of the second form."""

SAMPLES = {
    JOINED: "c8083fc65d3d2b81d44561f65bcb40356dc100828d3cd9bd21708eee565016f7",
    "repository-1-plain.tar.gz": "c476a7b1edf512d88576e5b3aab794085928b056df920fce733b62a68418a2d2",
    "repository-1-sealed.tar.gz": "fcef67cbabf4586b53b9d065d0043f0a4329b5428b1ddf7995b3f5c0126d9d5d",
}
FIRST = {
    "caf\udce9": (0o100644, MOMENT, "f8d4dd2e"),
    "docs": (0o40755, MOMENT, ""),
    "docs/letters": (0o40755, MOMENT, ""),
    "docs/letters/one": (0o100644, MOMENT, "909c10fb"),
    "docs/letters/Überblick": (0o100644, MOMENT, "68354853"),
    "docs/nothing": (0o100644, MOMENT, ""),
    "docs/plan": (0o104750, MOMENT, "4b882d03"),
    "empty": (0o40755, MOMENT, ""),
    "in 1601": (0o100644, -11_644_473_599_999_999_900, "1c51e7c2"),
    "in 1969": (0o100644, -1, "3ce79104"),
    "in 2107": (0o100644, 4_323_456_789_987_654_321, "25b6c654"),
    "in 3000": (0o100644, 32_503_680_000_123_456_789, "cd581731"),
    "link": (0o120777, MOMENT, "9ddaca66"),
    "n" * 255: (0o100644, MOMENT, "5e9edc57"),
    "photo": (0o100644, MOMENT, "80fac182"),
    "pipe": (0o10640, MOMENT, ""),
    "twin": (0o100644, MOMENT, "80fac182"),
}
"""Mode, time of modification (ns), and the beginning of the SHA-256 of the content, by path."""

SECOND = {path: facts for path, facts in FIRST.items() if path not in ("docs/letters/one", "empty")} | {
    "docs": (0o40755, LATER, ""),
    "docs/letters": (0o40700, LATER, ""),
    "docs/new": (0o100644, LATER, "7aa7a535"),
    "photo": (0o100644, LATER, "957f185c"),
    "twin": (0o100644, LATER, "957f185c"),
}


def test_there_are_samples_of_every_format() -> None:
    every = [f"repository-{n}-{what}.tar.gz" for n in range(1, FORMAT + 1) for what in ("plain", "sealed")]
    assert sorted(SAMPLES) == sorted([*every, JOINED])
    assert sorted(path.name for path in HERE.glob("*.gz")) == sorted(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((HERE / name).read_bytes()).hexdigest() == SAMPLES[name]
    assert (HERE / name).stat().st_size < 100_000


class Stored:
    """A copy of a sample."""

    def __init__(self, name: str, root: Path) -> None:
        self.sealed, self.root = "sealed" in name, root
        with tarfile.open(HERE / name) as tar:
            tar.extractall(root, filter="data")

    def area(self, password: bytes = PASSWORD) -> Area:
        objects = Objects(LocalStore(str(self.root)))
        return repository.open_repository(objects, lambda: password if self.sealed else None).area("acme", "docs")

    def snapshot(self, number: int) -> SnapshotStore:
        area = self.area()
        return SnapshotStore(area, area.manifest(area.snapshots()[number]))

    def held(self, number: int) -> dict[str, tuple[int, int, str]]:
        """What a snapshot holds: mode, time of modification, and the content in short."""
        found = everything(self.snapshot(number)).items()
        return {path: (facts[MODE], facts[MTIME], short(content)) for path, (facts, content) in found}

    def objects(self, pattern: str) -> list[Path]:
        return sorted(path for path in self.root.glob(pattern) if path.is_file())


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8] if content else ""


@pytest.fixture(params=SAMPLES)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    return Stored(request.param, tmp_path / "repository")


def test_it_holds_what_it_held(stored: Stored) -> None:
    assert stored.held(0) == FIRST
    assert stored.held(1) == SECOND
    store = stored.snapshot(0)
    assert store.get_xattrs("docs/plan", ("user.",)) == {"user.colour": b"green"}
    assert [store.stat(name).facts[NLINK] for name in ("photo", "twin")] == [2, 2]


def test_its_manifests_say_what_they_said(stored: Stored) -> None:
    area = stored.area()
    one, two = (area.manifest(name) for name in area.snapshots())
    assert (one.tenant, one.share, one.source, one.host, one.tags) == (
        "acme", "docs", "file:///source", "host", ("tag", "another"),
    )  # fmt: skip
    assert (one.time, two.time, one.parent, two.parent) == (
        1_700_000_002_000_000_000, 1_700_000_002_000_001_000, "", one.id,
    )  # fmt: skip
    assert (one.complete, one.content, one.program) == (True, True, "1.0")
    assert (one.totals.files, one.totals.directories, one.next_node) == (14, 4, 19)
    assert (two.totals.new_files, two.totals.changed_files, two.totals.removed_files) == (1, 2, 1)
    assert [ref.id for ref in one.segments] == [one.id]
    assert [ref.id for ref in two.segments][:-1] in ([one.id], [])
    assert two.segments[-1].id != one.id


def test_all_of_it_is_whole(stored: Stored) -> None:
    found = verify([stored.area()], data=Subset())
    assert found.whole
    assert (found.snapshots, found.segments, found.packs) == (2, 2, 4)


def test_its_marks_and_its_ledger_say_what_they_said(stored: Stored) -> None:
    area = stored.area()
    found = marks.read(area)
    assert [(mark.keys, mark.leases) for mark in found.marks] == [
        ({"acme/docs/" + "1" * 32}, {"acme/leases/docs.0123456789abcdef0123456789abcdef"})
    ]
    assert [keys for _, keys in found.gone] == [{"acme/docs/" + "0" * 32}]
    assert [keys for _, keys in found.bad] == [{"acme/packs/22/" + "2" * 32}]
    times = verified.read(area)
    assert times.keys() == area.packs(True).keys() | area.packs(False).keys()
    assert set(times.values()) == {1_700_000_003_000_000_000}


@pytest.mark.parametrize("number", [0, 1])
def test_its_trees_can_be_made_again(stored: Stored, number: int) -> None:
    """To the last byte: a writer that lays segments out otherwise could mend nothing that it had not written."""
    area = stored.area()
    ref = area.manifest(area.snapshots()[number]).segments[-1]
    path = stored.root / "acme/docs/tree" / ref.id
    before = b"".join(unseal(area.codec(f"acme/docs/tree/{ref.id}"), path.read_bytes()))
    path.unlink()
    mend.remake(open_pages(area, ref.id), stored.root / "made")
    assert (stored.root / "made").read_bytes() == before
    assert blake3(before).digest() == ref.digest
    assert [fate.error for fate in mend.trees(area.repository, "acme", "me")] == [None]
    assert stored.held(1) == SECOND


def test_its_index_can_be_made_again(stored: Stored) -> None:
    for path in [*stored.objects("acme/chunks/*"), *stored.objects("acme/docs/chunks/*")]:
        path.unlink()
    done = rebuild.chunk_index(stored.area().repository, "acme", "me")
    assert (done.packs, done.damaged) == (4, [])
    assert stored.held(0) == FIRST


def test_backups_go_on(stored: Stored, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "photo").write_bytes(b"".join(map(bytes, (s := stored.snapshot(0)).read(s.stat("photo")))))
    asked = Asked("file:///source", movers=1)
    area = stored.area()
    opened = lambda: stored.area().repository  # noqa: E731
    done = back_up(asked, area, lambda: LocalStore(str(source)), opened, Stop(), NullReport())
    assert done.manifest.totals.new_bytes == 0, "its chunks are known by the ids that they had"
    assert done.manifest.parent == area.snapshots()[1].id
    assert stored.held(0) == FIRST


def test_passwords_open_what_they_opened(tmp_path: Path) -> None:
    stored = Stored("repository-1-sealed.tar.gz", tmp_path)
    assert stored.area(TENANT_PASSWORD).manifest(stored.area(TENANT_PASSWORD).snapshots()[0]).share == "docs"
    objects = Objects(LocalStore(str(tmp_path)))
    with pytest.raises(DunlinError) as error:
        repository.open_repository(objects, lambda: TENANT_PASSWORD).area("other", "docs")
    assert error.value.kind is ErrorKind.AUTH
    with pytest.raises(DunlinError) as error:
        repository.open_repository(objects, lambda: b"correct horse")
    assert (error.value.kind, error.value.reason) == (ErrorKind.AUTH, WRONG)


def test_nothing_of_it_can_be_read_without_a_key(tmp_path: Path) -> None:
    stored = Stored("repository-1-sealed.tar.gz", tmp_path)
    for path in stored.objects("acme/**/*"):
        data = path.read_bytes()
        assert data[:4] in (b"\x50\x2a\x4d\x18", b"\x51\x2a\x4d\x18"), path
        assert not any(word in data for word in (b"photo", b"letters", b"DLPG", b"DUNLTREE", b"ustar", b"colour"))


def test_of_what_was_joined_only_the_whole_counts(tmp_path: Path) -> None:
    stored = Stored(JOINED, tmp_path)
    assert len(stored.objects("acme/chunks/" + "?" * 32)) == 3
    assert len(stored.area().chunk_segments(False)) == 1
    assert len(Book(tmp_path, PASSWORD, "acme").contained("acme/chunks")) == 2


@pytest.mark.parametrize("name", SAMPLES)
def test_marks_of_every_form_are_read(name: str, tmp_path: Path) -> None:
    form = 2 if name == JOINED else 1
    stored = Stored(name, tmp_path)
    book, area = Book(tmp_path, PASSWORD if stored.sealed else None, "acme"), stored.area()
    keys = [str(path.relative_to(tmp_path)) for path in stored.objects("acme/marks/*")]
    assert {book.container(key).split(b"\n")[0] for key in keys} == {b"dunlin marks %d" % form}
    (mark,) = marks.read(area).marks
    assert book.marks(f"acme/marks/{mark.id}") == mark.keys
    assert book.marks(f"acme/marks/{mark.id}.after") == mark.leases


@pytest.mark.parametrize("password", [PASSWORD, TENANT_PASSWORD])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_description_is_enough_to_read_it(name: str, password: bytes, tmp_path: Path) -> None:
    stored = Stored(name, tmp_path)
    book = Book(tmp_path, password if stored.sealed else None, "acme")
    for number, held in enumerate((FIRST, SECOND)):
        found = book.everything("docs", number)
        assert {path: (mode, time, short(content)) for path, (mode, time, content) in found.items()} == held
    for path in [*stored.objects("acme/packs/*/*"), *stored.objects("acme/docs/" + "?" * 32)]:
        key = str(path.relative_to(tmp_path))
        assert book.pack_contents(key)
