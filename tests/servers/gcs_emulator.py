"""gcp-storage-emulator as a program, with the conditions and the keys that the service documents and it lacks.

The emulator ignores every condition, so that nothing that is pinned to a generation could be tested; it keeps contents
under tidied names (`a//b` and `a/b` are one, `../x` ends the connection), copies metadata whatever the request says,
and keeps the nulls of a patch. This program is the emulator with these five things put right, in front of its handlers:

    ifGenerationMatch, ifSourceGenerationMatch    412 unless that generation is there (0: none)
    contents                                      kept under a digest of the name
    rewriteTo with metadata                       the copy has that, and nothing of the original's
    PATCH                                         a null removes a name, others stay
    alt=media                                     tells the generation, and 416 for what begins behind the end
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator import __main__ as program
from gcp_storage_emulator import server, storage
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

Handler = Callable[..., Any]


def refuse(response: Any, status: HTTPStatus, reason: str, message: str) -> None:
    """Answer in the service's form."""
    response.status = status
    response.json({"error": {"code": int(status), "message": message, "errors": [{"reason": reason}]}})


def live(kept: Any, bucket: str, name: str) -> dict[str, Any] | None:
    """What is known of an object; None where there is none."""
    try:
        found: dict[str, Any] = kept.get_file_obj(bucket, name)
    except NotFound:
        return None
    return found


def target_of(request: Any) -> str:
    """The name that a request is about; that of an upload stands in its body."""
    if "object_id" in request.params:
        return str(request.params.get("dest_object_id", request.params["object_id"]))
    data = request.data if isinstance(request.data, dict) else {}
    return str(data.get("name") or data.get("meta", {}).get("name", ""))


def conditional(handler: Handler) -> Handler:
    """The handler behind the conditions of the request."""

    def handle(request: Any, response: Any, kept: Any, *more: Any, **named: Any) -> Any:
        bucket = request.params.get("dest_bucket_name", request.params["bucket_name"])
        for query, name, place in (
            ("ifGenerationMatch", target_of(request), bucket),
            ("ifSourceGenerationMatch", request.params.get("object_id", ""), request.params["bucket_name"]),
        ):
            wanted = request.query.get(query)
            found = live(kept, place, name) if wanted else None
            if wanted and wanted[0] != (found["generation"] if found else "0"):
                if found is None:
                    return refuse(response, HTTPStatus.NOT_FOUND, "notFound", f"No such object: {place}/{name}")
                message = "At least one of the pre-conditions you specified did not hold."
                return refuse(response, HTTPStatus.PRECONDITION_FAILED, "conditionNotMet", message)
        return handler(request, response, kept, *more, **named)

    return handle


def download(request: Any, response: Any, kept: Any, *more: Any, **named: Any) -> None:
    """Content with its generation."""
    found = live(kept, request.params["bucket_name"], request.params["object_id"])
    start = request.get_header("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
    if found and int(start) >= max(int(found["size"]), 1):
        refuse(response, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable", "No such range.")
        return
    real_download(request, response, kept, *more, **named)
    if found:
        response["x-goog-generation"] = found["generation"]


def rewrite(request: Any, response: Any, kept: Any, *more: Any, **named: Any) -> None:
    """A copy with the metadata of the request, where that has any."""
    real_rewrite(request, response, kept, *more, **named)
    made = live(kept, request.params["dest_bucket_name"], request.params["dest_object_id"])
    if request.data and made and response.status == HTTPStatus.OK:
        for name in ("cacheControl", "contentDisposition", "contentEncoding", "contentType", "metadata"):
            made.pop(name, None)
            if name in request.data:
                made[name] = request.data[name]


def patch(request: Any, response: Any, kept: Any, *more: Any, **named: Any) -> None:
    """New metadata over the old, without what is null."""
    found = live(kept, request.params["bucket_name"], request.params["object_id"]) or {}
    merged = {**(found.get("metadata") or {}), **((request.data or {}).get("metadata") or {})}
    real_patch(request, response, kept, *more, **named)
    if found:
        found["metadata"] = {name: value for name, value in merged.items() if value is not None}


real_download, real_rewrite, real_patch = objects.download, objects.rewrite, objects.patch
objects.download = download

CORRECTED: dict[Handler, Handler] = {
    objects.get: conditional(objects.get),
    objects.insert: conditional(objects.insert),
    objects.delete: conditional(objects.delete),
    real_download: conditional(download),
    real_rewrite: conditional(rewrite),
    real_patch: conditional(patch),
}


def place_of(kept: Any, bucket: str, name: str) -> str:
    """Where content is kept."""
    return f"{bucket}/{sha256(name.encode()).hexdigest()}"


if __name__ == "__main__":
    storage.Storage._object_path = place_of
    for _, handlers in server.HANDLERS:
        handlers.update({method: CORRECTED.get(handler, handler) for method, handler in handlers.items()})
    program.main()
