"""Leases on files and shares, from the reference pages "Lease File" and "Lease Share".

Files are leased for ever (duration -1), shares also for 15 to 60 seconds, which here do not run out: a test breaks or
releases them.
"""

from __future__ import annotations

from tests.emulators.azure_files import times
from tests.emulators.azure_files.tree import Account, Lease, existing, new_id
from tests.emulators.azure_files.wire import Answer, Refused, Request


def lease_file(account: Account, request: Request) -> Answer:
    """Lease File: acquire, change, release, break."""
    node = existing(account.share(request, change=True), request, directory=False)
    node.lease = node.lease or Lease()
    return _act(request, node.lease, node.etag, node.modified, shares=False)


def lease_share(account: Account, request: Request) -> Answer:
    """Lease Share: the same and renew; snapshots have leases too."""
    share = account.share(request)
    return _act(request, share.lease, share.etag, share.modified, shares=True)


def _act(request: Request, lease: Lease, etag: str, modified: int, *, shares: bool) -> Answer:
    action = request.needed("x-ms-lease-action").lower()
    headers = {"ETag": etag, "Last-Modified": times.http(modified)}
    if action == "acquire":
        _acquire(request, lease, shares=shares)
        return Answer(201, headers | {"x-ms-lease-id": lease.id})
    if action == "break":
        if lease.state == "available":
            raise Refused("LeaseNotPresentWithLeaseOperation")
        lease.state = "broken"
        return Answer(202, headers | {"x-ms-lease-time": "0"})
    if action not in ("change", "release", *(["renew"] if shares else [])):
        raise Refused("InvalidHeaderValue")
    if not lease.id or (lease.state != "leased" and action == "change"):
        raise Refused("LeaseNotPresentWithLeaseOperation")
    if request.needed("x-ms-lease-id").lower() != lease.id:
        raise Refused("LeaseIdMismatchWithLeaseOperation")
    if action == "release":
        lease.id, lease.state, lease.duration = "", "available", ""
        return Answer(200, headers)
    if action == "change":
        lease.id = request.needed("x-ms-proposed-lease-id").lower()
    return Answer(200, headers | {"x-ms-lease-id": lease.id})


def _acquire(request: Request, lease: Lease, *, shares: bool) -> None:
    duration, wanted = request.headers.get("x-ms-lease-duration", "-1"), request.headers.get("x-ms-proposed-lease-id")
    if duration != "-1" and not (shares and duration.isdecimal() and 15 <= int(duration) <= 60):
        raise Refused("InvalidHeaderValue")
    if lease.state == "leased" and (wanted or "").lower() != lease.id:
        raise Refused("LeaseAlreadyPresent")
    lease.id, lease.state = (wanted or new_id()).lower(), "leased"
    lease.duration = "infinite" if duration == "-1" else "fixed"
