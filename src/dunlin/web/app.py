"""The application: routes over `Services`, and the description of the API.

    make_app       the routes, as a Litestar application; pages of the monitor are added as `more`
    make_service   the same behind the `gate`, which every request passes first: what the server is given
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from dunlin.web import access_api, auth, check_api, general_api, jobs_api, priorities, publish_api, sse
from dunlin.web.backup import api as backup_looks
from dunlin.web.gate import Gate
from dunlin.web.problems import HANDLERS
from dunlin.web.services import Services

ABOUT = """Publishes files, looks keys up, syncs, checks and backs up places, on demand or by a timetable, and looks
into backups. Every refusal under /api/v1 is a problem (RFC 9457); /publish and /check answer as Sync4Loong does. Where
the service listens elsewhere than on loopback every request needs a key (`Authorization: Bearer dk_...`)."""


def make_app(services: Services, more: Sequence[Any] = ()) -> Litestar:
    """The application. `more`: further route handlers, as those of the pages."""
    described: dict[str, bytes] = {}

    @get("/api/v1/openapi.json", include_in_schema=False, media_type="application/json")
    async def description(request: Request[Any, Any, Any]) -> Response[bytes]:
        if "json" not in described:
            described["json"] = describe(request.app)
        return Response(described["json"], media_type="application/json")

    return Litestar(
        route_handlers=[
            *publish_api.routes(services),
            *check_api.routes(services),
            *jobs_api.routes(services),
            *priorities.routes(services),
            *access_api.routes(services),
            *general_api.routes(services),
            *backup_looks.routes(services),
            *sse.routes(services),
            *auth.routes(services),
            description,
            *more,
        ],
        exception_handlers=HANDLERS,
        openapi_config=_openapi(services.version),
        request_max_body_size=None,  # `gate` has the limit, which may change
        debug=False,
        logging_config=None,
    )


def make_service(services: Services, more: Sequence[Any] = ()) -> Gate:
    """The application behind its gate: an ASGI application."""
    return Gate(make_app(services, more), services)  # type: ignore[arg-type]


def _openapi(version: str) -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer", description="An API key, dk_...")
    return OpenAPIConfig(
        title="dunlin",
        version=version,
        description=ABOUT,
        path="/api/v1/schema",
        render_plugins=[],
        components=Components(security_schemes={"key": bearer}),
        security=[{}, {"key": []}],
    )


def describe(app: Litestar) -> bytes:
    """The description of the API (OpenAPI 3.1) as JSON, with the bodies that are read by hand."""
    import msgspec

    schema = app.openapi_schema.to_schema()
    body = {"required": True, "content": {"application/json": {"schema": publish_api.SCHEMA}}}
    schema["paths"]["/publish"]["post"]["requestBody"] = body
    return msgspec.json.encode(schema)
