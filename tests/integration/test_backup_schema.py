"""What the description says of repositories is true, also where there are some: schemathesis asks for what exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis

from tests.integration.test_service_schema import HEADERS, RULES, troubles
from tests.unit.web.vaulted import HOME, Home, vaulted

EXAMPLES = 12
THERE = {"name": "vault", "share": "home", "snapshot": "latest"}


def test_answers_about_what_exists_are_as_described(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    home.back_up({"docs/plan.txt": b"another"})
    seen: dict[str, set[int]] = {}
    with vaulted(tmp_path / "service", home) as made:
        schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", made.app)
        wrong: list[str] = []
        for operation in (found.ok() for found in schema.get_all_operations()):
            if operation.path.startswith("/api/v1/repositories/"):
                wrong += troubles(operation, EXAMPLES, of_what_exists(seen.setdefault(operation.path, set())))
        assert wrong == []
        assert made.faults == []
    assert len(seen) == 12
    assert [path for path, statuses in seen.items() if 200 not in statuses] == []


def of_what_exists(seen: set[int]) -> Callable[[Any], None]:
    """One answer about what exists is as the description says; its status is noted."""

    def look(case: Any) -> None:
        case.path_parameters = {name: THERE[name] for name in case.path_parameters or {}}
        case.query = {**(case.query or {}), "path": "docs/plan.txt" if "file" in case.path else ""}
        case.query.pop("tenant", None)
        if "compare" in case.path:
            case.query |= {"old": "latest", "new": "latest"}
        if "retention" in case.path:
            case.query |= {"last": 1, "within": ""}
        answer = case.call(headers=HEADERS)
        case.validate_response(answer, excluded_checks=RULES)
        seen.add(answer.status_code)

    return look
