"""Answers of S3 as Amazon and others write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.stores.objects import s3_xml
from dunlin.stores.objects.s3_xml import Malformed, Upload
from dunlin.stores.objects.service import Object, Page, Part

DECLARED = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
LISTING = f"""{DECLARED}<ListBucketResult {SPACE}>
  <Name>b</Name><Prefix>d%2F</Prefix><NextContinuationToken>t/+=%</NextContinuationToken><KeyCount>3</KeyCount>
  <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
  <Contents>
    <Key>d%2Fa+b%2Bc%25%0A%C3%A9</Key><LastModified>2009-10-12T17:50:30.500Z</LastModified>
    <ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>
    <Size>434234</Size><StorageClass>STANDARD</StorageClass><Owner><ID>x</ID><DisplayName>y</DisplayName></Owner>
  </Contents>
  <Contents>
    <Key>d/cold</Key><LastModified>2009-10-12T17:50:30Z</LastModified><ETag>"1-2"</ETag><Size>1</Size>
    <StorageClass>DEEP_ARCHIVE</StorageClass>
  </Contents>
  <Contents>
    <Key>d/warm</Key><LastModified>2009-10-12T17:50:30Z</LastModified><ETag>"1-2"</ETag><Size>1</Size>
    <StorageClass>GLACIER</StorageClass>
    <RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>
      <RestoreExpiryDate>2009-11-12T00:00:00Z</RestoreExpiryDate></RestoreStatus>
  </Contents>
  <CommonPrefixes><Prefix>d/x%2F</Prefix></CommonPrefixes><CommonPrefixes><Prefix>d/y/</Prefix></CommonPrefixes>
</ListBucketResult>"""
WHEN = 1_255_369_830 * 10**9


def test_a_page_with_everything() -> None:
    assert s3_xml.page(LISTING.encode()) == Page(
        [
            Object("d/a b+c%\n\u00e9", 434234, WHEN, "fba9dede5f27731c9771645a39863328", sums=None),
            Object("d/cold", 1, WHEN, "1-2", archived=True, sums=None),
            Object("d/warm", 1, WHEN, "1-2", archived=False, sums=None),
        ],
        ["d/x/", "d/y/"],
        "t/+=%",
    )


def test_a_listing_without_white_space_is_read_the_same() -> None:
    compact = DECLARED + re.sub(r">\s+<", "><", LISTING.removeprefix(DECLARED))
    assert s3_xml.page(compact.encode()) == s3_xml.page(LISTING.encode())
    own = "<Prefix>d/x</Prefix><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
    folded = "<CommonPrefixes><Prefix>d/x+/</Prefix></CommonPrefixes>"
    for body in (own + folded, folded + own):
        assert s3_xml.page(f"<ListBucketResult>{body}</ListBucketResult>".encode()) == Page([], ["d/x /"], "")


def test_names_with_a_prefix_and_no_namespace_at_all() -> None:
    prefixed = LISTING.replace("</", "</s3:").replace("<s3:", "<").replace(SPACE, 'xmlns:s3="urn:x"')
    for name in set(re.findall("<([A-Z][A-Za-z]+)", LISTING)):
        prefixed = prefixed.replace(f"<{name}>", f"<s3:{name}>").replace(f"<{name} ", f"<s3:{name} ")
    assert s3_xml.page(prefixed.encode()) == s3_xml.page(LISTING.encode())
    assert s3_xml.page(LISTING.replace(f" {SPACE}", "").encode()) == s3_xml.page(LISTING.encode())


def test_keys_are_taken_by_their_word_when_the_server_did_not_encode_them() -> None:
    page = s3_xml.page(LISTING.replace("<EncodingType>url</EncodingType>", "").encode())
    assert page.objects[0].key == "d%2Fa+b%2Bc%25%0A%C3%A9"


def test_the_last_page_has_no_token() -> None:
    page = s3_xml.page(f"<ListBucketResult {SPACE}><IsTruncated>false</IsTruncated></ListBucketResult>".encode())
    assert page == Page([], [], "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<html><body>Welcome</body></html>",
        b"<ListBucketResult><Contents>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>",
        b'<!DOCTYPE x [<!ENTITY a "aa">]><ListBucketResult></ListBucketResult>',
        b'<?xml version="1.0"?><!DOCTYPE ListBucketResult><ListBucketResult></ListBucketResult>',
    ],
)
def test_what_is_no_listing_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        s3_xml.page(body)


def test_parts_and_their_marker() -> None:
    one = "<Part><PartNumber>2</PartNumber><ETag>&#34;7778&#34;</ETag><Size>5242880</Size></Part>"
    more = f"<NextPartNumberMarker>2</NextPartNumberMarker><IsTruncated>true</IsTruncated>{one}"
    assert s3_xml.parts(f"<ListPartsResult>{more}</ListPartsResult>".encode()) == ([Part(2, 5242880, "7778")], "2")
    last = more.replace("true", "false")
    assert s3_xml.parts(f"<ListPartsResponse>{last}</ListPartsResponse>".encode()) == ([Part(2, 5242880, "7778")], "")


def test_uploads_and_their_markers() -> None:
    body = f"""{DECLARED}<ListMultipartUploadsResult {SPACE}><EncodingType>url</EncodingType>
      <NextKeyMarker>a%2Fb</NextKeyMarker><NextUploadIdMarker>u%2F1</NextUploadIdMarker><IsTruncated>true</IsTruncated>
      <Upload><Key>a+b%2B</Key><UploadId>u%2F1</UploadId><Initiated>2009-10-12T17:50:30.000Z</Initiated></Upload>
      </ListMultipartUploadsResult>"""
    assert s3_xml.uploads(body.encode()) == ([Upload("a b+", "u%2F1", WHEN)], ("a/b", "u%2F1"))


def test_what_could_not_be_deleted() -> None:
    body = f"""<DeleteResult {SPACE}><Deleted><Key>a</Key></Deleted>
      <Error><Key>b</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error></DeleteResult>"""
    assert s3_xml.undeleted(body.encode()) == [{"Key": "b", "Code": "AccessDenied", "Message": "Access Denied"}]


def test_fields_of_an_error_and_of_what_is_none() -> None:
    body = f"{DECLARED}<Error><Code>NoSuchKey</Code><Message>It is\n not there</Message></Error>"
    assert s3_xml.fields(body.encode()) == {"": "Error", "Code": "NoSuchKey", "Message": "It is\n not there"}
    assert s3_xml.fields(b"") == s3_xml.fields(b"Bad Gateway") == {}


@given(st.lists(st.text().filter(s3_xml.speakable), max_size=5))
def test_keys_to_delete_are_read_back_as_they_are(keys: list[str]) -> None:
    read = ElementTree.fromstring(s3_xml.deletion(keys))
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert [element.text or "" for element in read.iter(f"{space}Key")] == keys
    assert read.findtext(f"{space}Quiet") == "true"


@pytest.mark.parametrize("key", ["\x01", "a\0b", "\x1f", "\ufffe", "\uffff"])
def test_keys_that_xml_cannot_hold(key: str) -> None:
    assert not s3_xml.speakable(key)


def test_a_completion_quotes_its_tags() -> None:
    read = ElementTree.fromstring(s3_xml.completion([(1, "aa"), (2, 'b"&')]))
    assert [element.text for element in read.iter() if element.tag.endswith("ETag")] == ['"aa"', '"b"&"']


def test_no_size_is_negative() -> None:
    bad = LISTING.replace("<Size>434234<", "<Size>-5<")
    for body in (bad, DECLARED + re.sub(r">\s+<", "><", bad.removeprefix(DECLARED))):
        with pytest.raises(Malformed, match="its size is -5"):
            s3_xml.page(body.encode())
    part = "<Part><PartNumber>1</PartNumber><Size>-5</Size><ETag>x</ETag></Part>"
    with pytest.raises(Malformed, match="its size is -5"):
        s3_xml.parts(f"<ListPartsResult>{part}</ListPartsResult>".encode())


# ---- the short cut against expat ----

KEYS = st.lists(
    st.sampled_from(["a", "/", "%2F", "+", "%C3%A9", "%", "é", " ", "&amp;", "&#9;", "\t", "\r", ">", "\x01"]),
    max_size=3,
).map("".join)  # fmt: skip
OPTIONAL = [
    "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>",
    "<ChecksumType>FULL_OBJECT</ChecksumType>",
    "<Owner><ID>x</ID><DisplayName>y</DisplayName></Owner>",
    "<Owner><ID>x</ID></Owner>",
    "<StorageClass>STANDARD</StorageClass>",
    "<StorageClass>DEEP_ARCHIVE</StorageClass>",
    "<RestoreStatus><RestoreExpiryDate>2009-11-12T00:00:00Z</RestoreExpiryDate></RestoreStatus>",
    "<Other />",
]


@st.composite
def listed(draw: st.DrawFn) -> str:
    """An object, mostly as Amazon writes it, or a common prefix."""

    def rare() -> bool:
        # Hypothesis is fond of the ends of a range.
        return draw(st.integers(0, 15)) == 7

    if rare():
        return f"<CommonPrefixes><Prefix>{draw(KEYS)}/</Prefix></CommonPrefixes>"
    tag = draw(st.sampled_from(["&quot;ab-2&quot;", '"ab"', "&#34;ab&#34;", "ab", ""])) if not rare() else '"a&amp;'
    when = draw(st.sampled_from(["2009-10-12T17:50:30.500Z", "2026-01-03T10:11:12Z", ""])) if not rare() else "never"
    size = draw(st.sampled_from(["0", "434234"])) if not rare() else draw(st.sampled_from(["-5", " 7 ", "x"]))
    optional = [text for text in OPTIONAL if rare()]
    fields = [f"<LastModified>{when}</LastModified>", f"<ETag>{tag}</ETag>", *optional[:2], f"<Size>{size}</Size>"]
    fields += optional[2:]
    if rare():
        fields = draw(st.permutations(fields))
    if rare():
        fields.pop()
    return f"<Contents><Key>{draw(KEYS)}</Key>{''.join(fields)}</Contents>"


def outcome(read: Callable[[bytes], object], body: bytes) -> object:
    try:
        return read(body)
    except Malformed:
        return Malformed


AROUND = ["{}", "{}", "{}", "<!-- {} -->", "<?x {}?>", "\n{}\n"]
ENCODING = st.sampled_from(["<EncodingType>url</EncodingType>", ""])


@settings(max_examples=200)
@given(st.lists(listed(), max_size=5), ENCODING, st.booleans(), st.sampled_from(AROUND))
def test_the_short_cut_tells_what_expat_tells(objects: list[str], encoding: str, first: bool, around: str) -> None:
    listing = [*objects[:1], around.format("".join(objects[1:3])), *objects[3:]]
    body = "".join([encoding, *listing] if first else [*listing, encoding])
    page = f"{DECLARED}<ListBucketResult {SPACE}>{body}</ListBucketResult>".encode()
    short = outcome(s3_xml.page, page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_xml, "_cut", lambda body: None)
        assert short == outcome(s3_xml.page, page)


PLAIN = "<Contents><Key>{}</Key><LastModified>2026-01-03T10:11Z</LastModified><ETag>a</ETag><Size>1</Size></Contents>"
OBJECT = PLAIN.format("k")
COLD = OBJECT.replace("</Size>", "</Size><StorageClass>GLACIER</StorageClass>")
ODD = [
    f"{OBJECT}<!-- {OBJECT} -->",
    f"{OBJECT}<?x {OBJECT}?>",
    f"<!-- {OBJECT}{OBJECT} -->",
    f"<?x {OBJECT}?>",
    OBJECT + PLAIN.format("a&amp;%26") + OBJECT,
    PLAIN.format("a&amp;%26") + OBJECT,
    OBJECT + PLAIN.format("\u00e9"),
    OBJECT + PLAIN.format("\ufffe"),
    OBJECT + PLAIN.format("a\rb"),
    OBJECT + COLD + COLD.replace("</Contents>", f"{OPTIONAL[6]}</Contents>"),
    OBJECT + OBJECT.replace("<Size>1", "<Size>-1"),
]


@pytest.mark.parametrize("objects", ODD)
@pytest.mark.parametrize("encoding", ["<EncodingType>url</EncodingType>", ""])
def test_what_the_short_cut_does_not_take(objects: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f"<ListBucketResult>{encoding}{objects}</ListBucketResult>".encode()
    short = outcome(s3_xml.page, page)
    monkeypatch.setattr(s3_xml, "_cut", lambda body: None)
    assert short == outcome(s3_xml.page, page)


def test_usual_objects_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    compact = s3_xml._compact

    def parse(body: bytes) -> object:
        seen.append(body)
        return compact(body)

    monkeypatch.setattr(s3_xml, "_compact", parse)
    usual = (
        "<Contents><Key>d%2Fa+b</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;ab&quot;</ETag>"
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>7</Size>"
        "<StorageClass>GLACIER</StorageClass></Contents>"
    )
    frame = "<ListBucketResult><EncodingType>url</EncodingType>{}<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
    page = s3_xml.page((frame.format(usual * 3) + "</ListBucketResult>").encode())
    assert page == Page([Object("d/a b", 7, WHEN, "ab", archived=True, sums=None)] * 3, ["p/"], "")
    assert [body.count(b"<Contents>") for body in seen] == [0]
