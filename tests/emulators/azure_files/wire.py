"""What goes over the wire: a request, an answer, and a refusal with its error code.

From the reference pages "Azure Files error codes", "Common REST API error codes" and "Status and error codes": a
refusal has the code in `x-ms-error-code` and, but for HEAD, in an XML body. The first line of the message is the
documented one; the service adds the request's id and time to it, and so do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote
from xml.sax.saxutils import escape

CODES: dict[str, tuple[int, str]] = {
    "AuthenticationFailed": (403, "Server failed to authenticate the request. Make sure the value of Authorization "
                                  "header is formed correctly including the signature."),
    "AuthorizationPermissionMismatch": (403, "This request is not authorized to perform this operation using this "
                                             "permission."),
    "AuthorizationProtocolMismatch": (403, "This request is not authorized to perform this operation using this "
                                           "protocol."),
    "AuthorizationResourceTypeMismatch": (403, "This request is not authorized to perform this operation using this "
                                               "resource type."),
    "AuthorizationServiceMismatch": (403, "This request is not authorized to perform this operation using this "
                                          "service."),
    "AuthorizationSourceIPMismatch": (403, "This request is not authorized to perform this operation using this "
                                           "source IP."),
    "CannotConvertToSddlDueToCustomAce": (400, "Permissions can't be converted to SDDL due to the presence of custom "
                                               "ACE in the ACLs."),
    "CannotDeleteFileOrDirectory": (409, "The file or directory could not be deleted because it is in use by an SMB "
                                         "client."),
    "CannotVerifyCopySource": (500, "Could not verify the copy source within the specified time."),
    "ClientCacheFlushDelay": (500, "The specified resource state could not be flushed from an SMB client in the "
                                   "specified time."),
    "ConditionNotMet": (412, "The condition specified using HTTP conditional header(s) is not met."),
    "CopyIdMismatch": (409, "The specified copy ID did not match the copy ID for the pending copy operation."),
    "DeletePending": (409, "The specified resource is marked for deletion by an SMB client."),
    "DirectoryNotEmpty": (409, "The specified directory is not empty."),
    "FeatureVersionMismatch": (400, "Operation to access the resource requires a higher version."),
    "FileInvalidPermission": (400, "The specified file permission is not valid."),
    "FileInvalidPermissionKey": (400, "The specified file permission key does not exist in the share."),
    "FileLockConflict": (409, "A portion of the specified file is locked by an SMB client."),
    "FilePermissionTooLarge": (400, "The specified file permission is too large: 8 KiB are the most."),
    "InternalError": (500, "The server encountered an internal error. Please retry the request."),
    "InvalidFileOrDirectoryPathName": (400, "The specified file or directory path is too long or too deep."),
    "InvalidHeaderValue": (400, "The value for one of the HTTP headers is not in the correct format."),
    "InvalidInput": (400, "One of the request inputs is not valid."),
    "InvalidMetadata": (400, "The specified metadata is invalid. It includes characters that are not permitted."),
    "InvalidQueryParameterValue": (400, "An invalid value was specified for one of the query parameters in the request "
                                        "URI."),
    "InvalidRange": (416, "The range specified is invalid for the current size of the resource."),
    "InvalidResourceName": (400, "The specified resource name contains invalid characters."),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    "InvalidXmlDocument": (400, "The specified XML is not syntactically valid."),
    "LeaseAlreadyPresent": (409, "There is already a lease present."),
    "LeaseIdMismatchWithFileOperation": (412, "The lease ID specified did not match the lease ID for the file."),
    "LeaseIdMismatchWithLeaseOperation": (409, "The lease ID specified did not match the lease ID."),
    "LeaseIdMissing": (412, "There is currently a lease on the resource and no lease ID was specified in the request."),
    "LeaseNotPresentWithFileOperation": (412, "There is currently no lease on the file."),
    "LeaseNotPresentWithLeaseOperation": (409, "There is currently no lease on the resource."),
    "Md5Mismatch": (400, "The MD5 value specified in the request did not match the MD5 value calculated by the "
                         "server."),
    "MissingContentLengthHeader": (411, "The Content-Length header was not specified."),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "NoPendingCopyOperation": (409, "There is currently no pending copy operation."),
    "OperationTimedOut": (500, "The operation could not be completed within the permitted time."),
    "OutOfRangeInput": (400, "One of the request inputs is out of range."),
    "OutOfRangeQueryParameterValue": (400, "One of the query parameters specified in the request URI is outside the "
                                           "permissible range."),
    "ParentNotFound": (404, "The specified parent path does not exist."),
    "ReadOnlyAttribute": (409, "The specified resource is read-only and cannot be modified at this time."),
    "RequestBodyTooLarge": (413, "The request body is too large and exceeds the maximum permissible limit."),
    "ResourceAlreadyExists": (409, "The specified resource already exists."),
    "ResourceNotFound": (404, "The specified resource does not exist."),
    "ResourceTypeMismatch": (409, "The specified resource type does not match the type of the existing resource."),
    "ServerBusy": (503, "The server is currently unable to receive requests. Please retry your request."),
    "ShareAlreadyExists": (409, "The specified share already exists."),
    "ShareBeingDeleted": (409, "The specified share is being deleted. Try operation later."),
    "ShareHasSnapshots": (409, "The share has snapshots and the operation requires no snapshots."),
    "ShareNotFound": (404, "The specified share does not exist."),
    "ShareSnapshotCountExceeded": (409, "The total number of snapshots for the share is over the limit."),
    "ShareSnapshotInProgress": (409, "Another Share Snapshot operation is in progress."),
    "ShareSnapshotNotFound": (404, "The specified share snapshot does not exist."),
    "ShareSnapshotOperationNotSupported": (400, "The operation is not supported on a share snapshot."),
    "SharingViolation": (409, "The specified resource may be in use by an SMB client."),
    "UnsupportedHeader": (400, "One of the HTTP headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (405, "The resource doesn't support the specified HTTP verb."),
}  # fmt: skip
"""Every code that the emulator answers, with status and message; a test may order others with a status of its own."""


class Refused(Exception):
    """An answer that is an error. `headers` are added to it."""

    def __init__(self, code: str, *, status: int = 0, headers: Mapping[str, str] | None = None) -> None:
        known = CODES.get(code, (500, code))
        self.code, self.status, self.message = code, status or known[0], known[1]
        self.headers = dict(headers or {})
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: names below the account, unescaped: share, directories, file. raw_path: as it was sent, account included.
        query: unescaped, by lower-case name. headers: by lower-case name. body: all of it.
        peer: the address it came from. spelling: header names as they were sent, by lower-case name.
    """

    method: str
    headers: Mapping[str, str]
    body: bytes = b""
    raw_path: str = ""
    path: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    peer: str = "127.0.0.1"
    spelling: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """x-ms-version; versions are dates and compare as text."""
        return self.headers.get("x-ms-version", "")

    def flag(self, name: str) -> bool:
        """A header that is true or false. Raises Refused for another value."""
        value = self.headers.get(name, "false").lower()
        if value not in ("true", "false"):
            raise Refused("InvalidHeaderValue")
        return value == "true"

    def needed(self, name: str) -> str:
        """A header that must be there."""
        try:
            return self.headers[name]
        except KeyError:
            raise Refused("MissingRequiredHeader") from None

    def number(self, name: str, least: int = 0) -> int | None:
        """A header that is a whole number, None when absent."""
        value = self.headers.get(name)
        if value is None:
            return None
        if not re.fullmatch(r"\d{1,19}", value) or int(value) < least:
            raise Refused("InvalidHeaderValue")
        return int(value)

    def metadata(self) -> dict[str, str]:
        """The x-ms-meta- headers; names keep their case. Raises Refused for one that is no C# identifier."""
        named = ((self.spelling.get(name, name), value) for name, value in self.headers.items())
        found = {name[10:]: value for name, value in named if name[:10].lower() == "x-ms-meta-"}
        if any(not re.fullmatch(r"[^\W\d]\w*", name) for name in found):
            raise Refused("InvalidMetadata")
        return found


@dataclass(slots=True)
class Answer:
    """One answer; `length` is that of `pieces`, or for HEAD that of a body that is not sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: Iterable[bytes] | None = None
    length: int | None = None
    chunked: bool = False
    """Sent in chunks, as the service sends XML."""


def parsed(request: Request, target: str, account: str) -> Request:
    """A request with path and query from its target. Raises Refused when the path does not begin with the account."""
    raw_path, _, raw_query = target.partition("?")
    query = {}
    for pair in filter(None, raw_query.split("&")):
        name, _, value = pair.partition("=")
        query[unquote(name).lower()] = _text(value)
    return replace(request, raw_path=raw_path, path=names_of(raw_path, account), query=query)


def _text(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:  # "%82", which the reference wants between the words of `include`
        return unquote(value, "latin-1")


def names_of(raw_path: str, account: str) -> tuple[str, ...]:
    """The names below the account in an escaped path. A slash at its end means nothing, an escaped slash is a slash:
    the SDK sends those of directories so. Raises Refused."""
    try:
        first, *rest = unquote(raw_path.removeprefix("/"), errors="strict").split("/")
    except UnicodeDecodeError:
        raise Refused("InvalidUri") from None
    if first != account:
        raise Refused("InvalidUri")
    if rest and not rest[-1]:
        rest.pop()
    return tuple(rest)


def refusal(refused: Refused, request_id: str, when: str, method: str) -> Answer:
    """The answer to a refused request."""
    text = escape(f"{refused.message}\nRequestId:{request_id}\nTime:{when}")
    error = f"<Error><Code>{refused.code}</Code><Message>{text}</Message></Error>"
    body = f'\ufeff<?xml version="1.0" encoding="utf-8"?>{error}'
    headers = {"x-ms-error-code": refused.code, **refused.headers}
    if method != "HEAD":
        headers["Content-Type"] = "application/xml"
    return Answer(refused.status, headers, b"" if method == "HEAD" else body.encode())


def xml(text: str) -> Answer:
    """A successful answer that is an XML document, with the byte order mark that the service sends."""
    body = ('\ufeff<?xml version="1.0" encoding="utf-8"?>' + text).encode()
    return Answer(200, {"Content-Type": "application/xml"}, body, chunked=True)
