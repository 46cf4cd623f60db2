"""What the panels say about runs that stand in different ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.tui import panels
from dunlin.tui.pages import View, paint
from dunlin.tui.styles import Line
from tests.unit.tui.fabricated import NOW
from tests.unit.tui.test_pages import looked


def words(lines: list[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def test_a_throttled_run_says_why_and_by_how_much(path: Path) -> None:
    look = looked(path, "main")
    text = words(paint(look, View(), 100, 30, NOW))
    assert "▼ Throttled" in text
    assert "Throttling: ● active (cpu 91%)" in text
    assert "Workers 8 → 5 (throttled)" in text
    assert "225 MiB / 500 MiB/s" in text


def test_a_paused_run_says_how_it_goes_on(path: Path) -> None:
    text = words(panels.sync(looked(path, "main", "paused"), 80))
    assert "‖ Paused" in text
    assert "press p" in text
    assert "ETA paused" in text


def test_a_run_whose_process_is_gone_says_so(path: Path) -> None:
    text = words(panels.sync(looked(path, "main", "running", alive=False), 80))
    assert "? Silent" in text
    assert "its process is gone" in text


@pytest.mark.parametrize("status", ["completed", "stale"])
def test_load_of_a_run_that_is_over_says_when_that_was(status: str, path: Path) -> None:
    look = looked(path, "main", "running" if status == "stale" else status, alive=False)
    assert words([panels.throttling(look)]) == "as it was at 07:41:21"


def test_while_the_listing_goes_on_no_share_is_claimed(path: Path) -> None:
    now = looked(path, "main", "running").now
    assert now is not None
    now = now._replace(listed=False)
    text = words([panels.progress(now, 80)])
    assert "%" not in text
    assert "still listing" in text
    assert words(panels.sync(looked(path, "main", "running")._replace(now=now), 80)).count("+") == 2


def test_activities_have_a_sign_and_a_word(path: Path) -> None:
    look = looked(path, "main")
    text = words([panels.activity_line(each, look.now, 80) for each in look.activity])
    for sign in (
        "✓ copied data/",
        "⚠ retry (2/3) data/",
        "✗ failed data/",
        "- deleted data/",
        "✓ and 1,234 files more",
    ):
        assert sign in text
    assert "[red]not red[/red]" in text
    assert "\\x1b[31mescape\\x07" in text
    assert "bytes-\\xff\\xfe.bin" in text


def test_the_listing_says_what_keeps_it_waiting(path: Path) -> None:
    look = looked(path, "main", "running")
    assert look.now is not None
    text = words(panels.listing(look.crawl, look.now._replace(listed=False), 120))
    assert "12 active, 3 waiting" in text
    assert "8.5K files" in text
    assert "files/s ↗" in text
    assert "memory 82% ● THROTTLED" in text
    assert "threads 19% ○ ok" in text


def test_a_listing_that_is_over_has_no_rates(path: Path) -> None:
    look = looked(path, "main", "running")
    text = words(panels.listing(look.crawl, look.now, 120))
    assert text.startswith("complete ")
    assert text.endswith(" Seen 10.1K files in 245 dirs")
    assert "/s" not in text
    assert look.now is not None
    for gone in (look.now._replace(listed=False, status="stale"), None):
        text = words(panels.listing(look.crawl, gone, 120))
        assert text.startswith("ended early")
        assert "/s" not in text


def test_a_retry_is_one_of_as_many_as_the_run_makes(path: Path) -> None:
    look = looked(path, "main", "running")
    retry = next(each for each in look.activity if each.word == "retry")
    now = look.now
    assert now is not None
    five = now._replace(run=now.run._replace(options={"attempts": 5}))
    assert "retry (2/5) " in words([panels.activity_line(retry, five, 80)])
    one = now._replace(run=now.run._replace(options={"attempts": 1}))
    assert "retry (2/2) " in words([panels.activity_line(retry, one, 80)])
    assert "retry (2) " in words([panels.activity_line(retry._replace(run=1), five, 80)])  # another run's
    assert "retry (2) " in words([panels.activity_line(retry, now._replace(run=now.run._replace(options={})), 80)])


def test_what_a_run_that_is_over_moved_last_is_no_mean(path: Path) -> None:
    look = looked(path, "main", "completed")
    assert look.now is not None
    assert look.sample is not None
    assert look.sample.metric.bytes == 82 * 2.9 * (1 << 20)
    assert "Bandwidth 238 MiB/s" in words(panels.resources(look._replace(now=look.now._replace(limit=0)), 120))


def test_no_status_is_told_by_colour_alone() -> None:
    assert len({words for words, _ in panels.STATES.values()}) == len(panels.STATES)
    assert len({sign for sign, _, _ in panels.WORDS.values()}) >= 4


@pytest.mark.parametrize(("path", "message", "said"), [
    ("b/no.txt", "cannot read /dev/src/b/no.txt: Permission denied", "Permission denied (cannot read)"),
    ("b", "cannot list /a: b/b: Permission denied", "Permission denied (cannot list)"),
    ("b/", "cannot list /src/b: Input/output error; look", "Input/output error; look (cannot list)"),
    ("x: y", "cannot set the times of /src/x: y: denied", "denied (cannot set the times of)"),
    ("a/b", "cannot write s3://bucket/dst/a/b: HTTP 403", "HTTP 403 (cannot write)"),
    ("b", "cannot read b: gone", "gone (cannot read)"),
    ("b", "cannot read /src/ab: gone", "cannot read /src/ab: gone"),  # another one
    ("b", "b: Checksum mismatch", "Checksum mismatch"),
    ("b", "no answer for 5m", "no answer for 5m"),
    ("", "cannot list /src: gone", "cannot list /src: gone"),
])  # fmt: skip
def test_why_is_said_first_and_where_only_once(path: str, message: str, said: str) -> None:
    assert panels.reason(path, message) == said


def test_why_is_there_to_be_read_in_the_smallest_terminal(path: Path) -> None:
    look = looked(path, "main")
    message = "cannot read /dev/shm/somewhere/a/source/b/no.txt: Permission denied"
    error = look.errors[0]._replace(path="b/no.txt", message=message, attempt=1)
    [line] = words([panels.error_line(error, 60, look.time)]).splitlines()
    assert "b/no.txt: Permission denied" in line
    failed = next(each for each in look.activity if each.word == "failed")
    told = failed._replace(path="b/no.txt", message=message)
    assert "b/no.txt: Permission denied" in words([panels.activity_line(told, look.now, 60)])


def test_between_two_runs_a_watch_says_that_it_waits(path: Path) -> None:
    look = looked(path, "main", "completed")
    assert "watched" not in words(panels.sync(look, 80))
    assert words(panels.sync(look._replace(watched=True), 80)).endswith(
        "\nwatched by process 4711, which waits for its next look"
    )
    assert look.now is not None
    failed = look.now._replace(run=look.now.run._replace(message="the login was refused"))
    assert words(panels.sync(look._replace(watched=True, now=failed), 100)).endswith(
        "which waits for its next look; the login was refused"
    )


def test_a_run_that_was_interrupted_says_how_it_goes_on(path: Path) -> None:
    look = looked(path, "main", "interrupted")
    assert look.now is not None
    told = look.now._replace(run=look.now.run._replace(message="interrupted by SIGINT"))
    text = words(panels.sync(look._replace(now=told), 80))
    assert text.endswith("\ninterrupted by SIGINT; `dunlin sync` continues it")


def test_a_run_that_was_over_before_its_first_sample_has_no_figures(path: Path) -> None:
    for status, said in (("completed", "no figures: it was over"), ("running", "no figures yet")):
        path.unlink(missing_ok=True)
        look = looked(path, "main", status)._replace(sample=None)
        assert words(panels.resources(look, 80)).startswith(said)


def test_where_bytes_move_and_no_file_is_through_nothing_says_that_nothing_happened(path: Path) -> None:
    look = looked(path, "main", "running")._replace(activity=[])
    assert look.now is not None
    assert "no file is through yet" in words(paint(look, View(), 80, 24, NOW))
    for now in (look.now._replace(done_bytes=0), None):
        assert "nothing happened yet" in words(paint(look._replace(now=now), View(), 80, 24, NOW))
