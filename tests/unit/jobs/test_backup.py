"""What a backup decides before it begins: the name of its share, what is left out, whose turn it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.backup import keys
from dunlin.backup.repository import Repository, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Rule, Selection
from dunlin.jobs import backup, repo
from dunlin.jobs.backup import Options
from dunlin.pace.schedule import parse_schedule
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "home" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "home" / "a").write_text("a")
    (tmp_path / "home" / "sub" / "b").write_text("bb")
    (tmp_path / "home" / "sub" / "deep" / "c").write_text("ccc")
    return tmp_path / "home"


@pytest.fixture
def opened(tmp_path: Path) -> Repository:
    return repo.init(place(tmp_path), b"word", Settings())


def place(tmp_path: Path) -> repo.Place:
    return repo.Place(str(tmp_path / "vault"), cache=str(tmp_path / "cache"))


def options(source: Path, **more: object) -> Options:
    return Options(str(source), place(source.parent), movers=1, host="here", **more)  # type: ignore[arg-type]


@pytest.fixture
def back_up(opened: Repository) -> Callable[..., backup.Result]:
    def run(options: Options, report: RecordingReport | None = None) -> backup.Result:
        return backup.run(options, opened, Stop(), report or RecordingReport())

    return run


Run = Callable[..., backup.Result]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/Photos 2024/", "photos-2024"),
        ("s3://bucket", "bucket"),
        ("s3://bucket/a/Docs", "docs"),
        ("azfiles://share/x..y", "x.y"),
        ("/srv/.hidden", "hidden"),
        ("file:///srv/%C3%A9t%C3%A9-old", "t-old"),
        ("/srv/" + "n" * 80, "n" * 63),
    ],
)
def test_a_share_is_called_like_the_source(source: str, name: str) -> None:
    assert backup.name_of(source) == name


@pytest.mark.parametrize("source", ["/", "/srv/---", "/srv/packs"])
def test_a_source_that_gives_no_name_is_refused(source: str) -> None:
    with pytest.raises(DunlinError, match="write --share NAME"):
        backup.name_of(source)


def test_one_share_is_not_mixed_of_two_sources_by_accident(source: Path, back_up: Run, tmp_path: Path) -> None:
    other = tmp_path / "other" / "home"
    other.mkdir(parents=True)
    assert back_up(options(source)).exit_code == 0
    with pytest.raises(DunlinError, match="the share home holds snapshots of") as caught:
        back_up(options(other)._replace(repository=place(tmp_path)))
    assert caught.value.kind is ErrorKind.USAGE
    report = RecordingReport()
    assert back_up(options(other, share="home")._replace(repository=place(tmp_path)), report).exit_code == 0
    assert [event.message for event in report.named("backup.source")] == [
        f"the last snapshot of default/home is of {source}"
    ]


def test_the_same_path_of_another_host_is_told(source: Path, back_up: Run) -> None:
    back_up(options(source))
    report = RecordingReport()
    back_up(options(source)._replace(host="there"), report)
    assert [event.message.endswith(" on here") for event in report.named("backup.source")] == [True]


def test_counts_come_under_the_names_of_every_run(source: Path, back_up: Run) -> None:
    report = RecordingReport()
    result = back_up(options(source), report)
    assert report.counts["scanned_files"] == report.counts["copied_files"] == 3
    assert report.counts["scanned_bytes"] == report.counts["copied_bytes"] == result.totals.read_bytes == 6
    assert report.counts["scanned_directories"] == 3
    assert report.gauges["flying_bytes"] <= 6


def test_nothing_is_taken_below_the_deepest_level(source: Path, back_up: Run) -> None:
    result = back_up(options(source, selection=Selection(max_depth=2)))
    assert (result.totals.files, result.totals.directories) == (2, 3)


def test_a_dry_run_tells_and_writes_nothing(source: Path, back_up: Run, opened: Repository, tmp_path: Path) -> None:
    back_up(options(source))
    before = sorted((tmp_path / "vault").rglob("*"))
    (source / "sub" / "b").write_text("changed")
    (source / "a").unlink()
    report = RecordingReport()
    result = back_up(options(source, dry=True), report)
    told = {(event.fields["verb"], event.fields["path"]) for event in report.named("plan")}
    assert told == {("changed", "sub/b"), ("removed", "a"), ("metadata", "./")}
    assert (result.totals.changed_files, result.totals.removed_files) == (1, 1)
    assert sorted((tmp_path / "vault").rglob("*")) == before


def test_who_is_asked_to_stop_says_what_was_seen(source: Path, opened: Repository) -> None:
    stop = Stop()
    stop.request("enough")
    result = backup.run(options(source), opened, stop, RecordingReport())
    assert (result.status, result.exit_code, result.snapshot, result.message) == ("interrupted", 130, None, "enough")
    assert opened.area("default", "home").snapshots() == []


def test_a_limit_is_set_by_the_time_of_day(source: Path, back_up: Run) -> None:
    report = RecordingReport()
    back_up(options(source, bandwidth=parse_schedule("3M")), report)
    assert report.gauges["limit"] == 3 << 20


def test_the_repository_is_left_out_whatever_it_is_called(source: Path, tmp_path: Path) -> None:
    inner = repo.Place(str(source / "va[u]lt*"), cache=None)
    made = repo.init(inner, None, Settings())
    asked = options(source, selection=Selection(rules=(Rule(True, "*"),)))._replace(repository=inner)
    for _ in range(2):
        result = backup.run(asked, made, Stop(), RecordingReport())
        assert (result.totals.files, result.totals.directories) == (3, 3)
    assert os.path.isdir(source / "va[u]lt*" / "default")
