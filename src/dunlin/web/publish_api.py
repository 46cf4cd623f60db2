"""`POST /publish`, as Sync4Loong has it.

The body is read by hand: which field of which item is wrong is told in Sync4Loong's words, before anything else is
looked at, and unknown fields are wrong, too. All items are checked before anything is queued.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post

from dunlin.config.service import Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.words import Job
from dunlin.web.auth import operator, principal_of
from dunlin.web.forms import IdempotencyKey
from dunlin.web.problems import PublishRefused, Refused, responses
from dunlin.web.services import Item, Publishes, Services
from dunlin.web.tenancy import FOR_TENANT, tenant_of

DONE = "file sync tasks published successfully"
MOST_ITEMS = 10_000
PUBLISH_LATER = "publish-items"
"""The kind of a job that publishes its items when its turn comes: what a schedule starts."""

_FIELDS = {"from": str, "to": str, "delete_after_sync": bool, "overwrite": bool}
_ITEM_IS_BAD = frozenset({ErrorKind.USAGE, ErrorKind.NOT_FOUND, ErrorKind.DENIED, ErrorKind.NAME})
_KINDS = {str: "a string", bool: "a boolean"}


class Published(msgspec.Struct):
    """The job's results are at /api/v1/jobs/{job_id}."""

    success: bool
    message: str
    job_id: str


def items_of(raw: bytes) -> list[Item]:
    """The items of a body. Raises `Refused`."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"invalid JSON: {error}") from None
    except RecursionError:
        raise Refused(400, "invalid JSON: it is nested too deeply") from None
    if not isinstance(body, list):
        raise Refused(400, "the body must be an array of items")
    if not body:
        raise Refused(400, "at least one item is required")
    if len(body) > MOST_ITEMS:
        raise Refused(400, f"more than {MOST_ITEMS:,} items")
    return [_item(each, number) for number, each in enumerate(body)]


def _item(value: Any, number: int) -> Item:
    if not isinstance(value, dict):
        raise Refused(400, f"item {number} must be an object")
    for name, each in value.items():
        kind = _FIELDS.get(name)
        if kind is None:
            raise Refused(400, f"unknown field '{name[:100]}' for item {number}")
        if not isinstance(each, kind):
            raise Refused(400, f"'{name}' must be {_KINDS[kind]} for item {number}")
    for name in ("from", "to"):
        if not value.get(name):
            raise Refused(400, f"'{name}' field is required for item {number}")
    return Item(
        value["from"], value["to"], value.get("delete_after_sync", False), value.get("overwrite", False)
    )  # fmt: skip


SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_ITEMS,
    "items": {
        "type": "object",
        "required": ["from", "to"],
        "additionalProperties": False,
        "properties": {
            "from": {"type": "string", "minLength": 1, "description": "A file or directory of the service's machine."},
            "to": {"type": "string", "minLength": 1, "description": "A key; with / at its end, what keys begin with."},
            "delete_after_sync": {"type": "boolean", "default": False},
            "overwrite": {"type": "boolean", "default": False},
        },
    },
}
"""The body (JSON Schema), for the description of the API."""


def routes(services: Services) -> list[Any]:
    """The route."""

    @post(
        "/publish",
        guards=[operator],
        status_code=200,
        summary="Publish files and directories",
        description="Puts every file on record and uploads them in the background. An Idempotency-Key makes a request "
        "that may be sent twice count once.",
        responses=responses(404, 409, 415, form=PublishRefused, media="application/json"),
        tags=["Publish"],
    )
    async def publish(
        request: Request[Any, Any, Any], idempotency_key: IdempotencyKey = None, tenant_name: FOR_TENANT = ""
    ) -> Published:
        principal = principal_of(request)
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            # A page of another site may send text/plain without asking, but not this.
            raise Refused(415, "the body must be application/json")
        body = await request.body()
        items = items_of(body)
        tenant = tenant_of(services, principal, tenant_name)
        if services.publisher is None:
            raise Refused(503, "there is nowhere to publish to: publish.destination is not set")
        key = idempotency_key or ""
        job = await services.publishes(put, services.publisher, items, tenant, principal.name, key, body)
        return Published(True, DONE, job.id)

    return [publish]


def publish_later(publisher: Publishes, job: Job, tenant: Tenant | None) -> Job:
    """Publish what a job of kind `PUBLISH_LATER` asks for; doing so twice counts once. Raises `Refused`."""
    if tenant is None:
        raise Refused(400, f"there is no tenant {job.tenant} any more")
    body = msgspec.json.encode(msgspec.json.decode(job.options)["items"])
    return put(publisher, items_of(body), tenant, job.created_by, f"schedule-{job.id}", body, job.priority)


def put(
    publisher: Publishes, items: list[Item], tenant: Tenant, by: str, key: str, body: bytes, priority: int = 0
) -> Job:
    """Publish; an item that is refused is 400, whatever is wrong with it. Raises `Refused` and `DunlinError`."""
    try:
        return publisher.publish(items, tenant, by, key, body, priority)
    except DunlinError as error:
        if error.kind in _ITEM_IS_BAD and not error.where:
            raise Refused(400, error.reason) from error
        raise
