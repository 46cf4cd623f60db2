"""The ledger's contract, in every engine: the files of publish jobs, exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger import (
    File,
    FileResult,
    FileStatus,
    Item,
    JobStatus,
    Ledger,
    NewFile,
    NewItem,
    NewJob,
    OpenUnit,
    UnitResult,
    UnitStatus,
    open_ledger,
)
from dunlin.queue.ledger.ids import number_of
from tests.contract.ledgers import NOON, Clock, files, published, walk
from tests.servers.postgres import postgres_server

PENDING, UPLOADED, SKIPPED = FileStatus.PENDING, FileStatus.UPLOADED, FileStatus.SKIPPED
FAILED, CANCELLED = FileStatus.FAILED, FileStatus.CANCELLED
ODD = "dir\udcff/\x00 \n\u202e%_é"


def told(unit: OpenUnit, attempt: int = 1, final: bool = True, error: str = "", **places: FileStatus) -> UnitResult:
    """A result of a unit: `p0=UPLOADED` and so on; nothing named: all are uploaded, 10 bytes each."""
    if not places and final and not error:
        outcomes = [FileResult(place, UPLOADED, size=10) for place in range(len(unit.files))]
    else:
        outcomes = [
            FileResult(int(place[1:]), status, "why" if status is FAILED else "", 10 if status is UPLOADED else -1)
            for place, status in places.items()
        ]
    return UnitResult(unit.job, unit.number, attempt, outcomes, "w1", final, error)


def statuses(ledger: Ledger, job: str) -> list[FileStatus]:
    return [file.status for file in ledger.files.page(job, count=10_000)]


def exact(ledger: Ledger, job: str) -> None:
    """Counters say what the rows say, items and failures too."""
    rows = ledger.files.page(job, count=10_000)
    failures = ledger.files.failures(job, count=10_000)
    assert failures == [file for file in rows if file.status is FAILED]
    assert all(bool(file.error) == (file.status is FAILED) for file in rows)
    for item in ledger.files.items(job):
        mine = Counter(file.status for file in rows if file.item == item.number)
        assert item.total_files == sum(mine.values())
        assert (item.uploaded, item.skipped, item.failed, item.cancelled) == (
            mine[UPLOADED], mine[SKIPPED], mine[FAILED], mine[CANCELLED],
        )  # fmt: skip
    assert ledger.files.totals(job).pending == sum(file.status is PENDING for file in rows)


# ---- the walk ----


def test_items_come_with_their_job(ledger: Ledger) -> None:
    items = [NewItem("/a" + ODD, "a/", True, False), NewItem("/b", "b", False, True)]
    job = ledger.jobs.submit(NewJob("publish", key="k"), items).job
    one, two = ledger.files.items(job.id)
    assert one == Item(job.id, 0, "/a" + ODD, "a/", True, False, 0, 0, 0, 0, 0, 0, 0, False, "")
    assert (two.number, two.source, two.delete_after_sync, two.overwrite) == (1, "/b", False, True)
    assert not ledger.jobs.submit(NewJob("publish", key="k"), items).new
    assert len(ledger.files.items(job.id)) == 2


def test_files_become_units_with_rows(ledger: Ledger) -> None:
    job = published(ledger)
    odd = NewFile(ODD, "key" + ODD, 1 << 40)
    one, two = ledger.files.add_units(job, [files(3), [*files(1, begin=3), odd]])
    assert (one.number, two.number) == (0, 1)
    assert two.files == (*files(1, begin=3), odd)
    assert (two.attempt, two.tries, two.pending) == (0, 0, (0, 1))
    assert [file.number for file in ledger.files.page(job)] == [0, 1, 2, 3, 4]
    assert ledger.files.page(job)[4] == File(job, 4, 0, ODD, "key" + ODD, 1 << 40, PENDING, 0, "", NOON, "")
    [item] = ledger.files.items(job)
    assert (item.total_files, item.total_bytes, item.walked) == (5, 40 + (1 << 40), False)
    assert ledger.files.add_units(job, [files(1, begin=9)])[0].number == 2
    assert ledger.files.unit(job, 1) == two


def test_a_walk_that_begins_again_adds_what_is_new(ledger: Ledger) -> None:
    job = published(ledger)
    ledger.files.add_units(job, [files(4), files(4, begin=4)])
    again = ledger.files.add_units(job, [files(3), [*files(2, begin=3), *files(2, begin=8)], files(2, begin=7)])
    assert [[file.path for file in unit.files] for unit in again] == [["00008", "00009"]]
    assert again[0].number > 1
    assert ledger.files.unit(job, again[0].number) == again[0]
    assert [file.path for file in ledger.files.page(job)] == [f"{n:05}" for n in range(10)]
    assert ledger.files.add_units(job, [files(10)]) == []
    [mixed] = ledger.files.add_units(job, [[*files(1, begin=20), *files(1), *files(1, begin=21)]])
    assert [file.path for file in mixed.files] == ["00020", "00021"], "numbers with a gap"
    assert ledger.files.unit(job, mixed.number) == mixed
    ledger.files.apply([told(mixed, p1=SKIPPED, p0=UPLOADED)])
    assert [(file.path, file.status) for file in ledger.files.page(job, search="0002")] == [
        ("00002", PENDING), ("00020", UPLOADED), ("00021", SKIPPED),
    ]  # fmt: skip
    exact(ledger, job)


def test_one_path_may_belong_to_several_items_and_jobs(ledger: Ledger) -> None:
    job = published(ledger, "/a", "/b")
    [unit] = ledger.files.add_units(job, [files(2, item=0) + files(2, item=1)])
    assert len(unit.files) == 4
    other = published(ledger)
    assert len(ledger.files.add_units(other, [files(2)])[0].files) == 2
    assert [item.total_files for item in ledger.files.items(job)] == [2, 2]


def test_paths_longer_than_an_index_bears(ledger: Ledger) -> None:
    job = published(ledger)
    # incompressible, so that no engine makes them shorter
    chance = random.Random(1)
    long = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(1300))
    [unit] = ledger.files.add_units(job, [[NewFile(long + "a", "k", 1), NewFile(long + "b", "k", 1)]])
    assert len(unit.files) == 2
    assert ledger.files.add_units(job, [[NewFile(long + "a", "k", 1)]]) == []
    assert [file.path for file in ledger.files.page(job, search=long[700:] + "b")] == [long + "b"]


def test_files_may_have_failed_from_the_start(ledger: Ledger) -> None:
    job = published(ledger, "/a", "/b")
    bad = [(NewFile("x\n", "", 5, 1), "no\nkey"), (NewFile("y", "", 6, 0), "no key")]
    assert ledger.files.add_failed(job, bad) == 2
    assert ledger.files.add_failed(job, [*bad, (NewFile("z", "", 7, 0), "no")]) == 1
    assert [(file.path, file.error) for file in ledger.files.failures(job)] == [
        ("x\n", "no\\nkey"), ("y", "no key"), ("z", "no"),
    ]  # fmt: skip
    exact(ledger, job)


def test_a_job_that_has_ended_takes_no_files(ledger: Ledger) -> None:
    job = published(ledger)
    ledger.jobs.move(job, JobStatus.CANCELLED)
    with pytest.raises(DunlinError) as caught:
        ledger.files.add_units(job, [files(1)])
    assert caught.value.kind is ErrorKind.INTERRUPTED
    with pytest.raises(DunlinError) as caught:
        ledger.files.add_failed("0" * 12, [])
    assert caught.value.kind is ErrorKind.NOT_FOUND


# ---- results ----


def test_a_result_sets_rows_and_counters(ledger: Ledger, clock: Clock) -> None:
    job = published(ledger)
    one, two = walk(ledger, job, files(3), files(2, begin=3))
    clock.now += 5
    assert ledger.files.apply([told(one, p0=UPLOADED, p1=SKIPPED, p2=FAILED)]) == [True]
    assert statuses(ledger, job) == [UPLOADED, SKIPPED, FAILED, PENDING, PENDING]
    failed = ledger.files.failures(job)[0]
    assert (failed.error, failed.worker, failed.attempt, failed.updated) == ("why", "w1", 1, clock.now)
    [item] = ledger.files.items(job)
    assert (item.uploaded, item.skipped, item.failed, item.uploaded_bytes) == (1, 1, 1, 10)
    assert not ledger.files.totals(job).done
    assert ledger.files.settle(job) is None
    ledger.files.apply([told(two)])
    assert ledger.files.totals(job).done
    ended = ledger.files.settle(job)
    assert ended is not None
    assert (ended.status, ended.error) == (JobStatus.FAILED, "1 of 5 files failed")
    assert ledger.files.settle(job) is None
    exact(ledger, job)


def test_a_job_without_failures_is_completed(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = ledger.files.add_units(job, [files(2)])
    ledger.files.apply([told(unit)])
    assert ledger.files.settle(job) is None, "it is still being walked"
    ledger.files.walked(job, 0)
    ended = ledger.files.settle(job)
    assert ended is not None
    assert ended.status is JobStatus.COMPLETED
    other = published(ledger)
    ledger.files.walked(other, 0, "cannot list it")
    ended = ledger.files.settle(other)
    assert ended is not None
    assert (ended.status, ended.error) == (JobStatus.FAILED, "cannot list it")


def test_a_result_counts_once(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(3))
    result = told(unit, p0=UPLOADED, p1=SKIPPED, p2=FAILED)
    assert ledger.files.apply([result, result]) == [True, False]
    before = ledger.files.page(job), ledger.files.items(job)
    assert ledger.files.apply([result, told(unit, attempt=9)]) == [False, False]
    assert (ledger.files.page(job), ledger.files.items(job)) == before


def test_an_older_attempt_changes_nothing(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(2))
    ledger.files.fence([(job, unit.number, 2), (job, unit.number, 1), (job, 99, 5)])
    assert ledger.files.apply([told(unit, attempt=1)]) == [False]
    assert statuses(ledger, job) == [PENDING, PENDING]
    assert ledger.files.apply([told(unit, attempt=3, final=False, p0=UPLOADED)]) == [True]
    assert ledger.files.apply([told(unit, attempt=2)]) == [False]
    assert ledger.files.apply([told(unit, attempt=3)]) == [True]
    assert statuses(ledger, job) == [UPLOADED, UPLOADED]
    exact(ledger, job)


def test_parts_add_up_and_a_new_attempt_begins_over(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(5))
    results = [
        told(unit, 1, final=False, p0=UPLOADED, p1=FAILED, p2=FAILED),
        told(unit, 2, final=False, p0=SKIPPED, p1=UPLOADED),  # p0 is there already: it stays uploaded
        told(unit, 2, p2=FAILED, p3=SKIPPED),
    ]
    assert ledger.files.apply(results[:1]) == [True]
    exact(ledger, job)
    assert ledger.files.apply(results[1:]) == [True, True]
    assert statuses(ledger, job) == [UPLOADED, UPLOADED, FAILED, SKIPPED, FAILED]
    assert [file.error for file in ledger.files.failures(job)] == ["why", "no outcome was told"]
    assert [file.attempt for file in ledger.files.page(job)] == [1, 2, 2, 2, 2]
    exact(ledger, job)


def test_what_was_uploaded_stays_uploaded(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(2))
    ledger.files.apply([told(unit, 1, final=False, p0=UPLOADED, p1=SKIPPED)])
    ledger.files.apply([told(unit, 2, p0=FAILED, p1=UPLOADED)])
    assert statuses(ledger, job) == [UPLOADED, SKIPPED]
    exact(ledger, job)


def test_a_dead_unit_fails_what_is_pending(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(3))
    ledger.files.apply([told(unit, 1, final=False, p1=UPLOADED)])
    ledger.files.apply([UnitResult(job, unit.number, 4, (), error="it was tried\ntoo often")])
    assert statuses(ledger, job) == [FAILED, UPLOADED, FAILED]
    assert {file.error for file in ledger.files.failures(job)} == {"it was tried\\ntoo often"}
    exact(ledger, job)


def test_sizes_are_those_that_were_uploaded(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(3, size=7))
    outcome = [FileResult(0, UPLOADED, size=100), FileResult(1, UPLOADED), FileResult(2, SKIPPED)]
    ledger.files.apply([UnitResult(job, unit.number, 1, outcome)])
    assert [file.size for file in ledger.files.page(job)] == [100, 7, 7]
    assert ledger.files.items(job)[0].uploaded_bytes == 107


def test_nonsense_of_a_worker_harms_nobody(ledger: Ledger) -> None:
    job = published(ledger)
    one, two = walk(ledger, job, files(2), files(2, begin=2))
    outcome = [
        FileResult(-1, UPLOADED), FileResult(2, UPLOADED), FileResult(0, CANCELLED), FileResult(1, PENDING),
        FileResult(1, FAILED, "x\x00y" * 999), FileResult(0, FAILED, "first"), FileResult(0, UPLOADED),
    ]  # fmt: skip
    assert ledger.files.apply([UnitResult(job, one.number, 1, outcome, "w\x00\udcff")]) == [True]
    assert ledger.files.apply([UnitResult("nonsense", 0, 1, ()), UnitResult(job, 77, 1, ())]) == [False, False]
    assert statuses(ledger, job) == [UPLOADED, FAILED, PENDING, PENDING]
    assert ledger.files.apply([]) == []
    assert ledger.files.unit(job, one.number) is None
    assert ledger.files.unit(job, two.number) == two
    exact(ledger, job)


def test_a_unit_of_several_items_counts_for_each(ledger: Ledger) -> None:
    job = published(ledger, "/a", "/b", "/c")
    [unit] = walk(ledger, job, [NewFile("x", "x", 1, item) for item in range(3)])
    ledger.files.apply([told(unit, p0=UPLOADED, p1=SKIPPED, p2=FAILED)])
    assert [(item.uploaded, item.skipped, item.failed) for item in ledger.files.items(job)] == [
        (1, 0, 0), (0, 1, 0), (0, 0, 1),
    ]  # fmt: skip
    exact(ledger, job)


def test_results_of_many_jobs_in_one_call(ledger: Ledger) -> None:
    jobs = [published(ledger) for _ in range(3)]
    units = [unit for job in jobs for unit in walk(ledger, job, files(4), files(4, begin=4))]
    random.Random(2).shuffle(units)
    assert ledger.files.apply([told(unit) for unit in units]) == [True] * 6
    for job in jobs:
        assert statuses(ledger, job) == [UPLOADED] * 8
        exact(ledger, job)


def test_coordinators_at_the_same_time_count_once(ledger: Ledger, ledger_url: str, opened: Any, clock: Clock) -> None:
    job = published(ledger)
    units = walk(ledger, job, *[files(5, begin=5 * n) for n in range(20)])
    ledgers = [ledger, opened(ledger_url, clock)]

    def work(n: int) -> int:
        mine = units[:]
        random.Random(n).shuffle(mine)
        taken = 0
        for begin in range(0, 20, 4):
            taken += sum(ledgers[n % 2].files.apply([told(unit, p0=FAILED) for unit in mine[begin : begin + 4]]))
        return taken

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 20
    assert ledger.files.totals(job).failed == 100
    exact(ledger, job)


# ---- put back ----


def test_open_units_come_back_after_a_crash(ledger: Ledger) -> None:
    job = published(ledger)
    made = walk(ledger, job, *[files(2, begin=2 * n) for n in range(5)])
    ledger.files.apply([told(made[1]), told(made[3], final=False, p1=UPLOADED)])
    first = ledger.files.open_units(job, count=2)
    assert [unit.number for unit in first] == [0, 2]
    rest = ledger.files.open_units(job, after=2)
    assert [(unit.number, unit.attempt, unit.pending) for unit in rest] == [(3, 1, (0,)), (4, 0, (0, 1))]
    assert rest[0].files == made[3].files
    assert [(unit.number, unit.status, unit.reported) for unit in ledger.files.units(job)] == [
        (0, UnitStatus.OPEN, 0), (1, UnitStatus.DONE, 2), (2, UnitStatus.OPEN, 0), (3, UnitStatus.OPEN, 1),
        (4, UnitStatus.OPEN, 0),
    ]  # fmt: skip
    assert [unit.number for unit in ledger.files.units(job, UnitStatus.DONE)] == [1]


def test_retry_puts_failed_files_into_new_units(ledger: Ledger, clock: Clock) -> None:
    job = published(ledger, "/a", "/b")
    one, two = walk(ledger, job, files(4), files(4, item=1))
    ledger.files.apply([told(one, p0=UPLOADED, p1=FAILED, p2=FAILED, p3=SKIPPED), told(two, p0=FAILED, p1=UPLOADED)])
    assert ledger.files.settle(job) is not None
    ledger.jobs.move(job, JobStatus.RUNNING)
    before = clock.now
    clock.now += 1
    units: list[OpenUnit] = []
    while more := ledger.files.retry(job, per_unit=2, count=3, before=before):
        units += more
        ledger.files.apply([told(more[0], p0=FAILED, p1=UPLOADED)])  # fails again: not in this round
    assert [[(file.item, file.path) for file in unit.files] for unit in units] == [
        [(0, "00001"), (0, "00002")], [(1, "00000")], [(1, "00002"), (1, "00003")],
    ]  # fmt: skip
    assert [unit.number for unit in units] == [2, 3, 4]
    exact(ledger, job)
    assert not ledger.files.totals(job).done
    ledger.files.apply([told(units[1])])
    assert ledger.files.totals(job).done
    assert ledger.files.totals(job).failed == 2
    exact(ledger, job)
    assert ledger.files.apply([told(one, attempt=9), told(two, attempt=9)]) == [False, False], "the old units are done"


def test_again_takes_some_files_of_a_unit(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(4))
    ledger.files.apply([told(unit, p0=FAILED, p1=FAILED, p2=UPLOADED, p3=FAILED)])
    more = ledger.files.again(job, unit.number, [3, 0, 2, 9])
    assert more is not None
    assert [file.path for file in more.files] == ["00000", "00003"]
    assert more.tries == 1
    ledger.files.apply([told(more, p0=UPLOADED, p1=FAILED)])
    last = ledger.files.again(job, more.number, [0, 1])
    assert last is not None
    assert (last.tries, [file.path for file in last.files]) == (2, ["00003"])
    assert ledger.files.again(job, more.number, [1]) is None, "it is pending"
    assert ledger.files.again(job, 77, [0]) is None
    exact(ledger, job)


def test_a_unit_that_the_queue_lost_is_replaced(ledger: Ledger) -> None:
    job = published(ledger)
    one, two = walk(ledger, job, files(3), files(1, begin=3))
    ledger.files.apply([told(one, 2, final=False, p1=UPLOADED)])
    new = ledger.files.replace(job, one.number)
    assert new is not None
    assert (new.number, new.attempt, [file.path for file in new.files]) == (2, 0, ["00000", "00002"])
    assert ledger.files.apply([told(one, 3)]) == [False], "a zombie of the lost one"
    assert ledger.files.apply([told(new, 1)]) == [True]
    assert ledger.files.replace(job, one.number) is None
    ledger.files.apply([told(two, final=False, p0=UPLOADED)])
    assert ledger.files.replace(job, two.number) is None, "all is told: it is done"
    assert ledger.files.totals(job).done
    exact(ledger, job)


def test_files_that_went_to_another_unit_stay_there(ledger: Ledger) -> None:
    job = published(ledger)
    [unit] = walk(ledger, job, files(3))
    ledger.files.apply([told(unit, final=False, p0=FAILED, p1=FAILED)])
    [new] = ledger.files.retry(job)
    assert [file.path for file in new.files] == ["00000", "00001"]
    [old, _] = ledger.files.open_units(job)
    assert old.pending == (2,)
    assert ledger.files.apply([told(unit, final=False, p0=UPLOADED)]) == [True]
    assert statuses(ledger, job) == [PENDING] * 3, "only the new unit tells of it"
    ledger.files.apply([told(new, p0=FAILED, p1=UPLOADED)])
    assert ledger.files.again(job, unit.number, [0, 1, 2]) is None
    replaced = ledger.files.replace(job, unit.number)
    assert replaced is not None
    assert [file.path for file in replaced.files] == ["00002"]
    exact(ledger, job)


def test_cancel_calls_off_what_is_pending(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.queue.ledger.files.BATCH", 3)
    job = published(ledger)
    one, two, three = walk(ledger, job, files(4), files(4, begin=4), files(1, begin=8))
    ledger.files.apply([told(one, p0=UPLOADED), told(two, final=False, p2=UPLOADED)])
    ledger.jobs.move(job, JobStatus.CANCELLED)
    assert ledger.files.cancel(job) == 4
    assert ledger.files.cancel(job) == 0
    off = [CANCELLED] * 2
    assert statuses(ledger, job) == [UPLOADED, FAILED, FAILED, FAILED, *off, UPLOADED, *off]
    assert ledger.files.apply([told(two), told(three)]) == [False, False]
    assert ledger.files.open_units(job) == []
    exact(ledger, job)


def test_walks_results_retries_and_a_cancel_do_not_wait_in_a_circle(ledger: Ledger) -> None:
    job = published(ledger, "/a", "/b")
    walk(ledger, job, *[files(4, n % 2, 4 * n) for n in range(10)])
    chance = random.Random(3)

    def grow() -> None:
        for n in range(15):
            ledger.files.add_units(job, [files(3, n % 2, 1000 + 3 * n)])

    def tell() -> None:
        for _ in range(15):
            units = chance.sample(open_units, 3) if len(open_units := ledger.files.open_units(job)) > 3 else open_units
            ledger.files.apply([told(unit, p0=FAILED, p1=UPLOADED) for unit in units])

    def put_back() -> None:
        for _ in range(15):
            ledger.files.retry(job, per_unit=3)
            for unit in ledger.files.open_units(job, count=2):
                ledger.files.replace(job, unit.number)

    def call_off() -> None:
        for _ in range(5):
            ledger.files.cancel(job)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work) for work in (grow, tell, put_back, tell, put_back, call_off)]:
            done.result()
    exact(ledger, job)
    ledger.files.cancel(job)
    exact(ledger, job)
    assert ledger.files.totals(job).open_units == 0


# ---- what people look at ----


def test_pages_of_files_are_filtered(ledger: Ledger) -> None:
    job = published(ledger, "/a", "/b")
    one, _ = walk(ledger, job, files(6), files(4, item=1))
    ledger.files.apply([told(one, p0=FAILED, p1=UPLOADED, p2=FAILED, p3=SKIPPED, p4=UPLOADED, p5=FAILED)])

    def found(**filters: Any) -> list[int]:
        return [file.number for file in ledger.files.page(job, **filters)]

    assert found(item=1) == [6, 7, 8, 9]
    assert found(status=UPLOADED) == [1, 4]
    assert found(status=FAILED) == [0, 2, 5]
    assert found(status=FAILED, after=0, count=1) == [2]
    assert found(status=FAILED, item=1) == []
    assert found(search="0003") == [3, 9]
    assert found(search="0003", item=0) == [3]
    assert found(after=3, count=3) == [4, 5, 6]
    assert found(count=0) == []
    assert [file.number for file in ledger.files.failures(job, search="2")] == [2]


# ---- chance ----


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_counters_are_exact(seed: int, ledger: Ledger) -> None:
    """Chance hands units out, tells results late, twice and in parts; a model that has one file at a time agrees."""
    chance = random.Random(seed)
    job = published(ledger, "/a", "/b")
    units = {unit.number: unit for unit in walk(ledger, job, *[files(5, n % 2, 10 * n) for n in range(5)])}
    attempts, known = dict.fromkeys(units, 0), dict.fromkeys(units, 0)
    done: set[int] = set()
    model = {(file.item, file.path): PENDING for unit in units.values() for file in unit.files}
    owner = {(file.item, file.path): unit.number for unit in units.values() for file in unit.files}
    for _ in range(60):
        number = chance.choice(sorted(units))
        unit = units[number]
        match chance.randrange(8):
            case 0 | 1:
                attempts[number] += 1
            case 2 if attempts[number]:
                ledger.files.fence([(job, number, attempts[number])])
                known[number] = max(known[number], attempts[number]) if number not in done else known[number]
            case 3:
                for new in ledger.files.retry(job, per_unit=chance.randrange(1, 4)):
                    units[new.number] = new
                    attempts[new.number] = known[new.number] = 0
                    model |= {(file.item, file.path): PENDING for file in new.files}
                    owner |= {(file.item, file.path): new.number for file in new.files}
            case _ if attempts[number]:
                attempt = chance.randrange(1, attempts[number] + 1)
                final = chance.random() < 0.4
                places = chance.sample(range(len(unit.files)), chance.randrange(len(unit.files) + 1))
                outcome = [FileResult(p, chance.choice((UPLOADED, SKIPPED, FAILED)), "e") for p in places]
                taken = ledger.files.apply([UnitResult(job, number, attempt, outcome, "w", final)])
                assert taken == [number not in done and attempt >= known[number]]
                if taken == [True]:
                    known[number] = attempt
                    for one in outcome:
                        key = unit.files[one.place].item, unit.files[one.place].path
                        if owner[key] == number and model[key] in (PENDING, FAILED):
                            model[key] = one.status
                    if final:
                        done.add(number)
                        for file in unit.files:
                            if owner[file.item, file.path] == number and model[file.item, file.path] is PENDING:
                                model[file.item, file.path] = FAILED
        assert {(file.item, file.path): file.status for file in ledger.files.page(job, count=999)} == model
    rows = ledger.files.page(job, count=999)
    totals = ledger.files.totals(job)
    assert totals.failed == sum(file.status is FAILED for file in rows)
    assert totals.uploaded == sum(file.status is UPLOADED for file in rows)
    assert totals.skipped == sum(file.status is SKIPPED for file in rows)


# ---- cost and crashes ----


def test_the_usual_results_cost_four_statements(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    job = published(ledger)
    units = walk(ledger, job, *[files(250, begin=250 * n) for n in range(4)])
    made: list[str] = []
    writing = ledger._base.writing

    @contextmanager
    def counted() -> Iterator[Any]:
        with writing() as rows:
            yield Counted(rows, made)

    monkeypatch.setattr(ledger._base, "writing", counted)
    assert ledger.files.apply([told(unit) for unit in units]) == [True] * 4
    assert [sql.split()[0] for sql in made] == ["SELECT", "UPDATE", "UPDATE", "UPDATE"], made
    assert not any("FROM file" in sql for sql in made if sql.startswith("SELECT"))


class Counted:
    """`Rows` that note which statements are made."""

    def __init__(self, rows: Any, made: list[str]) -> None:
        self._rows, self._made = rows, made

    def __getattr__(self, verb: str) -> Any:
        def call(sql: str, *rest: Any) -> Any:
            self._made.append(sql)
            return getattr(self._rows, verb)(sql, *rest)

        return call


def test_postgresql_finds_rows_by_index_before_it_knows_the_table(postgres: Any, opened: Any, clock: Clock) -> None:
    ledger = opened(postgres.queue(), clock)
    job = published(ledger)
    walk(ledger, job, *[files(250, begin=250 * n) for n in range(40)])
    numbers = list(range(250))
    with ledger._base.writing() as rows:
        bindings = [number_of(job), 1, "w", NOON, numbers, [1] * 250, [5] * 250]
        plan = [row[0] for row in rows.query("EXPLAIN " + ledger._base.sql["file_result"], bindings)]
    assert "Index Cond: ((job = r.job) AND (number = r.number))" in " ".join(plan), plan
    assert not any("Seq Scan" in step or "Hash" in step or "Merge" in step for step in plan), plan
    # A span of files, with the plan that is kept for all values.
    with ledger._base.writing() as rows:
        rows.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        types = "bigint, integer, text, double precision, bigint, bigint, smallint[], bigint[]"
        rows.execute(f"PREPARE span ({types}) AS {ledger._base.sql['file_run']}")
        values = f"{number_of(job)}, 1, 'w', 1.0, 0, 250, '{{1,1}}', '{{5,5}}'"
        plan = [row[0] for row in rows.query(f"EXPLAIN EXECUTE span ({values})")]
    assert "file_pkey" in " ".join(plan), plan
    assert "Index Cond: ((job = $1) AND (number >= $5) AND (number < $6))" in " ".join(plan), plan


KILLED = """
import signal, sys
from dunlin.queue.ledger import FileResult, FileStatus, UnitResult, open_ledger
ledger = open_ledger(sys.argv[1])
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    units = ledger.files.open_units(sys.argv[2], count=3)
    outcome = [FileResult(place, FileStatus(place % 3 + 1), "no", 10) for place in range(40)]
    ledger.files.apply([UnitResult(unit.job, unit.number, 1, outcome) for unit in units])
    print("applied", flush=True)
signal.pause()
"""


def test_a_killed_process_leaves_exact_counters(ledger: Ledger, ledger_url: str) -> None:
    job = published(ledger)
    walk(ledger, job, *[files(40, begin=40 * n) for n in range(60)])
    for lines in (2, 5, 9):
        # One turn more than is waited for may be under way; if it went on for longer, it might tell all that there is.
        command = [sys.executable, "-c", KILLED, ledger_url, job, str(lines)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
        exact(ledger, job)
    totals = ledger.files.totals(job)
    assert totals.open_units
    assert totals.pending == 40 * totals.open_units, "units are told whole or not at all"
    ledger.files.apply([told(unit) for unit in ledger.files.open_units(job, count=1000)])
    assert ledger.files.totals(job).done
    exact(ledger, job)


def test_a_server_that_restarts_loses_nothing() -> None:
    with postgres_server(connections=20) as server:
        ledger = open_ledger(server.queue())
        job = published(ledger)
        one, two = walk(ledger, job, files(3), files(3, begin=3))
        ledger.files.apply([told(one)])
        server.process.stop()
        with pytest.raises(DunlinError) as caught:
            ledger.files.apply([told(two)])
        assert caught.value.kind is ErrorKind.NETWORK
        with pytest.raises(DunlinError) as caught:
            ledger.files.totals(job)
        assert caught.value.kind is ErrorKind.NETWORK
        server.process.start()
        assert ledger.files.apply([told(two)]) == [True]
        server.process.stop()
        server.process.start()
        assert ledger.files.totals(job).uploaded == 6, "a read finds another connection"
        server.process.stop()
        server.process.start()
        assert ledger.files.apply([told(two)]) == [False], "and so does a transaction"
        exact(ledger, job)
        ledger.close()


def test_files_that_have_keys_are_known_by_item_and_path(ledger: Ledger) -> None:
    id = published(ledger, "/one", "/two")
    long = "d/" * 400 + "x"
    ledger.files.add_units(id, [[NewFile("a", "store/a", 1, 0), NewFile(long, "store/x", 1, 1)]])
    ledger.files.add_failed(id, [(NewFile("bad", "", 1, 0), "no key")])
    places = [(0, "a"), (1, "a"), (1, long), (0, long), (0, "bad")]
    assert ledger.files.given(id, places) == {(0, "a"), (1, long)}
    assert ledger.files.given(published(ledger), places) == set()
