"""The curl lines of the Sync4Loong specification, verbatim but for port and paths, with the real curl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import dunlin
from tests.integration.service import Service, serving

PUBLISH = """
curl -X POST "http://localhost:8080/publish" \\
  -H "Content-Type: application/json" \\
  -d '[
    {"from": "/data/nix-store", "to": "store/", "delete_after_sync": true, "overwrite": false},
    {"from": "/data/single-file.txt", "to": "store/file.txt", "delete_after_sync": false, "overwrite": true}
  ]'
"""
CHECKS = (
    'curl -X GET "http://localhost:8080/check/store/bin/bash"',
    'curl -X GET "http://localhost:8080/check?key=store/bin/bash"',
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    assert shutil.which("curl"), "these tests need curl (apt-get install curl)"
    root = tmp_path_factory.mktemp("serve")
    (root / "data" / "nix-store" / "bin").mkdir(parents=True)
    (root / "data" / "nix-store" / "bin" / "bash").write_bytes(b"b" * 1024)
    (root / "data" / "single-file.txt").write_text("alone")
    (root / "bucket").mkdir()
    with serving(root / "cwd", env={"DUNLIN_PUBLISH_DESTINATION": str(root / "bucket")}) as found:
        found.root = root  # type: ignore[attr-defined]
        yield found


def curl(service: Service, line: str) -> tuple[int, Any]:
    """Status and body of a line as it stands in the specification."""
    root = service.root  # type: ignore[attr-defined]
    words = line.replace("localhost:8080", f"localhost:{service.port}").replace("/data/", f"{root}/data/")
    script = words.strip() + ' -s -w "\\n%{http_code}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


def test_what_is_asked_for_and_published_as_the_specification_has_it(service: Service) -> None:
    root = service.root  # type: ignore[attr-defined]
    for line in CHECKS:
        status, body = curl(service, line)
        assert (status, body["exists"], body["s3_key"]) == (200, False, "store/bin/bash")
    status, body = curl(service, PUBLISH)
    job = body.pop("job_id")
    assert (status, body) == (200, {"success": True, "message": "file sync tasks published successfully"})
    result = service.job(job)["result"]
    assert (result["total_files"], result["uploaded_files"], result["failed_files"]) == (2, 2, [])
    assert re.fullmatch(r"(\d+m)?[\d.]+(ms|µs|s)", result["duration"]), result
    assert [item["to"] for item in result["items"]] == ["store/", "store/file.txt"]
    assert (root / "bucket" / "store" / "bin" / "bash").stat().st_size == 1024
    assert (root / "bucket" / "store" / "file.txt").read_text() == "alone"
    assert not (root / "data" / "nix-store" / "bin").exists()
    assert (root / "data" / "nix-store").is_dir()
    assert (root / "data" / "single-file.txt").exists()
    for line in CHECKS:
        status, body = curl(service, line)
        assert (status, body["exists"], body["size"], body["cached"]) == (200, True, 1024, True)
        assert list(body) == ["exists", "cached", "timestamp", "size", "s3_key"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('[{"to": "store/"}]', "'from' field is required for item 0"),
        ('[{"from": "/data/single-file.txt", "to": "store/a"}, {"from": "/data/none", "to": "store/b"}]', "item 1"),
        ('[{"from": "/data/single-file.txt", "to": "elsewhere/a"}]', "allowed prefix"),
        ('[{"from": "relative", "to": "store/a"}]', "absolute"),
        ("[", "invalid JSON"),
    ],
)
def test_bad_requests_are_told_in_the_form_of_the_specification(service: Service, body: str, error: str) -> None:
    before = len(service.client.get("/api/v1/jobs?kind=publish").json()["items"])
    line = f"""curl -X POST "http://localhost:8080/publish" -H "Content-Type: application/json" -d '{body}'"""
    status, found = curl(service, line)
    assert (status, list(found), found["success"]) == (400, ["success", "error"], False)
    assert error in found["error"]
    assert len(service.client.get("/api/v1/jobs?kind=publish").json()["items"]) == before


def test_a_key_outside_the_prefixes(service: Service) -> None:
    status, body = curl(service, 'curl -X GET "http://localhost:8080/check/etc/shadow"')
    assert status == 403
    assert body == {"error": "key not allowed: must start with allowed prefix", "allowed_prefixes": ["store/"]}


def test_a_large_body(service: Service) -> None:
    line = 'head -c 10000000 /dev/zero | curl -X POST "http://localhost:8080/publish" --data-binary @-'
    status, body = curl(service, line + ' -H "Content-Type: application/json"')
    assert (status, body["success"]) == (413, False)


def test_roots_hold_also_through_links_and_dots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "fine").mkdir(parents=True)
    (root / "fine" / "file").write_text("x")
    (root / "link").symlink_to("/etc")
    (tmp_path / "bucket").mkdir()
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    (cwd / "dunlin.yaml").write_text(
        f"http: {{allowed_roots: ['{root}', '{tmp_path}/bucket']}}\n"
        f"publish: {{destination: '{tmp_path}/bucket'}}\n"
        f"tenants: {{a: {{allowed_roots: ['{root}']}}}}\n"
    )
    key = dunlin("key", "add", "ci", "--tenant", "a", cwd=cwd, expect=0).stdout.strip()
    dunlin("key", "add", "ci", "--tenant", "b", cwd=cwd, expect=1)
    with serving(cwd) as service:
        assert service.client.post("/publish", json=[]).status_code == 401
        service.client.headers["Authorization"] = f"Bearer {key}"
        for path in ("/etc/shadow", f"{root}/link/shadow", f"{root}/../../../../../etc/shadow", f"{root}/link"):
            answer = service.client.post("/publish", json=[{"from": path, "to": "store/x"}])
            assert answer.status_code == 400, path
            assert "outside the allowed roots" in answer.json()["error"]
            options = {"source": path, "destination": f"{root}/target"}
            sync = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options})
            assert sync.status_code == 403, path
        options = {"source": f"{root}/fine", "destination": f"{root}/target"}
        for more in ({"log_file": "/etc/dunlin-test.log"}, {"exclude_from": "/etc/shadow"}, {"backup_dir": "/etc"}):
            answer = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": {**options, **more}})
            assert answer.status_code == 403, more
            assert "root:" not in answer.text
        id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        assert service.job(id)["status"] == "completed"
        answer = service.client.post("/publish", json=[{"from": f"{root}/fine", "to": "store/"}])
        assert service.job(answer.json()["job_id"])["status"] == "completed"
        assert key.rpartition("_")[2] not in service.stop()
