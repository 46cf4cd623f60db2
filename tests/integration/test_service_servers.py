"""The service on PostgreSQL and Redis, and what it does while one of them, or the store, is away."""

from __future__ import annotations

import time
from pathlib import Path

from tests.integration.service import serving
from tests.integration.test_service import tree
from tests.servers.postgres import Postgres
from tests.servers.process import free_port
from tests.servers.redis import redis_server
from tests.servers.s3 import S3


def test_publishing_and_syncing_over_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    source, bucket = tree(tmp_path / "source"), tmp_path / "bucket"
    bucket.mkdir()
    env = {"DUNLIN_PUBLISH_DESTINATION": str(bucket), "DUNLIN_QUEUE_URL": postgres.database()}
    with serving(tmp_path / "cwd", env=env) as service:
        answer = service.client.post("/publish", json=[{"from": str(source), "to": "store/"}])
        assert service.job(answer.json()["job_id"])["result"]["uploaded_files"] == 20
        options = {"source": str(source), "destination": str(tmp_path / "target")}
        id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        assert service.job(id)["counts"]["copied_files"] == 20
        queues = {each["queue"]: each for each in service.client.get("/api/v1/queues").json()["items"]}
        assert queues["publish"]["done"] >= 1
        words = service.stop()
    assert not (tmp_path / "cwd" / ".dunlin-ledger.db").exists()
    assert postgres.password not in words


def test_a_redis_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    source, bucket = tree(tmp_path / "source"), tmp_path / "bucket"
    bucket.mkdir()
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    with redis_server() as redis:
        (cwd / "dunlin.toml").write_text(
            f'[redis]\naddr = "127.0.0.1:{redis.process.port}"\npassword = "{redis.password}"\n'
            f'[publish]\ndestination = "{bucket}"\n'
        )
        (cwd / "dunlin.toml").chmod(0o600)
        with serving(cwd) as service:
            assert service.client.get("/check/store/a").json()["cached"] is False
            assert service.client.get("/check/store/a").json()["cached"] is True
            redis.process.stop()
            found = service.client.get("/check/store/a")
            assert (found.status_code, found.json()["cached"]) == (200, False)
            assert service.client.get("/api/v1/queues").status_code == 503
            service.wait("/readyz", lambda health: health["parts"]["queue"] != "ok")
            assert service.client.get("/readyz").status_code == 503
            assert service.client.get("/healthz").status_code == 200
            # The ledger is a file here: what is published now waits there.
            answer = service.client.post("/publish", json=[{"from": str(source), "to": "store/"}])
            assert answer.status_code == 200
            redis.process.start()
            assert service.job(answer.json()["job_id"])["result"]["uploaded_files"] == 20
            service.wait("/readyz", lambda health: health["status"] == "ok")
            words = service.stop()
    assert redis.password not in words


def spec_e(endpoint: str, key_id: str, secret: str, bucket: str) -> str:
    """The section as Sync4Loong has it."""
    return (
        f'[s3]\nendpoint = "{endpoint}"\nregion = "us-east-1"\nbucket = "{bucket}"\naccess_key = "{key_id}"\n'
        f'secret_key = "{secret}"\n[cache]\ntimeout = "4s"\n'
    )


def test_publishing_to_s3_as_sync4loong_is_configured(tmp_path: Path, rclone_s3: S3) -> None:
    source, bucket, cwd = tree(tmp_path / "source"), rclone_s3.bucket(), tmp_path / "cwd"
    cwd.mkdir()
    file = cwd / "dunlin.toml"
    file.write_text(spec_e(rclone_s3.url, rclone_s3.key_id, rclone_s3.secret, bucket))
    file.chmod(0o600)
    with serving(cwd) as service:
        assert service.client.get("/readyz").json()["parts"]["store"] == "ok"
        answer = service.client.post("/publish", json=[{"from": str(source), "to": "store/"}])
        assert service.job(answer.json()["job_id"])["result"]["uploaded_files"] == 20
        found = service.client.get("/check/store/d1/f1").json()
        assert (found["exists"], found["size"]) == (True, 9)
        assert rclone_s3.secret not in service.stop()


def test_a_store_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    source, cwd = tree(tmp_path / "source"), tmp_path / "cwd"
    cwd.mkdir()
    file = cwd / "dunlin.toml"
    file.write_text(spec_e(f"http://127.0.0.1:{free_port()}", "id", "not-shown", "bucket"))
    file.chmod(0o600)
    with serving(cwd) as service:
        found = service.client.get("/check/store/a")
        assert found.status_code in (502, 504)
        assert list(found.json()) == ["error"]
        ready = service.client.get("/readyz")
        assert (ready.status_code, ready.json()["parts"]["ledger"]) == (503, "ok")
        answer = service.client.post("/publish", json=[{"from": str(source), "to": "store/"}])
        assert answer.status_code == 200
        assert service.client.post(f"/api/v1/jobs/{answer.json()['job_id']}/cancel").json()["status"] == "cancelled"
        begun = time.monotonic()
        assert "not-shown" not in service.stop()
        assert time.monotonic() - begun < 10, "what waits for a store that is away ends with the service"
