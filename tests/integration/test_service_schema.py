"""The description of the API is true: schemathesis makes requests from it and looks at what comes back.

Bounded: a few requests for each operation, always the same ones. The stream of events has no end and is left out here
(test_service.py reads it).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.unit.web.served import served

EXAMPLES = 8
LEFT_OUT = ("/api/v1/events", "/api/v1/session")  # no end; three wrong passwords, and every further answer is 429
HEADERS = {"Host": "localhost:8080"}
RULES = [positive_data_acceptance]
"""Not looked at: that whatever fits the schema is accepted. Keys and places have rules that no schema can tell."""


def test_answers_are_as_described(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", made.app)
        operations = [found.ok() for found in schema.get_all_operations()]
        wrong: list[str] = []
        for operation in operations:
            if operation.path not in LEFT_OUT:
                wrong += troubles(operation, EXAMPLES, described)
        assert wrong == []
        assert len(operations) > 35
        assert made.faults == []


def described(case: Any) -> None:
    """One answer is as the description says."""
    case.call_and_validate(headers=HEADERS, excluded_checks=RULES)


def troubles(operation: Any, examples: int, look: Callable[[Any], None]) -> list[str]:
    """What is wrong with the answers of an operation: so many requests are made up, and `look` makes each."""

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy())
    def answers(case: Any) -> None:
        look(case)

    try:
        answers()
    except (Exception, BaseExceptionGroup) as error:
        inner = getattr(error, "exceptions", (error,))
        return [f"{operation.method} {operation.path}: {each}" for each in inner]
    return []
