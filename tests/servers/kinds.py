"""What a request asks for, in the same few words for S3, Azure Blob and Google Cloud Storage.

list, stat, read; write (whole object), begin, part, commit (an upload in parts), copy, delete; other (all about buckets
and containers, and what no test counts).
"""

from __future__ import annotations

from collections.abc import Mapping

_JSON_UPLOADS = {"media": "write", "multipart": "write", "resumable": "begin"}


def kind_of(method: str, target: str, headers: Mapping[str, str]) -> str:
    """The kind of one request; `headers` by lower-case name."""
    path, _, query = target.partition("?")
    words = {pair.partition("=")[0]: pair.partition("=")[2] for pair in query.split("&") if pair}
    if "/storage/v1/" in path:
        return _google(method, path.partition("/storage/v1/")[2], words)
    if "x-ms-version" in headers:
        return _azure(method, words, headers)
    return _s3(method, path, words, headers)


def _s3(method: str, path: str, words: Mapping[str, str], headers: Mapping[str, str]) -> str:
    upload = "uploadId" in words
    # A key may be "/" or begin with it, so only what stands behind the first slash after the bucket tells.
    if not path[1:].partition("/")[2]:
        known = {"GET": "other" if words.keys() & {"location", "versioning"} else "list", "POST": "delete"}
        return known.get(method, "other")
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "copy"
    table = {
        "GET": "list" if upload else "read",
        "HEAD": "stat",
        "PUT": "part" if upload else "write",
        "POST": "begin" if "uploads" in words else "commit" if upload else "other",
        "DELETE": "other" if upload else "delete",
    }
    return table.get(method, "other")


def _azure(method: str, words: Mapping[str, str], headers: Mapping[str, str]) -> str:
    what = words.get("comp", "")
    if words.get("restype"):
        return "list" if what == "list" else "other"
    if method == "PUT" and "x-ms-copy-source" in headers:
        return "copy"
    table = {
        ("GET", ""): "read", ("GET", "list"): "list", ("GET", "metadata"): "stat", ("HEAD", ""): "stat",
        ("PUT", ""): "write", ("PUT", "block"): "part", ("PUT", "blocklist"): "commit", ("DELETE", ""): "delete",
    }  # fmt: skip
    return table.get((method, what), "other")


def _google(method: str, path: str, words: Mapping[str, str]) -> str:
    about, _, name = path.partition("/o/")
    if words.get("uploadType") in _JSON_UPLOADS:
        return "part" if "upload_id" in words else _JSON_UPLOADS[words["uploadType"]]
    if not name:
        return "list" if method == "GET" and about.endswith("/o") else "other"
    if "/rewriteTo/" in name or "/copyTo/" in name:
        return "copy"
    return {"GET": "read" if words.get("alt") == "media" else "stat", "DELETE": "delete"}.get(method, "other")
