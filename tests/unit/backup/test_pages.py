from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.backup import frames, pages
from dunlin.backup.frames import Codec
from dunlin.backup.keys import TenantKeys
from dunlin.errors import DunlinError, ErrorKind

Damage = Callable[[bytes], bytes]
FILE, DIRECTORY = 0o100000, 0o040000

CODEC = Codec(TenantKeys("t", bytes(32), sealed=True), "t/s/tree/x.pages")


def ids(node: int) -> list[bytes]:
    return [bytes([node % 256, i]) * 16 for i in range(node % 4)]


def part(nodes: range, kind: int = FILE) -> pages.Part:
    """Nodes whose every fact follows from their number."""
    return {
        "mode": array("I", [kind + node % 512 for node in nodes]).tobytes(),
        "mtime": array("q", [node - 5000 for node in nodes]).tobytes(),
        "size": array("Q", [node << 32 for node in nodes]).tobytes(),
        "chunks_n": array("I", [node % 4 for node in nodes]).tobytes(),
        "chunks": b"".join(b"".join(ids(node)) for node in nodes),
        "lengths": array("I", [node + i for node in nodes for i in range(node % 4)]).tobytes(),
        "attributes_n": array("I", [node % 2 for node in nodes]).tobytes(),
        "attributes": b"".join(bytes([node % 256]) * 32 for node in nodes if node % 2),
        "ident_n": array("I", [len(str(node)) for node in nodes]).tobytes(),
        "ident": b"".join(str(node).encode() for node in nodes),
    }


def check(page: pages.Page, entry: int, node: int, kind: int = FILE) -> None:
    assert page.number("mode", entry) == kind + node % 512
    assert page.number("mtime", entry) == node - 5000
    assert page.number("size", entry) == node << 32
    assert page.number("uid", entry) == 0
    assert page.chunks(entry) == [(chunk, node + i) for i, chunk in enumerate(ids(node))]
    assert page.attributes(entry) == (bytes([node % 256]) * 32 if node % 2 else None)
    assert page.ident(entry) == str(node)
    assert page.target(entry) == ""


def written(counts: list[int], directories: int = 3) -> bytes:
    out = bytearray()
    writer = pages.PagesWriter(CODEC, out.extend)
    writer.add_directories(directories, part(range(directories), DIRECTORY))
    start = 0
    for count in counts:
        writer.add_files(count, part(range(start, start + count)))
        start += count
    assert writer.finish() == len(out)
    return bytes(out)


def reader(data: bytes, codec: Codec = CODEC) -> pages.PagesReader:
    return pages.PagesReader(codec, lambda start, length: data[start : start + length], len(data))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), max_size=30))
def test_rows_come_back_whatever_the_parts(counts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "PAGE", 7)  # so that parts lie across the bounds of pages
        read = reader(written(counts))
        for row in range(sum(counts)):
            page, entry = read.file(row)
            check(page, entry, row)
        for row in range(3):
            page, entry = read.directory(row)
            check(page, entry, row, DIRECTORY)


@pytest.mark.parametrize(("first", "count"), [(0, 30), (3, 2), (6, 2), (5, 20), (29, 1), (4, 0)])
def test_rows_that_go_on_unchanged_are_taken_over(monkeypatch: pytest.MonkeyPatch, first: int, count: int) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    old = reader(written([30]))
    out = bytearray()
    writer = pages.PagesWriter(CODEC, out.extend)
    writer.add_files(2, part(range(100, 102)))
    for here, rows in old.file_parts(first, count):
        writer.add_files(here, rows)
    writer.finish()
    new = reader(bytes(out))
    for row, node in enumerate([100, 101, *range(first, first + count)]):
        page, entry = new.file(row)
        check(page, entry, node)


def test_a_page_holds_4096_nodes() -> None:
    read = reader(written([10_000]))
    assert [page.count for page in read.pages()] == [3, 4096, 4096, 10_000 - 8192]


def test_a_row_that_is_not_there_is_damage_not_another_row() -> None:
    read = reader(written([10]))
    with pytest.raises(DunlinError) as error:
        read.file(5000)
    assert error.value.kind is ErrorKind.CORRUPT
    with pytest.raises(DunlinError):
        list(read.file_parts(5, 6))


@pytest.mark.parametrize("end", [0, 5, 40])
def test_pages_that_are_cut_short_are_damaged(end: int) -> None:
    with pytest.raises(DunlinError) as error:
        reader(written([50])[:end])
    assert error.value.kind is ErrorKind.CORRUPT


def cut(data: bytes) -> bytes:
    return data[:-1]


def index_flipped(data: bytes) -> bytes:
    return data[:-25] + bytes([data[-25] ^ 1]) + data[-24:]


def footer_flipped(data: bytes) -> bytes:
    return data[:-1] + b"?"


@pytest.mark.parametrize("damage", [cut, index_flipped, footer_flipped])
def test_pages_whose_index_is_lost_are_looked_for(monkeypatch: pytest.MonkeyPatch, damage: Damage) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    monkeypatch.setattr(frames, "_ROOM", 64)
    data = written([20, 30, 3], directories=9)
    assert reader(data).damage is None
    read = reader(damage(data))
    assert read.damage is not None
    assert read.damage.kind is ErrorKind.CORRUPT
    assert read.counts() == (2, 8)
    assert not read.remade
    for rows, find, kind in ((9, read.directory, DIRECTORY), (53, read.file, FILE)):
        for row in range(rows):
            page, entry = find(row)
            check(page, entry, row, kind)


def test_pages_behind_one_that_is_lost_with_the_index_are_not_taken_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    data = bytearray(written([50])[:-1])
    second = reader(written([50]))._spans[1][1][0]
    data[second + 40] ^= 1
    with pytest.raises(DunlinError, match="does not end as"):
        reader(bytes(data))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_page_that_is_larger_than_a_frame_stands_in_several(sealed: bool) -> None:
    """As that of 4,096 files of 120 MB is."""
    many, each = pages.PAGE, 120
    codec, out = Codec(TenantKeys("t", bytes(32), sealed=sealed), "t/s/tree/x.pages"), bytearray()
    writer = pages.PagesWriter(codec, out.extend)
    ids, lengths = bytes(range(240)) * 16, array("I", range(each)).tobytes()
    told = {"mode": array("I", [FILE]) * many, "chunks_n": array("I", [each]) * many}
    writer.add_files(many, {name: column.tobytes() for name, column in told.items()} | {
        "chunks": ids * many, "lengths": lengths * many,
    })  # fmt: skip
    writer.add_files(3, part(range(3)))
    writer.finish()
    page, entry = reader(bytes(out), codec).file(4000)
    assert page.chunks(entry) == [(ids[32 * at : 32 * at + 32], at) for at in range(each)]
    check(*reader(bytes(out), codec).file(many + 2), 2)


@pytest.mark.parametrize("most", [300, 500, 10_000])
@pytest.mark.parametrize("damage", [None, cut])
def test_pages_in_several_frames_are_found_again(
    monkeypatch: pytest.MonkeyPatch, damage: Damage | None, most: int
) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    for module in (pages, frames):
        monkeypatch.setattr(module, "MOST_FRAME", most)
    data = written([20, 30, 3], directories=9)
    read = reader(damage(data) if damage else data)
    assert read.counts() == (2, 8)
    for rows, find, kind in ((9, read.directory, DIRECTORY), (53, read.file, FILE)):
        for row in range(rows):
            check(*find(row), row, kind)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_page_that_lost_one_of_its_frames_is_not_put_together(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    for module in (pages, frames):
        monkeypatch.setattr(module, "MOST_FRAME", 300)
    data = bytearray(written([7, 7]))
    start = reader(bytes(data))._spans[1][0][0]
    for _ in range(at):
        start += frames.frame_length(CODEC, memoryview(data)[start:], start)
    data[start + 30] ^= 1
    with pytest.raises(DunlinError, match="is not what was written there"):
        reader(bytes(data)).file(0)
    with pytest.raises(DunlinError, match="does not end as"):
        reader(bytes(data[:-1]))


def test_columns_that_contradict_each_other_are_refused() -> None:
    good = pages.to_bytes(3, part(range(3)))
    assert pages.Page(good, "x").count == 3
    for name, value in (("chunks", b""), ("ident", b"1"), ("lengths", bytes(4))):
        with pytest.raises(DunlinError, match="damaged"):
            pages.Page(pages.to_bytes(3, {**part(range(3)), name: value}), "x")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page_or_damage(data: bytes) -> None:
    with pytest.raises(DunlinError):
        pages.Page(data[:4] + pages.IDENTIFIER + data[4:], "x")
