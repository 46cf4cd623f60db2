"""overview: what live views read, from states that are made up, with a clock that is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Stats
from dunlin.pace.left import FULL, PER_FILE
from dunlin.state import CrawlMetric, Metric, Pair, Run, State
from dunlin.state.overview import HOUR, SECOND, Overview
from dunlin.state.runs import Life
from tests.unit.state.rows import Clock

NOON = 1_700_000_000 * SECOND // HOUR * HOUR


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def view(path: str, state: State, clock: Clock) -> Iterator[Overview]:
    with Overview.open(path, clock=clock) as opened:
        yield opened


def test_without_a_run_there_is_nothing_to_show(view: Overview) -> None:
    assert (view.pairs(), view.going(), view.now(), view.runs(), view.activity(), view.errors()) == (
        [], [], None, [], [], [],
    )  # fmt: skip
    day = view.day()
    assert (day.runs, day.files, day.success, day.failed_share, day.files_rate) == (0, 0, None, None, None)
    assert view.series("bytes", NOON, NOON + HOUR, 3) == [None, None, None]


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DunlinError) as raised:
        Overview.open(str(tmp_path / "none.db"))
    assert raised.value.kind is ErrorKind.NOT_FOUND
    assert not (tmp_path / "none.db").exists()


def test_it_cannot_write(view: Overview) -> None:
    with pytest.raises(DunlinError):
        view._state.put_event(None, 20, "x", "x")


def test_a_run_that_goes_on(state: State, run: Run, view: Overview, clock: Clock) -> None:
    clock.time += 100 * SECOND
    for files, size in ((10.0, 1000.0), (30.0, 3000.0)):
        clock.time += 2 * SECOND
        state.put_metric(run.id, Metric(cpu=50.0, memory=1 << 20, files=files, bytes=size))
    stats = Stats(copied_files=80, hard_links=3, failed_files=2, copied_bytes=8000)
    stats.pending_files, stats.pending_bytes = 15, 5000
    state.update_run(run.id, stats, Life(listed=True, limit=9000, workers=5, wanted=8, flying=1000))
    now = view.now()
    assert now is not None
    assert (now.status, now.source, now.destination) == ("running", "file:///source", "file:///destination")
    assert (now.done_files, now.total_files, now.done_bytes, now.total_bytes) == (85, 100, 9000, 13000)
    assert (now.files_rate, now.bytes_rate, now.limit, now.workers, now.wanted) == (20.0, 2000.0, 9000, 5, 8)
    assert now.seconds == pytest.approx(104, abs=0.1)
    each = PER_FILE * (1 - 2000 / 9000)  # of the limit so much is free
    assert now.left == pytest.approx((4000 + 15 * each) / (2000 + 20 * each))
    each = PER_FILE * 9000 / FULL
    assert now.share == pytest.approx((9000 + 85 * each) / (13000 + 100 * each))
    assert [each.id for each in view.going()] == [run.id]
    assert [(each.run, each.status) for each in view.pairs()] == [(run.id, "running")]
    sample = view.latest(run.id)
    assert sample is not None
    assert (sample.metric.cpu, sample.metric.files) == (50.0, 30.0)


def test_rates_are_those_of_the_last_seconds(state: State, run: Run, view: Overview, clock: Clock) -> None:
    state.put_metric(run.id, Metric(files=1000.0, bytes=1000.0))
    clock.time += 60 * SECOND
    state.put_metric(run.id, Metric(files=5.0, bytes=50.0))
    state.update_run(run.id, Stats())
    now = view.now()
    assert now is not None
    assert (now.files_rate, now.bytes_rate) == (5.0, 50.0)


def test_a_run_that_goes_on_after_a_pause_is_as_fast_as_it_was(
    state: State, run: Run, view: Overview, clock: Clock
) -> None:
    for paused, files in ((False, 100.0), (False, 300.0), *([(True, 0.0)] * 30)):
        clock.time += 2 * SECOND
        state.put_metric(run.id, Metric(files=files, bytes=files * 10, paused=paused))
    state.update_run(run.id, Stats(pending_files=400), Life(listed=True))
    now = view.now()
    assert now is not None
    assert (now.files_rate, now.bytes_rate) == (200.0, 2000.0)
    assert now.left == pytest.approx(2, rel=0.01)
    clock.time += 2 * SECOND
    state.put_metric(run.id, Metric(files=40.0, bytes=50.0))
    now = view.now()
    assert now is not None
    assert now.files_rate == 40.0, "what was before the pause is too old by now"


@pytest.mark.parametrize(
    ("life", "word"),
    [
        (Life(paused=True, cause="memory"), "paused"),
        (Life(cause="cpu 91%"), "throttled"),
        (Life(), "running"),
    ],
)
def test_the_word_for_a_run_that_goes_on(state: State, run: Run, view: Overview, life: Life, word: str) -> None:
    state.update_run(run.id, Stats(pending_files=5), life)
    now = view.now()
    assert now is not None
    assert (now.status, now.cause) == (word, life.cause)
    assert now.left is None


def test_a_sign_without_more_leaves_what_was_said(state: State, run: Run) -> None:
    state.update_run(run.id, Stats(), Life(paused=True, limit=7))
    state.update_run(run.id, Stats(copied_files=1))
    assert state.run(run.id).life == Life(paused=True, limit=7)


def test_a_run_without_a_sign_is_stale(path: str, state: State, run: Run, view: Overview, clock: Clock) -> None:
    state.put_metric(run.id, Metric(files=20.0, bytes=2000.0))
    clock.time += SECOND // 2
    state.update_run(run.id, Stats(copied_files=4, pending_bytes=10), Life(cause="memory", flying=9))
    clock.time += 31 * SECOND
    now = view.now()
    assert now is not None
    assert (now.status, now.run.id, now.cause, now.left) == ("stale", run.id, "", None)
    assert (now.done_bytes, now.total_bytes) == (9, 10)  # as it was when it was last seen
    assert (now.files_rate, now.bytes_rate) == (20.0, 2000.0)
    assert now.seconds < 1  # until it gave its last sign
    assert view.going() == []
    with Overview.open(path, lives=lambda run: True, clock=clock) as other:
        assert [each.id for each in other.going()] == [run.id]


def test_a_run_that_ended_and_one_that_goes_on(state: State, pair: Pair, view: Overview, clock: Clock) -> None:
    first = state.begin_run(pair, {}, "boot", 1)
    clock.time += 10 * SECOND
    state.finish_run(first.id, "completed", Stats(copied_files=50, copied_bytes=1000))
    ended = view.now()
    assert ended is not None
    assert (ended.status, ended.share, ended.left, ended.listed) == ("completed", 1.0, 0.0, True)
    assert ended.files_rate == pytest.approx(5)
    assert ended.bytes_rate == pytest.approx(100)
    second = state.begin_run(pair, {}, "boot", 1)
    third = state.begin_run(state.pair("file:///a", "file:///b", "all"), {}, "boot", 1)
    state.finish_run(third.id, "failed", Stats(), "the disk is full")
    now = view.now()
    assert now is not None
    assert now.run.id == second.id  # it goes on, although another began later
    assert view.now(third.id).run.message == "the disk is full"  # type: ignore[union-attr]
    assert view.now(99) is None
    assert [run.id for run in view.runs()] == [third.id, second.id, first.id]
    assert [run.id for run in view.runs(limit=1, before=third.id)] == [second.id]
    assert [run.id for run in view.runs(pair.id)] == [second.id, first.id]


def test_the_last_day(state: State, pair: Pair, view: Overview, clock: Clock) -> None:
    def done(status: str, seconds: int, **counts: int) -> None:
        run = state.begin_run(pair, {}, "boot", 1)
        clock.time += seconds * SECOND
        state.finish_run(run.id, status, Stats(**counts))

    done("completed", 10, copied_files=1_000_000, copied_bytes=1)  # two days ago
    clock.time += 48 * HOUR
    done("completed", 10, copied_files=100, copied_bytes=1000)
    done("completed", 10, copied_files=50, failed_files=2, failed_directories=1)
    done("failed", 10)
    done("interrupted", 10, copied_files=3, deleted_files=4)
    going = state.begin_run(pair, {}, "boot", 1)
    state.update_run(going.id, Stats(copied_files=47), Life(flying=500))
    day = view.day()
    assert (day.runs, day.ended, day.clean, day.files, day.bytes, day.failed, day.deleted) == (5, 3, 1, 200, 1500, 3, 4)
    assert day.success == pytest.approx(1 / 3)
    assert day.failed_share == pytest.approx(3 / 203)
    assert day.files_rate == pytest.approx(5, rel=0.01)
    assert view.day(pair.id) == day
    assert view.day(99).runs == 0
    assert view.ever().files == 1_000_200


def test_a_curve_has_the_mean_of_each_part(state: State, run: Run, view: Overview, clock: Clock) -> None:
    for minute, value in ((0, 2.0), (0, 4.0), (10, 7.0), (30, 1.0)):
        clock.time = NOON + minute * 60 * SECOND
        state.put_metric(run.id, Metric(bytes=value))
    assert view.series("bytes", NOON, NOON + HOUR, 6) == [3.0, 7.0, None, 1.0, None, None]
    assert view.series("bytes", NOON, NOON + HOUR, 6, run=run.id + 1) == [None] * 6
    assert view.series("bytes", NOON, NOON + HOUR, 1, pair=run.pair) == [pytest.approx(3.5)]
    assert view.series("cpu", NOON, NOON + HOUR, 2) == [None, None]
    with pytest.raises(ValueError, match="secret"):
        view.series("secret", NOON, NOON + HOUR, 2)


def test_a_mean_stands_for_all_of_its_time(state: State, run: Run, view: Overview, clock: Clock) -> None:
    clock.time = NOON + HOUR // 2
    state.put_metric(run.id, Metric(bytes=6.0, seconds=3600))
    assert view.series("bytes", NOON + HOUR, NOON + 2 * HOUR, 4) == [6.0, 6.0, None, None]


def test_activity_is_in_order_can_be_searched_and_followed(state: State, run: Run, view: Overview) -> None:
    state.put_event(run.id, 20, "file.copied", "", "a/Photo.JPG", size=5)
    state.put_event(run.id, 20, "file.deleted", "", "b\udcff")
    state.put_event(run.id, 30, "file.retry", "c: timed out; attempt 2/3", "c", attempt=2)
    state.put_event(run.id, 40, "file.failed", "no permission", "d", ErrorKind.DENIED, attempt=1)
    state.put_event(run.id, 30, "throttle.engaged", "Throttling (cpu=91%)")
    state.put_event(None, 20, "files.more", "and 1,234 more", size=99, number=1234)
    found = view.activity()
    assert [(each.word, each.path, each.size, each.number) for each in found] == [
        ("copied", "a/Photo.JPG", 5, 1),
        ("deleted", "b\udcff", None, 1),
        ("retry", "c", None, 1),
        ("failed", "d", None, 1),
        ("warning", "", None, 1),
        ("more", "", 99, 1234),
    ]
    assert [each.category for each in found[3:5]] == ["auth", "unknown"]
    assert [each.path for each in view.activity(text="photo")] == ["a/Photo.JPG"]
    assert [each.word for each in view.activity(text="timed OUT")] == ["retry"]
    assert [each.word for each in view.activity(limit=2)] == ["warning", "more"]
    assert [each.word for each in view.activity(after=found[4].id)] == ["more"]
    assert [each.word for each in view.activity(before=found[1].id)] == ["copied"]
    assert len(view.activity(run=run.id)) == 5


def test_a_search_goes_through_all_pages(state: State, run: Run, view: Overview) -> None:
    with state.transaction():
        state.put_event(run.id, 20, "file.copied", "", "needle")
        for n in range(750):
            state.put_event(run.id, 20, "file.copied", "", f"hay{n}")
    assert [each.path for each in view.activity(text="needle")] == ["needle"]


def test_errors_are_those_that_still_hold(state: State, pair: Pair, run: Run, view: Overview) -> None:
    for path, kind in (("a", ErrorKind.DENIED), ("b", ErrorKind.NETWORK), ("c", ErrorKind.TIMEOUT), ("d", None)):
        state.put_event(run.id, 40, "file.failed", f"about {path}", path, kind)
    state.put_event(run.id, 30, "file.retry", "x", "a")
    state.resolve(pair.id, "b")
    assert [each.path for each in view.errors()] == ["d", "c", "a"]
    assert [each.path for each in view.errors(resolved=True)] == ["d", "c", "b", "a"]
    assert [each.path for each in view.errors(kind="network", resolved=True)] == ["c", "b"]
    assert [each.path for each in view.errors(kind="denied")] == ["a"]
    assert [each.path for each in view.errors(text="ABOUT D")] == ["d"]
    assert [each.path for each in view.errors(limit=1, before=view.errors()[0].id)] == ["c"]
    assert view.errors(run=99) == view.errors(pair=99) == []
    assert view.error_counts() == view.error_counts(run=run.id, pair=pair.id) == {"auth": 1, "network": 1, "unknown": 1}


def test_the_crawl_with_its_trends(state: State, run: Run, view: Overview) -> None:
    assert view.crawl(run.id) is None
    for n in range(10):
        crawl = CrawlMetric(
            active=n, held=80, files_limit=100, files_per_second=10.0 * n, directories_per_second=5.0, memory=7,
            engaged="files,threads",
        )  # fmt: skip
        state.put_crawl(run.id, crawl)
    now = view.crawl(run.id)
    assert now is not None
    assert (now.crawl.active, now.files_trend, now.directories_trend) == (9, "up", "level")
    assert [(each.name, each.value, each.limit, each.engaged) for each in now.resources] == [
        ("files", 80, 100, True), ("memory", 7, 0, False), ("threads", 0, 0, True),
    ]  # fmt: skip


def test_a_reader_neither_blocks_nor_waits_for_a_writer(path: str, state: State, run: Run, view: Overview) -> None:
    with state.transaction():
        state.put_event(run.id, 20, "file.copied", "", "x")
        assert view.activity() == []  # not waiting for the transaction to end
        view.day()
    assert [each.path for each in view.activity()] == ["x"]


def test_it_tells_whether_anything_was_written(state: State, run: Run, view: Overview) -> None:
    view.changed()
    assert not view.changed()
    state.put_event(run.id, 20, "x", "x")
    assert view.changed()
    assert not view.changed()


def test_an_older_file_is_read(tmp_path: Path) -> None:
    import gzip

    sample = Path(__file__).parents[2] / "formats" / "state" / "schema-1.db.gz"
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(sample.read_bytes()))
    with Overview.open(str(path), lives=lambda run: False) as old:
        now = old.now()
        assert now is not None
        assert now.status == "interrupted"
        assert old.ever().runs == 2


def test_what_reads_paths_uses_an_index(state: State, run: Run) -> None:
    def plan(name: str, *bindings: object) -> str:
        rows = state.database.query(f"EXPLAIN QUERY PLAN {state.statements[name]}", bindings)
        return " ".join(row[3] for row in rows)

    assert "SEARCH" in plan("metric_rate", 1, 2)
    assert "metric_run" in plan("metric_latest", 1)
    assert "crawl_run" in plan("crawl_last", 1, 2)
    assert "INTEGER PRIMARY KEY" in plan("event_activity", 0, 9, 5, None)
    assert "run_pair" in plan("run_before_of_pair", 1, 9, 5)
