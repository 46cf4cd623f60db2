"""What the next run does with what the last one left: continue, scan anew, transfer again, try again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import Pair, change_times, same, temporaries, touched
from tests.acceptance.trouble import (
    age,
    ask,
    begin,
    check_state,
    complete,
    copied,
    ended,
    in_memory,
    many,
    small,
    told,
    until,
)
from tests.fuse.slowfs import mounted

pytestmark = [pytest.mark.slow]
root = pytest.mark.root


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        yield Pair.make(place)


def cut_short(pair: Pair, *options: str, files: int = 10, limit: str = "8M") -> None:
    """A run that is interrupted as soon as `files` files are there, with everything listed before."""
    process = begin(pair, "-a", f"--bwlimit={limit}", "--scan-first", *options)
    until(lambda: copied(pair) >= files, process)
    process.send_signal(signal.SIGTERM)
    code, words = ended(process)
    assert code == 130, words


@pytest.mark.fuse
def test_finished_directories_are_not_listed_again(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    backing = tmp_path / "backing"
    for n in range(60):
        (backing / f"d{n:02}").mkdir(parents=True)
        (backing / f"d{n:02}" / "file").write_bytes(b"x" * 200_000)
    age(backing)
    with mounted(backing, pair.source) as mount:
        cut_short(pair, files=20, limit="3M")
        left = ask(pair, "SELECT count(*) FROM file WHERE status = 0")[0][0]
        assert 0 < left <= 40
        time.sleep(1.1)  # what the kernel remembers of names and attributes
        mount.reset()
        assert told(pair, "-a")["continued"] is True
        calls = mount.counters()
        assert calls["open"] == left
        # the root, once, to see that it is there
        assert calls.get("readdir", 0) + calls.get("readdirplus", 0) <= 2, calls
        mount.reset()
        again = told(pair, "-a")
        assert again["continued"] is False
        assert again["stats"]["copied_files"] == 0
        listed = mount.counters()
        assert listed.get("readdir", 0) + listed.get("readdirplus", 0) >= 61
    same(backing, pair.target)


def test_scanning_directories_that_were_never_listed(pair: Pair) -> None:
    """Without --scan-first both are left: pending files and directories not yet listed."""
    many(pair.source, directories=200, files=20, wide=10, large=(8,))
    process = begin(pair, "-a", "--bwlimit=4M")
    until(lambda: copied(pair) >= 30, process)
    process.kill()
    process.communicate()
    assert complete(pair, "-a")["continued"] is True
    check_state(pair)


def test_rescan_lists_all_again_and_copies_only_what_is_missing(pair: Pair) -> None:
    small(pair)
    cut_short(pair)
    had = copied(pair)
    before = change_times(pair.target)
    summary = complete(pair, "-a", "--rescan")
    assert summary["continued"] is False
    assert "scanning everything again (--rescan)" in summary["stderr"]
    assert summary["stats"]["scanned_files"] == 40
    assert summary["stats"]["copied_files"] == 40 - had
    after = change_times(pair.target)
    kept = [path for path in before if os.path.basename(path).startswith(b"f")]
    assert set(touched(before, after)).isdisjoint(kept)
    check_state(pair)


def test_force_resync_copies_all_again(pair: Pair) -> None:
    small(pair)
    cut_short(pair)
    before = change_times(pair.target)
    summary = complete(pair, "-a", "--force-resync")
    assert summary["continued"] is False
    assert summary["stats"]["copied_files"] == 40
    assert all(after != before[path] for path, after in change_times(pair.target).items() if path in before)
    check_state(pair)


def test_other_filters_begin_anew_and_keep_hashes(pair: Pair) -> None:
    small(pair)
    cut_short(pair)
    hashes = ask(pair, "SELECT directory_id, name, hash FROM file WHERE status = 1 ORDER BY 1, 2")
    assert len(hashes) >= 10
    summary = told(pair, "-a", "--exclude=f03?")
    assert summary["continued"] is False
    assert "other files are selected" in summary["stderr"]
    assert summary["stats"]["scanned_files"] == 30
    # How many were there, and so whether those that are left out now are among them, is a matter of time.
    selected = {row for row in hashes if not row[1].startswith("f03")}
    assert summary["stats"]["copied_files"] <= 30 - len(selected) + 1
    kept = ask(pair, "SELECT directory_id, name, hash FROM file WHERE status = 1 ORDER BY 1, 2")
    assert selected <= set(kept)
    assert complete(pair, "-a")["continued"] is False
    check_state(pair)


def test_hashes_are_kept_where_nothing_changed_and_renewed_where_it_did(pair: Pair) -> None:
    small(pair, 6, 5_000)
    complete(pair, "-a")
    before = dict(ask(pair, "SELECT name, hash FROM file"))
    assert None not in before.values()
    (pair.source / "a" / "f000").write_bytes(b"other")
    complete(pair, "-a", "--rescan")
    after = dict(ask(pair, "SELECT name, hash FROM file"))
    assert {name for name in before if before[name] != after[name]} == {"f000"}
    # without a checksum the old hash of a file that is copied again says nothing any more
    (pair.source / "a" / "f002").write_bytes(b"another")
    complete(pair, "-a", "--checksum=none")
    assert dict(ask(pair, "SELECT name, hash FROM file WHERE name = 'f002'")) == {"f002": None}
    assert dict(ask(pair, "SELECT name, hash FROM file WHERE name = 'f001'")) == {"f001": before["f001"]}


def test_after_a_completed_run_the_next_one_scans_anew(pair: Pair) -> None:
    small(pair, 10, 1_000)
    complete(pair, "-a")
    (pair.source / "a" / "new").write_text("new")
    summary = complete(pair, "-a")
    assert summary["continued"] is False
    assert (summary["stats"]["scanned_files"], summary["stats"]["copied_files"]) == (11, 1)


@root
def test_failed_files_are_tried_again(pair: Pair) -> None:
    small(pair, 20, 3_000)
    refused = pair.source / "a" / "f004"
    refused.chmod(0)
    done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED, expect=23)
    assert "f004: Permission denied" in done.stderr
    assert ask(pair, "SELECT name, status, error_kind FROM file WHERE status <> 1") == [("f004", 2, "denied")]
    assert "f004" in dunlin("status", "--failed", cwd=pair.cwd, expect=0).stdout
    # still refused: it is a failure each time, and not forgotten
    dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED, expect=23)
    refused.chmod(0o644)
    assert complete(pair, "-a")["stats"]["copied_files"] == 1
    check_state(pair)


def test_what_vanished_or_changed_between_the_runs(pair: Pair) -> None:
    small(pair)
    cut_short(pair)
    pending = [
        pair.source / directory / name
        for directory, name in ask(
            pair, "SELECT d.path, f.name FROM file f JOIN directory d ON d.id = f.directory_id WHERE f.status = 0"
        )
    ]
    pending[0].unlink()
    pending[1].write_bytes(b"shorter")
    pending[2].write_bytes(b"longer" * 1_000_000)
    summary = told(pair, "-a", expect=24)
    assert summary["continued"] is True
    assert summary["stats"]["vanished_files"] == 1
    same(pair.source, pair.target, ("mtime_ns",))
    complete(pair, "-a")
    check_state(pair)


def test_a_directory_of_pending_files_that_is_gone(pair: Pair) -> None:
    small(pair)
    cut_short(pair)
    shutil.rmtree(pair.source / "b")
    told(pair, "-a", expect=24)
    summary = told(pair, "-a", "--delete-extras")
    assert summary["stats"]["failed_files"] == 0
    same(pair.source, pair.target)


def test_a_destination_that_was_emptied_is_filled_anew(pair: Pair) -> None:
    """Another disk is mounted there, or somebody tidied up: what the state calls finished is not."""
    small(pair)
    cut_short(pair)
    shutil.rmtree(pair.target)
    summary = complete(pair, "-a")
    assert summary["continued"] is False
    assert summary["stats"]["copied_files"] == 40
    check_state(pair)


def test_many_pending_files_do_not_fit_into_memory_at_once(pair: Pair) -> None:
    """More than the window on the backlog holds, in one directory and over many."""
    many(pair.source, directories=120, files=60, wide=26_000)
    cut_short(pair, files=40)
    assert ask(pair, "SELECT count(*) FROM file WHERE status = 0")[0][0] > 20_000
    cut_short(pair, files=copied(pair) + 2_000)
    assert complete(pair, "-a")["continued"] is True
    check_state(pair)


@pytest.mark.parametrize("delete", ["--delete-extras", "--no-delete-extras"])
def test_extras_found_before_the_interruption(pair: Pair, delete: str) -> None:
    small(pair)
    (pair.target / "a").mkdir(parents=True)
    (pair.target / "a" / "extra").write_text("only here")
    (pair.target / "gone" / "deep").mkdir(parents=True)
    (pair.target / "gone" / "deep" / "extra").write_text("only here")
    cut_short(pair, delete, files=12)
    assert (pair.target / "a" / "extra").exists()
    summary = told(pair, "-a", delete)
    assert summary["continued"] is True
    assert (pair.target / "gone").exists() is (delete != "--delete-extras")
    if delete == "--delete-extras":
        same(pair.source, pair.target)


# ---- another boot ----


def reboot(pair: Pair, durable: bool = False) -> None:
    """Make the state believe that the last run was in another boot; `durable`: a flush had covered all of it."""
    ask(pair, "UPDATE pair SET boot_id = 'another'")
    ask(pair, "UPDATE pair SET durable_before = ?", time.time_ns() if durable else 0)


def damage(path: Path) -> None:
    """Other bytes, same size, same mtime: what a power cut may leave behind."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_after_another_boot_the_content_is_looked_at(pair: Pair) -> None:
    small(pair, 20, 50_000)
    complete(pair, "-a")
    reboot(pair)
    damage(pair.target / "a" / "f006")
    assert complete(pair, "-a")["stats"]["verified_files"] == 20
    check_state(pair)
    # once is enough
    assert complete(pair, "-a")["stats"]["verified_files"] == 0


def test_what_a_flush_covered_is_not_read_again(pair: Pair) -> None:
    small(pair, 20, 50_000)
    complete(pair, "-a")
    assert ask(pair, "SELECT durable_before > (SELECT max(written) FROM directory) FROM pair") == [(1,)]
    reboot(pair, durable=True)
    assert told(pair, "-a")["stats"]["verified_files"] == 0


def test_without_flushes_nothing_is_durable(pair: Pair) -> None:
    small(pair, 20, 50_000)
    complete(pair, "-a", "--fsync=none")
    ask(pair, "UPDATE pair SET boot_id = 'another'")
    damage(pair.target / "b" / "f001")
    assert complete(pair, "-a")["stats"]["verified_files"] == 20


def test_a_continued_run_in_another_boot_looks_at_what_was_done_before(pair: Pair) -> None:
    for n in range(20):
        (pair.source / f"d{n:02}").mkdir()
        (pair.source / f"d{n:02}" / "file").write_bytes(os.urandom(400_000))
    age(pair.source)
    cut_short(pair, limit="2M")
    done = ask(pair, "SELECT d.path FROM directory d WHERE d.status = 2 AND d.path <> ''")
    assert done
    reboot(pair)
    damage(pair.target / done[0][0] / "file")
    assert complete(pair, "-a")["continued"] is True
    check_state(pair)
    assert ask(pair, "SELECT count(*) FROM directory WHERE doubt IS NOT NULL") == [(0,)]


def test_trusting_the_state_ends_at_another_boot(pair: Pair) -> None:
    small(pair, 20, 50_000)
    complete(pair, "-a")
    complete(pair, "-a")
    reboot(pair)
    damage(pair.target / "a" / "f006")
    complete(pair, "-a", "--trust-state")


def test_times_in_the_future(pair: Pair) -> None:
    """The clock was set back: files, and all that the state remembers, are of a time to come."""
    small(pair, 12, 20_000)
    later = time.time_ns() + 10 * 365 * 86_400 * 10**9
    os.utime(pair.source / "a" / "f000", ns=(later, later))
    complete(pair, "-a")
    ask(pair, "UPDATE clock SET last = ?", later)
    ask(pair, "UPDATE run SET started = ?, ended = ?, updated = ?", later, later, later)
    ask(pair, "UPDATE pair SET durable_before = ?", later)
    ask(pair, "UPDATE directory SET written = ?", later)
    assert complete(pair, "-a")["stats"]["equal_files"] == 12
    (pair.source / "a" / "f002").write_bytes(b"changed")
    assert complete(pair, "-a")["stats"]["copied_files"] == 1
    cut = pair.source / "b" / "f001"
    cut.write_bytes(b"again")
    complete(pair, "-a")
    rows = ask(pair, "SELECT started FROM run ORDER BY id")
    assert rows == sorted(rows)
    check_state(pair)
    assert not temporaries(pair.target)
