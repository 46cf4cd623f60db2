"""Segments that become one bring their pages along: each row still has the entry that speaks of it."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from dunlin.backup import pages
from dunlin.backup.frames import Codec
from dunlin.backup.joining import Written, joined, written_pages
from dunlin.backup.keys import TenantKeys
from dunlin.backup.mend import remake
from dunlin.backup.pages import PagesReader, PagesWriter
from dunlin.backup.repository import Area
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tree.grown import Model, grow, paths, seen, write

KEYS = TenantKeys("t", bytes(32), sealed=True)


class Room:
    """What is asked of an area: where its trees lie, and how their objects are sealed."""

    root = "t/s"

    def codec(self, key: str) -> Codec:
        return Codec(KEYS, key)


AREA = cast(Area, Room())


def idents(nodes: Any) -> pages.Part:
    """Entries that say of which node they are."""
    texts = [str(node).encode() for node in nodes.tolist()]
    return {"ident": b"".join(texts), "ident_n": array("I", [len(text) for text in texts]).tobytes()}


def delta(folder: Path, name: str, model: Model, only: set[int]) -> tuple[Segment, PagesReader]:
    """Some directories with their files, and the pages of these."""
    with SegmentWriter(folder / name) as rows:
        write(rows, model, only)
        info = rows.finish()
    segment = Segment.open(info.path)
    made = Written(name, info.directories + info.files, folder / name, folder / f"{name}.pages")
    with open(made.pages, "wb") as file:
        writer = PagesWriter(AREA.codec(f"t/s/tree/{name}.pages"), file.write)
        order = np.argsort(segment.array("d.page"))
        writer.add_directories(info.directories, idents(segment.array("d.node")[order]))
        writer.add_files(info.files, idents(segment.files.nodes(0, info.files)))
        writer.finish(segment)
    return segment, written_pages(AREA, made)


@pytest.mark.parametrize("base", [True, False])
def test_each_row_keeps_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: bool) -> None:
    monkeypatch.setattr(pages, "PAGE", 64)
    model = grow(5, 90, 700)
    nodes = sorted(model)
    first = delta(tmp_path, "0", model, set(nodes))
    for node in nodes[3::5]:
        model[node].files.clear()
    every = [first, *(delta(tmp_path, str(at), model, set(nodes[at :: at + 3])) for at in range(1, 4))]
    every.append(delta(tmp_path, "4", model, set(nodes[3::5])))
    some = every if base else every[1:]
    made = joined(AREA, [s for s, _ in some], [lambda read=read: read for _, read in some], tmp_path, base=base)
    segment, read = Segment.open(made.segment), written_pages(AREA, made)
    assert made.rows == segment.directories.rows + segment.files.rows
    assert seen(Tree([segment] if base else [every[0][0], segment])) == paths(model)
    for row in range(segment.directories.rows):
        page, entry = read.directory(int(segment.array("d.page")[row]))
        assert page.ident(entry) == str(segment.array("d.node")[row])
    for row in range(segment.files.rows):
        page, entry = read.file(row)
        assert page.ident(entry) == str(segment.files.node(row))
    assert read.counts() == tuple(-(-space.rows // 64) for space in (segment.directories, segment.files))
    remake(read, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made.segment.read_bytes()


def test_pages_that_do_not_say_enough_are_damaged(tmp_path: Path) -> None:
    model = grow(5, 9, 70)
    segment, _ = delta(tmp_path, "0", model, set(model))
    _, other = delta(tmp_path, "1", model, {1})
    with pytest.raises(DunlinError) as told:
        joined(AREA, [segment], [lambda: other], tmp_path, base=True)
    assert told.value.kind is ErrorKind.CORRUPT
