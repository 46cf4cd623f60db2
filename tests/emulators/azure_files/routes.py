"""Which request is which operation, and which SAS permissions are enough for it.

Keyed by method, what the path names (account, share, or something in a share), `restype` and `comp`. The letters and
the resource type (s, c, o) are those of the reference page "Create an account SAS"; names are those of the
operations' pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.emulators.azure_files import directories, files, leases, moving, ranges, shares
from tests.emulators.azure_files.tree import Account
from tests.emulators.azure_files.wire import Answer, Refused, Request

Handler = Callable[[Account, Request], Answer]


class Operation(NamedTuple):
    """One operation: its name, who may do it, and what does it."""

    name: str
    letters: str
    level: str
    handler: Handler


_ACCOUNT = {
    ("GET", "service", "properties"): Operation("GetFileServiceProperties", "r", "s", shares.get_service_properties),
    ("PUT", "service", "properties"): Operation("SetFileServiceProperties", "w", "s", shares.set_service_properties),
    ("GET", "", "list"): Operation("ListShares", "l", "s", shares.list_shares),
}
_SHARE = {
    ("PUT", "share", ""): Operation("CreateShare", "cw", "c", shares.create),
    ("GET", "share", ""): Operation("GetShareProperties", "r", "c", shares.get_properties),
    ("HEAD", "share", ""): Operation("GetShareProperties", "r", "c", shares.get_properties),
    ("DELETE", "share", ""): Operation("DeleteShare", "d", "c", shares.delete),
    ("GET", "share", "metadata"): Operation("GetShareMetadata", "r", "c", shares.get_properties),
    ("PUT", "share", "metadata"): Operation("SetShareMetadata", "w", "c", shares.set_metadata),
    ("PUT", "share", "properties"): Operation("SetShareProperties", "w", "c", shares.set_properties),
    ("PUT", "share", "snapshot"): Operation("SnapshotShare", "cw", "c", shares.snapshot),
    ("GET", "share", "stats"): Operation("GetShareStats", "r", "c", shares.stats),
    ("GET", "share", "acl"): Operation("GetShareACL", "", "c", shares.get_policies),
    ("PUT", "share", "acl"): Operation("SetShareACL", "", "c", shares.set_policies),
    ("PUT", "share", "lease"): Operation("LeaseShare", "wd", "c", leases.lease_share),
    ("GET", "share", "filepermission"): Operation("GetPermission", "r", "c", shares.get_permission),
    ("PUT", "share", "filepermission"): Operation("CreatePermission", "cw", "c", shares.create_permission),
}
_DIRECTORY = {
    ("PUT", "directory", ""): Operation("CreateDirectory", "cw", "o", directories.create),
    ("GET", "directory", ""): Operation("GetDirectoryProperties", "r", "o", directories.get_properties),
    ("HEAD", "directory", ""): Operation("GetDirectoryProperties", "r", "o", directories.get_properties),
    ("DELETE", "directory", ""): Operation("DeleteDirectory", "d", "o", directories.delete),
    ("GET", "directory", "metadata"): Operation("GetDirectoryMetadata", "r", "o", directories.get_properties),
    ("PUT", "directory", "metadata"): Operation("SetDirectoryMetadata", "w", "o", directories.set_metadata),
    ("PUT", "directory", "properties"): Operation("SetDirectoryProperties", "w", "o", directories.set_properties),
    ("GET", "directory", "list"): Operation("ListDirectoriesAndFiles", "l", "c", directories.listing),
    ("GET", "", "listhandles"): Operation("ListHandles", "l", "o", files.list_handles),
    ("PUT", "", "forceclosehandles"): Operation("ForceCloseHandles", "w", "o", files.close_handles),
}
_FILE = {
    ("PUT", "directory", "rename"): Operation("RenameDirectory", "w", "o", moving.rename),
    ("PUT", "", "rename"): Operation("RenameFile", "w", "o", moving.rename),
    ("PUT", "", ""): Operation("CreateFile", "cw", "o", files.create),
    ("GET", "", ""): Operation("GetFile", "r", "o", ranges.get),
    ("HEAD", "", ""): Operation("GetFileProperties", "r", "o", files.get_properties),
    ("DELETE", "", ""): Operation("DeleteFile", "d", "o", files.delete),
    ("PUT", "", "properties"): Operation("SetFileProperties", "w", "o", files.set_properties),
    ("GET", "", "metadata"): Operation("GetFileMetadata", "r", "o", files.get_metadata),
    ("HEAD", "", "metadata"): Operation("GetFileMetadata", "r", "o", files.get_metadata),
    ("PUT", "", "metadata"): Operation("SetFileMetadata", "w", "o", files.set_metadata),
    ("PUT", "", "range"): Operation("PutRange", "w", "o", ranges.put),
    ("GET", "", "rangelist"): Operation("ListRanges", "r", "o", ranges.list_ranges),
    ("PUT", "", "lease"): Operation("LeaseFile", "w", "o", leases.lease_file),
    ("PUT", "", "copy"): Operation("AbortCopyFile", "w", "o", moving.abort_copy),
}
_COPY = Operation("CopyFile", "cw", "o", moving.copy)
_FROM_URL = Operation("PutRangeFromURL", "w", "o", ranges.put)
_BY_DEPTH = (_ACCOUNT, _SHARE | _DIRECTORY, _DIRECTORY | _FILE)

NAMES = frozenset([o.name for table in (*_BY_DEPTH,) for o in table.values()] + [_COPY.name, _FROM_URL.name])
"""Every operation's name."""


def route(request: Request) -> Operation:
    """The operation that a request asks for. Raises Refused when there is none."""
    words = (request.query.get("restype", "").lower(), request.query.get("comp", "").lower())
    table = _BY_DEPTH[min(len(request.path), 2)]
    operation = table.get((request.method, *words))
    if operation is None:
        known = any(key[1:] == words for key in table)
        raise Refused("UnsupportedHttpVerb" if known else "InvalidQueryParameterValue")
    if "x-ms-copy-source" in request.headers and operation.name in ("CreateFile", "PutRange"):
        return _COPY if operation.name == "CreateFile" else _FROM_URL
    return operation
