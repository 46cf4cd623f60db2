"""Names that fit a pattern are found, and no others."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from dunlin.backup.tree import find as module
from dunlin.backup.tree.columns import RAW, ZSTD
from dunlin.backup.tree.find import find
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from tests.unit.backup.tree.grown import Folder, Model, Row, paths, segment

NAMES = ["a.txt", "b.TXT", "aab", "a", "aa", "ab", "report-2024.docx", "x[1].log", "Straße", "kilo", "\u212ailo", "é?",
         "\udcff.txt"]  # fmt: skip


def tree(path: Path, names: int = RAW) -> tuple[Tree, Model]:
    model: Model = {
        1: Folder(0, b""), 2: Folder(1, b"docs.txt"), 3: Folder(2, b"inner"), 4: Folder(1, b"aa-empty"),
    }  # fmt: skip
    for node in (1, 3):
        model[node].files = {
            name.encode("utf-8", "surrogateescape"): Row(100 * node + at) for at, name in enumerate(NAMES)
        }
    segment(path, model, names)
    return Tree([Segment.open(path)]), model


def wanted(model: Model, pattern: str, lower: bool = False) -> set[bytes]:
    def fits(path: bytes) -> bool:
        name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        one, other = (name.casefold(), pattern.casefold()) if lower else (name, pattern)
        return fnmatch.fnmatchcase(one, other)

    return {path for path in paths(model) if path and fits(path)}


@pytest.mark.parametrize("names", [RAW, ZSTD])
@pytest.mark.parametrize("chunk", [1 << 16, 3])
@pytest.mark.parametrize(
    "pattern", ["*.txt", "a*", "*a*b*", "aa", "?", "a?", "*", "[ab]*", "[!a]*", "x[[]1].log", "*2024*", "*ß*", "é?",
                "none", "*.t?t", "*ab"],
)  # fmt: skip
def test_what_fits_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: int, chunk: int, pattern: str
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    view, model = tree(tmp_path / "x", names)
    found = [hit.path for hit in find(view, pattern)]
    assert len(found) == len(set(found))
    assert set(found) == wanted(model, pattern)
    for hit in find(view, pattern):
        assert view.lookup(hit.path) == hit.row


@pytest.mark.parametrize("pattern", ["*.TXT", "KILO", "A*", "strasse", "STRAẞE", "*REPORT*"])
def test_case_can_be_ignored(tmp_path: Path, pattern: str) -> None:
    view, model = tree(tmp_path / "x")
    found = {hit.path for hit in find(view, pattern, ignore_case=True)}
    assert found >= wanted(model, pattern)
    assert found - wanted(model, pattern, lower=True) == set()
    if pattern == "KILO":
        assert {b"kilo", "\u212ailo".encode()} <= found


def test_a_part_of_the_tree_can_be_searched(tmp_path: Path) -> None:
    view, _ = tree(tmp_path / "x")
    assert {hit.path for hit in find(view, "*.txt", node=3)} == {b"docs.txt/inner/a.txt", b"docs.txt/inner/\xff.txt"}
    assert list(find(view, "*", node=99)) == []
    assert {hit.path for hit in find(view, "inner", node=2)} == {b"docs.txt/inner"}
