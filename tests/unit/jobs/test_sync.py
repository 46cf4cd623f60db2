"""Whole runs on two small trees: what they do, what they remember, and what they leave alone."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import read
from dunlin.filters.selection import Selection
from dunlin.jobs.codes import exit_code
from dunlin.jobs.options import Crew, Log, Result
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.state import files as state_files
from dunlin.state.codec import FileStatus
from dunlin.state.store import State
from dunlin.stores.local import batch
from dunlin.transfer import Options
from dunlin.workers import sampling
from dunlin.workers import scan as scanning
from dunlin.workers.coordinator import Coordinator
from dunlin.workers.lock import RunLock
from tests.unit.jobs.conftest import OLD, Places, Stopping, tree

DIRECTORIES = 12


@pytest.fixture
def filled(places: Places) -> Places:
    """12 directories of 4 files, a link in each, and an empty directory."""
    for n in range(DIRECTORIES):
        for m in range(4):
            places.file(f"d{n:02}/f{m}", f"{n}/{m}")
        (places.source / f"d{n:02}" / "link").symlink_to("f0")
    (places.source / "empty").mkdir()
    places.file("top", "top")
    return places


def in_sync(places: Places) -> bool:
    same = tree(places.source) == tree(places.target)
    return same and not list(places.target.rglob(".dunlin-*"))


def how(places: Places) -> str:
    """Which kind of run it said it was."""
    return str(places.report.named("run.started")[0].fields["mode"])


# ---- the usual ----


def test_a_fresh_run_mirrors_the_tree(filled: Places) -> None:
    result = filled.run()
    assert (result.exit_code, result.status, result.continued) == (0, "completed", False)
    assert in_sync(filled)
    stats = result.stats
    assert (stats.copied_files, stats.created_links, stats.created_directories) == (49, DIRECTORIES, DIRECTORIES + 1)
    assert stats.scanned_directories == DIRECTORIES + 2
    assert stats.pending_files == stats.failed_files == 0
    assert filled.report.counts["copied_files"] == 49
    assert how(filled) == "fresh"
    assert {row.status for row in filled.rows("d03").values() if row.size == 3} == {FileStatus.SYNCED}


def test_directory_times_are_kept(filled: Places) -> None:
    for directory in (filled.source, filled.source / "d00", filled.source / "empty"):
        os.utime(directory, ns=(OLD, OLD))
    filled.run()
    for directory in (filled.target, filled.target / "d00", filled.target / "empty"):
        assert directory.stat().st_mtime_ns == OLD


def test_nothing_to_do_writes_no_row(filled: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.run()
    filled.run()  # directories that hold links are settled at the second look
    calls: list[str] = []
    for verb in ("put_files", "put_synced"):
        real = getattr(state_files.Files, verb)

        def watched(self: Any, *args: Any, verb: str = verb, real: Any = real, **kwargs: Any) -> Any:
            calls.append(verb)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(state_files.Files, verb, watched)
    before = file_table(filled)
    result = filled.run()
    assert result.exit_code == 0
    assert result.stats.copied_files == result.stats.metadata_entries == 0
    assert result.stats.equal_files == 49 + DIRECTORIES
    assert calls == []
    assert file_table(filled) == before


def file_table(places: Places) -> list[tuple[Any, ...]]:
    with sqlite3.connect(places.state_db) as connection:
        rows = connection.execute("SELECT * FROM file ORDER BY 1, 2").fetchall()
    connection.close()
    return rows


def test_changes_are_carried_over(filled: Places) -> None:
    filled.run()
    filled.file("d00/f0", "changed")
    filled.file("d01/f0", "1/X", mtime=OLD + 1)  # same size
    (filled.source / "d02/f0").chmod(0o600)
    (filled.source / "d03/link").unlink()
    (filled.source / "d03/link").symlink_to("elsewhere")
    filled.file("new/deep/file")
    result = filled.run()
    assert result.exit_code == 0
    assert in_sync(filled)
    assert result.stats.copied_files == 3
    assert result.stats.metadata_entries == 1


def test_files_that_wait_are_remembered_and_those_that_are_gone_are_not(filled: Places) -> None:
    """More changed files in one directory than its first unit copies."""
    for n in range(60):
        filled.file(f"d00/w{n:02}")
    filled.run()
    with sqlite3.connect(filled.state_db) as connection:
        connection.execute("UPDATE file SET first_seen = 4711")
    connection.close()
    for n in range(60):
        filled.file(f"d00/w{n:02}", "changed since")
    (filled.source / "d00/f0").unlink()
    assert filled.run().stats.copied_files == 60
    with sqlite3.connect(filled.state_db) as connection:
        rows = dict(connection.execute("SELECT name, first_seen FROM file WHERE name GLOB 'w*'").fetchall())
    connection.close()
    assert rows == {f"w{n:02}": 4711 for n in range(60)}
    assert "f0" not in filled.rows("d00")


def test_extras_stay_unless_they_are_to_go(filled: Places) -> None:
    filled.run()
    (filled.source / "d00/f0").unlink()
    for path in (filled.source / "d01").iterdir():
        path.unlink()
    (filled.source / "d01").rmdir()
    assert filled.run().stats.deleted_files == 0
    assert (filled.target / "d01/f0").exists()
    result = filled.run(delete=True)
    assert (result.stats.deleted_files, result.stats.deleted_directories) == (6, 1)
    assert in_sync(filled)


def test_trusted_state_does_not_look_at_the_destination(filled: Places) -> None:
    filled.run()
    filled.run()
    (filled.target / "d00/f0").unlink()
    filled.file("d01/f0", "changed")
    result = filled.run(trust_state=True)
    assert result.exit_code == 0
    assert not (filled.target / "d00/f0").exists()  # what was deleted there stays deleted
    assert (filled.target / "d01/f0").read_text() == "changed"
    filled.run()
    assert in_sync(filled)


def test_the_hash_is_kept_when_only_metadata_changes(filled: Places) -> None:
    filled.run(transfer=Options(checksum="sha1"))
    before = filled.rows("d00")["f0"]
    assert before.hash_algorithm == "sha1"
    assert before.hash is not None
    (filled.source / "d00/f0").chmod(0o600)
    filled.run(transfer=Options(checksum="sha1"))
    after = filled.rows("d00")["f0"]
    assert (after.hash_algorithm, after.hash) == (before.hash_algorithm, before.hash)
    assert (after.mode or 0) & 0o777 == 0o600
    filled.run(rescan=True, transfer=Options(checksum="none"))
    assert filled.rows("d00")["f0"].hash == before.hash
    filled.file("d00/f0", "other content", mtime=OLD + 5)
    filled.run(transfer=Options(checksum="none"))
    assert filled.rows("d00")["f0"].hash is None  # it was that of another content


def test_no_state_is_kept_where_none_is_wanted(filled: Places) -> None:
    result = filled.run(state_db="none")
    assert in_sync(filled)
    assert result.run == 0
    assert not filled.state_db.exists()


def test_the_state_inside_a_tree_is_no_part_of_it(filled: Places) -> None:
    inside = filled.source / "d00" / "state.db"
    log = filled.source / "log"
    filled.run(state_db=str(inside), log=Log(file=str(log)), delete=True)
    result = filled.run(state_db=str(inside), log=Log(file=str(log)), delete=True)
    assert inside.exists()
    assert log.exists()
    assert not (filled.target / "d00/state.db").exists()
    assert not (filled.target / "log").exists()
    assert result.exit_code == 0


def test_a_destination_inside_the_source(filled: Places) -> None:
    filled.target = filled.source / "d00" / "mirror"
    for _ in range(2):
        assert filled.run(delete=True).exit_code == 0
    assert (filled.target / "d01/f0").exists()
    assert not (filled.target / "d00/mirror").exists()


def test_a_second_run_on_the_same_destination_is_locked_out(filled: Places) -> None:
    lock = RunLock(f"file://{filled.target}", str(filled.root / "locks"))
    lock.take(0)
    with pytest.raises(DunlinError) as caught:
        filled.run()
    assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.LOCKED, 1)
    assert f"process {os.getpid()}" in str(caught.value)
    lock.release()
    assert filled.run().exit_code == 0


def test_a_stop_ends_the_waiting_for_the_lock(filled: Places) -> None:
    lock = RunLock(f"file://{filled.target}", str(filled.root / "locks"))
    lock.take(0)
    stop = Stop()
    stop.request("signal")
    with pytest.raises(DunlinError) as caught:
        filled.run(stop=stop, lock_wait=100.0)
    assert caught.value.exit_code == 130
    lock.release()


def test_movers_do_the_same(filled: Places) -> None:
    for n in range(400):
        filled.file(f"many/f{n:03}", "x")
    threads = set(threading.enumerate())
    result = filled.run(crew=Crew(movers=2))
    assert result.exit_code == 0
    assert in_sync(filled)
    assert filled.report.gauges["movers"] == 2
    assert set(threading.enumerate()) <= threads


# ---- dry runs and checks ----


def test_a_dry_run_writes_nothing_at_all(filled: Places) -> None:
    before = everything(filled.root)
    result = filled.run(mode="plan", delete=True)
    assert everything(filled.root) == before
    assert result.exit_code == 0
    assert result.stats.missing_files == 49 + DIRECTORIES
    assert result.stats.missing_directories == DIRECTORIES + 1
    told = {event.fields["path"]: event.fields["verb"] for event in filled.report.named("plan")}
    assert told["d00/f0"] == "copy"
    assert told["d00"] == "make directory"
    assert told["d00/link"] == "make link"


def everything(root: Path) -> dict[str, tuple[object, ...]]:
    found = tree(root)
    for path in root.rglob("*"):
        status = path.lstat()
        found[f"{path}!"] = (status.st_ctime_ns, status.st_mtime_ns)
    return found


def test_a_dry_run_tells_what_the_run_then_does(filled: Places) -> None:
    filled.run()
    filled.file("d00/f0", "changed")
    (filled.source / "d01/f1").unlink()
    filled.file("d02/new")
    filled.run(mode="plan", delete=True)
    told = sorted((event.fields["verb"], event.fields["path"]) for event in filled.report.named("plan"))
    assert told == [("copy", "d02/new"), ("delete", "d01/f1"), ("update", "d00/f0")]
    result = filled.run(delete=True)
    assert (result.stats.copied_files, result.stats.deleted_files) == (2, 1)


def test_a_check_of_equal_trees(filled: Places) -> None:
    filled.run()
    before = everything(filled.target)
    result = filled.run(mode="check")
    assert (result.exit_code, result.stats.equal_files) == (0, 49 + DIRECTORIES)
    assert everything(filled.target) == before


@pytest.mark.parametrize("change", ["missing", "extra", "differing", "missing directory", "extra directory"])
def test_a_check_finds_every_kind_of_difference(filled: Places, change: str) -> None:
    filled.run()
    if change == "missing":
        (filled.target / "d00/f0").unlink()
    elif change == "extra":
        (filled.target / "d00/extra").write_text("x")
    elif change == "differing":
        (filled.target / "d00/f0").write_text("else")
    elif change == "missing directory":
        (filled.target / "empty").rmdir()
    else:
        (filled.target / "extra").mkdir()
    result = filled.run(mode="check", delete=True)
    stats = result.stats
    assert result.exit_code == 3
    counted = {
        "missing": stats.missing_files,
        "extra": stats.extra_files,
        "differing": stats.differing_files,
        "missing directory": stats.missing_directories,
        "extra directory": stats.extra_directories,
    }
    assert counted == {name: int(name == change) for name in counted}
    one_way = filled.run(mode="check")
    assert one_way.exit_code == (0 if change.startswith("extra") else 3)


def test_a_check_by_checksum_reads_both_sides(filled: Places) -> None:
    filled.run()
    there = filled.target / "d00/f0"
    there.write_text("0/X")
    os.utime(there, ns=(OLD, OLD))
    assert filled.run(mode="check").exit_code == 0
    result = filled.run(mode="check", compare="checksum")
    assert result.exit_code == 3
    assert result.stats.differing_files == 1
    assert result.stats.verified_files == 48


# ---- cut short, and continued ----


def interrupt(places: Places, after: int = 10, **fields: Any) -> Result:
    stop = Stop()
    return places.run(stop=stop, report=Stopping(stop, after), **fields)


def test_an_interrupted_run_is_continued(filled: Places) -> None:
    first = interrupt(filled)
    assert (first.exit_code, first.status, first.message) == (130, "interrupted", "stopped by the test")
    assert 10 <= first.stats.copied_files < 49
    assert not in_sync(filled)
    second = filled.run()
    assert (second.exit_code, second.status, second.continued) == (0, "completed", True)
    assert how(filled) == "continued"
    assert in_sync(filled)
    # Only the directories that were never scanned were listed, and nothing was copied again.
    assert second.stats.scanned_directories < first.stats.scanned_directories + second.stats.scanned_directories
    assert first.stats.scanned_directories + second.stats.scanned_directories <= DIRECTORIES + 3
    assert first.stats.copied_files + second.stats.copied_files == 49
    third = filled.run()
    assert (third.continued, third.stats.copied_files) == (False, 0)


def test_a_run_is_cut_short_again_and_again(filled: Places) -> None:
    for _ in range(30):
        if interrupt(filled, 5).exit_code == 0:
            break
        assert list(filled.target.rglob(".dunlin-*")) == []
    else:
        pytest.fail("it never came to its end")
    assert in_sync(filled)


def test_a_huge_directory_that_was_cut_short_is_listed_again(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of it are on record, its end is not: it must not count as scanned."""
    monkeypatch.setattr(scanning, "RUN", 10)
    monkeypatch.setattr(scanning, "FIRST_RUN", 10, raising=False)
    places.target.mkdir()
    for n in range(95):
        places.file(f"huge/f{n:02}", str(n))
    for fields in ({}, {"crew": Crew(scan_first=True)}):
        stop = Stop()
        first = places.run(stop=stop, report=Stopping(stop, 25, "scanned_files"), **fields)
        assert first.exit_code == 130
        second = places.run()
        assert second.exit_code == 0
        assert in_sync(places)
        for path in list((places.target / "huge").iterdir())[::2]:
            path.unlink()


def blocked(places: Places) -> None:
    """`way` is a file at the source and a full directory at the destination."""
    places.file("way")
    (places.target / "way/sub").mkdir(parents=True)
    for name in ("way/x", "way/sub/y"):
        (places.target / name).write_text("in the way")


def test_what_stands_in_the_way_is_cleared_by_the_run_that_goes_on(filled: Places) -> None:
    blocked(filled)
    first = interrupt(filled, delete=True)
    assert (first.exit_code, first.stats.deleted_files) == (130, 0)
    second = filled.run(delete=True)
    assert (second.exit_code, second.continued, second.stats.deleted_files) == (0, True, 2)
    assert in_sync(filled)


def test_what_stands_in_the_way_stays_when_the_next_run_may_not_delete(filled: Places) -> None:
    blocked(filled)
    interrupt(filled, delete=True)
    second = filled.run()
    assert (second.exit_code, second.continued, second.stats.failed_files) == (23, False, 1)
    assert (filled.target / "way/sub/y").exists()
    (event,) = filled.report.named("file.failed")
    assert "--delete-extras lets it be removed" in event.message
    assert filled.run(delete=True).exit_code == 0
    assert in_sync(filled)


@pytest.mark.parametrize("count", ["deleted_files", "deleted_directories"])
def test_a_stop_among_the_deletes_leaves_the_rest_to_the_next_run(filled: Places, count: str) -> None:
    blocked(filled)
    stop = Stop()
    first = filled.run(stop=stop, report=Stopping(stop, 1, count), delete=True)
    assert first.exit_code == 130
    assert not (filled.target / "way").is_file()
    assert filled.run(delete=True).exit_code == 0
    assert in_sync(filled)


def test_what_waits_is_on_record_when_the_run_is_cut_short(filled: Places) -> None:
    stop = Stop()
    first = filled.run(stop=stop, report=Stopping(stop, 1), crew=Crew(scan_first=True))
    assert first.exit_code == 130
    second = filled.run()
    assert second.continued
    assert in_sync(filled)
    assert second.exit_code == 0


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"rescan": True}, "rescan"),
        ({"force_resync": True}, "fresh"),
        ({"links": False}, "fresh"),
        ({"selection": Selection(rules=read.parse_rules([("exclude", "*.o")]))}, "fresh"),
    ],
)
def test_a_run_starts_anew_when_that_is_asked_for_or_other_files_are_selected(
    filled: Places, fields: dict[str, Any], mode: str
) -> None:
    interrupt(filled)
    result = filled.run(**fields)
    assert not result.continued
    assert how(filled) == mode
    assert result.stats.scanned_directories == DIRECTORIES + 2
    assert result.exit_code == 0


def test_force_resync_copies_everything_again(filled: Places) -> None:
    filled.run()
    (filled.target / "d00/f0").write_text("0/X")
    os.utime(filled.target / "d00/f0", ns=(OLD, OLD))
    result = filled.run(force_resync=True)
    assert result.stats.copied_files == 49
    assert in_sync(filled)


def test_a_full_destination_stops_the_run_and_the_next_one_goes_on(
    filled: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    left = [20]

    def write(fd: int, data: Any) -> int:
        if str(filled.target) in os.readlink(f"/proc/self/fd/{fd}"):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(batch.os, "write", write)
        first = filled.run()
    assert (first.exit_code, first.status) == (2, "failed")
    assert "No space left" in first.message
    assert 20 <= first.stats.copied_files < 49  # empty files need no write
    assert list(filled.target.rglob(".dunlin-*")) == []
    second = filled.run()
    assert (second.exit_code, second.continued) == (0, True)
    assert in_sync(filled)
    assert second.stats.copied_files == 49 - first.stats.copied_files


def test_a_failed_file_is_tried_again_by_the_next_run(filled: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (filled.source / "d00/f0").chmod(0o640)
    filled.target.mkdir()
    (filled.target / "d00").mkdir()
    (filled.target / "d00/f0").mkdir()
    (filled.target / "d00/f0/precious").write_text("x")
    result = filled.run()
    assert result.exit_code == 23
    assert result.stats.failed_files == 1
    assert result.stats.copied_files == 48
    assert filled.rows("d00")["f0"].status is FileStatus.FAILED
    (filled.target / "d00/f0/precious").unlink()
    assert filled.run().exit_code == 0
    assert in_sync(filled)
    assert filled.rows("d00")["f0"].status is FileStatus.SYNCED


# ---- what must never be deleted ----


def test_an_empty_source_deletes_nothing(filled: Places) -> None:
    filled.run(delete=True)
    filled.source.rename(filled.root / "elsewhere")
    filled.source.mkdir()
    with pytest.raises(DunlinError, match="is it mounted") as refused:
        filled.run(delete=True)
    assert refused.value.exit_code == 1
    assert (filled.target / "d00/f0").exists()
    assert filled.rows("d00")["f0"].status is FileStatus.SYNCED


def test_a_source_that_could_not_be_read_deletes_nothing(filled: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.run()
    (filled.target / "d00/extra").write_text("x")
    real = os.scandir
    unreadable = str(filled.source / "d05")

    def scandir(what: Any = ".") -> Any:
        if isinstance(what, int) and os.readlink(f"/proc/self/fd/{what}") == unreadable:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(what)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        result = filled.run(delete=True)
    assert result.exit_code == 23
    assert result.stats.source_errors == 1
    assert result.stats.deleted_files == 0
    assert (filled.target / "d00/extra").exists()
    assert (filled.target / "d05/f0").exists()
    assert filled.run(delete=True).stats.deleted_files == 1


def test_more_extras_than_the_limit_delete_nothing(filled: Places) -> None:
    filled.run()
    for n in range(3):
        (filled.target / f"extra{n}").write_text("x")
    result = filled.run(delete=True, max_delete=2)
    assert result.exit_code == 25
    assert result.stats.deleted_files == 0
    result = filled.run(delete=True, max_delete=3)
    assert (result.exit_code, result.stats.deleted_files) == (0, 3)


def test_a_source_on_another_file_system_deletes_nothing_until_that_is_right(
    filled: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.run()
    (filled.target / "extra").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr("dunlin.jobs.sync.root_identity", lambda url: "another")
        assert filled.run(delete=True).stats.deleted_files == 0
        assert "--accept-source" in filled.report.named("delete.disabled")[0].message
        assert filled.run(delete=True, accept_source=True).stats.deleted_files == 1
        (filled.target / "extra").write_text("x")
        assert filled.run(delete=True).stats.deleted_files == 1  # it is the known one now
    assert in_sync(filled)


# ---- the rest ----


def test_a_damaged_state_file_is_one_readable_error(filled: Places) -> None:
    filled.state_db.write_bytes(b"this is no database" * 100)
    with pytest.raises(DunlinError) as caught:
        filled.run()
    assert caught.value.exit_code in (1, 2)
    assert str(filled.state_db) in str(caught.value)


def test_the_run_is_on_record(filled: Places) -> None:
    result = filled.run()
    state = State.open(str(filled.state_db), NullReport())
    kept = state.run(result.run)
    assert (kept.status, kept.stats.copied_files) == ("completed", 49)
    assert state.unfinished(kept.pair) is None
    state.close()


@pytest.mark.parametrize(
    ("stats", "fatal", "status", "refused", "mode", "code"),
    [
        (Stats(), None, "completed", "", "sync", 0),
        (Stats(vanished_files=1), None, "completed", "", "sync", 24),
        (Stats(failed_files=1), None, "completed", "", "sync", 23),
        (Stats(failed_directories=1), None, "completed", "", "sync", 23),
        (Stats(source_errors=1), None, "completed", "", "sync", 23),
        (Stats(failed_files=1, vanished_files=1), None, "completed", "", "sync", 23),
        (Stats(failed_files=1), None, "completed", "limit", "sync", 25),
        (Stats(), None, "completed", "unsafe", "sync", 0),
        (Stats(failed_files=1), None, "interrupted", "limit", "sync", 130),
        (Stats(), ErrorKind.NO_SPACE, "failed", "", "sync", 2),
        (Stats(), ErrorKind.READ_ONLY, "failed", "limit", "sync", 2),
        (Stats(), ErrorKind.CORRUPT, "failed", "", "sync", 2),
        (Stats(), ErrorKind.INTERRUPTED, "failed", "", "sync", 130),
        (Stats(missing_files=1), None, "completed", "", "check", 3),
        (Stats(differing_files=1), None, "completed", "", "check", 3),
        (Stats(extra_directories=1), None, "completed", "", "check", 3),
        (Stats(missing_files=1, failed_files=1), None, "completed", "", "check", 23),
        (Stats(missing_files=1, vanished_files=1), None, "completed", "", "check", 3),
        (Stats(missing_files=1, extra_files=1), None, "completed", "", "plan", 0),
    ],
)
def test_the_most_severe_exit_code_wins(
    stats: Stats, fatal: ErrorKind | None, status: str, refused: str, mode: str, code: int
) -> None:
    error = DunlinError("write", "x", fatal) if fatal else None
    assert exit_code(stats, error, status, refused, mode) == code


def test_the_last_sample_lies_within_the_run(filled: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    end = sampling.Sampler.end

    def sampled(self: sampling.Sampler, crew: Coordinator) -> None:
        self._sampled = True  # as in a run of more than two seconds
        end(self, crew)

    monkeypatch.setattr(sampling.Sampler, "end", sampled)
    result = filled.run()
    with closing(State.open(str(filled.state_db), NullReport())) as state:
        run = state.run(result.run)
        times = [time for (time,) in state.database.query("SELECT time FROM metric WHERE run = ?", (run.id,))]
    assert times
    assert run.ended is not None
    assert run.started < max(times) < run.ended
