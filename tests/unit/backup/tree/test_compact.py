"""When compaction is due, and what it keeps; that it shows the same view stands in test_model."""

from __future__ import annotations

from pathlib import Path

from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import ZSTD
from dunlin.backup.tree.compact import compact, since
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from tests.unit.backup.tree.grown import Folder, Model, Row, grow, paths, seen, segment, write


def small(path: Path, files: int) -> Segment:
    model: Model = {1: Folder(0, b"", files={b"%d" % n: Row(n + 2) for n in range(files)})}
    segment(path, model)
    return Segment.open(path)


def test_a_base_is_written_anew_when_deltas_have_grown_against_it(tmp_path: Path) -> None:
    base, little, much = small(tmp_path / "0", 399), small(tmp_path / "1", 9), small(tmp_path / "2", 100)
    assert since([]) == 0
    assert since([base]) == 1
    assert since([base, *[little] * 8]) == 9
    assert since([base, little, much]) == 0
    assert since([base, *[little] * 11]) == 0


def test_of_many_deltas_the_small_ones_become_one_and_large_ones_stay(tmp_path: Path) -> None:
    names = iter(range(100))
    base, large, one = (small(tmp_path / str(next(names)), files) for files in (3999, 499, 0))
    assert since([base, large, *[one] * 7]) == 9
    assert since([base, large, *[one] * 8]) == 2
    assert since([base, *[one] * 9]) == 1
    falling = [small(tmp_path / str(next(names)), files - 1) for files in (80_000, 12_500, 2500, 500, 100, 20)]
    assert since([*falling, *[one] * 4]) == 6
    assert since([*falling[:4], *[one] * 3, falling[4], *[one] * 2]) == 8, "where none fits, two of them become one"


def test_a_compacted_tree_is_no_larger_than_one_written_at_once(tmp_path: Path) -> None:
    model = grow(8, 60, 900)
    once = segment(tmp_path / "once", model)
    segment(tmp_path / "base", {1: Folder(0, b"")})
    nodes = sorted(model)
    parts = [set(nodes[at::3]) for at in range(3)]
    segments = [Segment.open(tmp_path / "base")]
    for number, part in enumerate(parts):
        with SegmentWriter(tmp_path / str(number)) as writer:
            write(writer, model, part)
            writer.finish()
        segments.append(Segment.open(tmp_path / str(number)))
    made = compact(segments, tmp_path / "all")
    assert made.info.columns == once.columns
    assert seen(Tree([Segment.open(tmp_path / "all")])) == paths(model)
    packed = compact(segments, tmp_path / "packed", names=ZSTD)
    assert packed.info.size < made.info.size
    assert {number for number, _, _ in made.files.tolist()} == {1, 2, 3}


def test_nothing_is_compacted_to_nothing(tmp_path: Path) -> None:
    assert compact([], tmp_path / "x").info.directories == 0
    assert Tree([Segment.open(tmp_path / "x")]).lookup(b"") is None
