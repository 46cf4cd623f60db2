"""What a service answers, on loopback: jobs, queues and workers that were made up; orders change the jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NOW = 1_795_334_400_000_000_000
"""2026-11-22 08:00:00 UTC."""

KEY = "dk_abc_secret"


def job(id: str, status: str, label: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id, "kind": "sync", "status": status, "tenant": "default", "created_by": "ci", "label": label,
        "created": "2026-11-22T07:40:00Z", "counts": {}, **more,
    }  # fmt: skip


def queue(name: str, **more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("waiting", "delayed", "leased", "dead", "news", "put", "done", "failed", "lost"), 0)
    return {"queue": name, **counts, "oldest": 0.0, "paused": False, **more}


def made_up() -> dict[str, Any]:
    """The jobs and so on of a service, the newest job first."""
    counts = {"scanned_files": 12_000, "copied_files": 3000, "copied_bytes": 3 << 30, "pending_files": 1000,
              "pending_bytes": 1 << 30}  # fmt: skip
    published = {"total_files": 50, "total_bytes": 5 << 20, "uploaded": 47, "failed": 3, "uploaded_bytes": 4 << 20}
    jobs = [
        job("j9", "completed", "/srv/music -> loc://offsite/music", started="2026-11-22T07:41:00Z",
            ended="2026-11-22T07:42:40Z", created="2026-11-22T07:40:50Z",
            counts={"copied_files": 250, "copied_bytes": 500 << 20}),
        job("j8", "running", "/srv/photos/of/a/very/long/name/below -> loc://offsite/photos",
            started="2026-11-22T07:45:00Z", counts=counts),
        job("j7", "paused", "/srv/mail -> /backup/mail", started="2026-11-22T07:30:00Z",
            counts={"copied_files": 10, "copied_bytes": 1 << 20, "pending_files": 30}),
        job("j6", "queued", "/srv/video -> /backup/video", created_by="nightly"),
        job("j5", "failed", "3 items", kind="publish", started="2026-11-22T06:00:00Z", ended="2026-11-22T06:00:30Z",
            created="2026-11-22T05:59:00Z", counts=published, error="3 files failed"),
        job("j4", "cancelled", "/srv/old -> /backup/old", ended="2026-11-22T05:10:00Z",
            created="2026-11-22T05:00:00Z"),
    ]  # fmt: skip
    failures = [
        {"number": at, "path": f"reports/name-{at}.pdf", "key": f"k{at}", "size": 10, "status": "failed", "attempt": 4,
         "updated": "2026-11-22T06:00:20Z", "error": f"cannot write the object {at}: Access denied by the store"}
        for at in range(3)
    ]  # fmt: skip
    worker = {"host": "nas", "pid": 7, "queues": [], "labels": [], "version": "1", "age": 90.0, "seen": 1.0}
    return {
        "jobs": jobs,
        "failures": {"j5": failures},
        "queues": [queue("runs", waiting=120, delayed=3, leased=8, oldest=75.0), queue("publish", dead=2, paused=True)],
        "workers": [{"worker": "nas-1", "slots": 8, "busy": 6} | worker, {"worker": "nas-2", "slots": 4, "busy": 2}
                    | worker],
    }  # fmt: skip


class Stub:
    """A service. `asked`: method, target and Authorization of every request.

    `raw`: (status, media type, body) in place of every answer, by the beginning of a path. `seconds`: what passed.
    """

    def __init__(self) -> None:
        self.found = made_up()
        self.raw: dict[str, tuple[int, str, bytes]] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.key = ""
        self.url = ""

    def job(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.found["jobs"] if each["id"] == id)
        return found

    def answer(self, method: str, target: str, key: str) -> tuple[int, str, bytes]:
        self.asked.append((method, target, key))
        parts = urlsplit(target)
        for path, raw in self.raw.items():
            if parts.path.startswith(path):
                return raw
        if parts.path == "/healthz":
            return _good({"status": "ok", "parts": {}})
        if self.key and key != f"Bearer {self.key}":
            return problem(401, "this key is not good" if key else "a key is needed")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return self._api([unquote(each) for each in parts.path.split("/")[3:]], method, query, parse_qs(parts.query))

    def _api(
        self, words: list[str], method: str, query: dict[str, str], all: dict[str, list[str]]
    ) -> tuple[int, str, bytes]:
        search, count = query.get("search", ""), int(query.get("count", "100"))
        if words == ["jobs"]:
            wanted = all.get("status")
            jobs = [each for each in self.found["jobs"] if search in each["label"]]
            return _page([each for each in jobs if not wanted or each["status"] in wanted][:count])
        if words[0] in ("queues", "workers"):
            return _page(self.found[words[0]])
        one = next((each for each in self.found["jobs"] if each["id"] == words[1]), None)
        if one is None:
            return problem(404, "there is no such job")
        if words[2:] == ["failures"]:
            return _page([each for each in self.found["failures"].get(words[1], []) if search in each["path"]])
        if method == "POST":
            if words[2] == "resume" and one["status"] != "paused":
                return problem(409, "the job is not paused")
            one["status"] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[words[2]]
        return _good(one)


def _good(value: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(value).encode()


def _page(items: list[Any]) -> tuple[int, str, bytes]:
    return _good({"items": items})


def problem(status: int, detail: str) -> tuple[int, str, bytes]:
    return status, "application/problem+json", json.dumps({"title": "No", "status": status, "detail": detail}).encode()


@contextmanager
def serving(stub: Stub, port: int = 0) -> Iterator[Stub]:
    """The stub, at a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media, body = stub.answer(self.command, self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            headers = {"Content-Type": media, "Content-Length": str(len(body)), **stub.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
