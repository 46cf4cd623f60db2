"""Huge files in ranges: cut, brought by anybody and in any order, joined; lost, changed, damaged and given up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin import transfer
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import one_shot
from dunlin.model import IDENT, Action, Entry
from dunlin.pace.bucket import Bucket
from dunlin.pace.window import WindowLimits
from dunlin.plan import Policy
from dunlin.report import RecordingReport
from dunlin.stores.base import Begun, Parts, power
from dunlin.stores.local import local_caps
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.service import Limits
from dunlin.stores.objects.store import ObjectStore
from dunlin.transfer import ranges
from dunlin.transfer.outcome import Outcome
from dunlin.workers import tasks
from dunlin.workers.context import Context, Rules
from dunlin.workers.doers import Arrival
from dunlin.workers.ranged import OWN, Ranged
from dunlin.workers.setup import Setup, build
from dunlin.workers.tasks import Begin, Bring, Complete, Move, Task
from dunlin.workers.units import run_unit
from tests.unit.stores.objects.fake_service import FakeService

STEP = 64 << 10
SIZE = 5 * STEP + 1000
RUN = "0badc0de"
LIMITS = Limits(put=STEP // 2, least_part=STEP // 2, most_part=STEP, parts=1000, page=1000, deletes=10)


class Bench:
    """A pool whose units are done when the test says so, by the worker that it names; see `doers.Doers`."""

    def __init__(self) -> None:
        self.threads = self.batch = self.page = self.parts = 1
        self.started = True
        self.size = 1
        self.most = 100
        self.wanted = self.in_flight = 4
        self.pids: list[int] = []
        self.numbers: list[int] = []
        self.units: dict[int, Task] = {}
        self.sent: list[Task] = []
        self.announced: list[int] = []
        self.arrived: list[Arrival] = []
        self.told: list[object] = []
        self.learnt = 0

    @property
    def room(self) -> int:
        return self.most - len(self.units)

    @property
    def busy(self) -> bool:
        return bool(self.units)

    def start(self) -> None: ...
    def settled(self) -> None: ...
    def grow(self, threads: int) -> None: ...
    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None: ...
    def window(self, limits: WindowLimits) -> None: ...
    def close(self) -> None: ...

    def learn(self, seconds: float) -> None:
        self.learnt += 1

    def tell(self, *message: object) -> None:
        self.told.append(message[0])

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        self.units[unit] = tasks.unpack(packed)
        self.sent.append(self.units[unit])
        if announce:
            self.announced.append(unit)

    def poll(self, timeout: float) -> list[Arrival]:
        found, self.arrived = self.arrived, []
        return found

    def do(self, context: Context, unit: int | None = None) -> Outcome:
        """Have a unit done, the oldest one unless told otherwise; its outcome arrives with the next poll."""
        unit = next(iter(self.units)) if unit is None else unit
        outcome = run_unit(context, self.units.pop(unit), lambda part: None)
        self.arrived.append(Arrival("done", unit, (outcome.pack(),)))
        return outcome

    def lose(self, unit: int, begun: bool = True) -> None:
        """The worker that had it is dead."""
        del self.units[unit]
        self.arrived.append(Arrival("lost", unit, (f"{RUN}1000", begun)))

    def of(self, kind: type) -> list[int]:
        """The units of a kind that are out, oldest first."""
        return [unit for unit, task in self.units.items() if isinstance(task, kind)]


class Work:
    """One huge file below `source`, workers that have the pair open, and what takes the coordinator's units."""

    def __init__(self, path: Path, bucket: Bucket) -> None:
        self.path = path
        self.bucket = bucket
        self.source, self.target = path / "source", path / "target"
        for each in (self.source, self.target):
            (each / "d").mkdir(parents=True)
        self.content = os.urandom(SIZE)
        self.file, self.there = self.source / "d" / "huge", self.target / "d" / "huge"
        self.file.write_bytes(self.content)
        os.utime(self.file, ns=(10**18 + 3, 10**18 + 7))
        self.bench = Bench()
        self.report = RecordingReport()
        self.contexts: list[Context] = []
        self.dropped: list[ErrorKind] = []
        self.ranged = self.wrap(1 << 10)

    def wrap(self, above: int, drop: Callable[[str, Begun, ErrorKind], None] | None = None) -> Ranged:
        return Ranged(self.bench, RUN, above, 3, drop or self.drop, self.report)

    def drop(self, path: str, begun: Begun, kind: ErrorKind) -> None:
        self.dropped.append(kind)
        parts = power(self.contexts[0].site.target, Parts)
        assert parts is not None
        parts.drop_parts(path, begun)

    def worker(self, guard: Callable[[], None] | None = None, **options: Any) -> Context:
        """A process that takes units."""
        chosen = transfer.Options(**{"perms": True, **options})
        setup = Setup(
            f"file://{self.source}",
            f"file://{self.target}",
            chosen,
            Rules(Policy(perms=True), run=RUN),
            backup=f"file://{self.path / 'kept'}" if (self.path / "kept").exists() else "",
            target_caps=local_caps(str(self.target)),
        )
        made = build(setup, self.bucket, 0x1000 + len(self.contexts), self.report, guard or (lambda: None))
        self.contexts.append(made)
        return made

    def submit(self, unit: int = 7, size: int = SIZE, **how: Any) -> None:
        turn = ("huge", size, int(how.pop("action", Action.COPY)), how.pop("exists", False))
        self.ranged.submit(unit, tasks.pack(Move("d", (turn,), **how)))

    def poll(self) -> list[Arrival]:
        """What the coordinator hears, but for how far the file is."""
        return [each for each in self.ranged.poll(0) if each.kind not in ("task", "end")]

    def end(self, context: Context) -> Outcome:
        """Have all done that is left to do, by one worker; what the coordinator hears of its unit in the end."""
        while True:
            heard = self.poll()
            if heard:
                assert [(each.kind, each.unit) for each in heard] == [("done", 7)]
                assert not self.ranged.busy
                return Outcome.unpack(heard[0].body[0])
            while self.bench.units:
                self.bench.do(context)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.target / "d"))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(ranges, "RANGE", STEP)
    bucket = Bucket.create()
    made = Work(tmp_path, bucket)
    yield made
    for context in made.contexts:
        context.site.source.close()
        context.site.target.close()
    bucket.close()


def cut(work: Work, context: Context, **how: Any) -> list[int]:
    """Have the file begun; its ranges are out then."""
    work.submit(**how)
    assert work.bench.of(Begin) == [OWN]
    work.bench.do(context)
    assert work.poll() == []  # it is begun
    assert work.poll() == []
    return work.bench.of(Bring)


def test_a_huge_file_comes_in_ranges_from_two_workers_and_is_one_unit_to_the_coordinator(work: Work) -> None:
    one, other = work.worker(), work.worker()
    units = cut(work, one)
    assert [(task.start, task.length) for task in work.bench.units.values()] == ranges.spans(SIZE, 1)  # type: ignore[union-attr]
    assert len(units) == 6
    did: Counter[str] = Counter()
    for n, unit in enumerate(reversed(units)):
        outcome = work.bench.do((one, other)[n % 2], unit)
        assert outcome.brought is not None
        did["one" if n % 2 == 0 else "other"] += 1
        assert work.poll() == []
        assert not work.there.exists()
    assert did == {"one": 3, "other": 3}
    outcome = work.end(other)
    assert outcome.counts == {"copied_files": 1, "copied_bytes": SIZE}
    assert work.there.read_bytes() == work.content
    assert work.there.stat().st_mtime_ns == 10**18 + 7
    assert work.there.stat().st_mode == work.file.stat().st_mode
    assert work.names() == ["huge"]
    hashed = one_shot("blake3")
    assert hashed is not None
    assert outcome.copied[0][0] == "huge"
    assert outcome.copied[0][-1] == hashed(work.content)
    assert [type(task) for task in work.bench.sent] == [Begin, *[Bring] * 6, Complete]
    assert work.bench.learnt == 8


def test_it_is_told_how_much_of_it_was_brought(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    for unit in units[:2]:
        work.bench.do(context, unit)
    told = work.ranged.poll(0)
    assert told[-1] == Arrival("task", OWN + 7, (0, "d/huge", SIZE, 2 * STEP))
    work.end(context)


@pytest.mark.parametrize("checksum", ["crc64", "sha256", "none"])
def test_the_digest_is_that_of_the_whole(work: Work, checksum: str) -> None:
    context = work.worker(checksum=checksum)
    cut(work, context)
    outcome = work.end(context)
    hashed = one_shot(checksum)
    assert outcome.copied[0][-1] == (hashed(work.content) if hashed is not None else None)
    assert work.there.read_bytes() == work.content


def test_a_range_that_is_lost_is_done_again_and_no_other(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    for unit in units[1:]:
        work.bench.do(context, unit)
    work.bench.lose(units[0])
    assert work.poll() == []
    (again,) = work.bench.of(Bring)
    assert work.bench.announced == [again]
    outcome = work.end(context)
    starts = Counter(task.start for task in work.bench.sent if isinstance(task, Bring))
    assert starts == {0: 2, **{n * STEP: 1 for n in range(1, 6)}}
    assert outcome.counts["copied_files"] == 1
    assert work.there.read_bytes() == work.content


def test_a_range_over_which_three_workers_die_fails_the_file_and_leaves_nothing(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    for unit in units[1:]:
        work.bench.do(context, unit)
    work.bench.lose(units[0])
    for _ in range(2):
        assert work.poll() == []
        work.bench.lose(work.bench.of(Bring)[0])
    outcome = work.end(context)
    assert [(name, kind) for name, kind, _, _ in outcome.failed] == [("huge", "internal")]
    assert outcome.counts["failed_files"] == 1
    assert work.names() == []


def test_units_that_only_waited_for_a_dead_worker_are_not_counted_against_the_file(work: Work) -> None:
    context = work.worker()
    cut(work, context)
    for _ in range(5):
        work.bench.lose(work.bench.of(Bring)[-1], begun=False)
        assert work.poll() == []
    assert work.end(context).counts["copied_files"] == 1


def test_a_file_that_changes_meanwhile_is_begun_anew_and_never_mixed(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    for unit in units[:3]:
        work.bench.do(context, unit)
    changed = os.urandom(SIZE)
    work.file.write_bytes(changed)
    outcome = work.end(context)
    assert outcome.counts == {"copied_files": 1, "copied_bytes": SIZE}
    assert work.there.read_bytes() == changed
    assert work.names() == ["huge"]
    assert work.dropped == [ErrorKind.CHANGED]
    assert [name for _, name, _, _ in outcome.news] == ["file.retry"]


def test_a_change_after_the_last_range_is_seen_by_the_last_step(work: Work) -> None:
    context = work.worker()
    for unit in cut(work, context):
        work.bench.do(context, unit)
    assert work.poll() == []
    assert len(work.bench.of(Complete)) == 1
    os.utime(work.file, ns=(5, 5))
    assert work.bench.do(context).failed[0][1] == "changed"
    assert work.end(context).copied[0][2] == 5
    assert work.there.stat().st_mtime_ns == 5


def test_a_file_that_changes_at_every_attempt_fails_and_what_stood_there_stays(work: Work) -> None:
    work.there.write_bytes(b"before")
    context = work.worker()
    work.submit(exists=True)
    for attempt in range(3):
        work.bench.do(context)
        assert work.poll() == []
        os.utime(work.file, ns=(attempt, attempt))
        assert work.ranged.poll(0) == []
        while work.bench.units:
            work.bench.do(context)
        heard = work.poll()
    outcome = Outcome.unpack(heard[0].body[0])
    assert [(name, kind, attempts) for name, kind, _, attempts in outcome.failed] == [("huge", "changed", 3)]
    assert outcome.counts == {"failed_files": 1}
    assert work.there.read_bytes() == b"before"
    assert work.names() == ["huge"]


def test_a_file_that_is_gone_is_news_and_no_failure(work: Work) -> None:
    context = work.worker()
    cut(work, context)
    work.file.unlink()
    outcome = work.end(context)
    assert outcome.vanished == ["huge"]
    assert outcome.counts == {"vanished_files": 1}
    assert work.names() == []


def test_the_last_step_done_twice_counts_once_and_copies_nothing_again(work: Work) -> None:
    context = work.worker()
    for unit in cut(work, context):
        work.bench.do(context, unit)
    work.poll()
    (unit,) = work.bench.of(Complete)
    task = work.bench.units[unit]
    assert run_unit(context, task, lambda part: None).counts["copied_files"] == 1  # and dies before it can tell
    inode = work.there.stat().st_ino
    work.bench.lose(unit)
    outcome = work.end(context)
    assert outcome.counts == {"copied_files": 1, "copied_bytes": SIZE}
    assert work.there.stat().st_ino == inode
    assert len([each for each in work.bench.sent if isinstance(each, Bring)]) == 6


def test_what_a_worker_began_that_died_before_it_told_is_removed(work: Work) -> None:
    context = work.worker()
    work.submit()
    run_unit(context, work.bench.units[OWN], lambda part: None)
    left = work.names()
    assert len(left) == 1
    assert left[0].startswith(f".dunlin-{RUN}-r")
    work.bench.lose(OWN)
    outcome = work.end(context)
    assert outcome.counts["copied_files"] == 1
    assert work.names() == ["huge"]


def test_what_arrived_and_is_not_what_was_read_is_brought_anew(work: Work) -> None:
    context = work.worker()
    for unit in cut(work, context):
        work.bench.do(context, unit)
    (temp,) = work.names()
    with open(work.target / "d" / temp, "r+b") as file:
        file.seek(3 * STEP + 17)
        file.write(bytes([work.content[3 * STEP + 17] ^ 1]))
    outcome = work.end(context)
    assert work.dropped == [ErrorKind.CHECKSUM]
    assert outcome.counts["copied_files"] == 1
    assert outcome.counts["source_errors"] == 0
    assert work.there.read_bytes() == work.content


def test_a_worker_without_its_lease_writes_nothing_of_what_it_has_read(work: Work) -> None:
    context = work.worker()
    held = [True]

    def guard() -> None:
        if not held[0]:
            raise DunlinError("finish", "", ErrorKind.INTERRUPTED, "its lease ran out")

    zombie = work.worker(guard)
    units = cut(work, context)
    task = work.bench.units[units[2]]
    read = zombie.site.source.read

    def slow(*how: Any, **more: Any) -> Iterator[Any]:
        for data in read(*how, **more):
            held[0] = False  # it is stopped right here, and wakes when its lease is over
            yield data

    zombie.site.source.read = slow  # type: ignore[method-assign]
    outcome = run_unit(zombie, task, lambda part: None)
    assert outcome.brought is None
    assert outcome.fatal is not None
    (temp,) = work.names()
    assert not any((work.target / "d" / temp).read_bytes())
    assert work.end(context).counts["copied_files"] == 1
    late = run_unit(work.worker(), task, lambda part: None)
    assert [kind for _, kind, _, _ in late.failed] == ["not-found"]
    assert work.there.read_bytes() == work.content


def test_a_run_that_is_to_stop_leaves_the_file_pending_and_nothing_else(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    for unit in units[:2]:
        work.bench.do(context, unit)
    work.ranged.tell("cancel")
    for unit in units[2:]:
        work.bench.lose(unit, begun=False)
    (heard,) = work.poll()
    outcome = Outcome.unpack(heard.body[0])
    assert [(name, what[1], action) for name, what, action, _ in outcome.waiting] == [("huge", SIZE, int(Action.COPY))]
    assert not outcome.counts
    assert outcome.fatal is None
    assert work.dropped == [ErrorKind.INTERRUPTED]
    assert work.names() == []
    assert not work.ranged.busy
    work.submit(8)
    assert work.bench.of(Move) == [8]  # nothing new is cut


def test_an_error_that_ends_the_run_leaves_the_file_pending(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    context = work.worker()
    cut(work, context)

    def full(*how: Any) -> None:
        raise DunlinError("write", "huge", ErrorKind.NO_SPACE, "no space left")

    monkeypatch.setattr("dunlin.stores.local.parts.put", full)
    outcome = work.end(context)
    assert outcome.fatal is not None
    assert outcome.fatal[0] == "no-space"
    assert [name for name, *_ in outcome.waiting] == ["huge"]
    assert work.names() == []


def test_a_fault_fails_the_file_alone(work: Work) -> None:
    context = work.worker()
    units = cut(work, context)
    del work.bench.units[units[0]]
    work.bench.arrived.append(Arrival("fault", units[0], ("boom", "where")))
    outcome = work.end(context)
    assert [(name, kind) for name, kind, _, _ in outcome.failed] == [("huge", "internal")]
    assert work.names() == []


def test_what_is_overwritten_is_kept_and_counted_as_updated(work: Work) -> None:
    (work.path / "kept").mkdir()
    work.there.write_bytes(b"before")
    context = work.worker()
    cut(work, context, exists=True)
    outcome = work.end(context)
    assert outcome.counts == {"copied_files": 1, "copied_bytes": SIZE, "updated_files": 1}
    assert (work.path / "kept" / "d" / "huge").read_bytes() == b"before"
    assert work.there.read_bytes() == work.content


@pytest.mark.parametrize(("before", "after"), [(None, 0o444), (0o604, 0o604)])
def test_without_permissions_to_keep_they_are_as_for_any_file(work: Work, before: int | None, after: int) -> None:
    work.file.chmod(0o444)
    if before is not None:
        work.there.write_bytes(b"before")
        work.there.chmod(before)
    context = work.worker(perms=False)
    cut(work, context)
    work.end(context)
    assert work.there.stat().st_mode & 0o777 == after
    assert work.there.read_bytes() == work.content


def test_holes_stay_holes(work: Work) -> None:
    with open(work.file, "wb") as file:
        file.truncate(SIZE)
        file.seek(2 * STEP)
        file.write(b"x" * 4096)
    context = work.worker(sparse=True)
    cut(work, context)
    work.end(context)
    assert work.there.read_bytes() == work.file.read_bytes()
    assert work.there.stat().st_blocks * 512 < SIZE // 2


def test_other_units_go_on_as_they_are(work: Work) -> None:
    work.submit(1, size=1000)
    work.submit(2, action=Action.VERIFY)
    work.ranged.submit(3, tasks.pack(tasks.Finish("d")))
    two = (("a", SIZE, int(Action.COPY), False), ("b", SIZE, int(Action.COPY), False))
    work.ranged.submit(4, tasks.pack(Move("d", two)))
    assert list(work.bench.units) == [1, 2, 3, 4]
    work.bench.do(work.worker(), 3)
    assert [(each.kind, each.unit) for each in work.poll()] == [("done", 3)]
    whole = work.wrap(0)
    whole.submit(5, tasks.pack(Move("d", two[:1])))
    assert isinstance(work.bench.units[5], Move)


def test_half_of_the_room_is_for_ranges_while_some_wait(work: Work) -> None:
    context = work.worker()
    work.bench.most = 4
    work.submit()
    work.bench.do(context)
    assert work.poll() == []
    assert work.ranged.room == 2  # six ranges wait, and the coordinator may give out two units
    for unit in (20, 21):
        work.ranged.submit(unit, tasks.pack(tasks.Finish("d")))
    assert work.ranged.room == 0
    assert work.poll() == []
    assert len(work.bench.of(Bring)) == 2
    assert work.bench.room == 0
    for _ in range(20):
        while work.bench.units:
            work.bench.do(context)
        if [each for each in work.poll() if each.unit == 7]:
            break
    else:
        pytest.fail("the file never came to its end")
    assert work.there.read_bytes() == work.content


def test_a_destination_that_is_written_by_one_hand_gets_files_whole(work: Work) -> None:
    context = work.worker()
    context.site.target = MemoryStore("target")
    work.submit()
    work.bench.do(context)
    assert work.poll() == []
    assert work.bench.units == {7: work.bench.sent[-1]}
    assert isinstance(work.bench.sent[-1], Move)
    work.submit(8)
    assert isinstance(work.bench.units[8], Move)
    work.submit(9, SIZE + 1)
    assert isinstance(work.bench.sent[-1], Begin), "it may have had but one part: larger ones are tried"


def see_other_inodes(context: Context) -> None:
    """On this worker's mount of the source every file has another inode number than on all others."""
    stat, read = context.site.source.stat, context.site.source.read

    def other(entry: Entry) -> Entry:
        values = list(entry.facts)
        values[IDENT] = int(values[IDENT] or 0) ^ 1
        return Entry(entry.path, tuple(values))

    class Mount:
        url, caps = context.site.source.url, context.site.source.caps

        def stat(self, path: str) -> Entry:
            return other(stat(path))

        def read(self, entry: Entry, *args: Any) -> Iterator[Any]:
            return read(other(entry), *args)

        def close(self) -> None: ...

    context.site.source = Mount()  # type: ignore[assignment]


def share(work: Work, unit: int, one: Context, other: Context) -> None:
    """Have a file begun by one worker, and its first range brought by the other, as often as it is tried."""
    for _ in range(10):
        for begin in work.bench.of(Begin):
            work.bench.do(one, begin)
        work.poll()
        if unit in work.bench.units:
            return
        work.poll()
        for n, bring in enumerate(work.bench.of(Bring)):
            work.bench.do(one if n else other, bring)
    pytest.fail("it is tried again and again")


def test_a_file_of_which_every_worker_sees_its_own_inode_goes_to_one_as_a_whole(work: Work) -> None:
    one, other = work.worker(), work.worker()
    see_other_inodes(other)
    work.submit()
    share(work, 7, one, other)
    assert isinstance(work.bench.units[7], Move)
    assert len([task for task in work.bench.sent if isinstance(task, Begin)]) == 2
    assert work.names() == [], "what was begun is gone"
    assert [event.name for event in work.report.events] == ["file.whole"]
    work.bench.do(one, 7)
    assert [(each.kind, each.unit) for each in work.poll()] == [("done", 7)]
    assert work.there.read_bytes() == work.content
    assert not work.ranged.busy
    # Another file is tried once more, and when that is no better none is.
    work.submit(8)
    share(work, 8, one, other)
    work.bench.units.pop(8)
    work.submit(9)
    assert isinstance(work.bench.units[9], Move)
    assert len(work.report.events) == 1


def test_one_file_that_workers_could_share_counts_for_all(work: Work) -> None:
    one, other = work.worker(), work.worker()
    work.submit()
    share_on = work.worker()
    see_other_inodes(other)
    share(work, 7, one, other)
    work.bench.units.pop(7)
    work.submit()
    work.end(share_on)
    work.submit(8, exists=True)
    share(work, 8, one, other)
    work.bench.units.pop(8)
    work.submit(9)
    assert isinstance(work.bench.units[work.bench.of(Begin)[0]], Begin)


def far(work: Work, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeService, Context]:
    """An object store as destination."""
    service = FakeService(LIMITS)
    context = work.worker()
    context.site.target = ObjectStore(service, write_part=STEP // 2)
    return service, context


def test_an_upload_is_begun_once_and_each_part_sent_once(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    service, context = far(work, monkeypatch)
    units = cut(work, context)
    assert len(units) == 6
    for unit in reversed(units):
        work.bench.do(context, unit)
    outcome = work.end(context)
    assert service.objects["d/huge"].data == work.content
    assert service.objects["d/huge"].metadata["mtime"] == "1000000000.000000007"
    numbers = Counter(call[2] for call in service.calls if call[0] == "part")
    assert numbers == dict.fromkeys(range(1, 12), 1)
    assert service.requests["begin"] == service.requests["complete"] == 1
    hashed = one_shot("blake3")
    assert hashed is not None
    assert outcome.copied[0][-1] == hashed(work.content)


def test_an_upload_that_a_dead_worker_began_is_continued(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    service, context = far(work, monkeypatch)
    work.submit()
    run_unit(context, work.bench.units[OWN], lambda part: None)
    work.bench.lose(OWN)
    work.end(context)
    assert service.objects["d/huge"].data == work.content
    assert service.requests["begin"] == 1
    assert Counter(call[2] for call in service.calls if call[0] == "part") == dict.fromkeys(range(1, 12), 1)


def test_an_upload_of_a_file_that_changed_is_thrown_away(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    service, context = far(work, monkeypatch)
    cut(work, context)
    work.file.write_bytes(changed := os.urandom(SIZE))
    work.end(context)
    assert service.objects["d/huge"].data == changed
    assert service.requests["abort"] == 1
    assert service.uploads == {}


def test_an_upload_that_was_completed_already_is_not_made_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    service, context = far(work, monkeypatch)
    for unit in cut(work, context):
        work.bench.do(context, unit)
    work.poll()
    (unit,) = work.bench.of(Complete)
    run_unit(context, work.bench.units[unit], lambda part: None)
    work.bench.lose(unit)
    outcome = work.end(context)
    assert outcome.counts["copied_files"] == 1
    assert service.requests["complete"] == 1
