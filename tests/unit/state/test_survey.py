"""What a run wrote: by size, by directory, the largest; bounded, and fair where it is a sample."""

from __future__ import annotations

from dunlin.state import DirectoryStatus, FileStatus, Pair, Run, State, Target
from dunlin.state.survey import Place, crawl_span, failed_count, survey
from tests.unit.state.rows import Clock, row, synced


def put(state: State, run: Run, path: str, rows: list[tuple[object, ...]], written: bool = True) -> None:
    if path:
        [found] = state.add_directories(run.id, [(path, Target.PRESENT)])
        number = found if isinstance(found, int) else found[0]
    else:
        number = state.start_frontier(run.id)
    state.put_files(run.id, number, rows, written=written)
    state.finish_directory(run.id, number, DirectoryStatus.DONE, 1, None)


def test_a_run_that_wrote_nothing(state: State, run: Run) -> None:
    put(state, run, "", [synced("equal", size=5)], written=False)
    found = survey(state, run)
    assert (found.files, found.total, found.whole) == (0, 0, True)


def test_sizes_fall_into_bands_with_their_ends_outside(state: State, run: Run) -> None:
    sizes = [0, 1, 1023, 1024, 16383, 16384, 131072, 1048576, 16777216, 134217728, 1073741824]
    put(state, run, "", [synced(f"f{size}", size=size) for size in sizes])
    found = survey(state, run)
    assert [band.files for band in found.bands] == [1, 2, 2, 1, 1, 1, 1, 1, 1]
    assert found.files == len(sizes)
    assert found.bytes == sum(sizes)
    assert found.whole
    assert [(band.begin, band.end) for band in found.bands][-1] == (1 << 30, None)


def test_only_what_the_run_itself_synced_counts(state: State, run: Run, pair: Pair, clock: Clock) -> None:
    put(state, run, "a", [synced("kept", size=10), synced("again", size=20)])
    clock.time += 10
    later = state.begin_run(pair, {}, "boot-1", 100)
    put(state, later, "a", [synced("again", size=21), row("bad", status=FileStatus.FAILED), row("waits")])
    assert [each.path for each in survey(state, later).largest] == ["a/again"]
    assert [each.path for each in survey(state, run).largest] == ["a/kept"]


def test_files_found_equal_beside_copied_ones_do_not_count(state: State, run: Run) -> None:
    number = state.start_frontier(run.id)
    state.put_files(run.id, number, [synced("copied", size=10)])
    state.put_files(run.id, number, [synced("equal", size=20)], written=False)
    found = survey(state, run)
    assert (found.files, found.bytes) == (1, 10)
    assert found.largest == (Place("copied", 1, 10),)


def test_the_largest_of_one_directory_and_of_many(state: State, run: Run) -> None:
    put(state, run, "one", [synced(f"f{n:02}", size=2_000 + n) for n in range(30)])
    put(state, run, "two", [synced("small", size=1), synced("huge", size=10**9)])
    largest = survey(state, run).largest
    assert largest[0] == Place("two/huge", 1, 10**9)
    assert [each.path for each in largest[1:]] == [f"one/f{n:02}" for n in range(29, 18, -1)]


def test_tops_of_the_tree_have_all_below_them(state: State, run: Run) -> None:
    put(state, run, "", [synced("loose", size=1)])
    put(state, run, "a/x", [synced("f", size=10)])
    put(state, run, "a/y/z", [synced("f", size=20)])
    put(state, run, "b", [synced("f", size=5)])
    found = survey(state, run)
    assert found.areas == (Place("a", 2, 30), Place("b", 1, 5), Place("", 1, 1))
    assert found.directories[0] == Place("a/y/z", 1, 20)


def test_one_top_that_holds_everything_is_opened(state: State, run: Run) -> None:
    put(state, run, "only/x", [synced("f", size=10)])
    put(state, run, "only/y/z", [synced("f", size=20)])
    assert survey(state, run).areas == (Place("only/y", 1, 20), Place("only/x", 1, 10))


def test_tops_without_a_line_are_summed(state: State, run: Run) -> None:
    for n in range(20):
        put(state, run, f"d{n:02}", [synced("f", size=100 + n)])
    found = survey(state, run)
    assert len(found.areas) == 12
    assert found.rest.files == 8
    assert sum(each.bytes for each in found.areas) + found.rest.bytes == found.bytes


def test_many_directories_are_sampled_by_number(state: State, run: Run) -> None:
    for n in range(40):
        put(state, run, f"d{n:02}", [synced("f", size=1)])
    found = survey(state, run, directories=10)
    assert (found.looked, found.total, found.whole) == (10, 40, False)
    assert found.files == 10


def test_no_more_rows_are_read_than_allowed(state: State, run: Run) -> None:
    for n in range(10):
        put(state, run, f"d{n}", [synced(f"f{k}", size=1) for k in range(10)])
    found = survey(state, run, rows=25)
    assert found.files == 25
    assert (found.looked, found.total, found.whole) == (3, 10, False)


def test_a_directory_that_is_cut_short_is_a_sample(state: State, run: Run) -> None:
    put(state, run, "", [synced(f"f{k}", size=1) for k in range(10)])
    assert survey(state, run, rows=9).whole is False
    assert survey(state, run, rows=11).whole is True


def test_names_that_are_no_text(state: State, run: Run) -> None:
    put(state, run, "d\udcff", [synced("f\udc80", size=7)])
    assert survey(state, run).largest == (Place("d\udcff/f\udc80", 1, 7),)


def test_the_statements_use_their_indexes(state: State, run: Run) -> None:
    for name, bindings in (("survey_count", (1, 1, 5)), ("survey_directories", (1, 1, 1, 5))):
        plan = state.database.query(f"EXPLAIN QUERY PLAN {state.statements[name]}", bindings)
        assert any("directory_written" in line[-1] for line in plan), plan
    for name, bindings in (("survey_files", (1, 1, 5, 1)), ("survey_largest", (1, 1, 5, 1, 5))):
        plan = state.database.query(f"EXPLAIN QUERY PLAN {state.statements[name]}", bindings)
        assert any("SEARCH file USING PRIMARY KEY" in line[-1] for line in plan), plan


def test_failures_are_counted_and_the_listing_has_a_span(state: State, run: Run, clock: Clock) -> None:
    from dunlin.state import CrawlMetric

    assert crawl_span(state, run.id) is None
    assert failed_count(state, run.id) == 0
    put(state, run, "a", [row(f"f{n}", status=FileStatus.FAILED) for n in range(3)])
    clock.time += 1_000
    state.put_crawl(run.id, CrawlMetric())
    for directories, pause in ((5, 5_000), (5, 7_000)):
        clock.time += pause
        state.put_crawl(run.id, CrawlMetric(total_directories=directories))
    first, last = crawl_span(state, run.id) or (0, 0)
    assert last - first == 5_000
    assert failed_count(state, run.id) == 3
