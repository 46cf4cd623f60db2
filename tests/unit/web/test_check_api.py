"""`/check`: bodies exactly as Sync4Loong has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from tests.unit.web.served import served


@pytest.mark.parametrize(
    "path", ["/check/store/bin/bash", "/check?key=store/bin/bash", "/check?key=store%2Fbin%2Fbash"]
)
def test_both_forms_of_a_question(tmp_path: Path, path: str) -> None:
    with served(tmp_path) as made:
        made.publisher.keys["store/bin/bash"] = 1024
        answer = made.get(path)
        assert answer.status_code == 200
        assert answer.json() == {
            "exists": True, "cached": True, "timestamp": "2024-01-01T12:00:00Z", "size": 1024,
            "s3_key": "store/bin/bash",
        }  # fmt: skip


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        answer = made.get("/check/store/none")
        assert (answer.status_code, answer.json()["exists"], answer.json()["size"]) == (200, False, 0)


def test_outside_the_prefixes(tmp_path: Path) -> None:
    with served(tmp_path, CACHE_ALLOWED_PREFIXES="store/,nix/") as made:
        for answer in (made.get("/check/etc/shadow"), made.ask("DELETE", "/check?key=storehouse")):
            assert answer.status_code == 403
            assert answer.json() == {
                "error": "key not allowed: must start with allowed prefix", "allowed_prefixes": ["store/", "nix/"]
            }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/check", "/check?key=", "/check/", "/check?key=store/../etc", "/check?key=store//a", "/check?key=store/a%00",
        "/check?key=store/" + "a" * 1024, "/check?key=store/%0a", "/check?key=store/.", "/check/store/%5Ca",
    ],
)  # fmt: skip
def test_what_is_no_key(tmp_path: Path, path: str) -> None:
    with served(tmp_path) as made:
        answer = made.get(path)
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [(ErrorKind.TIMEOUT, 504), (ErrorKind.NETWORK, 502), (ErrorKind.AUTH, 502), (ErrorKind.DENIED, 502)],
)
def test_a_store_that_fails(tmp_path: Path, kind: ErrorKind, status: int) -> None:
    with served(tmp_path) as made:
        made.publisher.fails = DunlinError("look for", "store/a", kind, "refused")
        answer = made.get("/check/store/a")
        assert answer.status_code == status
        assert "refused" in answer.json()["error"]


def test_an_answer_is_forgotten(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        assert made.ask("DELETE", "/check/store/a/b").status_code == 204
        assert made.ask("DELETE", "/check?key=store/c").status_code == 204
        assert made.publisher.forgotten == ["store/a/b", "store/c"]
