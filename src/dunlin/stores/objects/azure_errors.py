"""What the error codes of Azure's storage services mean ("Common REST API error codes", "Blob service error codes")."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import azure_xml as xml
from dunlin.stores.objects.answers import Answer, refusal, stranger

_REHYDRATE = "bring it back first: az storage blob set-tier --tier Hot (it takes hours)"
_ROLE = "the login needs a role such as Storage Blob Data Contributor (or Reader, to read)"
_KINDS: dict[str, tuple[ErrorKind, str]] = {
    "AuthenticationFailed": (ErrorKind.AUTH, "check the account's key or SAS, its end, and this machine's clock"),
    "InvalidAuthenticationInfo": (ErrorKind.AUTH, "check the login: the token may have expired"),
    "NoAuthenticationInformation": (ErrorKind.AUTH, "give a login"),
    "KeyBasedAuthenticationNotPermitted": (ErrorKind.AUTH, "the account allows no keys: log in with a token"),
    "PublicAccessNotPermitted": (ErrorKind.AUTH, "give a login"),
    "AccountIsDisabled": (ErrorKind.AUTH, ""),
    "AuthorizationFailure": (ErrorKind.DENIED, "check the key, the rights of the SAS, and the account's firewall"),
    "AuthorizationPermissionMismatch": (ErrorKind.DENIED, _ROLE),
    "AuthorizationProtocolMismatch": (ErrorKind.DENIED, "the SAS wants https"),
    "AuthorizationSourceIPMismatch": (ErrorKind.DENIED, "the SAS is for another address"),
    "AuthorizationResourceTypeMismatch": (ErrorKind.DENIED, "the SAS is for another kind of thing"),
    "AuthorizationServiceMismatch": (ErrorKind.DENIED, "the SAS is for another service"),
    "InsufficientAccountPermissions": (ErrorKind.DENIED, _ROLE),
    "BlobArchived": (ErrorKind.DENIED, _REHYDRATE),
    "BlobBeingRehydrated": (ErrorKind.DENIED, "it is being brought back from the archive: try again in some hours"),
    "BlobImmutableDueToPolicy": (ErrorKind.DENIED, ""),
    "LeaseIdMissing": (ErrorKind.DENIED, "somebody holds a lease on it"),
    "SnapshotsPresent": (ErrorKind.DENIED, "it has snapshots: delete them first"),
    "ContainerNotFound": (ErrorKind.NOT_FOUND, ""),
    "ContainerBeingDeleted": (ErrorKind.NOT_FOUND, "try again in a minute"),
    "BlobNotFound": (ErrorKind.NOT_FOUND, ""),
    "ResourceNotFound": (ErrorKind.NOT_FOUND, ""),
    "ServerBusy": (ErrorKind.BUSY, ""),
    "PendingCopyOperation": (ErrorKind.BUSY, "it is being copied to"),
    "OperationTimedOut": (ErrorKind.TIMEOUT, ""),
    "InternalError": (ErrorKind.NETWORK, ""),
    "Md5Mismatch": (ErrorKind.CHECKSUM, ""),
    "Crc64Mismatch": (ErrorKind.CHECKSUM, ""),
    "ConditionNotMet": (ErrorKind.CHANGED, ""),
    "TargetConditionNotMet": (ErrorKind.CHANGED, ""),
    "SourceConditionNotMet": (ErrorKind.CHANGED, ""),
    # Somebody else has put the blob together, or thrown the blocks away, in between.
    "InvalidBlockList": (ErrorKind.CHANGED, ""),
    # The ids of all blocks of a blob have one length.
    "InvalidBlobOrBlock": (
        ErrorKind.EXISTS,
        "another program is uploading it: delete it, or wait a week",
    ),
    "BlobAlreadyExists": (ErrorKind.EXISTS, ""),
    "InvalidBlobType": (ErrorKind.EXISTS, "it is a page or append blob: delete it first"),
    "InvalidResourceName": (ErrorKind.NAME, ""),
    "InvalidUri": (ErrorKind.NAME, ""),
    "MetadataTooLarge": (ErrorKind.UNSUPPORTED, "metadata holds up to 8 KiB"),
    "RequestBodyTooLarge": (ErrorKind.UNSUPPORTED, ""),
    "BlobTypeNotSupported": (ErrorKind.UNSUPPORTED, ""),
}

_NOTHING: Mapping[str, tuple[ErrorKind, str]] = MappingProxyType({})


def refused(
    answer: Answer, operation: str, where: str, root: str, more: Mapping[str, tuple[ErrorKind, str]] = _NOTHING
) -> DunlinError:
    """The error for an answer that is none: kind by the service's code, else by status.

    `root`: the container or share, of which some codes speak. `more`: codes that one service has, or means in its way.
    """
    code, message = xml.error(answer.body) if answer.body else ("", "")
    code = answer.headers.get("x-ms-error-code") or code
    reason = f"{code}: {message}" if code and message else code
    if code in ("ContainerNotFound", "ShareNotFound"):
        where = root
    error = refusal(answer.status, answer.headers, operation, where, reason)
    found = more.get(code) or _KINDS.get(code)
    if found is None:
        return error
    kind, hint = found
    known = DunlinError(operation, where, kind, error.reason, hint)
    known.retry_after = error.retry_after
    return known


def checked(
    answer: Answer, operation: str, where: str, root: str, service: str, expects: int,
    more: Mapping[str, tuple[ErrorKind, str]] = _NOTHING,
) -> Answer:  # fmt: skip
    """The answer, if it is the service's and has the status `expects`, that is documented for success.

    Raises what the service refuses, see `refused`; NETWORK where not the `service` has answered.
    """
    if answer.status >= 300:
        raise refused(answer, operation, where, root, more)
    if answer.status != expects or "x-ms-request-id" not in answer.headers:
        raise stranger(operation, where, service)
    return answer
