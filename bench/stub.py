"""A server that lists and gives objects which nobody had to store: ``python bench/stub.py PORT``.

Real servers need hours for a million objects. This one makes up what it tells: the bucket or container ``n100000``
has 100,000 objects of 16 bytes, a hundred to a directory. It speaks ListObjectsV2 and GetObject, List Blobs and Get
Blob, as Amazon and Azure write their answers: pages of 1,000 and 5,000 keys, prefix, delimiter, tokens that are not
keys, percent-encoding where it is wanted. No signature is looked at. ``/-/requests`` tells how many requests there
were since it was asked before.

Pages are kept once they were made (up to 256 of them), so that what is measured is the client.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit

CONTENT = b"sixteen bytes..\n"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)
HEX, BASE64 = MD5.hexdigest(), base64.b64encode(MD5.digest()).decode()
WHEN, ISO = "Sat, 03 Jan 2026 10:11:12 GMT", "2026-01-03T10:11:12.000Z"
MTIME = "1700000000.123456789"
AFTER = "\U0010ffff"
FOLDER = 100


def key(number: int) -> str:
    """The key of an object; the order of the numbers is that of the keys."""
    return f"d{number // FOLDER:06d}/file-{number % FOLDER:03d}.dat"


def names(count: int, prefix: str, delimiter: str, begin: int) -> Iterator[tuple[int, str]]:
    """(number, key or common prefix) of what is listed from number `begin` on."""
    number, end = begin, bisect_left(range(count), prefix + AFTER, key=key)
    while number < end:
        name = key(number)
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            yield number, name
            number += 1
        else:
            yield number, name[: at + 1]
            number = bisect_left(range(count), name[: at + 1] + AFTER, key=key)


@lru_cache(256)
def page(service: str, bucket: str, prefix: str, delimiter: str, begin: int, most: int) -> bytes:
    """One page of a listing as XML."""
    count = int(re.sub(r"\D", "", bucket))
    begin = max(begin, bisect_left(range(count), prefix, key=key))
    listed: list[str] = []
    token = ""
    for number, name in names(count, prefix, delimiter, begin):
        if len(listed) == most:
            token = f"{number:x}-t"
            break
        listed.append(name)
    if service == "s3":
        return _s3(bucket, prefix, most, listed, token)
    return _azure(bucket, prefix, listed, token)


def _s3(bucket: str, prefix: str, most: int, listed: list[str], token: str) -> bytes:
    items = [
        f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>" if name.endswith("/") else
        f"<Contents><Key>{quote(name)}</Key><LastModified>{ISO}</LastModified><ETag>&quot;{HEX}&quot;</ETag>"
        "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
        f"<Size>{len(CONTENT)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for name in listed
    ]  # fmt: skip
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><Prefix>{quote(prefix)}</Prefix>{more}<KeyCount>{len(listed)}</KeyCount>"
        f"<MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{str(bool(token)).lower()}"
        f"</IsTruncated>{''.join(items)}</ListBucketResult>"
    ).encode()


def _azure(bucket: str, prefix: str, listed: list[str], token: str) -> bytes:
    items = [
        f"<BlobPrefix><Name>{name}</Name></BlobPrefix>" if name.endswith("/") else
        f"<Blob><Name>{name}</Name><Properties><Creation-Time>{WHEN}</Creation-Time><Last-Modified>{WHEN}"
        f"</Last-Modified><Etag>0x8DE4AC1B2C3D4E5</Etag><Content-Length>{len(CONTENT)}</Content-Length><Content-Type>"
        "application/octet-stream</Content-Type><Content-Encoding /><Content-Language /><Content-CRC64 />"
        f"<Content-MD5>{BASE64}</Content-MD5><Cache-Control /><Content-Disposition /><BlobType>BlockBlob</BlobType>"
        "<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>"
        "<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><Metadata><mtime>"
        f"{MTIME}</mtime></Metadata><OrMetadata /></Blob>"
        for name in listed
    ]  # fmt: skip
    more = f"<NextMarker>{token}</NextMarker>" if token else "<NextMarker />"
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://stub/" '
        f'ContainerName="{bucket}"><Prefix>{prefix}</Prefix><Blobs>{"".join(items)}</Blobs>{more}</EnumerationResults>'
    ).encode()


class Stub:
    """The server: a thread for each connection."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()

    def serve(self, port: int) -> None:
        """Never ends."""
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        with client:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = client.recv(65_536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                client.sendall(self.answer(method, target))

    def answer(self, method: str, target: str) -> bytes:
        """The whole answer to a request."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path == "/-/requests":
            with self._lock:
                told, self.requests = self.requests, 0
            return _answered(200, str(told).encode())
        with self._lock:
            self.requests += 1
        service = "azure" if parts.path.startswith("/account/") else "s3"
        bucket, _, name = unquote(parts.path).removeprefix("/account").lstrip("/").partition("/")
        if not re.fullmatch(r"n\d+[a-z]*", bucket):
            return _answered(404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>")
        if name:
            return self._object(method, service, name, bucket)
        most = int(query.get("max-keys" if service == "s3" else "maxresults") or (1000 if service == "s3" else 5000))
        token = query.get("continuation-token" if service == "s3" else "marker", "")
        begin = int(token.removesuffix("-t"), 16) if token else 0
        count = int(re.sub(r"\D", "", bucket))
        if after := query.get("start-after", ""):
            begin = bisect_right(range(count), after, key=key)
        if first := query.get("startFrom", ""):
            begin = bisect_left(range(count), first, key=key)
        body = page(service, bucket, query.get("prefix", ""), query.get("delimiter", ""), begin, most)
        return _answered(200, body, "Content-Type: application/xml")

    def _object(self, method: str, service: str, name: str, bucket: str) -> bytes:
        count = int(re.sub(r"\D", "", bucket))
        at = bisect_left(range(count), name, key=key)
        if at == count or key(at) != name:
            return _answered(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
        about = [f"Last-Modified: {WHEN}"]
        if service == "s3":
            about += [f'ETag: "{HEX}"']
        else:
            about += ['ETag: "0x8DE4AC1B2C3D4E5"', f"Content-MD5: {BASE64}", f"x-ms-meta-mtime: {MTIME}"]
            about += ["x-ms-blob-type: BlockBlob"]
        return _answered(200, CONTENT, *about, bare=method == "HEAD")


def _answered(status: int, body: bytes, *headers: str, bare: bool = False) -> bytes:
    # Azure names every request, and an answer without that is taken for a stranger's.
    lines = [f"HTTP/1.1 {status} {'OK' if status < 300 else 'No'}", f"Content-Length: {len(body)}", *headers]
    lines.append("x-ms-request-id: 00000000-0000-0000-0000-000000000000")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if bare else body)


if __name__ == "__main__":
    Stub().serve(int(sys.argv[1]))
