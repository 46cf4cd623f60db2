from dunlin.backup.looked import NOTHING, Content, Contents, Files, Folder, Named
from dunlin.backup.tree.columns import NO_CONTENT

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def facts(size: int) -> tuple[int, ...]:
    return (0o100644, size, *range(9))


def files(name: str, attributes: bool = False) -> Files:
    """A file of two chunks, an empty one, a link, one of one chunk."""
    sizes = (5, 0, 0, 7)
    names = [f"{name}{number}" for number in range(4)]
    flags = [8, 8, 10 | NO_CONTENT, 8]
    return Files(
        names, [facts(size) for size in sizes], flags, A + B + C, [2, 3, 7], [2, 2, 2, 3],
        [None, C, None, None] if attributes else [],
    )  # fmt: skip


def test_a_file_is_a_place_in_columns() -> None:
    found = files("f", attributes=True)
    assert found.named(0) == Named(facts(5), A + B, [2, 3], 8, None)
    assert found.named(1) == Named(facts(0), b"", [], 8, C)
    assert found.named(3) == Named(facts(7), C, [7], 8, None)
    assert (found.chunks(0, 0), found.chunks(1, 4)) == ((0, 0), (2, 3))


def test_files_that_follow_others_keep_what_they_are() -> None:
    for first, second in ((False, False), (False, True), (True, False)):
        one, two = files("f", first), files("g", second)
        both = NOTHING.and_then(one).and_then(two)
        assert [both.named(at) for at in range(8)] == [part.named(at) for part in (one, two) for at in range(4)]
        assert both.names == one.names + two.names


def test_a_folder_tells_what_it_holds_and_of_which_files_the_content_is_there() -> None:
    folder = Folder()
    below = Named(facts(0), b"", [], 4, None)
    folder.add(files("f"))
    folder.add(files("g", attributes=True))
    folder.add_directory("d", below)
    assert (folder.get("d"), folder.get("f0"), folder.get("x")) == (below, files("f").named(0), None)
    assert folder.get("g1") == files("g", attributes=True).named(1)
    assert folder.contents(["g3", "f0", "f1"]) == [7, 0, 1]
    assert folder.contents(["f0", "f2"]) is None  # a link
    assert folder.contents(["f0", "g2"]) is None
    assert folder.contents(["f0", "d"]) is None
    assert folder.contents(["f0", "x"]) is None


def test_a_range_is_the_chunks_that_hold_it_and_from_where_to_where_in_each() -> None:
    raw, lengths = bytes(range(30)), [7, 1, 0, 12, 10]
    parts = [raw[sum(lengths[:at]) : sum(lengths[: at + 1])] for at in range(5)]
    ids = [bytes([at]) * 32 for at in range(5)]
    content = Content.of(Named(facts(30), b"".join(ids), lengths, 8, None))
    for start in range(32):
        for end in range(33):
            found = list(content.between(start, end))
            assert b"".join(parts[ids.index(chunk)][low:high] for chunk, low, high in found) == raw[start:end]
            assert all(low < high for _, low, high in found)  # no chunk is fetched of which nothing is needed


def test_files_of_many_chunks_are_kept_by_their_bytes_and_only_so_many() -> None:
    def known(many: int) -> Named:
        return Named(facts(many), A * many, [1] * many, 8, None)

    contents = Contents()
    assert len(contents.add("small", known(Contents.MANY - 1)).ends) == Contents.MANY - 1
    assert contents.get("small") is None
    large = contents.add("large", known(200_000))
    assert contents.get("large") is large
    assert list(large.between(150_000, 150_002)) == [(A, 0, 1), (A, 0, 1)]
    for number in range(Contents.KEPT):
        contents.add(f"{number}", known(Contents.MANY))
    assert contents.get("large") is None
    assert all(contents.get(f"{number}") for number in range(Contents.KEPT))
