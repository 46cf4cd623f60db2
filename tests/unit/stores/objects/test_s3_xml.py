"""Answers of S3 as Amazon and others write them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
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
            Object("d/a b+c%\n\u00e9", 434234, WHEN, "fba9dede5f27731c9771645a39863328"),
            Object("d/cold", 1, WHEN, "1-2", archived=True),
            Object("d/warm", 1, WHEN, "1-2", archived=False),
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
