"""The history of a run, gathered from state files with made-up runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import history as module
from dunlin.jobs.history import choose, verdict
from dunlin.model import Stats
from dunlin.state import CrawlMetric, Metric
from dunlin.state.overview import Overview
from dunlin.state.runs import Life
from tests.unit.web.made import Made, begin, empty, fail, long_run, write


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = empty(tmp_path / "state.db")
    yield found
    found.state.close()


def finish(made: Made, status: str = "completed", message: str = "", **counts: int) -> str:
    run = begin(made, 0)
    made.at(10)
    made.state.finish_run(run.id, status, Stats(**counts), message)
    view = verdict(made.history(run.id))
    return f"{view.level}: {view.title}"


def test_which_run(made: Made) -> None:
    overview = Overview(made.state)
    with pytest.raises(DunlinError, match="no run is on record") as none:
        choose(overview, "latest")
    assert none.value.kind is ErrorKind.NOT_FOUND
    first, second = begin(made, 0), begin(made, 1)
    assert choose(overview, "latest").id == second.id
    assert choose(overview, str(first.id)).id == first.id
    for missing in ("3", "9999999"):
        with pytest.raises(DunlinError, match=f"cannot show run {missing}: it is not on record"):
            choose(overview, missing)


@pytest.mark.parametrize(
    ("status", "counts", "said"),
    [
        ("completed", {"copied_files": 3}, "good: Done, without any failure"),
        ("completed", {"equal_files": 3}, "good: Nothing to do: everything was in sync"),
        ("completed", {"copied_files": 9, "failed_files": 1}, "fair: Done, but 1 file failed"),
        (
            "completed",
            {"failed_files": 2, "failed_directories": 1},
            "bad: Done, but 2 files and 1 directory failed",
        ),
        ("completed", {"copied_files": 1, "source_errors": 1}, "fair: Done, but some of the source could not be read"),
        ("completed", {"copied_files": 1, "vanished_files": 1}, "good: Done; some files vanished meanwhile"),
        ("failed", {"copied_files": 1}, "bad: Stopped by an error"),
        ("interrupted", {"copied_files": 1}, "fair: Interrupted"),
    ],
)
def test_the_verdict(made: Made, status: str, counts: dict[str, int], said: str) -> None:
    assert finish(made, status, **counts) == said


def test_a_run_that_goes_on(made: Made) -> None:
    run = begin(made, 0)
    made.at(30)
    found = made.history(run.id)
    assert (found.word, found.seconds) == ("running", pytest.approx(30, abs=0.1))
    assert verdict(found).level == "busy"


def test_all_of_a_long_run(made: Made) -> None:
    run = long_run(made)
    found = made.history(run.id)
    assert found.seconds == pytest.approx(600, abs=0.1)
    assert len(found.points) == 120
    assert max(point.bytes or 0 for point in found.points) == pytest.approx(88 * 1_048_576, rel=0.1)
    assert [(round(each.begin), round(each.end), each.word, each.cause) for each in found.stretches] == [
        (199, 243, "paused", ""),
        (379, 449, "throttled", "cpu 91%"),
    ]
    assert [phase.word for phase in found.phases] == ["moving files"]
    assert found.errors == {"auth": 3}
    assert sum(point.errors for point in found.points) == 3
    assert [each.word for each in found.events].count("retry") == 4
    assert [each.path for each in found.failed] == [f"2019/raw/IMG_000{n}.raw" for n in (1, 2, 3)]
    assert found.slow[0].path == "2023/12/movie.mov"
    assert found.survey.areas[0].path == "2023"
    assert [each.id for each in found.before] == list(range(run.id - 1, run.id - 13, -1))
    assert not found.later


def test_a_short_run_has_no_curves_and_says_why(made: Made) -> None:
    run = begin(made, 0)
    made.state.finish_run(run.id, "completed", Stats(copied_files=1))
    found = made.history(run.id)
    assert found.points == ()
    assert any("third second" in note for note in found.notes)


def test_parts_without_a_sample_are_unknown_and_not_zero(made: Made) -> None:
    run = begin(made, 0)
    for second in (2, 4, 36, 38):
        made.at(second)
        made.state.put_metric(run.id, Metric(bytes=100.0, files=1.0))
    made.at(40)
    made.state.finish_run(run.id, "completed", Stats())
    points = made.history(run.id).points
    assert points[0].bytes == 100.0
    assert points[5].bytes is None
    assert points[-1].files == 1.0


def test_files_that_a_later_run_wrote_again_are_missed_aloud(made: Made) -> None:
    first = begin(made, 0)
    write(made, first, "a", {"f": 1, "g": 2})
    made.state.finish_run(first.id, "completed", Stats(copied_files=2))
    second = begin(made, 100)
    write(made, second, "a", {"f": 3})
    made.state.finish_run(second.id, "completed", Stats(copied_files=1))
    found = made.history(first.id)
    assert found.later
    assert any(note.startswith("1 files that this run copied") for note in found.notes)
    assert not any("a later run copied" in note for note in made.history(second.id).notes)


def test_lists_are_bounded_and_count_the_rest(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAILED", 5)
    monkeypatch.setattr(module, "NEWS", 4)
    run = begin(made, 0)
    fail(made, run, "d", tuple(f"f{n}" for n in range(9)))
    made.state.finish_run(run.id, "completed", Stats(failed_files=9))
    found = made.history(run.id)
    assert (len(found.failed), found.failed_files) == (5, 9)
    assert (len(found.events), found.more_events) == (4, True)


def test_samples_are_read_a_page_at_a_time(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    run = begin(made, 0)
    for n in range(35):
        made.at(2 * n + 2)
        made.state.put_metric(run.id, Metric(bytes=1.0, paused=True))
    found = made.history(run.id)
    assert [(round(each.begin), round(each.end)) for each in found.stretches] == [(0, 70)]


def test_orders_stand_among_what_happened(made: Made) -> None:
    run = begin(made, 0)
    other = begin(made, 1, source="file:///other")
    made.at(5)
    made.state.control_put(run.id, "pause")
    made.at(7)
    fail(made, run, "d", ("f",))
    made.at(9)
    made.state.control_put(run.id, "bwlimit", "5M")
    said = [(each.word, each.message) for each in made.history(run.id).events]
    assert said == [
        ("order", "pause"),
        ("failed", "cannot read it: Permission denied"),
        ("order", "bwlimit 5M"),
    ]
    assert made.history(other.id).events == ()


def ordered(made: Made, run: int, moment: float, verb: str, taken: float = 0.15) -> None:
    """An order that the run takes a moment later."""
    made.at(moment)
    made.state.control_put(run, verb)
    made.at(moment + taken)
    assert [order.verb for order in made.state.orders(run)] == [verb]


def sampled(made: Made, run: int, begin: int, end: int, **fields: object) -> None:
    for second in range(begin, end, 2):
        made.at(second)
        made.state.put_metric(run, Metric(**fields))  # type: ignore[arg-type]


def stretches(made: Made, run: int) -> list[tuple[float, float, str]]:
    return [(round(each.begin, 2), round(each.end, 2), each.word) for each in made.history(run).stretches]


def test_pauses_are_those_that_the_run_was_told_and_not_those_of_samples(made: Made) -> None:
    run = begin(made, 0)
    sampled(made, run.id, 2, 11, bytes=1.0)
    ordered(made, run.id, 11.3, "pause")
    sampled(made, run.id, 13, 20, paused=True)
    ordered(made, run.id, 20.6, "resume")
    sampled(made, run.id, 22, 30, throttled=True)
    ordered(made, run.id, 31.1, "pause")
    ordered(made, run.id, 31.4, "resume")  # between two samples
    sampled(made, run.id, 32, 40, bytes=1.0)
    made.at(41)
    made.state.finish_run(run.id, "completed", Stats())
    assert stretches(made, run.id) == [(11.45, 20.75, "paused"), (19.0, 28.0, "throttled"), (31.25, 31.55, "paused")]


def test_a_pause_that_nobody_ended_lasts_until_the_end(made: Made) -> None:
    run = begin(made, 0)
    ordered(made, run.id, 4, "pause")
    ordered(made, run.id, 5, "pause")
    made.at(9)
    made.state.finish_run(run.id, "interrupted", Stats())
    assert stretches(made, run.id) == [(4.15, 9.0, "paused")]


def test_an_order_that_was_never_taken_paused_nothing(made: Made) -> None:
    run = begin(made, 0)
    made.at(4)
    made.state.control_put(run.id, "pause")
    made.at(9)
    made.state.finish_run(run.id, "completed", Stats())
    assert stretches(made, run.id) == []


def test_pauses_whose_orders_are_no_longer_on_record_are_those_of_samples(made: Made) -> None:
    run = begin(made, 0)
    sampled(made, run.id, 3, 10, paused=True)
    sampled(made, run.id, 11, 20, bytes=1.0)
    ordered(made, run.id, 22, "pause")
    ordered(made, run.id, 24, "resume")
    made.at(30)
    made.state.finish_run(run.id, "completed", Stats())
    assert stretches(made, run.id) == [(0.0, 9.0, "paused"), (22.15, 24.15, "paused")]


def test_the_listing_ended_when_the_run_saw_its_end(made: Made) -> None:
    run = begin(made, 0)
    for second, directories in ((5, 10), (15, 20)):
        made.at(second)
        made.state.put_crawl(run.id, CrawlMetric(total_directories=directories))
    made.at(16)
    listed = made.state.now()
    made.at(20)
    made.state.update_run(run.id, Stats(), Life(listed=True))
    made.state.finish_run(run.id, "completed", Stats())
    assert [(each.word, round(each.end)) for each in made.history(run.id).phases] == [("listing", 15)]
    made.state.update_run(run.id, Stats(), Life(listed=True, listed_at=listed))
    assert [(each.word, round(each.end)) for each in made.history(run.id).phases] == [("listing", 16)]
