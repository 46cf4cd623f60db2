"""The live view as lines, at every size of terminal."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dunlin.cli.frame import eta, fit, frame, styled
from dunlin.cli.meter import Moving, Picture
from dunlin.report.cells import cells

MIB = 1 << 20


def moving(name: str = "video/holiday.mkv", **values: object) -> Moving:
    made = Moving(name, 1000 * MIB)
    made.done, made.rate = 430 * MIB, 100.0 * MIB
    for key, value in values.items():
        setattr(made, key, value)
    return made


def picture(*files: Moving, counts: dict[str, int] | None = None, **gauges: float) -> Picture:
    all_counts = Counter(scanned_files=1_234_567, scanned_bytes=5 << 40, equal_files=1_200_000)
    all_counts.update(scanned_directories=1000, copied_files=12_345, copied_bytes=3 << 30)
    all_counts.update(counts or {})
    everything = {"pending_files": 4567, "pending_bytes": 12 << 30, "movers": 2, "threads": 4, **gauges}
    return Picture(all_counts, everything, list(files), 3 << 30, 12 << 30, 98.0 * MIB, 1234.0, 125.0, 61.0, {}, 0.25)


def text(*args: object, width: int = 80, height: int = 24, **kwargs: object) -> str:
    return "\n".join(frame(picture(*args, **kwargs), width, height))  # type: ignore[arg-type]


def test_everything_is_there_in_a_usual_terminal() -> None:
    assert text(moving(), limit=20.0 * MIB, total_bytes=345 << 30).splitlines() == [
        "video/holiday.mkv                                  43%    100 MiB/s  ETA     6s",
        "scanning: 1,234,567 files, 5.0 TiB, 1,200,000 in sync, 1,000 directories",
        "copied 12,345 files, 3.0 GiB, 98.0 MiB/s, 1,234 files/s, 345 GiB in all runs",
        "pending 4,567 files, at least 2m05s, 12.0 GiB, more may come",
        "1m01s elapsed, held to 20.0 MiB/s, 2 movers, 4 threads",
    ]


def test_once_all_is_known_the_view_says_how_far_it_is() -> None:
    lines = text(scan_complete=1, limit=200.0 * MIB, cpu_limit=0.05).splitlines()
    assert lines[0].startswith("scanned 1,234,567 files, ")
    assert lines[2] == "[#####---------------] 25%, ETA 2m05s, pending 4,567 files, 12.0 GiB"
    assert lines[3] == "1m01s elapsed, limit 200 MiB/s, CPU at most 5%, 2 movers, 4 threads"
    assert text(scan_complete=1, width=60).splitlines()[2] == "25%, ETA 2m05s, pending 4,567 files, 12.0 GiB"


def test_figures_stay_near_the_names_they_belong_to() -> None:
    line = text(moving(), width=200).splitlines()[0]
    assert len(line) == 110
    assert line.endswith("  ETA     6s  of  1.0 GiB")


def test_forty_columns_keep_what_matters_most() -> None:
    lines = text(moving(), width=40, height=15).splitlines()
    assert lines[0].endswith(" 43%    100 MiB/s")
    assert lines[1:4] == [
        "scanning: 1,234,567 files, 5.0 TiB",
        "copied 12,345 files, 3.0 GiB",
        "pending 4,567 files, at least 2m05s",
    ]


def test_where_there_is_little_room_it_is_for_what_matters_most() -> None:
    shown = [text(moving(), width=30, height=height, scan_complete=1, paused=1).splitlines() for height in (2, 3, 4, 5)]
    assert shown[0] == ["PAUSED (...in control resume)"]
    assert shown[1] == ["25%, pending 4,567 files", *shown[0]]
    assert shown[2] == ["copied 12,345 files, 3.0 GiB", *shown[1]]
    assert shown[3] == ["scanned 1,234,567 files", *shown[2]]


def test_the_estimate_is_marked_until_the_scan_is_complete() -> None:
    assert eta(picture()) == "at least 2m05s"
    assert eta(picture()._replace(left=3.0)) == "", "what is found is soon copied, and says nothing of the rest"
    assert eta(picture(scan_complete=1)) == "ETA 2m05s"
    assert "scanned 1,234,567 files" in text(scan_complete=1)


def test_a_paused_run_says_so_and_promises_nothing() -> None:
    shown = text(paused=1)
    assert shown.splitlines()[-1] == "PAUSED (dunlin control resume)"
    assert "ETA" not in shown
    held = picture(moving(), paused=1.0)._replace(facts={"resume": "dunlin control resume --state-db x"}, byte_rate=0.0)
    lines = frame(held, 80, 24)
    assert lines[0].split() == ["video/holiday.mkv", "43%"], "a rate and a time of before would be wrong"
    assert lines[-1] == "PAUSED (dunlin control resume --state-db x)"
    assert frame(picture(paused=1.0, stopping=1.0), 80, 24)[-1] == "STOPPING, saving what is done"


def test_what_holds_a_run_back_is_named() -> None:
    facts = {"throttle": "workers 8 -> 5 (cpu was 93%)", "memory": "memory is short, less is under way"}
    held = picture(crawl_engaged_files=1.0)._replace(facts=facts)
    assert frame(held, 140, 24)[-1] == (
        "throttled: workers 8 -> 5 (cpu was 93%), memory is short, less is under way, listing waits: files at the limit"
    )
    assert frame(picture()._replace(still=25.0), 80, 24)[-1] == "nothing got on for 25s"
    assert "got on" not in text()
    assert "throttled" not in text()


def test_check_and_dry_runs_do_not_speak_of_copies() -> None:
    none = picture(scan_complete=1, pending_files=0)._replace(facts={"mode": "check"}, pending_bytes=0)
    assert [line.split()[0] for line in frame(none, 80, 24)] == ["scanned", "1m01s"]


def test_a_backup_tells_what_it_reads_and_a_scan_what_it_sees() -> None:
    backup = picture(pending_files=0)._replace(facts={"mode": "backup"}, pending_bytes=0)
    assert frame(backup, 80, 24)[:2] == [
        "scanning: 1,234,567 files, 5.0 TiB, 1,000 directories",
        "read 12,345 files, 3.0 GiB, 98.0 MiB/s, 1,234 files/s",
    ]
    scan = backup._replace(facts={"mode": "scan"})
    assert [line.split()[0] for line in frame(scan, 80, 24)] == ["scanning:", "1m01s"]


def test_a_check_shows_what_waits_only_where_something_does() -> None:
    """Files wait to be read where contents are compared; nothing waits where names, sizes and times are."""
    nothing = picture(pending_files=0)._replace(facts={"mode": "check"}, pending_bytes=0)
    assert [line.split()[0] for line in frame(nothing, 80, 24)] == ["scanning:", "1m01s"]
    contents = frame(picture()._replace(facts={"mode": "check"}), 80, 24)
    assert contents[1] == "pending 4,567 files, at least 2m05s, 12.0 GiB, more may come"


def test_a_dry_run_promises_no_end_of_what_it_does_not_do() -> None:
    plan = picture()._replace(facts={"mode": "plan"})
    assert frame(plan, 80, 24)[1] == "would copy 4,567 files, 12.0 GiB, more may come"
    plan = picture(scan_complete=1)._replace(facts={"mode": "plan"})
    assert frame(plan, 80, 24)[1] == "would copy 4,567 files, 12.0 GiB"


def test_a_run_without_anything_pending_finishes() -> None:
    shown = frame(picture(scan_complete=1, pending_files=0)._replace(pending_bytes=0), 80, 24)
    assert shown[2] == "finishing"
    shown = frame(picture(pending_files=0)._replace(pending_bytes=0, left=0.0), 80, 24)
    assert shown[2] == "pending 0 files, 0 B, more may come", "the line stays while files come and go"


def test_a_file_that_is_tried_again_says_so() -> None:
    assert "  attempt 2   43%  " in text(moving(attempt=2))


def test_colors_mark_words_that_stand_there_anyway() -> None:
    assert styled("PAUSED (x), 3 failed") == "\x1b[1;31mPAUSED (x)\x1b[0m, \x1b[1;31m3 failed\x1b[0m"
    assert styled("25%, ETA 2m05s, pending") == "25%, \x1b[36mETA 2m05s\x1b[0m, pending"
    assert styled("throttled: workers 8 -> 5") == "\x1b[33mthrottled: workers 8 -> 5\x1b[0m"
    assert styled("scanned 3 files") == "scanned 3 files"


def test_failures_and_deletions_are_shown() -> None:
    shown = text(counts={"failed_files": 2, "failed_directories": 1, "deleted_files": 12})
    assert "elapsed, 12 deleted" in shown
    assert shown.splitlines()[-1] == "3 failed"


def test_without_a_limit_none_is_shown() -> None:
    assert "limit" not in text(limit=0)


def test_more_files_than_lines_are_counted() -> None:
    lines = text(*(moving(f"file-{n}") for n in range(9))).splitlines()
    assert lines[4].startswith("file-4")
    assert lines[5] == "and 4 more large files"


def test_names_keep_their_end_and_cannot_act_on_the_terminal() -> None:
    shown = text(moving("a\x1b[2J/\n" + "very-long/" * 20 + "end.mkv")).splitlines()[0]
    assert shown.isprintable()
    assert shown.startswith("a\\x1b[2J/")
    assert "/end.mkv  " in shown
    assert "..." in shown


def test_a_file_of_unknown_size_shows_what_was_moved() -> None:
    shown = text(moving(total=None)).splitlines()[0]
    assert "430 MiB" in shown
    assert "%" not in shown


NAMES = st.text(st.characters(exclude_categories=[]), max_size=80)


@given(NAMES, st.integers(1, 210), st.integers(1, 60), st.integers(0, 9), st.booleans())
def test_the_view_fits_any_terminal(name: str, width: int, height: int, files: int, complete: bool) -> None:
    many = [moving(name) for _ in range(files)]
    lines = frame(picture(*many, scan_complete=float(complete), limit=MIB, paused=1.0), width, height)
    assert 1 <= len(lines) <= max(1, height - 1)
    for line in lines:
        assert cells(line) <= max(1, width - 1)
        assert line.isprintable()


def test_parts_are_dropped_from_the_end() -> None:
    assert fit(["one", "two", "three"], 100) == "one, two, three"
    assert fit(["one", "two", "three"], 8) == "one, two"
    assert fit(["one", "two"], 7) == "one"
    assert fit([], 7) == ""


def test_long_work_on_a_repository_tells_its_stage() -> None:
    counts = Counter(copied_files=12, damaged_objects=2)
    gauges = {"pending_files": 28.0, "pending_bytes": 3.0 * (1 << 30), "scan_complete": 1.0}
    facts = {"mode": "repository", "stage": "reading packs", "unit": "pack"}
    seen = Picture(counts, gauges, [], 1 << 30, 3 << 30, 98.0 * MIB, 1.2, 32.0, 61.0, facts, 0.25)
    assert frame(seen, 80, 24) == [
        "reading packs: 12 of 40 packs, 1.0 GiB of 4.0 GiB, 98.0 MiB/s",
        "[#####---------------] 25%, ETA 32s",
        "1m01s elapsed",
        "2 damaged",
    ]
    assert frame(seen, 40, 3) == ["25%, ETA 32s", "2 damaged"]
    assert styled("2 damaged") == "\x1b[1;31m2 damaged\x1b[0m"
    over = seen._replace(gauges={"pending_files": 0.0}, moved_bytes=0, pending_bytes=0, byte_rate=0)
    assert frame(over, 80, 24) == ["reading packs: 12 of 12 packs", "1m01s elapsed", "2 damaged"]
