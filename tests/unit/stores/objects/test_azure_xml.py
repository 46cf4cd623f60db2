"""Answers of List Blobs and the rest, as the service documents them, and metadata that it cannot hold as it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import azure_xml as xml
from dunlin.stores.objects.service import Object

MD5 = bytes(range(16))


def blob(name: str, metadata: str = "<Metadata />", properties: str = "", attribute: str = "") -> str:
    return (
        f"<Blob><Name{attribute}>{name}</Name><Properties><Creation-Time>Wed, 09 Sep 2009 09:20:02 GMT</Creation-Time>"
        "<Last-Modified>Wed, 09 Sep 2009 09:20:02 GMT</Last-Modified><Etag>0x8CBFF45D8A29A19</Etag>"
        f"<Content-Length>100</Content-Length><Content-MD5 />{properties}<BlobType>BlockBlob</BlobType></Properties>"
        f"{metadata}<OrMetadata /></Blob>"
    )


def answer(blobs: str, token: str = "") -> bytes:
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://a.blob.core.windows.net/"'
        f' ContainerName="c"><Prefix>p</Prefix><Delimiter>/</Delimiter><Blobs>{blobs}</Blobs>'
        f"<NextMarker>{token}</NextMarker></EnumerationResults>"
    ).encode()


def one(*arguments: str) -> Object:
    (found,) = xml.listing(answer(blob(*arguments)), "where").objects
    return found


def test_a_listing_tells_everything_of_an_object() -> None:
    properties = f"<Content-MD5>{base64.b64encode(MD5).decode()}</Content-MD5><AccessTier>Hot</AccessTier>"
    found = one("p/a&amp;b &lt;c&gt;", "<Metadata><mtime>1.5</mtime><Mode>100644</Mode></Metadata>", properties)
    assert found == Object(
        "p/a&b <c>", 100, 1_252_488_002_000_000_000, "0x8CBFF45D8A29A19", {"mtime": "1.5", "mode": "100644"}, MD5, False
    )


def test_what_is_not_stated_is_none_or_empty() -> None:
    found = one("a")
    assert (found.metadata, found.md5, found.archived) == ({}, None, False)


def test_objects_do_not_inherit_from_those_before_them() -> None:
    full = blob("a", "<Metadata><mtime>1</mtime></Metadata>", "<AccessTier>Archive</AccessTier>")
    page = xml.listing(answer(full + blob("b")), "where")
    assert [(found.key, found.metadata, found.archived) for found in page.objects] == [
        ("a", {"mtime": "1"}, True), ("b", {}, False),
    ]  # fmt: skip


def test_archived_stays_archived_while_it_is_brought_back() -> None:
    properties = "<AccessTier>Archive</AccessTier><ArchiveStatus>rehydrate-pending-to-hot</ArchiveStatus>"
    assert one("a", "", properties).archived


def test_prefixes_and_the_next_page() -> None:
    prefix = "<BlobPrefix><Name>p/d/</Name></BlobPrefix>"
    hierarchical = "<BlobPrefix><Name>p/e/</Name><Properties><Etag>0x1</Etag></Properties></BlobPrefix>"
    page = xml.listing(answer(prefix + blob("p/f") + hierarchical, "2!72!MDAwMDA&amp;"), "where")
    assert page.prefixes == ["p/d/", "p/e/"]
    assert [found.key for found in page.objects] == ["p/f"]
    assert page.token == "2!72!MDAwMDA&"


def test_an_empty_page() -> None:
    assert xml.listing(answer(""), "where") == ([], [], "")


def test_encoded_names_are_undone_and_others_are_not() -> None:
    page = xml.listing(answer(blob("a%EF%BF%BEb%25", attribute=' Encoded="true"') + blob("100%25")), "where")
    assert [found.key for found in page.objects] == ["a\ufffeb%", "100%25"]


def test_white_space_between_elements_changes_nothing() -> None:
    text = answer(blob(" a ", "<Metadata><x>1</x></Metadata>") + blob("b"), "next").decode()
    spaced = re.sub(r">(?=<)", ">\n  ", text).encode()
    page = xml.listing(spaced, "where")
    assert [found.key for found in page.objects] == [" a ", "b"]
    assert page.objects[0].metadata == {"x": "1"}
    assert (page.objects[1].md5, page.token) == (None, "next")


def test_metadata_that_is_named_as_a_property_is_no_property() -> None:
    found = one("a", "<Metadata><Name>n</Name><etag>e</etag></Metadata>")
    assert (found.key, found.etag, found.metadata) == ("a", "0x8CBFF45D8A29A19", {"name": "n", "etag": "e"})


@pytest.mark.parametrize(
    ("metadata", "properties"),
    [("<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>", ""), ("", "<ResourceType>directory</ResourceType>")],
)
def test_a_blob_that_stands_for_a_directory_is_a_marker(metadata: str, properties: str) -> None:
    assert one("a/d", metadata, properties).key == "a/d/"


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>hello<br></body></html>", answer(blob("a"))[:-30], answer("<Blob />")]
)
def test_what_is_no_listing_is_an_error(body: bytes) -> None:
    with pytest.raises(DunlinError, match="not what Azure Blob sends") as caught:
        xml.listing(body, "https://a/c")
    assert (caught.value.kind, caught.value.where) == (ErrorKind.NETWORK, "https://a/c")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1))
def test_every_name_that_xml_can_hold_is_verbatim(name: str) -> None:
    assert one(escape(name)).key == name or name.isspace()


def test_blocks_that_are_committed_do_not_count() -> None:
    body = (
        b"<BlockList><CommittedBlocks><Block><Name>Q0M=</Name><Size>1</Size></Block></CommittedBlocks>"
        b"<UncommittedBlocks><Block><Name>QUE=</Name><Size>4194304</Size></Block></UncommittedBlocks></BlockList>"
    )
    assert xml.blocks(body, "where") == [("QUE=", 4_194_304)]


def test_the_list_of_blocks_that_is_sent() -> None:
    assert xml.block_list(["QUE=", "QkI="]).endswith(
        b"<BlockList><Latest>QUE=</Latest><Latest>QkI=</Latest></BlockList>"
    )


def test_an_error_is_its_code_and_one_line() -> None:
    body = (
        b"\xef\xbb\xbf<Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message>"
        b"<AuthenticationErrorDetail>The MAC signature found</AuthenticationErrorDetail></Error>"
    )
    assert xml.error(body) == ("AuthenticationFailed", "Server failed.")
    assert xml.error(b"<html>") == ("", "")


@pytest.mark.parametrize("text", ["Wed, 09 Xxx 2009 09:20:02 GMT", "", "yesterday"])
def test_what_is_no_date_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        xml.time_of(text)


@pytest.mark.parametrize(
    ("text", "digest"), [("", None), ("AAAA", None), ("%%%", None), (base64.b64encode(MD5).decode(), MD5)]
)
def test_md5_of(text: str, digest: bytes | None) -> None:
    assert xml.md5_of(text) == digest


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("_x0041_")
@example("_x005f_")
@example("__x0041_x0042_")
@example("9lives")
@example("content-language")
@example("😀")
def test_every_name_of_metadata_comes_back(name: str) -> None:
    stored = xml.stored_name(name)
    assert re.fullmatch(r"[a-z_][a-z0-9_]*", stored) or not name
    assert xml.name_of(stored) == name.lower()


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("100%")
@example("%41")
@example("%C3%A9")
@example(" edges ")
@example("two  spaces")
@example("\u00e9%\n")
def test_every_value_of_metadata_comes_back(value: str) -> None:
    stored = xml.stored_value(value)
    assert re.fullmatch(r"([!-~]( ?[!-~])*)?", stored)
    assert xml.value_of(stored) == value


@pytest.mark.parametrize("text", ["1700000000.123456789", "a%b", "100%", "%41", "x y", "C:\\dir"])
def test_plain_values_are_stored_and_read_as_they_are(text: str) -> None:
    assert (xml.stored_value(text), xml.value_of(text)) == (text, text)


@pytest.mark.parametrize("name", ["mtime", "a_b", "_x", "x_x41_"])
def test_plain_names_are_stored_and_read_as_they_are(name: str) -> None:
    assert (xml.stored_name(name), xml.name_of(name)) == (name, name)


def test_metadata_both_ways() -> None:
    metadata = {"mtime": "1.5", "content-owner": "Zoë", "empty": ""}
    stored = xml.stored_metadata(metadata)
    assert stored == {"mtime": "1.5", "content_x002d_owner": "Zo%C3%AB", "empty": ""}
    assert xml.metadata_of({name.title(): value for name, value in stored.items()}) == metadata


@pytest.mark.parametrize("name", ["BlobType", "LeaseStatus", "ServerEncrypted", "AccessTierInferred", "OrMetadata"])
def test_metadata_that_is_named_as_what_is_cut_out_stays(name: str) -> None:
    metadata = f"<Metadata><{name}>x</{name}><OrMetadata /></Metadata>"
    properties = "<Content-Type>a/b</Content-Type><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
    found = one("<![CDATA[<Content-Type>k</Content-Type>]]>", metadata, properties)
    assert found.key == "<Content-Type>k</Content-Type>"
    found = one("k", metadata, properties)
    assert found.metadata == {"ormetadata": "", name.lower(): "x" if name != "OrMetadata" else ""}


# ---- the short cut against expat ----

WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
PIECES = st.lists(
    st.sampled_from(
        ["a", "b/", "%41", "%", "é", "\u201b", "😀", "\ufffd", "\x7f", "\t", " ", "'", "&amp;", "&#233;", "&lt;",
         "&gt;", "&#13;", ">", "]]>", "\n", "\r\n", "\ufffe", "\x01", "&no;", "<![CDATA[<Blob>]]>", "<!---->", "<?x?>"]
    ),
    max_size=4,
)  # fmt: skip
TEXTS = st.one_of(WORDS, PIECES.map("".join))
METADATA = st.lists(
    st.tuples(
        st.one_of(WORDS, st.sampled_from(["mtime", "Name", "Etag", "hdi_isfolder", "Hdi_x005f_isfolder", "a_x002d_b"])),
        st.one_of(TEXTS, st.sampled_from(["true", "1700000000.123456789", "%C3%A9"])),
    ),
    max_size=3,
    unique_by=lambda item: item[0].lower(),
)  # fmt: skip
DIGEST = base64.b64encode(MD5).decode()
PROPERTIES = {
    "Creation-Time": ["Wed, 09 Sep 2009 09:20:02 GMT", "<"],
    "Last-Modified": ["Wed, 09 Sep 2009 09:20:02 GMT", "Sat, 03 Jan 2026 10:11:12 GMT", "never"],
    "Etag": ["0x8CBFF45D8A29A19", '"0x1"', '"', 'a"b', "&quot;0x2&quot;", ""],
    "ResourceType": ["file", "directory", None, None],
    "Content-Length": ["0", "100", " 7 ", "+1", "x", "9" * 18],
    "Content-Type": ["text/plain", "", "a&amp;b"],
    "Content-Encoding": ["", None],
    "Content-MD5": [DIGEST, "", "AAAA", "!", None],
    "Cache-Control": ["", None],
    "BlobType": ["BlockBlob"],
    "AccessTier": ["Hot", "Archive", "", None],
    "ArchiveStatus": ["rehydrate-pending-to-hot", None, None],
    "AccessTierInferred": ["true", None],
    "LeaseStatus": ["unlocked", None],
    "LeaseState": ["available"],
    "ServerEncrypted": ["true", None],
    "Nobody-Knows": ["1", None, None, None],
}


def element(name: str, text: str | None, empty: str = "<{} />") -> str:
    return "" if text is None else f"<{name}>{text}</{name}>" if text else empty.format(name)


@st.composite
def listed(draw: st.DrawFn) -> str:
    """A blob as the service writes it, but for (mostly) one or two oddities; or a prefix."""

    def rare(how: int = 20) -> bool:
        # Hypothesis is fond of the ends of a range.
        return draw(st.integers(0, how)) == how // 2

    if rare(9):
        return f"<BlobPrefix><Name>{draw(TEXTS)}</Name></BlobPrefix>"
    empty = draw(st.sampled_from(["<{} />", "<{}/>", "<{0}></{0}>"]))
    names = list(PROPERTIES)
    if rare():
        names = draw(st.permutations(names))
    if rare():
        names.append(draw(st.sampled_from(names)))
    if rare():
        names.remove(draw(st.sampled_from(names)))
    # The first is the usual one.
    texts = {name: draw(st.sampled_from(PROPERTIES[name])) if rare(40) else PROPERTIES[name][0] for name in PROPERTIES}
    properties = "".join(element(name, texts[name], empty) for name in names)
    metadata = "".join(element(name, value, empty) for name, value in draw(METADATA))
    odd = draw(st.sampled_from([' Encoded="true"', " Encoded='false'", ' x="1>0" Encoded="true"'])) if rare() else ""
    name = f"<Name{odd}>{draw(TEXTS if rare(5) else WORDS)}</Name>"
    tail = draw(st.sampled_from([element("Metadata", metadata, empty), element("Metadata", metadata, empty), ""]))
    body = f"{name}<Properties>{properties}</Properties>{tail}{'' if rare() else '<OrMetadata />'}"
    return f"<Blob>{body}</Blob>"


def outcome(read: Callable[[bytes, str], object], body: bytes) -> object:
    try:
        return read(body, "where")
    except DunlinError as error:
        return error.kind


AROUND = ["{}", "{}", "{}", "<!-- {} -->", "<?x {}?>", "<x>{}</x>"]


@settings(max_examples=200)
@given(st.lists(listed(), max_size=6), TEXTS, st.sampled_from(AROUND))
def test_the_short_cut_tells_what_expat_tells(blobs: list[str], token: str, around: str) -> None:
    body = "".join(blobs[:2]) + around.format("".join(blobs[2:4])) + "".join(blobs[4:])
    for page in (answer(body, token), answer(body, token).replace(b"\xef\xbb\xbf", b"")):
        assert outcome(xml.listing, page) == outcome(lambda read, where: xml.parsed(read, where)[0], page)


ODD = {
    "a comment": f"<!-- {blob('a')} -->{blob('b')}",
    "an instruction": f"<?x {blob('a')}?>{blob('b')}",
    "CDATA": blob("c").replace("BlockBlob", f"<![CDATA[{blob('a')}]]>") + blob("b"),
    "no character": blob("a\ufffe") + blob("b"),
    "no character in metadata": blob("a", "<Metadata><x>\uffff</x></Metadata>"),
    "NUL": blob("a\0b"),
    "a line end": blob("a\r\nb", "<Metadata><x>\r</x><y>\r</y></Metadata>"),
    "the end of CDATA": blob("a]]>b"),
    "an entity": blob("a&#x41;b") + blob("&no;"),
    "escaped metadata": blob("a", "<Metadata><a_x002d_B>%C3%A9</a_x002d_B></Metadata>"),
    "a folder among others": blob("a", "<Metadata><x>1</x><Hdi_IsFolder>true</Hdi_IsFolder></Metadata>") + blob("b"),
    "a tier in another place": blob("a", "", "<LeaseState>x</LeaseState><AccessTier>Archive</AccessTier>"),
    "a tier behind": blob("a").replace("</BlobType>", "</BlobType><LeaseState /><AccessTier>Archive</AccessTier>"),
    "a size twice": blob("a", "", "<Content-Length>5</Content-Length>"),
    "an element for what was cut out": blob("a") + "<cut-out/>" + blob("b"),
}


@pytest.mark.parametrize("blobs", ODD.values(), ids=ODD)
def test_what_the_short_cut_does_not_take(blobs: str) -> None:
    body = answer(blob("first") + blobs + blob("last"))
    assert outcome(xml.listing, body) == outcome(lambda read, where: xml.parsed(read, where)[0], body)


def test_odd_blobs_are_put_back_where_they_stood() -> None:
    names = ["a", "b&amp;", "c", "d", "&lt;e", "f&gt;", "g"]
    prefix = "<BlobPrefix><Name>p/</Name></BlobPrefix>"
    page = xml.listing(answer(prefix + prefix.join(map(blob, names)), "next"), "where")
    assert [found.key for found in page.objects] == ["a", "b&", "c", "d", "<e", "f>", "g"]
    assert (page.prefixes, page.token) == (["p/"] * 7, "next")


def test_only_what_is_odd_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page as the service writes it costs a parser its frame and its odd blobs, whatever it holds besides."""
    seen: list[bytes] = []
    parsed = xml.parsed

    def parse(body: bytes, where: str) -> object:
        seen.append(body)
        return parsed(body, where)

    monkeypatch.setattr(xml, "parsed", parse)
    digest = element("Content-MD5", DIGEST)
    usual = (
        "<Blob><Name>n\u00e9</Name><Properties><Creation-Time>Wed, 09 Sep 2009 09:20:02 GMT</Creation-Time>"
        "<Last-Modified>Wed, 09 Sep 2009 09:20:02 GMT</Last-Modified><Etag>0x8D</Etag>"
        "<Content-Length>1</Content-Length><Content-Type>a/b"
        f"</Content-Type><Content-Encoding /><Content-Language /><Content-CRC64 />{digest}<Cache-Control />"
        "<Content-Disposition /><BlobType>BlockBlob</BlobType><AccessTier>Archive</AccessTier><AccessTierChangeTime>x"
        "</AccessTierChangeTime><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>"
        "true</ServerEncrypted><TagCount>1</TagCount></Properties><Metadata><Mode>600</Mode><mtime>%C3%A9</mtime>"
        "</Metadata><OrMetadata /></Blob>"
    )
    page = xml.listing(answer(usual * 3 + blob("&amp;") + usual), "where")
    when = 1_252_488_002_000_000_000
    found = Object("n\u00e9", 1, when, "0x8D", {"mode": "600", "mtime": "\u00e9"}, MD5, True)
    assert page.objects == [found, found, found, Object("&", 100, when, "0x8CBFF45D8A29A19", {}, None, False), found]
    assert [body.count(b"<Blob>") for body in seen] == [1]


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>Log in</body></html>",
        "<Blobs />",
        "<EnumerationResults />",
        "<EnumerationResults><NextMarker /></EnumerationResults>",
        "<html><EnumerationResults><Blobs /><NextMarker /></EnumerationResults></html>",
        "<?xml version='1.0'?><EnumerationResults><Containers /><NextMarker /></EnumerationResults>",
        "<a/>",
    ],
)
def test_another_document_is_no_empty_container(body: str) -> None:
    with pytest.raises(DunlinError, match="not what Azure Blob sends") as caught:
        xml.listing(body.encode(), "https://a/c")
    assert caught.value.kind is ErrorKind.NETWORK


def test_another_document_is_no_empty_list_of_blocks() -> None:
    with pytest.raises(DunlinError, match="html came") as caught:
        xml.blocks(b"<html><BlockList/></html>", "https://a/c/k")
    assert caught.value.kind is ErrorKind.NETWORK
