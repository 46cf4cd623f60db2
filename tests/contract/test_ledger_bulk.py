"""Files in bulk: what is faster where all is as usual changes nothing where it is not."""

from __future__ import annotations

from dunlin.queue.ledger import FileResult, FileStatus, Ledger, NewFile, OpenUnit, UnitResult
from tests.contract.ledgers import files, published, walk


def test_names_that_mean_something_to_postgresql_are_kept(ledger: Ledger) -> None:
    names = ["\\N", "\\.", "a\tb", "a\nb", "a\rb", "\\", "\\t", "plain", "\udcff\\\x00\t", ""]
    job = published(ledger)
    walk(ledger, job, [NewFile(name, f"key {name}", 7, 0) for name in names])
    found = ledger.files.page(job, count=99)
    assert [(file.path, file.key, file.size) for file in found] == [(name, f"key {name}", 7) for name in names]


def test_files_that_are_known_are_left_alone_whichever_way_they_come(ledger: Ledger) -> None:
    job = published(ledger)
    ledger.files.add_units(job, [files(3)])
    [unit] = ledger.files.add_units(job, [files(5)])  # finds out that the walk is made again
    assert [file.path for file in unit.files] == ["00003", "00004"]
    assert ledger.files.add_units(job, [files(5)]) == []
    assert [file.path for file in ledger.files.page(job)] == [f"{n:05}" for n in range(5)]
    assert ledger.files.totals(job).total_files == 5


def test_a_unit_with_one_new_file_among_many_known_ones_is_whole(ledger: Ledger) -> None:
    """What the faster way had begun to write before it met a known file is not there."""
    job = published(ledger)
    ledger.files.add_units(job, [files(1, begin=400)])
    [one, other] = ledger.files.add_units(job, [files(250), files(250, begin=250)])
    assert (len(one.files), len(other.files)) == (250, 249)
    assert len(ledger.files.page(job, count=999)) == ledger.files.totals(job).total_files == 500


def test_results_in_spans_and_by_themselves_are_the_same(ledger: Ledger) -> None:
    job = published(ledger)
    one, other = walk(ledger, job, files(200), files(200, begin=200))
    wanted = {}

    def outcome(unit: OpenUnit, places: range) -> UnitResult:
        told = [FileResult(place, FileStatus(1 + place % 3), "no" if place % 3 == 2 else "", place) for place in places]
        wanted.update({unit.files[each.place].path: (each.status, each.size) for each in told})
        return UnitResult(job, unit.number, 1, told, "w", final=False)

    # A span over two units, one that ends early, every second file, and a last one of the table.
    assert ledger.files.apply([outcome(one, range(60, 200)), outcome(other, range(80))]) == [True, True]
    assert ledger.files.apply([outcome(one, range(0, 60, 2)), outcome(other, range(100, 200))]) == [True, True]
    found = {file.path: (file.status, file.size) for file in ledger.files.page(job, count=999) if file.status}
    assert found == wanted
    assert ledger.files.totals(job).pending == 400 - len(wanted)
