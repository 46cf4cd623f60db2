"""Backups on days when times, clocks, pages and trees are not what one hopes for."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.backup import keys, rows
from dunlin.backup.snapshot import open_pages, open_tree
from dunlin.backup.tree.view import ROOT
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, MTIME, Entry, Facts, join
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport
from dunlin.stores.local import LocalStore
from dunlin.workers import savers, saving
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up
from tests.integration.test_saving import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    return Place(tmp_path)


def test_a_change_in_the_tick_of_the_one_before_is_saved(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of whole seconds: ext3, exFAT, and what is shared from there."""
    monkeypatch.setattr(rows, "COARSE", 3600 * 10**9)
    second = time.time_ns() // 10**9 * 10**9

    def coarse(facts: Facts) -> Facts:
        return tuple(second if at in (MTIME, CTIME) else value for at, value in enumerate(facts))

    class Coarse(LocalStore):
        def list(self, directory: str) -> Iterator[list[tuple[str, Facts]]]:
            for batch in super().list(directory):
                yield [(name, coarse(facts)) for name, facts in batch]

        def read_batch(self, directory, names, space):  # type: ignore[no-untyped-def]
            true = [(name, self.stat(join(directory, name)).facts) for name, _ in names]
            yield from super().read_batch(directory, true, space)

    for name in ("d/f", "d/g"):
        place.write(name, b"A" * 100)
    place.back_up(lambda: Coarse(str(place.source)))
    place.write("d/f", b"B" * 100)
    totals = place.back_up(lambda: Coarse(str(place.source))).manifest.totals
    assert b"".join(map(bytes, place.snapshot().read(place.snapshot().stat("d/f")))) == b"B" * 100
    assert (totals.changed_files, totals.new_files, totals.read_bytes) == (1, 0, 200)


def test_a_damaged_page_is_made_anew_from_what_is_read(place: Place) -> None:
    rng = random.Random(2)
    for number in range(30):
        place.write(f"d{number % 3}/e/f{number:02}", rng.randbytes(3000))
    segment = place.back_up().manifest.segments[0].id
    pages = open_pages(place.area(), segment)
    start, end = pages._spans[1][0]
    path = place.target / "acme/docs/tree" / f"{segment}.pages"
    raw = bytearray(path.read_bytes())
    raw[(start + end) // 2] ^= 1
    path.write_bytes(raw)
    place.write("d1/e/f01", b"new")
    done = place.back_up()
    assert not done.errors
    assert len([event for event in place.report.events if event.name == "backup.anew"]) == 1
    nodes = {each.name for each in open_tree(place.area(), done.manifest).directories(ROOT)}
    assert nodes == {b"d0", b"d1", b"d2"}
    found = place.snapshot()
    names = [name for batch in found.list("d1/e") for name, _ in batch]
    assert names == [f"f{number:02}" for number in range(1, 30, 3)]
    for number in range(1, 30, 3):
        where = f"d1/e/f{number:02}"
        assert b"".join(map(bytes, found.read(found.stat(where)))) == (place.source / where).read_bytes()


def test_what_waits_is_as_much_as_the_tree_is_deep(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[float] = []
    monkeypatch.setattr(RecordingReport, "gauge", lambda self, name, value: queued.append(value))
    monkeypatch.setattr(savers, "GROUP", 1)
    monkeypatch.setattr(savers, "AHEAD", 1)
    for number in range(1000):
        (place.source / "/".join(f"{number:03}")).mkdir(parents=True)
    assert place.back_up().manifest.totals.directories == 1111
    assert max(queued) < 100


def test_errors_are_kept_up_to_a_number_and_all_counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(LocalStore):
        def list(self, directory: str) -> Iterator[list[tuple[str, Facts]]]:
            if directory:
                raise DunlinError("list", directory, ErrorKind.IO)
            yield from super().list(directory)

    monkeypatch.setattr(saving, "MOST_ERRORS", 3)
    for number in range(5):
        (place.source / f"{number}").mkdir()
    done = place.back_up(lambda: Broken(str(place.source)))
    assert len(done.errors) == 3
    assert done.manifest.totals.failed_entries == 5
    assert not done.manifest.complete


def test_temporary_files_lie_beside_the_cache(place: Place) -> None:
    place.write("f", b"content")
    seen: list[list[str]] = []

    class Looks(LocalStore):
        def stat(self, path: str) -> Entry:
            seen.append([path.name for path in place.cache.iterdir() if path.name.startswith("dunlin-")])
            return super().stat(path)

    place.back_up(lambda: Looks(str(place.source)))
    assert len(seen[0]) == 1
    assert [path.name for path in place.cache.iterdir()] == [place.repository.id]


def test_a_clock_that_is_wrong_is_told_or_refused(place: Place) -> None:
    day = 86400 * 10**9
    place.write("f", b"content")

    def made(ahead: int) -> int:
        place.report = RecordingReport()
        asked, now = Asked(f"file://{place.source}", movers=1), time.time_ns() + ahead
        done = back_up(
            asked, place.area(), lambda: LocalStore(str(place.source)), place.again, Stop(), place.report,
            clock=lambda: now,
        )  # fmt: skip
        return done.manifest.time

    with pytest.raises(DunlinError, match="ahead of the repository's"):
        made(2 * day)
    assert place.area().snapshots() == []
    first = made(day // 2)
    assert not place.report.events
    assert made(0) == first + 1000
    assert [event.name for event in place.report.events] == ["backup.clock"]
