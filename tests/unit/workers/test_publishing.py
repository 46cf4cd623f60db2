"""A unit of a publish job: each file by itself, few requests, nothing deleted that was not told."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.words import FileStatus
from dunlin.report import RecordingReport
from dunlin.stores.base import Store
from dunlin.stores.local import LocalStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.workers.publish_record import record_name
from dunlin.workers.publish_words import (
    VERSION,
    FileOutcome,
    PublishFile,
    PublishUnit,
    Root,
    UnitOutcome,
    pack,
    unpack_outcome,
    unpack_unit,
)
from dunlin.workers.publishing import RECORDED, TELL_FILES, Tools, do_publish, publish_unit
from tests.unit.stores.objects.fake_service import FakeService
from tests.unit.workers.remote import Clock

UPLOADED, SKIPPED, FAILED = FileStatus.UPLOADED, FileStatus.SKIPPED, FileStatus.FAILED


class Taken:
    """A limit that only counts."""

    rate, stopped = 0, False

    def __init__(self) -> None:
        self.bytes = 0

    def take(self, n: int) -> None:
        self.bytes += n

    def block_for(self, block_size: int) -> int:
        return block_size


class Bench:
    """A folder, a bucket in memory, and units between them."""

    def __init__(self, root: Path) -> None:
        self.root = root / "from"
        self.root.mkdir()
        self.service = FakeService()
        self.target: Store = ObjectStore(self.service)
        self.report = RecordingReport()
        self.told: list[UnitOutcome] = []
        self.there_when_told: list[int] = []
        self.leased = True
        self.mark: bytes | None = None
        self.tools = Tools(
            lambda place: self.target, self._tell, lambda: self.leased, report=self.report, sleep=lambda seconds: None,
            recorded=lambda name: self.mark,
        )  # fmt: skip

    def _tell(self, body: bytes) -> bool:
        self.told.append(unpack_outcome(body))
        self.mark = self.told[-1].mark
        self.there_when_told.append(sum(len(files) for _, _, files in os.walk(self.root)))
        return self.leased

    def file(self, path: str, data: bytes = b"data") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def unit(self, *paths: str, delete: bool = False, overwrite: bool = False, **more: Any) -> PublishUnit:
        files = [
            PublishFile(n, 0, path, f"store/{path}", os.lstat(self.root / path).st_size if self.there(path) else 4)
            for n, path in enumerate(paths)
        ]
        unit = PublishUnit(
            VERSION, "job", 1, 0, "s3://b", "b", 60.0, 0.0, ["/"], [Root(str(self.root), delete, overwrite)], files
        )
        return unit._replace(**more)

    def there(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def do(self, unit: PublishUnit, **tools: Any) -> list[FileOutcome]:
        """Do a unit; what is told is on record at once, unless the test says otherwise."""
        made = self.tools._replace(**tools)

        def tell(body: bytes) -> bool:
            self.mark = unpack_outcome(body).mark or self.mark
            return made.tell(body)

        source = LocalStore("/")
        try:
            return do_publish(unit, source, self.target, made._replace(tell=tell)).files
        finally:
            source.close()

    def statuses(self, unit: PublishUnit, **tools: Any) -> list[FileStatus]:
        return [FileStatus(each.status) for each in self.do(unit, **tools)]

    def events(self, name: str) -> list[str]:
        return [event.message for event in self.report.named(name)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def error(kind: ErrorKind, operation: str = "reach") -> DunlinError:
    return DunlinError(operation, "fake", kind, "as the test wants")


# ---- what is uploaded ----


def test_files_go_to_their_keys_with_their_times(bench: Bench) -> None:
    one, _ = bench.file("a/one", b"1"), bench.file("empty", b"")
    os.utime(one, ns=(5, 1_700_000_000_123_456_789))
    files = bench.do(bench.unit("a/one", "empty"))
    assert files == [
        FileOutcome(0, UPLOADED, 1, key="store/a/one"),
        FileOutcome(1, UPLOADED, 0, key="store/empty"),
    ]
    assert {key: stored.data for key, stored in bench.service.objects.items()} == {
        "store/a/one": b"1",
        "store/empty": b"",
    }
    assert bench.service.objects["store/a/one"].metadata == {"mtime": "1700000000.123456789"}
    assert one.exists()


def test_a_large_file_goes_in_parts(bench: Bench) -> None:
    data = os.urandom(11 << 20)
    bench.file("large", data)
    assert bench.statuses(bench.unit("large")) == [UPLOADED]
    assert bench.service.objects["store/large"].data == data
    assert bench.service.requests["part"] == 3


@pytest.mark.parametrize(
    ("there", "overwrite", "becomes", "holds"),
    [
        (None, False, UPLOADED, b"data"),
        (b"same", False, SKIPPED, b"same"),
        (b"another size", False, UPLOADED, b"data"),
        (b"same", True, UPLOADED, b"data"),
    ],
)
def test_what_has_the_same_size_is_skipped_unless_it_is_overwritten(
    bench: Bench, there: bytes | None, overwrite: bool, becomes: FileStatus, holds: bytes
) -> None:
    bench.file("f", b"data")
    if there is not None:
        bench.service.put("store/f", there, {})
    assert bench.statuses(bench.unit("f", overwrite=overwrite)) == [becomes]
    assert bench.service.objects["store/f"].data == holds


def test_one_request_per_file_beside_the_upload(bench: Bench) -> None:
    for name in "abc":
        bench.file(name)
    bench.do(bench.unit("a", "b", "c"))
    assert bench.service.requests == {"head": 3, "put": 3}


def test_many_keys_of_one_directory_are_listed(bench: Bench) -> None:
    paths = [f"d/{n:03}" for n in range(50)]
    for path in paths:
        bench.file(path)
    bench.service.put("store/d/000", b"data", {})
    bench.service.requests.clear()
    outcomes = bench.statuses(bench.unit(*paths))
    assert outcomes == [SKIPPED] + 49 * [UPLOADED]
    assert bench.service.requests == {"page": 1, "put": 49}


def test_what_is_overwritten_is_not_looked_at(bench: Bench) -> None:
    bench.file("f")
    bench.do(bench.unit("f", overwrite=True))
    assert bench.service.requests == {"put": 1}


def test_the_cache_is_told_at_once(bench: Bench) -> None:
    noted: list[tuple[str, str, int]] = []

    class Notes:
        def uploaded(self, bucket: str, key: str, size: int) -> None:
            noted.append((bucket, key, size))

    bench.file("f")
    bench.file("there")
    bench.service.put("store/there", b"same", {})
    bench.do(bench.unit("f", "there"), notes=Notes())
    assert sorted(noted) == [("b", "store/f", 4), ("b", "store/there", 4)]


def test_names_that_only_files_have_reach_the_key_as_it_is(bench: Bench) -> None:
    bench.file(".dunlin-1-2.tmp")
    bench.do(bench.unit(".dunlin-1-2.tmp"))
    assert list(bench.service.objects) == ["store/.dunlin-1-2.tmp"]


# ---- a directory of this machine ----


def test_a_local_destination_gets_its_directories(bench: Bench, tmp_path: Path) -> None:
    bench.file("a/b/f")
    bench.target = LocalStore(str(tmp_path / "new"))
    assert bench.statuses(bench.unit("a/b/f")) == [UPLOADED]
    assert (tmp_path / "new/store/a/b/f").read_bytes() == b"data"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_is_its_own_destination_is_never_deleted(bench: Bench, overwrite: bool) -> None:
    bench.file("store/f")
    bench.target = LocalStore(str(bench.root))
    unit = bench.unit("store/f", delete=True, overwrite=overwrite)
    unit = unit._replace(files=[unit.files[0]._replace(key="store/f")])
    [outcome] = bench.do(unit)
    assert (outcome.status, outcome.again) == (FAILED, False)
    assert "its own destination" in outcome.note
    assert (bench.root / "store/f").read_bytes() == b"data"


# ---- links ----


def test_a_link_is_published_as_what_it_leads_to_and_removed_itself(bench: Bench) -> None:
    bench.file("real", b"content")
    (bench.root / "link").symlink_to("real")
    assert bench.statuses(bench.unit("link", delete=True, within=[str(bench.root)])) == [UPLOADED]
    assert bench.service.objects["store/link"].data == b"content"
    assert not bench.there("link")
    assert bench.there("real")


def test_a_link_that_leads_out_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (bench.root / "link").symlink_to(tmp_path / "secret")
    [outcome] = bench.do(bench.unit("link", within=[str(bench.root)]))
    assert (outcome.status, outcome.again) == (FAILED, False)
    assert outcome.note == "cannot read: the symbolic link leads outside the allowed roots"
    assert not bench.service.objects


def test_a_directory_that_became_a_link_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    bench.file("d/f")
    unit = bench.unit("d/f")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/f").write_bytes(b"evil")
    (bench.root / "d/f").unlink()
    (bench.root / "d").rmdir()
    (bench.root / "d").symlink_to(tmp_path / "elsewhere")
    assert bench.statuses(unit) == [FAILED]
    assert not bench.service.objects


# ---- failures ----


def test_each_file_fails_by_itself(bench: Bench) -> None:
    bench.file("good")
    bench.file("fifo").unlink()
    os.mkfifo(bench.root / "fifo")
    outcomes = bench.do(bench.unit("gone", "good", "fifo"))
    assert [each.status for each in outcomes] == [FAILED, UPLOADED, FAILED]
    assert [each.note for each in outcomes] == ["cannot read: it is gone", "", "cannot read: it is no regular file"]
    assert not any(each.again for each in outcomes)
    assert len(bench.events("publish.failed")) == 2


def test_a_failure_that_may_pass_is_marked_for_another_try(bench: Bench) -> None:
    bench.file("f")
    bench.service.faults["put"] = [error(ErrorKind.DENIED)]
    assert [each.again for each in bench.do(bench.unit("f"))] == [False]
    bench.service.faults["put"] = [error(ErrorKind.CHECKSUM)] * 3
    assert [each.again for each in bench.do(bench.unit("f"))] == [True]


def test_a_destination_that_is_away_is_not_asked_for_every_file(bench: Bench) -> None:
    names = [f"{n}" for n in range(20)]
    for name in names:
        bench.file(name)
    unit = bench.unit(*names, overwrite=True)
    bench.service.faults["put"] = [error(ErrorKind.NETWORK)] * 1000
    target = ObjectStore(bench.service, retry=lambda act: act())
    bench.target = target
    outcomes = bench.do(unit, parallel=1)
    assert all(each.status == FAILED and each.again for each in outcomes)
    assert bench.service.requests["put"] == 3


def test_a_full_destination_ends_the_unit_at_once(bench: Bench) -> None:
    for name in "abc":
        bench.file(name)
    bench.service.faults["put"] = [error(ErrorKind.NO_SPACE)] * 9
    assert all(each.again for each in bench.do(bench.unit("a", "b", "c", overwrite=True), parallel=1))
    assert bench.service.requests["put"] == 1


def test_a_file_that_takes_too_long_fails(bench: Bench) -> None:
    bench.file("f", b"x" * (3 << 20))
    times = iter(range(0, 100_000, 20))
    [outcome] = bench.do(bench.unit("f", seconds=15.0), clock=lambda: float(next(times)))
    assert outcome.status == FAILED
    assert "longer than a file may take" in outcome.note


def test_a_lost_lease_ends_everything(bench: Bench) -> None:
    bench.file("f")
    bench.leased = False
    with pytest.raises(DunlinError) as caught:
        bench.do(bench.unit("f"))
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert not bench.service.objects


# ---- deleting ----


def test_nothing_is_deleted_before_it_was_told(bench: Bench) -> None:
    bench.file("a/b/one")
    bench.file("a/two")
    (bench.root / "empty").mkdir()
    assert bench.statuses(bench.unit("a/b/one", "a/two", delete=True)) == [UPLOADED, UPLOADED]
    assert bench.there_when_told == [2]
    assert [each.status for each in bench.told[0].files] == [UPLOADED, UPLOADED]
    assert sorted(os.listdir(bench.root)) == ["empty"]


def test_directories_with_something_in_them_and_the_folder_itself_stay(bench: Bench) -> None:
    bench.file("a/one")
    bench.file("a/other")
    bench.file("b/one")
    bench.do(bench.unit("a/one", "b/one", delete=True))
    assert os.listdir(bench.root) == ["a"]
    bench.do(bench.unit("a/other", delete=True))
    assert os.listdir(bench.root) == []


def test_a_worker_whose_lease_is_lost_deletes_nothing(bench: Bench) -> None:
    bench.file("f")

    def lost(body: bytes) -> bool:
        bench.leased = False
        return False

    with pytest.raises(DunlinError):
        bench.do(bench.unit("f", delete=True), tell=lost)
    assert bench.there("f")
    assert "store/f" in bench.service.objects


@pytest.mark.parametrize("change", ["content", "replaced", "mode"])
def test_what_was_changed_after_the_upload_is_kept(bench: Bench, change: str) -> None:
    place = bench.file("f")

    def tell(body: bytes) -> bool:
        if change == "content":
            place.write_bytes(b"else")
        elif change == "replaced":
            before = place.stat()
            (bench.root / "new").write_bytes(b"else")
            os.utime(bench.root / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
            os.replace(bench.root / "new", place)
        else:
            place.chmod(stat.S_IRUSR)
        return True

    [outcome] = bench.do(bench.unit("f", delete=True), tell=tell)
    assert outcome.status == UPLOADED
    assert outcome.note == "not deleted: it was changed meanwhile"
    assert place.exists()
    assert bench.service.objects["store/f"].data == b"data"


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(("there", "deleted"), [(b"data", True), (b"DATA", False)])
def test_a_skipped_file_is_deleted_only_if_the_object_holds_the_same(
    bench: Bench, there: bytes, deleted: bool, states: bool
) -> None:
    bench.service = FakeService(states_md5=states)
    bench.target = ObjectStore(bench.service)
    bench.file("f", b"data")
    bench.service.put("store/f", there, {})
    [outcome] = bench.do(bench.unit("f", delete=True))
    assert outcome.status == SKIPPED
    assert bench.there("f") is not deleted
    assert (outcome.note == "") is deleted
    assert bench.service.requests["get"] == (0 if states else 1)


# ---- a delivery after another one ----


def test_what_an_earlier_delivery_uploaded_counts_as_uploaded(bench: Bench) -> None:
    bench.file("f")
    unit = bench.unit("f")
    assert bench.statuses(unit) == [UPLOADED]
    assert bench.statuses(unit) == [SKIPPED]
    assert bench.statuses(unit, attempt=2) == [UPLOADED]
    assert bench.service.requests["put"] == 1


def test_an_object_that_is_older_than_the_request_is_not_ours(bench: Bench) -> None:
    os.utime(bench.file("f"), (1_600_000_000, 1_600_000_000))
    bench.do(bench.unit("f"))
    stored = bench.service.objects["store/f"]
    long_after = stored.modified / 1e9 + 60
    assert bench.statuses(bench.unit("f", since=long_after), attempt=2) == [SKIPPED]
    stored.modified = 1_600_000_000_500_000_000  # a server that tells the source's time, and nothing of the upload's
    assert bench.statuses(bench.unit("f", since=long_after), attempt=2) == [UPLOADED]
    stored.metadata["mtime"] = "1500000000"  # another version of the same size
    assert bench.statuses(bench.unit("f"), attempt=2) == [SKIPPED]


def test_a_source_that_an_earlier_delivery_deleted_was_uploaded(bench: Bench) -> None:
    bench.file("d/f")
    unit = bench.unit("d/f", delete=True)
    bench.service.put("store/d/f", b"data", {})
    (bench.root / "d/f").unlink()
    assert bench.statuses(unit) == [FAILED]
    assert bench.statuses(unit, attempt=2) == [UPLOADED]
    assert os.listdir(bench.root) == []  # what it left behind is tidied up


def test_a_source_that_is_gone_and_not_at_its_key_has_failed(bench: Bench) -> None:
    assert bench.statuses(bench.unit("f", delete=True), attempt=2) == [FAILED]


# ---- as it travels ----


def test_a_unit_travels(bench: Bench) -> None:
    bench.file("f")
    unit = bench.unit("f", delete=True)
    assert unpack_unit(pack(unit)) == unit
    outcome = unpack_outcome(publish_unit(pack(unit), bench.tools))
    assert (outcome.job, outcome.unit, [each.status for each in outcome.files]) == ("job", 1, [UPLOADED])


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"\x91\x02"])
def test_what_cannot_be_read_is_refused(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DunlinError) as caught:
        unpack_unit(spoil(pack(bench.unit())))
    assert caught.value.kind is ErrorKind.CONFIG


def test_another_version_is_refused(bench: Bench) -> None:
    with pytest.raises(DunlinError) as caught:
        unpack_unit(pack(bench.unit(version=VERSION + 1)))
    assert "must be alike" in str(caught.value)


def test_nothing_is_left_open(bench: Bench) -> None:
    names = [f"{n}" for n in range(9)]
    for name in names:
        bench.file(name)
    gc.collect()  # stores that others let go give their descriptors back whenever that happens
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        publish_unit(pack(bench.unit(*names, overwrite=True)), bench.tools)
    bench.leased = False
    with pytest.raises(DunlinError):
        publish_unit(pack(bench.unit(*names)), bench.tools)
    assert set(os.listdir("/proc/self/fd")) == before


def test_progress_is_told_from_time_to_time(bench: Bench) -> None:
    names = [f"{n}" for n in range(6)]
    for name in names:
        bench.file(name)
    times = iter(range(10_000))
    bench.do(bench.unit(*names, seconds=1e9), parallel=1, clock=lambda: float(next(times)))
    counts = [len(told.files) for told in bench.told]
    assert counts
    assert counts == sorted(counts)
    assert counts[-1] <= 6


def test_progress_that_cannot_be_told_does_no_harm(bench: Bench) -> None:
    bench.file("f")
    bench.file("g")
    times = iter(range(0, 10_000, 5))

    def away(body: bytes) -> bool:
        raise error(ErrorKind.NETWORK)

    unit = bench.unit("f", "g", seconds=1e9)
    assert bench.statuses(unit, parallel=1, clock=lambda: float(next(times)), tell=away) == [UPLOADED, UPLOADED]
    with pytest.raises(DunlinError):
        bench.do(bench.unit("f", delete=True), tell=away)
    assert bench.there("f")


def test_meta_is_kept_by_a_local_destination(bench: Bench, tmp_path: Path) -> None:
    place = bench.file("f")
    os.utime(place, ns=(1, 1_600_000_000_000_000_000))
    bench.target = LocalStore(str(tmp_path / "new"))
    bench.do(bench.unit("f"))
    assert os.stat(tmp_path / "new/store/f").st_mtime_ns == 1_600_000_000_000_000_000


def test_every_byte_counts_in_the_limit_of_the_units_accounts(bench: Bench) -> None:
    limits: dict[tuple[str, ...], Taken] = {}

    def limit(accounts: Sequence[str]) -> Taken:
        return limits.setdefault(tuple(accounts), Taken())

    bench.file("small", b"x" * 1_000)
    bench.file("large", b"y" * (3 << 20))
    bench.do(bench.unit("small", "large", accounts=("publishing", "tenant:one")), limits=limit)
    bench.do(bench.unit("small", overwrite=True), limits=limit)
    assert {key: taken.bytes for key, taken in limits.items()} == {
        ("publishing", "tenant:one"): 1_000 + (3 << 20), (): 1_000
    }  # fmt: skip


@pytest.mark.parametrize("second", [b"other", b"longer than that"])
def test_of_two_files_with_one_key_the_one_that_is_not_there_any_more_is_kept(bench: Bench, second: bytes) -> None:
    bench.file("a/x", b"first")
    bench.file("b/x", second)
    unit = bench.unit("a/x", "b/x", delete=True, overwrite=True)
    unit = unit._replace(files=[file._replace(key="store/x") for file in unit.files])
    outcomes = bench.do(unit, parallel=1)
    assert (bench.there("a/x"), bench.there("b/x")) == (True, False)
    assert [each.note for each in outcomes] == ["not deleted: the key holds something else by now", ""]


def test_a_file_is_kept_whose_object_somebody_has_removed(bench: Bench) -> None:
    bench.file("f")

    def tell(body: bytes) -> bool:
        bench.target.delete(["store/f"])
        return True

    [outcome] = bench.do(bench.unit("f", delete=True), tell=tell)
    assert bench.there("f")
    assert outcome.note == "not deleted: the key holds something else by now"


# ---- on record before it is deleted ----


def test_a_file_is_deleted_when_the_ledger_has_its_upload_and_not_before(bench: Bench) -> None:
    bench.file("f")
    clock, asked = Clock(0.0), list[tuple[str, bool]]()

    def recorded(name: str) -> bytes | None:
        asked.append((name, bench.there("f")))
        return bench.mark if len(asked) == 4 else None

    [outcome] = bench.do(bench.unit("f", delete=True), recorded=recorded, clock=clock, sleep=clock.sleep)
    assert asked == [(record_name("job", 1), True)] * 4
    assert not bench.there("f")
    assert outcome.note == ""


def test_what_is_not_put_on_record_is_kept(bench: Bench) -> None:
    bench.file("f"), bench.file("g")
    for seconds, longest in ((60.0, 60.0), (1e9, RECORDED)):
        clock = Clock(0.0)
        unit = bench.unit("f", "g", delete=True, overwrite=True, seconds=seconds)
        outcomes = bench.do(unit, recorded=lambda name: None, clock=clock, sleep=clock.sleep)
        assert [(each.status, each.note) for each in outcomes] == [
            (UPLOADED, "not deleted: its upload was not put on record in time")
        ] * 2
        assert longest <= clock.now < longest + 5
        assert bench.there("f")
        assert bench.there("g")
    assert len(bench.events("publish.kept")) == 4


@pytest.mark.parametrize("mark", [b"", b"12345678\x00\x00\x00\x09", None])
def test_a_mark_of_another_doing_says_nothing(bench: Bench, mark: bytes | None) -> None:
    bench.file("f")
    clock = Clock(0.0)
    bench.do(bench.unit("f", delete=True), recorded=lambda name: mark, clock=clock, sleep=clock.sleep)
    assert bench.there("f")


def test_a_worker_that_loses_its_lease_while_it_waits_deletes_nothing(bench: Bench) -> None:
    bench.file("f")

    def recorded(name: str) -> bytes | None:
        bench.leased = False
        return None

    with pytest.raises(DunlinError) as caught:
        bench.do(bench.unit("f", delete=True), recorded=recorded)
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert bench.there("f")


def test_a_queue_that_is_away_is_asked_again(bench: Bench) -> None:
    bench.file("f")
    clock, times = Clock(0.0), iter(range(9))

    def recorded(name: str) -> bytes | None:
        if next(times) < 3:
            raise error(ErrorKind.NETWORK)
        return bench.mark

    bench.do(bench.unit("f", delete=True), recorded=recorded, clock=clock, sleep=clock.sleep)
    assert not bench.there("f")


def test_uploads_go_on_while_others_are_put_on_record(bench: Bench) -> None:
    count = 3 * TELL_FILES
    unit = bench.unit(*(bench.file(f"{n:03}").name for n in range(count)), delete=True)
    stored: list[int] = []

    def recorded(name: str) -> bytes | None:
        stored.append(len(bench.service.objects))
        return bench.mark if len(bench.service.objects) == count else None

    bench.do(unit, recorded=recorded, parallel=1)
    assert stored[0] < count, "it was asked before all were there, and nobody waited"
    assert os.listdir(bench.root) == []
