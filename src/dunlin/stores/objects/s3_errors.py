"""What S3's error codes mean here: one table, applied where an answer enters.

The code decides where it is known, the status where it is not (`answers.refusal`): servers agree on the codes more
than on the statuses. Codes are those of the Amazon S3 API reference, "Error responses", and of MinIO for full disks.
"""

from __future__ import annotations

from collections.abc import Mapping

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import answers

_KEY = "check the access key and the secret"
_FULL = "free space there"

ARCHIVE_HINT = "restore it from its archive class first"

_CODES: dict[str, tuple[ErrorKind, str]] = {
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"), (ErrorKind.AUTH, _KEY)),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId"),
        (ErrorKind.AUTH, "the session token is no longer good: get a new one"),
    ),
    # What gofakes3 (rclone) answers to a request that is not signed.
    "UnsupportedAlgorithm": (ErrorKind.AUTH, _KEY),
    "RequestTimeTooSkewed": (ErrorKind.AUTH, "set this machine's clock"),
    "AuthorizationHeaderMalformed": (ErrorKind.AUTH, "check the access key and the region"),
    **dict.fromkeys(("NotSignedUp", "AccountProblem", "MissingSecurityHeader"), (ErrorKind.AUTH, "")),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountAccessDenied"), (ErrorKind.DENIED, "")),
    "InvalidObjectState": (ErrorKind.DENIED, ARCHIVE_HINT),
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"), (ErrorKind.NOT_FOUND, "")),
    "PreconditionFailed": (ErrorKind.CHANGED, ""),
    "InvalidRange": (ErrorKind.CHANGED, ""),
    # A part that is not what whoever completes the upload was told, or not there any more.
    "InvalidPart": (ErrorKind.CHANGED, ""),
    **dict.fromkeys(
        (
            "SlowDown", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded", "Throttling", "Busy",
            "ThrottlingException", "OperationAborted", "ConditionalRequestConflict", "TemporaryRedirect",
            "SlowDownRead", "SlowDownWrite", "ServerNotInitialized",
        ),
        (ErrorKind.BUSY, ""),
    ),
    **dict.fromkeys(("InternalError", "IncompleteBody"), (ErrorKind.NETWORK, "")),
    "RequestTimeout": (ErrorKind.TIMEOUT, ""),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
        (ErrorKind.CHECKSUM, ""),
    ),
    **dict.fromkeys(("KeyTooLongError", "InvalidURI", "XMinioInvalidObjectName"), (ErrorKind.NAME, "")),
    **dict.fromkeys(("EntityTooLarge", "MetadataTooLarge", "NotImplemented"), (ErrorKind.UNSUPPORTED, "")),
    "InvalidBucketName": (ErrorKind.USAGE, ""),
    "PermanentRedirect": (ErrorKind.USAGE, "give the region and endpoint of the bucket"),
    **dict.fromkeys(
        ("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"), (ErrorKind.NO_SPACE, _FULL)
    ),
}  # fmt: skip


def error(
    status: int, headers: Mapping[str, str], fields: Mapping[str, str], operation: str, url: str, where: str
) -> DunlinError:
    """The error for an answer of S3.

    Args:
        fields: of its body, as `s3_xml.fields` gives them; its other elements may quote what was signed.
        url: the bucket's, which a missing bucket is reported with. where: the object's or the bucket's.
    """
    code = fields.get("Code", "")
    message = " ".join(fields.get("Message", "").split())
    known = _CODES.get(code)
    if code in ("NoSuchBucket", "InvalidBucketName"):
        where = url
    reason = f"{message} ({code})" if message and code else message or code
    if known is None:
        refused = answers.refusal(status, headers, operation, where, reason)
        if status in (405, 501):
            return DunlinError(operation, where, ErrorKind.UNSUPPORTED, refused.reason)
        if status == 400 and where != url:
            # One object is at fault, perhaps its name, and no word on the command line.
            kind = ErrorKind.NAME if code == "InvalidArgument" and "name" in message.lower() else ErrorKind.IO
            return DunlinError(operation, where, kind, refused.reason)
        return refused
    kind, hint = known
    refused = DunlinError(operation, where, kind, reason, hint)
    refused.retry_after = answers.retry_after(headers)
    return refused
