"""Backups by a real `dunlin serve`: asked for by HTTP, damaged, verified, restored; roles, tenants, and a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.program import dunlin, start
from tests.integration.service import PATIENCE, Service, serving
from tests.unit.stores.objects.azure_stub import Reply, stub

VAULT = "repositories: {vault: {place: VAULT, password_file: word}}\n"
JSON = "Content-Type: application/json"


class Site:
    """A directory with a source, a repository and a configuration."""

    def __init__(self, path: Path, text: str = VAULT) -> None:
        self.path = path
        (path / "word").write_text("correct horse")
        (path / "cwd").mkdir()
        self.config = path / "dunlin.yaml"
        self.config.write_text(text.replace("VAULT", str(path / "vault")).replace("ROOT", str(path)))
        self.config.chmod(0o600)
        self.init(path / "vault")

    def init(self, place: Path) -> None:
        """Make a repository."""
        dunlin("repo", "init", place, "--password-file", self.path / "word", cwd=self.path / "cwd", expect=0)

    def key(self, role: str, *more: str) -> dict[str, str]:
        """The header of a new key."""
        words = ("key", "add", role, "--role", role, "--config", self.config, *more)
        made = dunlin(*words, cwd=self.path / "cwd", expect=0)
        return {"Authorization": f"Bearer {made.stdout.strip()}"}


def files(place: Path, number: int = 3, size: int = 20_000) -> Path:
    """A directory with some files of random bytes, in two levels."""
    (place / "deep").mkdir(parents=True)
    for n in range(number):
        (place / ("deep" if n % 2 else "") / f"f{n}").write_bytes(os.urandom(size))
    return place


def many(place: Path) -> Path:
    """Eight directories with three files of 100 kB each: a backup tells of each directory as it is done."""
    for n in range(8):
        files(place / f"d{n}", 3, 100_000)
    return place


def same(one: Path, other: Path) -> bool:
    """Whether two trees hold the same."""
    return subprocess.run(["diff", "-r", one, other], capture_output=True, check=False).returncode == 0


def ask(service: Service, kind: str, head: dict[str, str] | None = None, **options: Any) -> Any:
    """The answer to a request for a job, with its status in it."""
    body = {"kind": kind, "options": {"repository": "vault", **options}}
    answer = service.client.post("/api/v1/jobs", json=body, headers=head)
    return {"code": answer.status_code, **answer.json()}


def done(service: Service, kind: str, expect: str = "completed", **options: Any) -> Any:
    """A job that has ended as expected."""
    asked = ask(service, kind, **options)
    assert asked["code"] == 201, asked
    job = service.job(asked["id"])
    assert job["status"] == expect, (job, service.log())
    return job


def made(site: Site) -> list[str]:
    """The snapshots of the share `docs`, the oldest first."""
    found = (site.path / "vault" / "default" / "docs" / "snapshots").glob("*Z-*")
    return [each.name.partition("Z-")[2] for each in sorted(found)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    found = Site(tmp_path_factory.mktemp("site"))
    files(found.path / "docs")
    return found


def test_a_stranger_backs_up_damages_verifies_and_restores(site: Site) -> None:
    docs, vault = site.path / "docs", site.path / "vault"
    with serving(site.path / "cwd", "--config", str(site.config)) as service:
        words = json.dumps({"kind": "backup", "options": {"repository": "vault", "source": str(docs), "tag": "first"}})
        line = ["curl", "-s", "-X", "POST", f"{service.url}/api/v1/jobs", "-H", JSON, "-d", words]
        asked = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
        first = service.job(asked["id"])
        assert (first["status"], first["label"]) == ("completed", f"{docs} -> vault:docs")
        assert first["result"]["totals"]["new_files"] == first["counts"]["copied_files"] == 3
        (docs / "more").write_text("more")
        second = done(service, "backup", source=str(docs))
        assert second["result"]["totals"]["new_files"] == 1
        assert second["result"]["snapshot"]["id"] != first["result"]["snapshot"]["id"]
        assert made(site) == [job["result"]["snapshot"]["id"] for job in (first, second)]

        whole = done(service, "verify", read_data=True)
        assert whole["result"]["whole"]
        assert whole["result"]["totals"]["snapshots"] == 2
        again = done(service, "restore", destination=str(site.path / "back"), verify=True)
        assert again["result"]["verified"]["exit_code"] == 0
        assert same(docs, site.path / "back")
        old = done(service, "restore", destination=str(site.path / "old"), snapshot=first["result"]["snapshot"]["id"],
                   path="deep")  # fmt: skip
        assert old["result"]["stats"]["copied_files"] == 1
        assert sorted(each.name for each in (site.path / "old").iterdir()) == ["f1"]

        share = vault / "default" / "docs"
        pack = max((each for each in share.iterdir() if each.is_file()), key=lambda each: each.stat().st_size)
        sound = pack.read_bytes()
        pack.write_bytes(sound[:100] + b"damage" + sound[106:])
        bad = done(service, "verify", "failed", read_data=True)
        assert bad["result"]["exit_code"] == 3
        assert bad["result"]["lost"]
        assert "damaged" in bad["error"]
        assert "lost" in bad["error"]
        torn = done(service, "restore", "failed", destination=str(site.path / "torn"))
        lost = {each["path"] for each in bad["result"]["lost"]}
        assert torn["result"]["stats"]["failed_files"] == len(lost)
        kept = {str(each.relative_to(site.path / "torn")) for each in (site.path / "torn").rglob("*") if each.is_file()}
        assert kept == {"more", "f0", "f2", "deep/f1"} - lost
        pack.write_bytes(sound)
        assert done(service, "verify", read_data_subset="100%")["result"]["whole"]

        assert done(service, "forget", keep_last=1, dry_run=True)["result"]["removed"] == 1
        forgotten = done(service, "forget", keep_last=1, prune=True)["result"]
        assert (forgotten["removed"], forgotten["kept"]) == (1, 1)
        assert "prune" in forgotten
        assert done(service, "prune", max_unused="0%")["result"]["totals"]["kept_bytes"] > 0
        assert done(service, "verify", read_data=True)["result"]["totals"]["snapshots"] == 1
        log = service.stop()
    assert "correct horse" not in log
    assert "Traceback" not in log


def test_what_is_wrong_is_told_and_nothing_is_begun(site: Site) -> None:
    docs = str(site.path / "docs")
    with serving(site.path / "cwd", "--config", str(site.config)) as service:
        for kind, options, code, words in (
            ("backup", {"source": docs, "repository": "valt"}, 400, "there is no repository valt"),
            ("backup", {"source": docs, "password_file": "x"}, 400, "there is no such option"),
            ("restore", {"destination": str(site.path / "vault" / "x")}, 403, "a repository of backups is there"),
            ("verify", {"read_data_subset": "2/1"}, 400, "no part of the data"),
            ("forget", {}, 400, "no rule says what is kept"),
        ):
            answer = ask(service, kind, **options)
            assert (answer["code"], words in answer["detail"]) == (code, True), answer
        assert "there is no such directory" in done(service, "backup", "failed", source=docs + "/nowhere")["error"]
        missing = done(service, "restore", "failed", destination=docs, snapshot="ffff")["error"]
        # Whether there is any depends on which other tests ran against this place.
        assert missing.startswith(("cannot find the snapshot", "cannot find a snapshot of default: there is none yet"))
        bad = service.client.put("/api/v1/schedules/x", json={"kind": "prune", "options": {}, "interval": 60})
        assert (bad.status_code, bad.json()["detail"]) == (400, "repository is missing")
        (site.path / "word").rename(site.path / "gone")
        try:
            assert "password_file" in done(service, "verify", "failed")["error"]
        finally:
            (site.path / "gone").rename(site.path / "word")


def test_a_schedule_begins_backups(site: Site) -> None:
    docs = str(site.path / "docs")
    with serving(site.path / "cwd", "--config", str(site.config)) as service:
        body = {"kind": "backup", "options": {"repository": "vault", "source": docs, "tag": "timed"}, "interval": 1}
        assert service.client.put("/api/v1/schedules/often", json=body).status_code == 200
        page = service.wait("/api/v1/jobs?kind=backup&status=completed&count=1", lambda page: _timed(service, page))
        assert page["items"][0]["label"] == f"{docs} -> vault:docs"
        assert service.client.delete("/api/v1/schedules/often").status_code == 204


def _timed(service: Service, page: Any) -> bool:
    if not page["items"]:
        return False
    job = service.client.get(f"/api/v1/jobs/{page['items'][0]['id']}").json()
    return bool(job["result"]["snapshot"]["tags"] == ["timed"])


def test_who_may_do_what(tmp_path: Path) -> None:
    site = Site(tmp_path, "http: {keys: required, allowed_roots: ['ROOT/docs', 'ROOT/out']}\n" + VAULT)
    docs, out = str(files(tmp_path / "docs")), str(tmp_path / "out")
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
        keys = {role: site.key(role) for role in ("viewer", "operator", "admin")}
        asked: dict[str, dict[str, Any]] = {
            "backup": {"source": docs}, "scan": {"source": docs, "share": "seen"}, "verify": {"share": "docs"},
            "restore": {"destination": out, "share": "docs"}, "forget": {"keep_last": 1}, "prune": {},
        }  # fmt: skip
        assert ask(service, "backup", **asked["backup"])["code"] == 401
        jobs = {}
        for kind, options in asked.items():
            codes = [ask(service, kind, keys[role], **options) for role in ("viewer", "operator", "admin")]
            removes = kind in ("forget", "prune")
            assert [each["code"] for each in codes] == [403, 403 if removes else 201, 201], (kind, codes)
            jobs[kind] = codes[2]["id"]
            body = {"kind": kind, "options": {"repository": "vault", **options}, "interval": 3600}
            path = f"/api/v1/schedules/{kind}"
            tried = [service.client.put(path, json=body, headers=keys[role]).status_code for role in keys]
            assert tried == [403, 403 if removes else 200, 200]
            for each in codes[1:]:
                if each["code"] == 201:
                    service.client.headers = keys["viewer"]
                    service.job(each["id"])
                    service.client.headers = {}
        for verb in ("retry", "resume"):
            answer = service.client.post(f"/api/v1/jobs/{jobs['prune']}/{verb}", headers=keys["operator"])
            assert (answer.status_code, answer.json()["detail"]) == (403, "prune: this needs the role admin")
        harmless = {"kind": "verify", "options": {"repository": "vault"}, "interval": 60}
        for answer in (
            service.client.put("/api/v1/schedules/forget", json=harmless, headers=keys["operator"]),
            service.client.delete("/api/v1/schedules/prune", headers=keys["operator"]),
            service.client.post("/monitoring/schedules", data={"verb": "run", "name": "prune", "tenant": "default"},
                                headers=keys["operator"]),
        ):  # fmt: skip
            assert answer.status_code == 403
        assert same(tmp_path / "docs", tmp_path / "out")
        for kind, place in (("backup", "source"), ("restore", "destination")):
            answer = ask(service, kind, keys["admin"], **{place: str(tmp_path / "cwd")})
            assert (answer["code"], "outside the allowed roots" in answer["detail"]) == (403, True)


TENANTS = """
tenants: {acme: {allowed_roots: ['ROOT/acme']}, beta: {allowed_roots: ['ROOT/beta']}}
repositories:
  vault: {place: VAULT, password_file: word, tenants: ['*']}
  own: {place: ROOT/own, password_file: word, tenants: [acme]}
"""


def test_tenants_do_not_meet(tmp_path: Path) -> None:
    site = Site(tmp_path, TENANTS)
    site.init(tmp_path / "own")
    for name in ("acme", "beta"):
        files(tmp_path / name / "docs")
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
        acme, beta = (site.key("admin", "--tenant", name) for name in ("acme", "beta"))
        service.client.headers = acme
        mine = done(service, "backup", source=str(tmp_path / "acme" / "docs"))
        done(service, "backup", source=str(tmp_path / "acme" / "docs"), repository="own")
        service.client.headers = beta
        theirs = done(service, "backup", source=str(tmp_path / "beta" / "docs"))
        assert [job["result"]["snapshot"]["tenant"] for job in (mine, theirs)] == ["acme", "beta"]

        snapshot, out = mine["result"]["snapshot"]["id"], str(tmp_path / "beta" / "out")
        refused = done(service, "restore", "failed", snapshot=snapshot, share="docs", destination=out)
        assert "there is none" in refused["error"]
        assert "acme" not in json.dumps(refused)
        for kind, options in (
            ("backup", {"source": str(tmp_path / "beta" / "docs"), "repository": "own"}),
            ("verify", {"repository": "own"}), ("prune", {"repository": "own"}),
            ("forget", {"repository": "own", "keep_last": 1}), ("restore", {"repository": "own", "destination": out}),
        ):  # fmt: skip
            answer = ask(service, kind, **options)
            assert (answer["code"], answer["detail"]) == (400, "there is no repository own")
        for kind, options in (
            ("backup", {"source": str(tmp_path / "acme" / "docs")}), ("backup", {"source": str(tmp_path / "vault")}),
            ("restore", {"destination": str(tmp_path / "acme" / "x")}),
            ("restore", {"destination": str(tmp_path / "vault" / "beta")}),
        ):  # fmt: skip
            answer = ask(service, kind, **options)
            assert (answer["code"], "outside the allowed roots" in answer["detail"]) == (403, True)
        body = {"kind": "prune", "options": {"repository": "vault"}, "tenant": "acme"}
        assert service.client.post("/api/v1/jobs", json=body).status_code == 403
        for path in (f"/api/v1/jobs/{mine['id']}", "/api/v1/schedules/x?tenant=acme"):
            assert service.client.get(path).status_code in (403, 404)
        assert service.client.post(f"/api/v1/jobs/{mine['id']}/retry").status_code == 404

        listed = [each["name"] for each in service.client.get("/api/v1/repositories").json()["items"]]
        assert listed == ["vault"]
        for path, query in _reading(service, snapshot):
            for name, more in (("own", {}), ("vault", {"tenant": "acme"})):
                answer = service.client.get(path.replace("{name}", name), params={**query, **more})
                assert answer.status_code in (403, 404), (path, name, answer.text)
                assert "f0" not in answer.text
            if "{snapshot}" in path or snapshot in path or snapshot in query.values():
                answer = service.client.get(path.replace("{name}", "vault"), params=query)
                assert answer.status_code == 404, (path, answer.text)
        done(service, "forget", keep_last=1, prune=True)
        done(service, "prune", max_unused="0%")
        found = done(service, "verify", read_data=True)
        assert found["result"]["totals"]["snapshots"] == 1
        service.client.headers = acme
        assert done(service, "verify", read_data=True)["result"]["totals"]["snapshots"] == 1
        done(service, "restore", destination=str(tmp_path / "acme" / "out"))
        assert same(tmp_path / "acme" / "docs", tmp_path / "acme" / "out")


def _reading(service: Service, snapshot: str) -> list[tuple[str, dict[str, str]]]:
    """Every route that looks into a repository: its path, but for the repository's name, and a query that it needs."""
    found = []
    for path, verbs in service.client.get("/api/v1/openapi.json").json()["paths"].items():
        if path.startswith("/api/v1/repositories/") and "get" in verbs:
            needed = {each["name"]: snapshot for each in verbs["get"]["parameters"]
                      if each["in"] == "query" and each.get("required")}  # fmt: skip
            found.append((path.replace("{share}", "docs").replace("{snapshot}", snapshot), {**needed, "path": "f0"}))
    assert len(found) >= 8
    return found


def workers(service: Service) -> list[psutil.Process]:
    """The processes below the service."""
    return psutil.Process(service.process.pid).children(recursive=True)


def begun(service: Service, **options: Any) -> str:
    """A backup that goes on for some seconds, of which something is done; its job."""
    asked = ask(service, "backup", bwlimit="400K", **options)
    assert asked["code"] == 201, asked
    service.wait(f"/api/v1/jobs/{asked['id']}", lambda job: job["counts"].get("copied_files"))
    return str(asked["id"])


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_backup_that_was_cut_short_goes_on_with_the_next_start(tmp_path: Path, name: str) -> None:
    site = Site(tmp_path)
    docs = many(tmp_path / "docs")
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
        job = begun(service, source=str(docs))
        below = workers(service)
        assert below
        service.process.send_signal(getattr(signal, name))
        service.process.wait(PATIENCE)
        gone, alive = psutil.wait_procs(below, PATIENCE)
        assert (len(gone), alive) == (len(below), [])
    assert made(site) == []
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
        ended = service.job(job)
        assert (ended["status"], ended["result"]["totals"]["files"]) == ("completed", 24), (ended, service.log())
        assert done(service, "verify", read_data=True)["result"]["whole"]
        done(service, "restore", destination=str(tmp_path / "back"))
    assert same(docs, tmp_path / "back")


def test_a_backup_is_paused_goes_on_and_is_cancelled(tmp_path: Path) -> None:
    site = Site(tmp_path)
    docs = many(tmp_path / "docs")
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
        job = begun(service, source=str(docs))
        assert service.client.post(f"/api/v1/jobs/{job}/pause").status_code == 200
        service.wait(f"/api/v1/jobs/{job}", lambda job: job["status"] == "paused")
        end = time.monotonic() + PATIENCE
        while workers(service):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert service.client.post(f"/api/v1/jobs/{job}/resume").status_code == 200
        assert service.job(job)["status"] == "completed"
        other = begun(service, source=str(docs), share="other")
        assert service.client.post(f"/api/v1/jobs/{other}/cancel").status_code == 200
        assert service.job(other)["status"] == "cancelled"
        assert done(service, "verify", read_data=True)["result"]["totals"]["snapshots"] == 1


def test_a_failed_verification_is_told_to_people_and_to_prometheus(tmp_path: Path) -> None:
    with stub(lambda asked: Reply()) as hook:
        (tmp_path / "hook").write_text(f"{hook.url}/T0K3N")
        site = Site(tmp_path, VAULT + "notify: {webhook_url: '@hook', format: json}\n")
        docs = files(tmp_path / "docs")
        with serving(tmp_path / "cwd", "--config", str(site.config)) as service:
            done(service, "backup", source=str(docs))
            samples = _samples(service)
            share = 'repository="vault",share="docs",tenant="default"'
            assert samples[f"dunlin_backup_last_files{{{share}}}"] == 3
            assert samples[f"dunlin_backup_last_new_bytes{{{share}}}"] == 60_000
            assert time.time() - samples[f"dunlin_backup_last_success_time_seconds{{{share}}}"] < PATIENCE
            [pack] = [each for each in (tmp_path / "vault" / "default" / "docs").iterdir() if each.is_file()]
            sound = pack.read_bytes()
            pack.write_bytes(b"")
            done(service, "verify", "failed", read_data=True)
            pack.write_bytes(sound)
            done(service, "verify", read_data=True)
            service.wait("/healthz", lambda _: len(hook.asked) == 2)
            time.sleep(1.1)  # the figures of a scrape stand for a second
            samples = _samples(service)
            assert samples['dunlin_backup_damaged_objects{repository="vault",tenant="default"}'] == 0
            assert samples['dunlin_backup_jobs_total{kind="verify",status="failed"}'] == 1
            log = service.stop()
        bad, good = (json.loads(asked.body) for asked in hook.asked)
    assert (bad["event"], good["event"]) == ("failure", "recovery")
    assert "verify vault" in bad["subject"]
    assert "damaged" in json.dumps(bad)
    assert "T0K3N" not in log


def _samples(service: Service) -> dict[str, float]:
    text = service.client.get("/metrics").text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("dunlin_backup")]
    found = {}
    for name, _, value in lines:
        bare, _, labels = name.rstrip("}").partition("{")
        found[f"{bare}{{{','.join(sorted(labels.split(',')))}}}"] = float(value)
    return found


def test_with_a_queue_workers_take_part(tmp_path: Path) -> None:
    site = Site(tmp_path, VAULT + "queue: {url: ROOT/queue.db}\nbackup: {password_file: word}\n")
    docs = many(tmp_path / "docs")
    with serving(tmp_path / "cwd", "--config", str(site.config)) as service, (tmp_path / "told").open("wb") as told:
        (tmp_path / "elsewhere").mkdir()
        worker = start("worker", "--config", site.config, "--processes", "1", cwd=tmp_path / "elsewhere", stderr=told)
        try:
            service.wait("/healthz", lambda _: "worker.started" in (tmp_path / "told").read_text())
            job = ask(service, "backup", bwlimit="600K", source=str(docs))["id"]
            service.wait(f"/api/v1/jobs/{job}", lambda _: "takes part in run" in (tmp_path / "told").read_text())
            ended = service.job(job)
            assert (ended["status"], ended["result"]["totals"]["files"]) == ("completed", 24), ended
            assert done(service, "verify", read_data=True)["result"]["whole"]
            done(service, "restore", destination=str(tmp_path / "back"), verify=True)
        finally:
            worker.terminate()
            worker.communicate()
        log = service.stop()
    assert same(docs, tmp_path / "back")
    assert "correct horse" not in log
    assert b"correct horse" not in (tmp_path / "queue.db").read_bytes()
