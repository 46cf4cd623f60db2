"""The lines of a run, for every kind of pair."""

from __future__ import annotations

import pytest

from dunlin.jobs import told
from dunlin.jobs.options import Result, SyncOptions, Watch
from dunlin.model import Stats
from dunlin.report import Level
from dunlin.state.runs import Run
from dunlin.stores.login import Login

AZURE = Login({"account_name": "acct", "account_key": "a2V5"})


@pytest.mark.parametrize(
    ("source", "target", "noun", "verb", "place"),
    [
        ("az://photos/2024", "./data", "blob", "download", ("container", "photos")),
        ("s3://bucket", "./data", "object", "download", ("bucket", "bucket")),
        ("./data", "gs://bucket", "file", "upload", ("source", "./data")),
        ("azfiles://team/a/b", "./data", "file", "download", ("share", "team")),
        ("https://acct.file.core.windows.net/team", "s3://b", "file", "copy", ("share", "team")),
        ("s3://aaa", "gs://bbb", "object", "copy", ("bucket", "aaa")),
        ("a", "b", "file", "copy", ("source", "a")),
        ("ftp://host/x", "b", "file", "copy", ("source", "ftp://host/x")),
    ],
)
def test_the_words_of_a_pair(source: str, target: str, noun: str, verb: str, place: tuple[str, str]) -> None:
    words = told.words_of(SyncOptions(source, target, login_source=AZURE))
    assert (words.noun, words.verb, words.place) == (noun, verb, place)


def test_the_prefix_is_that_of_the_place_and_of_the_names() -> None:
    words = told.words_of(SyncOptions("az://photos/2024", "d", begin="jan", login_source=AZURE))
    assert told.discovering(words).message == "Discovering blobs (prefix=2024/jan)"


def test_a_secret_of_a_url_is_not_told() -> None:
    options = SyncOptions("a", "https://acct.blob.core.windows.net/c?sv=1&sig=SECRET")
    assert "SECRET" not in str(told.started(told.words_of(options), options, "1"))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "Sync started (source=a, destination=b, mode=once)"),
        ({"watch": Watch()}, "Sync started (source=a, destination=b, mode=watch)"),
        ({"mode": "plan"}, "Dry run started (source=a, destination=b, mode=dry-run)"),
        ({"mode": "check"}, "Check started (source=a, destination=b, mode=check)"),
    ],
)
def test_the_first_line(fields: dict[str, object], line: str) -> None:
    options = SyncOptions("a", "b")._replace(**fields)
    assert told.started(told.words_of(options), options, "1").message == line


def test_the_last_line() -> None:
    words = told.words_of(SyncOptions("a", "b"))
    stats = Stats(copied_files=1234, copied_bytes=3_006_477_107, failed_files=2, seconds=170.0)
    done = told.ended(words, Result(stats, "completed", "", 23))
    assert done.message == "Sync completed (duration=2m50s, files=1234, bytes=2.8GiB, failed=2)"
    assert (done.level, done.fields["bytes"], done.fields["exit_code"]) == (Level.WARN, 3_006_477_107, 23)
    failed = told.ended(words, Result(stats, "failed", "disk full", 2))
    assert failed.message.startswith("Sync failed (error=disk full, ")
    assert failed.level is Level.ERROR
    stopped = told.ended(words, Result(stats, "interrupted", "SIGTERM", 130))
    assert stopped.message.startswith("Sync interrupted (reason=SIGTERM, ")


def test_what_was_found() -> None:
    words = told.words_of(SyncOptions("az://ccc", "b", login_source=AZURE))
    stats = Stats(scanned_files=15_432, missing_files=1_234, differing_files=56, equal_files=14_000, skipped_files=142)
    event = told.found(words, stats)
    assert event.message == "Found 15,432 blobs (new=1,234, changed=56, skipped=14,142)"
    assert dict(event.fields) == {"found": 15_432, "new": 1_234, "changed": 56, "skipped": 14_142}


def test_no_name_breaks_a_line() -> None:
    words = told.words_of(SyncOptions("a", "b"))
    assert told.failing(words, "x\ny", 2, 3, "time\x1bout") == (
        "Failed to copy file (file=x\\ny, attempt=2/3, error=time\\x1bout)"
    )


def test_progress() -> None:
    line = told.progress(1000, 1234, 2.3 * 2**30, 2.8 * 2**30, 135, 35, False)
    assert line == "Progress: 1,000/1,234 files (81%), 2.3 GiB/2.8 GiB (82%), elapsed=2m15s, eta=35s"
    assert told.progress(0, 0, 0, 0, 1, None, True).startswith("Progress: 0/0+ files (100%)")


@pytest.mark.parametrize(
    ("status", "counts", "badly"),
    [
        ("completed", {}, False),
        ("failed", {}, True),
        ("completed", {"failed_files": 1}, True),
        ("completed", {"source_errors": 1}, True),
        ("completed", {"vanished_files": 1}, False),
        ("interrupted", {"failed_files": 1}, False),
    ],
)
def test_what_a_run_before_was_like(status: str, counts: dict[str, int], badly: bool) -> None:
    run = Run(1, 1, 0, 1, 1, "", 1, status, "", Stats(**counts), {}, None, 1)
    assert told.went_badly(run) is badly
    assert not told.went_badly(None)


def test_waiting_for_the_lock_says_for_whom_and_how_long() -> None:
    event = told.waiting(10.0, " (process 12)")
    assert event.message == "another run works on this destination (process 12); waiting up to 10 seconds for it"
    assert (event.level, event.fields) == (Level.INFO, {"seconds": 10.0})
    assert told.waiting(1.0, "").message.endswith("this destination; waiting up to 1 second for it")


@pytest.mark.parametrize(("verb", "argument", "words"), [
    ("pause", "", "paused by an order; `dunlin control resume` lets it go on"), ("resume", "", "going on, by an order"),
    ("stop", "", "stopping, by an order: saving what is done"), ("bwlimit", "5M", "by an order the limit is now 5M"),
    ("bwlimit", "", "by an order the limit is now off"),
])  # fmt: skip
def test_an_order_is_told_in_words(verb: str, argument: str, words: str) -> None:
    event = told.ordered(verb, argument)
    assert (event.message, event.fields) == (words, {"verb": verb, "argument": argument})
