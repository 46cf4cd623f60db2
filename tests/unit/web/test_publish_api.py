"""`POST /publish`: bodies exactly as Sync4Loong has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.services import Item
from tests.unit.web.served import served, settings


def test_a_good_request(tmp_path: Path) -> None:
    body = [
        {"from": "/data/nix-store", "to": "store/", "delete_after_sync": True, "overwrite": False},
        {"from": "/data/single-file.txt", "to": "store/file.txt", "overwrite": True},
    ]
    with served(tmp_path) as made:
        answer = made.post("/publish", json=body)
        job = made.services.ledger.jobs.get(answer.json()["job_id"])
        assert job is not None
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {
            "success": True, "message": "file sync tasks published successfully", "job_id": job.id
        }  # fmt: skip
        items = [Item("/data/nix-store", "store/", True), Item("/data/single-file.txt", "store/file.txt", False, True)]
        assert made.publisher.asked == [(items, "default", "local")]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([{"to": "store/"}], "'from' field is required for item 0"),
        ([{"from": "/a", "to": "b"}, {"from": "/a"}], "'to' field is required for item 1"),
        ([{"from": "", "to": "b"}], "'from' field is required for item 0"),
        ([{"from": "/a", "to": "b", "mode": 1}], "unknown field 'mode' for item 0"),
        ([{"from": 1, "to": "b"}], "'from' must be a string for item 0"),
        ([{"from": None, "to": "b"}], "'from' must be a string for item 0"),
        ([{"from": "/a", "to": "b", "overwrite": "yes"}], "'overwrite' must be a boolean for item 0"),
        ([{"from": "/a", "to": "b", "overwrite": 1}], "'overwrite' must be a boolean for item 0"),
        (["x"], "item 0 must be an object"),
        ([], "at least one item is required"),
        ({"from": "/a", "to": "b"}, "the body must be an array of items"),
    ],
)
def test_a_bad_one_is_told_in_its_words_and_queues_nothing(tmp_path: Path, body: Any, error: str) -> None:
    with served(tmp_path) as made:
        answer = made.post("/publish", json=body)
        assert (answer.status_code, answer.json()) == (400, {"success": False, "error": error})
        assert made.publisher.asked == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[1,", b"\xff\xfe", b"[" * 100_000, b'[{"from": "\\ud800", "to": "b"}]'])
def test_what_is_no_json(tmp_path: Path, raw: bytes) -> None:
    with served(tmp_path) as made:
        answer = made.post("/publish", content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("invalid JSON")
        assert made.faults == []


def test_another_media_type(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        answer = made.post("/publish", content=b"[]", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["success"]) == (415, False)


@pytest.mark.parametrize(
    ("kind", "where", "status"),
    [
        (ErrorKind.DENIED, "", 400),
        (ErrorKind.NOT_FOUND, "", 400),
        (ErrorKind.EXISTS, "key", 409),
        (ErrorKind.NETWORK, "", 503),
        (ErrorKind.INTERNAL, "", 500),
    ],
)
def test_what_the_publisher_says(tmp_path: Path, kind: ErrorKind, where: str, status: int) -> None:
    with served(tmp_path) as made:
        made.publisher.fails = DunlinError("publish", where, kind, "why")
        answer = made.post("/publish", json=[{"from": "/a", "to": "b"}])
        assert answer.status_code == status
        assert answer.json()["success"] is False
        assert "why" in answer.json()["error"]
        assert ("retry-after" in answer.headers) == (status == 503)


def test_a_request_that_is_sent_twice_counts_once(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        jobs = {
            made.post("/publish", json=[{"from": "/a", "to": "b"}], headers={"Idempotency-Key": "k"}).json()["job_id"]
            for _ in range(2)
        }
        assert len(jobs) == 1
        other = made.post("/publish", json=[{"from": "/b", "to": "b"}], headers={"Idempotency-Key": "k"})
        assert other.status_code == 409


def test_without_a_destination(tmp_path: Path) -> None:
    from dataclasses import replace

    from dunlin.web.app import make_service

    with served(tmp_path, found=settings()) as made:
        made.app = make_service(replace(made.services, publisher=None, existence=None))
        for answer in (made.post("/publish", json=[{"from": "/a", "to": "b"}]), made.get("/check/store/a")):
            assert answer.status_code == 503
            assert "publish.destination is not set" in answer.json()["error"]
