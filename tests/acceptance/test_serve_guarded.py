"""The service behind keys, as a process: metrics at an address of their own, proxies, what a reload leaves alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.acceptance.program import dunlin
from tests.integration.service import Service, serving
from tests.servers.process import free_port

ROUTES = ("/", "/metrics/", "/metrics/x", "/healthz", "/readyz", "/login", "/api/v1/jobs", "/api/v1/openapi.json",
          "/monitoring", "/check/store/a", "//metrics")  # fmt: skip


def test_metrics_at_an_address_of_their_own_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    env = {"DUNLIN_HTTP_KEYS": "required", "DUNLIN_HTTP_ALLOWED_ROOTS": str(tmp_path),
           "DUNLIN_MONITOR_PROMETHEUS_ADDR": f"127.0.0.1:{port}"}  # fmt: skip
    with serving(tmp_path / "cwd", env=env) as service, httpx.Client(base_url=f"http://127.0.0.1:{port}") as scraper:
        assert service.client.get("/metrics").status_code == 401
        answer = scraper.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")
        for line in ("dunlin_queue_up 1.0", "dunlin_queue_workers", 'dunlin_http_requests_total{method="GET"'):
            assert line in answer.text
        assert {path: scraper.get(path).status_code for path in ROUTES} == dict.fromkeys(ROUTES, 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert scraper.request(method, "/metrics").status_code == 501
        assert scraper.post("/publish", json=[]).status_code == 501
        words = service.stop()
        with pytest.raises(httpx.TransportError):
            scraper.get("/metrics")
    assert f"metrics are at http://127.0.0.1:{port}/metrics" in words


def test_an_address_for_metrics_that_is_taken_is_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    env = {"DUNLIN_MONITOR_PROMETHEUS_ADDR": port}
    with serving(tmp_path / "one", env=env):
        (tmp_path / "two").mkdir()
        other = dunlin("serve", "--http-addr", str(free_port()), cwd=tmp_path / "two", env=env, expect=1)
    assert f"127.0.0.1:{port}" in other.stderr
    assert "monitor.prometheus_addr names another address" in other.stderr
    assert "Traceback" not in other.stderr


def test_a_proxy_is_refused_by_an_open_service_and_not_by_one_with_keys(tmp_path: Path) -> None:
    through = {"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"}
    with serving(tmp_path / "open") as service:
        answer = service.client.get("/api/v1/jobs", headers=through)
        assert (answer.status_code, answer.json()["hint"]) == (403, "set http.keys to required, and http.allowed_roots")
    env = {"DUNLIN_HTTP_KEYS": "required", "DUNLIN_HTTP_ALLOWED_ROOTS": str(tmp_path),
           "DUNLIN_HTTP_TRUSTED_PROXIES": "127.0.0.1"}  # fmt: skip
    with serving(tmp_path / "cwd", env=env) as service:
        (tmp_path / "password").write_text("correct horse")
        dunlin("user", "add", "ann", "--password-file", tmp_path / "password", cwd=tmp_path / "cwd", env=env, expect=0)
        body = {"user": "ann", "password": "correct horse"}
        answer = service.client.post("/api/v1/session", json=body, headers=through)
        assert answer.status_code == 200
        assert "secure" in answer.headers["set-cookie"].lower()


def test_tenants_need_a_restart_and_a_revoked_key_hears_no_more(tmp_path: Path) -> None:
    file, root = tmp_path / "dunlin.yaml", tmp_path / "root"
    words = f"http: {{keys: required, allowed_roots: [{root}]}}\n"
    file.write_text(words)
    file.chmod(0o600)
    with serving(tmp_path / "cwd", "--config", str(file)) as service:
        made = dunlin("key", "add", "ci", "--config", file, cwd=tmp_path / "cwd", expect=0)
        head = {"Authorization": f"Bearer {made.stdout.strip()}"}
        file.write_text(words + f"tenants: {{a: {{allowed_roots: [{root}]}}}}\n")
        service.process.send_signal(signal.SIGHUP)
        said(service, "tenants holds after a restart")
        assert service.client.get("/api/v1/queues", headers=head).status_code == 200
        listed = dunlin("key", "list", "--json", "--config", "none", cwd=tmp_path / "cwd", expect=0)
        with service.client.stream("GET", "/api/v1/events", headers=head) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("id: ")
            [id] = [part["id"] for part in json.loads(listed.stdout)]
            dunlin("key", "revoke", id, "--config", "none", cwd=tmp_path / "cwd", expect=0)
            assert not any(line.startswith("event: job") for line in lines)  # it ends
        assert service.client.get("/api/v1/events", headers=head).status_code == 401


def said(service: Service, words: str) -> None:
    """Wait until the log has it."""
    service.wait("/healthz", lambda _: words in service.log(), 20)


def test_a_queue_that_a_file_names_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "place").write_text(f"{tmp_path}/its.db\n")
    env = {"DUNLIN_QUEUE_URL": f"@{tmp_path}/place"}
    with serving(tmp_path / "cwd", env=env) as service:
        assert service.client.get("/readyz").status_code == 200
        service.stop()
    assert (tmp_path / "its.db").exists()
    assert not [each for each in (tmp_path / "cwd").iterdir() if each.name.startswith("@")]
