"""The page of a directory: cut up by one expression as by the parser, and nothing taken for a page that is none."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, Kind
from dunlin.stores.azfiles import listing

TIMES = (
    "<CreationTime>2020-01-01T00:00:00.0000000Z</CreationTime><LastAccessTime>2020-01-01T00:00:00.0000000Z"
    "</LastAccessTime><LastWriteTime>1970-01-01T00:00:00.0000001Z</LastWriteTime><ChangeTime>1970-01-01T00:00:01.0000000Z"
    "</ChangeTime><Last-Modified>Wed, 01 Jan 2020 00:00:00 GMT</Last-Modified><Etag>\"0x8D\"</Etag>"
)  # fmt: skip


def entry(name: str, kind: str = "File", attributes: str = "") -> str:
    size = "<Content-Length>5</Content-Length>" if kind == "File" else ""
    return (
        f"<{kind}><Name{attributes}>{name}</Name><FileId>1</FileId><Properties>{size}{TIMES}</Properties>"
        f"<Attributes>Archive</Attributes><PermissionKey>1*2</PermissionKey></{kind}>"
    )


def page(*entries: str, token: str = "") -> bytes:
    end = f"<NextMarker>{token}</NextMarker>" if token else "<NextMarker />"
    head = '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://h/" ShareName="s">'
    return f"{head}<DirectoryId>0</DirectoryId><Entries>{''.join(entries)}</Entries>{end}</EnumerationResults>".encode()


def test_facts() -> None:
    found = listing.page(page(entry("f"), entry("d", "Directory"), token="1!4!Yg=="), "w")
    (name, what), (other, directory) = found.rows
    assert (name, other) == ("f", "d")
    assert what == (Kind.FILE, 5, 100, None, None, 1_000_000_000, 1, 0, "0x8D", None, 0)
    assert directory[:2] == (Kind.DIRECTORY, 0)
    assert directory[IDENT] == "1 0x8D"  # the first is what a directory is known by, wherever it is moved
    without = listing.page(page(entry("d", "Directory").replace("<FileId>1</FileId>", "")), "w")
    assert without.rows[0][1][IDENT] == "0x8D"
    assert found.attributes == ["Archive", "Archive"]
    assert found.permissions == ["1*2", "1*2"]
    assert found.token == "1!4!Yg=="


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (entry("a"), entry("é \u201b3a"), entry("d", "Directory")),
        (entry("a"), entry("b"), entry("c")),
        (entry("a&amp;b"), entry("&amp;lt;&apos;&amp;"), entry("&lt;&gt;&quot;&amp;amp;"), entry("z", "Directory")),
    ],
)
def test_both_ways_agree(entries: tuple[str, ...]) -> None:
    body = page(*entries, token="t")
    assert listing.parsed(body, "w") == listing.page(body, "w")
    assert (listing._cut(body) is not None) is bool(entries)


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        (entry("a&amp;b"), "a&b"),
        (entry("%EF%BF%BF", attributes=' Encoded="true"'), "\uffff"),
        (entry("line&#10;end"), "line\nend"),
        (entry("&amp;lt;&amp;amp;&lt;"), "&lt;&amp;<"),
        (entry("&amp;&#10;"), "&\n"),
        (entry("b").replace("<FileId>1</FileId>", ""), "b"),
        (entry("b").replace("</Properties>", "<New>1</New></Properties>"), "b"),
        (f"\n  {entry('b')}\n", "b"),
        (entry("%41"), "%41"),
    ],
)
def test_nothing_is_lost_between_two_finds(odd: str, name: str) -> None:
    found = listing.page(page(entry("a"), odd, entry("z")), "w")
    assert [each for each, _ in found.rows] == ["a", name, "z"]


def test_what_looks_like_an_entry_in_a_comment_is_none() -> None:
    found = listing.page(page(entry("a"), f"<!--{entry('no')}-->", entry("z")), "w")
    assert [name for name, _ in found.rows] == ["a", "z"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"<EnumerationResults></EnumerationResults>",
        page(entry("a"))[:-10],
        page(entry("a"), entry("b").replace("<Content-Length>5</Content-Length>", "")),
        page(entry("a").replace("1970", "197x")),
        page(entry("a")).replace(b"EnumerationResults", b"SomethingElse"),
    ],
)
def test_what_is_no_page_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(DunlinError) as error:
        listing.page(body, "w")
    assert error.value.kind is ErrorKind.NETWORK


def test_ranges() -> None:
    ours = [f"<Range><Start>{first}</Start><End>{first + 9}</End></Range>" for first in (0, 20)]
    body = f"<Ranges>{ours[0]}\n{ours[1]}</Ranges>".encode()
    assert listing.ranges(body, "w") == [(0, 10), (20, 30)]
    assert listing.ranges(b"<Ranges />", "w") == []
    with pytest.raises(DunlinError):
        listing.ranges(b"<html/>", "w")


SHARES = (
    '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://a/"><Shares>'
    "<Share><Name>team</Name><Snapshot>2026-01-01T00:00:00.0000000Z</Snapshot><Properties />"
    "<Metadata><made_by>dunlin</made_by><run>r1</run></Metadata></Share>"
    "<Share><Name>team</Name><Snapshot>2026-01-02T00:00:00.0000000Z</Snapshot><Properties />"
    "<Metadata><run>r1</run></Metadata></Share>"
    "<Share><Name>team</Name><Snapshot>2026-01-03T00:00:00.0000000Z</Snapshot><Properties /></Share>"
    "<Share><Name>team</Name><Properties /><Metadata><made_by>dunlin</made_by><run>r1</run></Metadata></Share>"
    "<Share><Name>teams</Name><Snapshot>2026-01-04T00:00:00.0000000Z</Snapshot>"
    "<Metadata><made_by>dunlin</made_by><run>r1</run></Metadata></Share>"
    "</Shares><NextMarker>more</NextMarker></EnumerationResults>"
)


def test_only_our_snapshots_of_this_very_share_are_found() -> None:
    found = [("2026-01-01T00:00:00.0000000Z", "r1")]
    assert listing.snapshots(SHARES.encode(), "team", "x") == (found, "more")
    last = SHARES.replace("<NextMarker>more</NextMarker>", "<NextMarker />")
    assert listing.snapshots(last.encode(), "team", "x") == (found, "")
    for body in (b"", b"<html/>", b"<EnumerationResults />"):
        with pytest.raises(DunlinError) as error:
            listing.snapshots(body, "team", "x")
        assert error.value.kind is ErrorKind.NETWORK
