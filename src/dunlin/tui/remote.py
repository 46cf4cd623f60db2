"""Reads a service (`dunlin serve`) for the dashboard, whatever becomes of the service meanwhile.

One look is a few requests of the API (docs/service.md): the jobs that are not over, the newest jobs, queues, workers,
and of the job that is open its failures. Rates are not in the API: they are the differences of counts between looks,
over the last `WINDOW` seconds. What happened comes from the moments that a job carries (asked for, begun, over), so
it is there at the first look too; a pause carries none and is noted when a look finds it.

A service that is away does not end the dashboard: what was read last stays, with one line that says why, and every
look tries again. All calls come from one thread (`reader.Thread`), each with a time-out, so the screen never waits.

The key goes to the address that was given and nowhere else: redirections are not followed, proxies of the environment
are not used, and no message holds it. What comes back is somebody else's: it is bounded in size and in time, and every
value is checked before it is shown.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.report.webhook import unreachable
from dunlin.tui.text import shown

OPERATION = "read the service"
TIMEOUT = 3.0
"""Seconds of silence after which a request is given up; `DEADLINE`: seconds for the whole of its answer."""
DEADLINE = 10.0
LARGEST = 32 << 20
"""Bytes of an answer."""

COUNT = 100
"""The newest jobs that are shown, and the most that are not over. `FAILURES`: files of the one that is open."""
FAILURES = 500

WINDOW = 10 * 1_000_000_000
EVENTS = 100
KNOWN = 10_000
"""Jobs whose status is remembered, to see that it changes."""

ACTIVE = ("running", "paused", "queued", "interrupted")
"""How a job that is not over may stand, in the order in which they are shown."""

NOT_OURS = "what answers there is not `dunlin serve`"
HINT = "give the address that `dunlin serve` prints, as http://HOST:PORT"


class Want(NamedTuple):
    """What is to be read: `text` is what the name of a job must hold, `failed_text` that of a file that failed.

    `job`: the id of the job that is open; "" for none.
    """

    text: str = ""
    job: str = ""
    failed_text: str = ""


class JobNow(NamedTuple):
    """A job as the service tells it. Times in ns since 1970, 0: not yet; rates per second, None: not known."""

    id: str
    kind: str
    status: str
    label: str
    tenant: str
    created_by: str
    created: int
    started: int
    ended: int
    counts: Mapping[str, float]
    error: str
    wish: str
    files_rate: float | None = None
    bytes_rate: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing happens to it of itself."""
        return self.status not in ACTIVE

    @property
    def done_files(self) -> float:
        """Files that were moved."""
        return self._first("copied_files", "uploaded", "uploaded_files")

    @property
    def done_bytes(self) -> float:
        """Bytes that were moved."""
        return self._first("copied_bytes", "uploaded_bytes")

    @property
    def failed(self) -> float:
        """Files that failed."""
        return self._first("failed_files", "failed")

    @property
    def left_files(self) -> float:
        """Files that wait, as far as they are known."""
        return self._first("pending_files", "pending")

    @property
    def left_bytes(self) -> float:
        """Bytes that wait, as far as they are known."""
        return self._first("pending_bytes") or max(0.0, self._first("total_bytes") - self.done_bytes)

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1; None: nobody knows."""
        if self.status == "completed":
            return 1.0
        through = self.done_files + self._first("skipped") + self.failed
        total = self._first("total_files") or (through + self.left_files if self.left_files else 0)
        return min(1.0, through / total) if total else None

    @property
    def seconds_left(self) -> float | None:
        """Until it is through, at the rate of the last seconds; None: nobody knows."""
        if self.status != "running":
            return None
        for left, rate in ((self.left_bytes, self.bytes_rate), (self.left_files, self.files_rate)):
            if left and rate:
                return left / rate
        return None

    def seconds(self, now: int) -> float | None:
        """From its begin to its end, or to `now`."""
        return max(0, (self.ended or now) - self.started) / 1e9 if self.started else None

    def _first(self, *names: str) -> float:
        return next((self.counts[name] for name in names if name in self.counts), 0.0)


class Failure(NamedTuple):
    """A file of a job that failed; `updated` in ns."""

    path: str
    error: str
    attempt: int
    updated: int


class QueueNow(NamedTuple):
    """A queue; `oldest` in seconds."""

    name: str
    waiting: int
    leased: int
    dead: int
    oldest: float
    paused: bool


class WorkerNow(NamedTuple):
    """A worker that is alive; `seen` seconds ago."""

    name: str
    host: str
    slots: int
    busy: int
    seen: float


class Happening(NamedTuple):
    """What happened to a job; `time` in ns."""

    time: int
    job: str
    word: str
    label: str
    message: str = ""


class ServiceLook(NamedTuple):
    """What was read at one moment; `time` in ns, 0 when nothing was read yet.

    Attributes:
        want: what it answers.
        problem: why the figures are old, in one line; "" when they are not.
        jobs: those that are not over first, then the newest.
        job: the one that is open; None where none is, or it is gone. failures: its files that failed.
        more_failures: there are others behind them.
        shared: why queues and workers are not shown; "" when they are.
        activity: the newest first.
    """

    want: Want = Want()
    time: int = 0
    problem: str = ""
    jobs: list[JobNow] = []  # noqa: RUF012  (never changed)
    job: JobNow | None = None
    failures: list[Failure] = []  # noqa: RUF012
    more_failures: bool = False
    queues: list[QueueNow] = []  # noqa: RUF012
    workers: list[WorkerNow] = []  # noqa: RUF012
    shared: str = ""
    activity: list[Happening] = []  # noqa: RUF012


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the key is for one address."""

    def redirect_request(self, *args: Any, **words: Any) -> None:
        return None


class Client:
    """Asks a service. Raises USAGE for what is no address or no key; see `get` for the rest.

    Args:
        url: ``http://HOST:PORT``, perhaps with the path below which a proxy has it.
        key: an API key; "": none.
        timeout: seconds of silence. clock: seconds that only grow.
    """

    def __init__(
        self, url: str, key: str = "", timeout: float = TIMEOUT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = checked(url)
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise usage("what --key holds is no key", "a key is what `dunlin key add` prints: dk_...")
        self._key = key
        self._timeout = timeout
        self._clock = clock
        self._opener = urllib.request.build_opener(_Stay(), urllib.request.ProxyHandler({}))

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The object at a path of the API. Raises CONFIG (not a service), AUTH, NOT_FOUND, BUSY, NETWORK, TIMEOUT."""
        pairs = {name: value for name, value in query.items() if value}
        return self._ask("GET", f"{path}?{urlencode(pairs, doseq=True)}" if pairs else path)

    def order(self, job: str, verb: str) -> dict[str, Any]:
        """Have a job pause, resume or be cancelled; the job as it stands then. Raises as `get` does."""
        return self._ask("POST", f"/api/v1/jobs/{quote(job, safe='')}/{verb}")

    def greet(self) -> None:
        """Whether a service answers there, and lets us in. Raises as `get` does."""
        found = self.get("/healthz")
        if not isinstance(found.get("status"), str) or "parts" not in found:
            raise self._error(ErrorKind.CONFIG, NOT_OURS, HINT)
        _items(self.get("/api/v1/jobs", count=1))

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        headers = {"Accept": "application/json", "User-Agent": "dunlin"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url + path, b"" if method == "POST" else None, headers, method=method)
        end = self._clock() + DEADLINE
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                body = self._body(answer, end)
        except HTTPError as error:
            with error:
                raise self._refused(error, end) from None
        except (URLError, OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, URLError) else error
            if isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError):
                raise self._error(ErrorKind.CONFIG, NOT_OURS, HINT) from None
            if not isinstance(cause, Exception):
                cause = OSError(str(cause))
            raise unreachable(cause, OPERATION, self.url) from None
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._error(ErrorKind.CONFIG, NOT_OURS, HINT)
        return found

    def _body(self, answer: IO[bytes], end: float) -> bytes:
        """All of an answer, within `LARGEST` bytes and until `end`."""
        parts, size = [], 0
        while part := answer.read(65_536):
            size += len(part)
            if size > LARGEST:
                raise self._error(ErrorKind.CONFIG, f"it answers with more than {LARGEST:,} bytes", HINT)
            if self._clock() > end:
                raise TimeoutError
            parts.append(part)
        return b"".join(parts)

    def _refused(self, error: HTTPError, end: float) -> DunlinError:
        """What a status means. The words of a refusal are the service's own where it is one (RFC 9457)."""
        status, words = error.code, ""
        if (error.headers.get_content_type() if error.headers else "") == "application/problem+json":
            try:
                said = json.loads(self._body(error, end))
                words = shown(str(said.get("detail") or said.get("title") or ""))
            except (ValueError, AttributeError, RecursionError, OSError, http.client.HTTPException, DunlinError):
                words = ""
        if words and status == 401:
            if self._key:
                return self._error(ErrorKind.AUTH, "it does not know this key, or the key was revoked")
            return self._error(ErrorKind.AUTH, "it asks for a key", "set DUNLIN_KEY, or give --key @FILE")
        if words and status == 403:
            return self._error(ErrorKind.AUTH, words)
        if words and status == 404 and words != "there is nothing at this path":
            return self._error(ErrorKind.NOT_FOUND, words)
        if status in (429, 502, 503, 504):
            return self._error(ErrorKind.BUSY, words or f"it answers with HTTP {status}")
        if words and status != 404:
            return self._error(ErrorKind.CONFIG if status < 500 else ErrorKind.BUSY, words)
        return self._error(ErrorKind.CONFIG, f"{NOT_OURS} (HTTP {status})", HINT)

    def _error(self, kind: ErrorKind, reason: str, hint: str = "") -> DunlinError:
        return DunlinError(OPERATION, self.url, kind, reason, hint)


def checked(url: str) -> str:
    """An address without the slash at its end. Raises USAGE; the message holds no login that stands in it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise usage("--url holds no address", HINT) from None
    if "@" in parts.netloc:
        raise usage("--url holds a login", "a key goes into DUNLIN_KEY or --key @FILE")
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise usage(f"--url {printable(url)}: this is no address of a service", HINT)
    if parts.query or parts.fragment:
        raise usage("--url holds more than an address", HINT)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


class ServiceReader:
    """Reads what `client` asks. Use it from one thread; no call raises because of the service.

    Args:
        clock: ns since 1970.
    """

    def __init__(self, client: Client, clock: Callable[[], int] = time.time_ns) -> None:
        self.url = client.url
        self.clock = clock
        self._client = client
        self._last = ServiceLook()
        self._counts: dict[str, deque[tuple[int, float, float]]] = {}
        self._seen: dict[str, str] = {}
        self._noted: deque[Happening] = deque(maxlen=EVENTS)

    def look(self, want: Want) -> ServiceLook:
        """What the service says now, or what it said last with the reason why that is all."""
        try:
            self._last = self._read(want)
        except DunlinError as error:
            self._last = self._last._replace(problem=in_words(error))
        except Exception as error:  # whatever was answered, none of it ends the dashboard
            words = f"the service answers with what cannot be understood ({type(error).__name__})"
            self._last = self._last._replace(problem=words)
        return self._last

    def tell(self, job: str, verb: str) -> str:
        """Give a job an order; "" or why it could not be given."""
        try:
            self._client.order(job, verb)
        except DunlinError as error:
            return in_words(error)
        except Exception as error:
            return f"the service answers with what cannot be understood ({type(error).__name__})"
        return ""

    def _read(self, want: Want) -> ServiceLook:
        get = self._client.get
        active = _items(get("/api/v1/jobs", status=ACTIVE, count=COUNT, search=want.text))
        newest = _items(get("/api/v1/jobs", count=COUNT, search=want.text))
        now = self.clock()
        found = {job.id: job for job in map(_job, (*active, *newest))}
        jobs = sorted(found.values(), key=_place)
        queues: list[QueueNow] = []
        workers: list[WorkerNow] = []
        shared = ""
        try:
            queues = [_queue(each) for each in _items(get("/api/v1/queues"))]
            workers = [_worker(each) for each in _items(get("/api/v1/workers"))]
        except DunlinError as error:
            if error.kind is not ErrorKind.AUTH:
                raise
            shared = error.reason
        opened, failures, more = self._open(want)
        every = {**found, **({opened.id: opened} if opened is not None else {})}
        moving = {id: self._paced(job, now) for id, job in every.items()}
        self._counts = {id: counts for id, counts in self._counts.items() if id in moving}
        self._note(moving.values(), now)
        return ServiceLook(
            want, now, "", [moving[job.id] for job in jobs], moving[opened.id] if opened is not None else None,
            failures, more, queues, workers, shared, self._activity(jobs),
        )  # fmt: skip

    def _open(self, want: Want) -> tuple[JobNow | None, list[Failure], bool]:
        if not want.job:
            return None, [], False
        path = f"/api/v1/jobs/{quote(want.job, safe='')}"
        try:
            job = _job(self._client.get(path))
            page = self._client.get(f"{path}/failures", count=FAILURES, search=want.failed_text)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return None, [], False
        return job, [_failure(each) for each in _items(page)], bool(page.get("next"))

    def _paced(self, job: JobNow, now: int) -> JobNow:
        """The job with its rates: of the last seconds while it runs, on the average of all when it is over."""
        if job.over:
            seconds = job.seconds(now)
            if not seconds:
                return job
            return job._replace(files_rate=job.done_files / seconds, bytes_rate=job.done_bytes / seconds)
        counts = self._counts.setdefault(job.id, deque())
        if job.status != "running" or (counts and counts[-1][1] > job.done_files):  # begun anew: counts start at zero
            counts.clear()
        if job.status != "running":
            return job
        counts.append((now, job.done_files, job.done_bytes))
        while len(counts) > 2 and counts[1][0] <= now - WINDOW:
            counts.popleft()
        begin, files, size = counts[0]
        if now <= begin:
            return job
        seconds = (now - begin) / 1e9
        return job._replace(files_rate=(job.done_files - files) / seconds, bytes_rate=(job.done_bytes - size) / seconds)

    def _note(self, jobs: Iterable[JobNow], now: int) -> None:
        """Remember what carries no moment of its own: pauses, and that they are over."""
        if len(self._seen) > KNOWN:
            self._seen.clear()
        for job in jobs:
            before, self._seen[job.id] = self._seen.get(job.id), job.status
            if before in (None, job.status):
                continue
            if job.status in ("paused", "interrupted"):
                self._noted.append(Happening(now, job.id, job.status, job.label))
            elif before in ("paused", "interrupted") and job.status in ("queued", "running"):
                self._noted.append(Happening(now, job.id, "resumed", job.label))

    def _activity(self, jobs: list[JobNow]) -> list[Happening]:
        listed = {job.id for job in jobs}
        found = [each for job in jobs for each in _moments(job)]
        found += [each for each in self._noted if each.job in listed]
        return sorted(found, key=lambda each: each.time, reverse=True)[:EVENTS]


def _place(job: JobNow) -> tuple[int, int]:
    return (len(ACTIVE) if job.over else ACTIVE.index(job.status)), -job.created


def _moments(job: JobNow) -> Iterator[Happening]:
    yield Happening(job.created, job.id, "asked", job.label, f"by {job.created_by}" if job.created_by else "")
    if job.started:
        yield Happening(job.started, job.id, "begun", job.label)
    if job.ended:
        yield Happening(job.ended, job.id, job.status, job.label, job.error)


def in_words(error: DunlinError) -> str:
    """Why the service could not be read, in one line for the screen."""
    if error.kind in (ErrorKind.NETWORK, ErrorKind.TIMEOUT):
        return f"the service does not answer ({error.reason or error.kind.value})"
    return f"the service: {error.reason or error.kind.value}"


# ---- from what was answered to what is shown ----


def _items(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise DunlinError(OPERATION, "", ErrorKind.CONFIG, NOT_OURS, HINT)
    return items


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _number(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    # Larger ones are no counts, and a double could not hold them.
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1 << 63
    return value if good and value is not None else 0


def _moment(found: Mapping[str, Any], name: str) -> int:
    text = _text(found, name)
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000 if text else 0


def _job(found: Mapping[str, Any]) -> JobNow:
    counts = found.get("counts")
    told = {name: _number(counts, name) for name in counts} if isinstance(counts, dict) else {}
    id, kind, status, label, tenant, by, error, wish = (
        _text(found, name) for name in ("id", "kind", "status", "label", "tenant", "created_by", "error", "wish")
    )
    if not id or not status:
        raise DunlinError(OPERATION, "", ErrorKind.CONFIG, NOT_OURS, HINT)
    created, started, ended = (_moment(found, name) for name in ("created", "started", "ended"))
    return JobNow(id, kind, status, label or id, tenant, by, created, started, ended, told, error, wish)


def _failure(found: Mapping[str, Any]) -> Failure:
    attempt = int(_number(found, "attempt"))
    return Failure(_text(found, "path"), _text(found, "error"), attempt, _moment(found, "updated"))


def _queue(found: Mapping[str, Any]) -> QueueNow:
    waiting = int(_number(found, "waiting") + _number(found, "delayed"))
    leased, dead = int(_number(found, "leased")), int(_number(found, "dead"))
    return QueueNow(
        _text(found, "queue"), waiting, leased, dead, _number(found, "oldest"), found.get("paused") is True
    )  # fmt: skip


def _worker(found: Mapping[str, Any]) -> WorkerNow:
    slots, busy = int(_number(found, "slots")), int(_number(found, "busy"))
    return WorkerNow(_text(found, "worker"), _text(found, "host"), slots, busy, _number(found, "seen"))
