"""The monitor's pages and forms, over a real ledger and queue: who sees what, what orders do, what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dunlin.config.service import Tenant
from dunlin.queue.base import NewTask, QueueStats, Status
from dunlin.queue.ledger.words import JobStatus, NewJob, Role
from dunlin.queue.ledger.words import Tenant as TenantRow
from dunlin.web.gate import COOKIE
from dunlin.web.monitor.depth import Depth
from dunlin.web.monitor.jobs import share
from dunlin.web.monitor.tasks import MOST, readable
from tests.unit.web.busy import Made, busy, hour, submit
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import Served, served
from tests.unit.web.test_gate import bearer, guarded, key

HTML = {"Accept": "text/html,*/*"}
ROOT = "/monitoring"


class Shown:
    """A service that is at work, with what was made in it."""

    def __init__(self, served: Served, made: Made) -> None:
        self.served, self.made = served, made

    @property
    def pages(self) -> tuple[str, ...]:
        made = self.made
        return (
            ROOT, f"{ROOT}/jobs", *(f"{ROOT}/job?id={id}" for id in made[:5]), f"{ROOT}/tasks",
            f"{ROOT}/task?id={made.dead}", f"{ROOT}/schedules",
        )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """For tests that change nothing."""
    with served(tmp_path_factory.mktemp("monitor")) as made:
        ids = busy(made, HOSTILE)
        hour(made.depth)
        yield Shown(made, ids)


def words(page: str) -> str:
    """The text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def page(made: Served, path: str, status: int = 200, **more: Any) -> str:
    answer = made.get(path, headers=HTML | more.pop("headers", {}), **more)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def order(made: Served, form: str, status: int = 303, headers: dict[str, str] | None = None, **fields: str) -> str:
    """Send a form; where it leads, or what it says."""
    answer = made.post(f"{ROOT}/{form}", data=fields, headers=HTML | (headers or {}))
    assert answer.status_code == status, answer.text
    return answer.headers.get("location", "") if status == 303 else words(answer.text)


# ---- what is shown ----


def test_the_overview_shows_queues_workers_jobs_and_an_hour(shown: Shown) -> None:
    text = words(page(shown.served, ROOT))
    for part in (
        "Jobs running 2 1 queued", "Jobs failed 1", "Tasks dead 1", "Workers 2 6 of 12 slots busy",
        "run-1a ⚠ paused", "▶ running 65%", "The last 60m.", "45m ago", "worker-1 node1.example:4711 3 of 8",
    ):  # fmt: skip
        assert part in text
    assert "/srv/mail" not in text  # it is over
    assert page(shown.served, ROOT).count('role="img"') == 2


def test_an_empty_service_says_so(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        text = words(page(made, ROOT))
        assert "Jobs under way None." in text
        assert "Nothing yet." in text
        assert "None: nothing was ever put into one." in text
        for path in ("jobs", "tasks", "schedules"):
            assert "None." in words(page(made, f"{ROOT}/{path}"))


class Read(HTMLParser):
    """What a browser finds in a page: elements with their attributes, and whether each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.ids: list[str] = []
        self.unlabelled: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.names |= found.keys()
        self.ids += [id for id in [found.get("id")] if id]
        if tag in ("input", "select", "textarea") and found.get("type") != "hidden" and "label" not in self._open:
            self.unlabelled.append(tag)
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


TAGS = {
    "html", "head", "meta", "title", "link", "script", "noscript", "body", "a", "header", "b", "nav", "span", "form",
    "input", "button", "main", "h1", "h2", "h3", "p", "div", "dl", "dt", "dd", "section", "svg", "rect", "line", "path",
    "desc", "table", "thead", "tbody", "tr", "th", "td", "time", "label", "select", "option", "textarea", "details",
    "summary", "pre", "footer",
}  # fmt: skip


def test_every_page_is_whole_and_safe_whatever_names_hold(shown: Shown) -> None:
    for path in shown.pages:
        text = page(shown.served, path)
        read = Read(text)
        assert read.tags <= TAGS
        assert [name for name in read.names if name.startswith("on") or name == "style"] == []
        assert text.count("<script") == 1
        assert re.fullmatch(r"[^\x00-\x08\x0b-\x1f\u202e]*", text)
        assert len(read.ids) == len(set(read.ids))
        assert read.unlabelled == []
    files = words(page(shown.served, f"{ROOT}/job?id={shown.made.published}"))
    for part in ("<script>alert(1)</script>", "turned\\u202egnp.exe", "surrogate\\xff", "control\\x1b[31m\\x00\\nline"):
        assert part in files


def test_a_job_tells_how_far_it_is(shown: Shown) -> None:
    text = words(page(shown.served, f"{ROOT}/job?id={shown.made.running}"))
    assert "/srv/photos -> s3://archive/photos" in text
    assert "▶ running sync of 20" in text
    assert "65%" in text
    assert "copied files 41,730 copied bytes 178 GiB" in text
    assert '"bwlimit": "20M"' in text
    text = words(page(shown.served, f"{ROOT}/job?id={shown.made.failed}"))
    assert "no space left on device" in text


def test_files_of_a_job_are_found_by_status_and_search(shown: Shown) -> None:
    path = f"{ROOT}/job?id={shown.made.published}"
    assert "✓ uploaded" in page(shown.served, path)
    failed = page(shown.served, f"{path}&status=failed")
    assert "✓ uploaded" not in failed
    assert failed.count("the store says 503") == 2
    assert words(page(shown.served, f"{path}&search=TURNED")).count("turned\\u202e") == 2  # the file and its key
    assert "Files Status any" in words(page(shown.served, f"{path}&status=odd"))


def test_lists_come_in_pages(shown: Shown) -> None:
    seen: list[str] = []
    path: str | None = f"{ROOT}/tasks?queue=publish&search=unit"
    pages = 0
    while path:
        text = page(shown.served, path)
        seen += re.findall(r'href="/monitoring/task\?id=([^"]+)"', text)
        following = re.search(r'<a href="([^"]+)" rel="next">', text)
        path = unescape(following[1]) if following else None
        pages += 1
    assert (pages, len(seen), len(set(seen))) == (2, 59, 59)


def test_jobs_are_found_by_status_and_search(shown: Shown) -> None:
    text = words(page(shown.served, f"{ROOT}/jobs?status=completed"))
    assert "/srv/mail" in text
    assert "/srv/photos" not in text
    text = words(page(shown.served, f"{ROOT}/jobs?search=PHOTOS&status=running"))
    assert "/srv/photos ->" in text
    assert "/srv/mail" not in text


def test_tasks_of_a_queue_and_one_of_them(shown: Shown) -> None:
    text = words(page(shown.served, f"{ROOT}/tasks?queue=run-1a"))
    assert "Tasks of run-1a" in text
    assert "list 2026/03" in text
    assert "publish" not in text
    text = words(page(shown.served, f"{ROOT}/tasks?status=dead"))
    assert "✗ dead" in text
    assert "○ waiting" not in text
    text = words(page(shown.served, f"{ROOT}/task?id={shown.made.dead}"))
    assert "Attempt 1, 3 more after a failure" in text
    assert '"unit": 7' in text
    assert "turned\\u202egnp.exe" in text


@pytest.mark.parametrize("id", ["", "nope", "0", "-1", "9" * 40, "a'b\"<c>", "\x00", "%ff", "../x"])
@pytest.mark.parametrize("what", ["job", "task"])
def test_ids_that_are_none(shown: Shown, what: str, id: str) -> None:
    text = page(shown.served, f"{ROOT}/{what}", 404, params={"id": id})
    assert f"There is no such {what}" in words(text)
    assert "http-equiv" not in text
    assert order(shown.served, what, 404, id=id, verb="retry")


def test_asking_for_nonsense_is_answered_in_words(shown: Shown) -> None:
    path = f"{ROOT}/job?id={shown.made.published}&after=x"
    assert "That was not done" in words(page(shown.served, path, 400))
    for path in ("jobs?after=x", f"jobs?search={'%25_' * 60}", "tasks?after=%00", f"tasks?queue={'q' * 300}"):
        assert shown.served.get(f"{ROOT}/{path}", headers=HTML).status_code in (200, 400)
    assert shown.served.faults == []


def test_payloads_are_readable() -> None:
    assert readable(b'{"a": 1}') == '{\n "a": 1\n}'
    assert '"names": [' in readable(msgspec.msgpack.encode({"names": [b"a\xff"], 1: None}))
    assert readable(b"\xc1\xff") == "2 bytes that are neither JSON nor MessagePack"
    assert len(readable(msgspec.json.encode("x" * 100_000))) < MOST + 20
    assert "(1,000 bytes)" in readable(msgspec.msgpack.encode([b"x" * 1000]))


def test_only_a_page_into_which_nothing_is_typed_loads_itself_again_without_a_script(shown: Shown) -> None:
    fresh = [path for path in shown.pages if "http-equiv" in page(shown.served, path)]
    assert fresh == [ROOT]


def test_style_and_script_come_from_here(shown: Shown) -> None:
    text = page(shown.served, ROOT)
    for name, media in (("monitor.css", "text/css"), ("monitor.js", "text/javascript")):
        assert f"/assets/{name}" in text
        answer = shown.served.get(f"/assets/{name}")
        assert answer.headers["content-type"].startswith(media)
        assert "url(" not in answer.text
    assert "//" not in re.sub(r"s3://\S+", "", text)


# ---- who may look, who may act ----


def test_a_browser_is_led_to_the_login_and_a_program_is_told(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        answer = made.get(f"{ROOT}/jobs?status=failed", headers=HTML)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=%2Fmonitoring%2Fjobs%3Fstatus%3Dfailed"
        answer = made.get(f"{ROOT}/jobs")
        assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")
        assert order(made, "job", id="x", verb="pause") == "/login?next=%2Fmonitoring"
        assert made.post(f"{ROOT}/job", data={"verb": "pause"}).status_code == 401


def test_a_viewer_looks_and_an_operator_acts(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        ids = busy(made)
        viewer, operator = bearer(key(made)), bearer(key(made, Role.OPERATOR))
        for path in Shown(made, ids).pages:
            assert 'method="post"' not in page(made, path, headers=viewer)
            assert 'method="post"' in page(made, path, headers=operator) or path.endswith("/jobs")
        for form in ("job", "task", "queues", "schedules", "schedules/new"):
            answer = made.post(f"{ROOT}/{form}", data={"verb": "cancel", "name": "x"}, headers=HTML | viewer)
            assert answer.status_code == 403
        assert order(made, "job", id=ids.queued, verb="cancel", headers=operator) == f"{ROOT}/job?id={ids.queued}"
        job = made.services.ledger.jobs.get(ids.queued)
        assert job is not None
        assert job.status is JobStatus.CANCELLED


def test_in_read_only_mode_nothing_is_offered_and_nothing_is_done(tmp_path: Path) -> None:
    with served(tmp_path, MONITOR_READ_ONLY_MODE="true") as made:
        ids = busy(made)
        for path in Shown(made, ids).pages:
            text = page(made, path)
            assert 'method="post"' not in text
            assert "read only" in text
        before = made.services.ledger.jobs.counts(), made.services.queue.stats()[0].paused
        for form, fields in (
            ("job", {"id": ids.queued, "verb": "cancel"}), ("task", {"id": ids.dead, "verb": "cancel"}),
            ("queues", {"queue": "publish", "verb": "pause"}), ("schedules", {"name": "nightly", "verb": "run"}),
            ("schedules/new", {"name": "more", "cron": "* * * * *", "options": "{}"}),
        ):  # fmt: skip
            assert "read-only mode" in order(made, form, 403, **fields)
        assert (made.services.ledger.jobs.counts(), made.services.queue.stats()[0].paused) == before
        assert made.services.queue.task(ids.dead) is not None


def test_without_the_monitor_there_are_no_pages(tmp_path: Path) -> None:
    with served(tmp_path, MONITOR_ENABLED="false") as made:
        assert made.get(ROOT, headers=HTML).status_code == 404
        assert made.get("/assets/monitor.js").status_code == 404


def test_the_pages_lie_where_the_configuration_says(tmp_path: Path) -> None:
    with served(tmp_path, MONITOR_ROOT_PATH="/ops/queue") as made:
        text = page(made, "/ops/queue")
        assert 'href="/ops/queue/jobs"' in text
        assert made.get(ROOT).status_code == 404


def test_tenants_see_their_own_and_no_queues(tmp_path: Path) -> None:
    tenants = {name: Tenant(name, ("/srv",), ("store/",)) for name in ("north", "south")}
    with served(tmp_path, found=guarded(tenants=tenants)) as made:
        for name in tenants:
            made.services.ledger.accounts.put_tenant(TenantRow(name))
        ours, theirs = (submit(made, f"/srv/{name}", tenant=name) for name in tenants)
        made.services.queue.put([NewTask("publish", "a", b"x", label="of the south")])
        north, whole = bearer(key(made, Role.OPERATOR, "north")), bearer(key(made, Role.ADMIN))
        for path in (ROOT, f"{ROOT}/jobs", f"{ROOT}/jobs?search=srv"):
            text = page(made, path, headers=north)
            assert "/srv/north" in text
            assert "/srv/south" not in text
            assert "Tasks" not in words(text)
            assert "/srv/south" in page(made, path, headers=whole)
        page(made, f"{ROOT}/job?id={ours}", headers=north)
        page(made, f"{ROOT}/job?id={theirs}", 404, headers=north)
        for path in ("tasks", "task?id=1"):
            assert "shared by all tenants" in words(page(made, f"{ROOT}/{path}", 403, headers=north))
        assert order(made, "job", 404, id=theirs, verb="cancel", headers=north)
        assert order(made, "queues", 403, queue="publish", verb="pause", headers=north)
        assert order(made, "task", 403, id="1", verb="cancel", headers=north)
        assert "of the south" in page(made, f"{ROOT}/tasks", headers=whole)
        form = {"name": "daily", "cron": "0 1 * * *", "options": '{"source": "/srv/a", "destination": "/srv/b"}'}
        order(made, "schedules/new", headers=whole, tenant="south", **form)
        assert [each.new.tenant for each in made.services.ledger.schedules.all()] == ["south"]
        assert "daily" not in page(made, f"{ROOT}/schedules", headers=north)
        assert order(made, "schedules", 403, name="daily", tenant="south", verb="remove", headers=north)
        order(made, "schedules/new", headers=north, **form | {"tenant": "south"})
        assert [each.new.tenant for each in made.services.ledger.schedules.all()] == ["north", "south"]


def test_forms_of_a_session_carry_its_token(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        job = submit(made, "/srv/a")
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.OPERATOR)
        answer = made.post("/login", data={"user": "ann", "password": "correct horse"})
        session = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
        text = page(made, f"{ROOT}/job?id={job}", headers=session)
        assert "ann (operator)" in text
        [token] = set(re.findall(r'name="_csrf" value="([^"]+)"', text))
        said = order(made, "job", 403, id=job, verb="cancel", headers=session)
        assert "The form is too old. Load the page again." in said
        order(made, "job", 403, id=job, verb="cancel", _csrf=token + "x", headers=session)
        order(made, "job", id=job, verb="cancel", _csrf=token, headers=session)
        found = made.services.ledger.jobs.get(job)
        assert found is not None
        assert found.status is JobStatus.CANCELLED
        assert [deed.who for deed in made.services.ledger.audit.page() if deed.verb == "cancel"] == ["ann"]


# ---- orders ----


def test_orders_to_jobs(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        job = submit(made, "/srv/a")

        def status() -> JobStatus | None:
            found = made.services.ledger.jobs.get(job)
            return found and found.status

        for verb, then in (("pause", JobStatus.PAUSED), ("resume", JobStatus.QUEUED), ("cancel", JobStatus.CANCELLED)):
            assert f'name="verb" value="{verb}"' in page(made, f"{ROOT}/job?id={job}")
            order(made, "job", id=job, verb=verb)
            assert status() is then
        assert "The job is over." in order(made, "job", 409, id=job, verb="cancel")
        order(made, "job", id=job, verb="retry")
        assert status() is JobStatus.QUEUED
        assert "There is no order 'explode'" in order(made, "job", 400, id=job, verb="explode")
        assert made.runner.woken == 4


def test_a_job_that_is_over_with_failures_can_be_tried_again(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        ids = busy(made)
        assert 'value="retry"' not in page(made, f"{ROOT}/job?id={ids.published}")
        made.services.ledger.jobs.move(ids.published, JobStatus.COMPLETED)
        assert 'value="retry"' in page(made, f"{ROOT}/job?id={ids.published}")


def test_orders_to_tasks(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        ids = busy(made)
        queue = made.services.queue
        [waiting] = queue.tasks("publish", Status.WAITING, "again in ten")
        assert "does not stand like that" in order(made, "task", 404, id=waiting.id, verb="retry")
        assert order(made, "task", id=ids.dead, verb="retry") == f"{ROOT}/tasks?queue=publish"
        found = queue.task(ids.dead)
        assert found is not None
        assert found[0].status is Status.WAITING
        order(made, "task", id=ids.dead, verb="cancel")
        assert queue.task(ids.dead) is None
        assert order(made, "task", 404, id=ids.dead, verb="cancel")
        assert order(made, "task", 400, id=waiting.id, verb="pause")


@pytest.mark.parametrize("name", ["a b&c", 'x"><script>', "ünï/code?#%", "-", "a" * 190])
def test_queues_with_odd_names_are_shown_searched_and_paused(tmp_path: Path, name: str) -> None:
    with served(tmp_path) as made:
        made.services.queue.put([NewTask(name, "k", b"{}", label="one")])
        text = page(made, ROOT)
        assert "<script>" not in text
        [path] = [unescape(each) for each in re.findall(r'href="([^"]*tasks\?queue=[^"]*)"', text)]
        assert "Tasks of" in words(page(made, path))
        assert ">one</a>" in page(made, path)
        order(made, "queues", queue=name, verb="pause")
        assert made.services.queue.stats()[0].paused
        assert "Go on" in page(made, ROOT)
        order(made, "queues", queue=name, verb="resume")
        assert not made.services.queue.stats()[0].paused
        assert order(made, "queues", 404, queue=f"{name}x", verb="pause")


# ---- schedules ----

OPTIONS = '{"source": "/srv/a", "destination": "/srv/b", "archive": true}'


def test_a_schedule_is_made_changed_run_switched_off_and_removed(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        made.services.ledger.accounts.put_tenant(TenantRow("default"))
        schedules = made.services.ledger.schedules

        def one() -> Any:
            found = schedules.get("nightly", "default")
            return found.new if found else None

        form = {"name": "nightly", "kind": "sync", "options": OPTIONS, "cron": " 30 2 * * * ", "zone": "Europe/Vienna"}
        assert order(made, "schedules/new", **form) == f"{ROOT}/schedules"
        assert (one().cron, one().zone, one().label) == ("30 2 * * *", "Europe/Vienna", "/srv/a -> /srv/b")
        text = page(made, f"{ROOT}/schedules?name=nightly&tenant=default")
        assert "Change nightly" in words(text)
        assert 'value="30 2 * * *"' in text
        assert "&quot;archive&quot;: true" in text
        mine = {"name": "nightly", "tenant": "default"}
        order(made, "schedules", verb="disable", **mine)
        assert "⚠ off" in page(made, f"{ROOT}/schedules")
        order(made, "schedules/new", **form | {"cron": "", "every": "90"})
        assert (one().cron, one().interval, one().enabled) == ("", 5400.0, False)  # off is what it stays
        assert "every 1h30m" in page(made, f"{ROOT}/schedules")
        order(made, "schedules", verb="enable", **mine)
        assert one().enabled
        order(made, "schedules", verb="run", **mine)
        [job] = made.services.ledger.jobs.page()
        assert (job.kind, job.created_by, job.status) == ("sync", "local", JobStatus.QUEUED)
        assert f"job?id={job.id}" in page(made, f"{ROOT}/schedules")
        order(made, "schedules", verb="remove", **mine)
        assert one() is None
        assert "There is no such schedule" in order(made, "schedules", 404, verb="run", **mine)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "The name of a schedule holds letters"),
        ({"name": "../x"}, "The name of a schedule holds letters"),
        ({"kind": "explode"}, "Invalid enum value 'explode'"),
        ({"options": "{"}, "The options are no JSON object"),
        ({"options": "[1]"}, "The options are no JSON object"),
        ({"options": '{"source": "/refused", "destination": "x"}'}, "outside the allowed roots"),
        ({"options": '{"sauce": 1}'}, "Source is missing"),
        ({"cron": "61 * * * *"}, "61 * * * *"),
        ({"cron": "", "every": "soon"}, "'soon' is no number of minutes"),
        ({"cron": "", "every": "-5"}, "Expected"),
        ({"cron": "", "every": "nan"}, ""),
        ({"cron": ""}, ""),
        ({"every": "5"}, ""),
        ({"zone": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_words(shown: Shown, change: dict[str, str], said: str) -> None:
    form = {"name": "new", "kind": "sync", "options": OPTIONS, "cron": "0 1 * * *", "zone": "UTC"}
    status = 403 if "outside" in said else 400
    assert said in order(shown.served, "schedules/new", status, **form | change)
    assert shown.served.services.ledger.schedules.get("new", "default") is None
    assert shown.served.faults == []


# ---- depth, and how much is done ----


def _stats(waiting: int, done: int, delayed: int = 0) -> QueueStats:
    return QueueStats("q", waiting, delayed, 2, 1, 0, 0, done, 0, 0, 0.0, False)


def test_depth_is_looked_at_kept_and_forgotten() -> None:
    now, stats = [100.0], [[_stats(5, 0, 2)]]
    depth = Depth(lambda: stats[0], lambda: now[0], kept=3)
    depth.look()
    assert depth.looks() == []
    now[0], stats[0] = 105.0, [_stats(3, 10), _stats(1, 10)]
    depth.look()
    [look] = depth.looks()
    assert (look.begin, look.end, look.waiting, look.leased, look.dead, look.rate) == (0.0, 5.0, 7, 2, 1, 4.0)
    now[0], stats[0] = 115.0, [_stats(3, 15)]  # the other queue was dropped, with its ten
    depth.look()
    assert depth.looks()[-1].rate == 0.0
    assert depth.looks()[-1].waiting == 4
    now[0] = 120.0
    depth.look()
    assert [(look.begin, look.end) for look in depth.looks()] == [(0.0, 10.0), (10.0, 15.0)]


@pytest.mark.parametrize(
    ("kind", "counts", "part"),
    [
        ("sync", {"copied_files": 1, "pending_files": 3}, 0.25),
        ("sync", {"copied_files": 1}, None),
        ("publish", {"total_files": 8, "uploaded": 2, "skipped": 1, "failed": 1, "pending": 4}, 0.5),
        ("publish", {}, None),
    ],
)
def test_how_much_of_a_job_is_done(tmp_path: Path, kind: str, counts: dict[str, int], part: float | None) -> None:
    with served(tmp_path) as made:
        jobs = made.services.ledger.jobs
        job = jobs.submit(NewJob(kind)).job.id
        jobs.move(job, JobStatus.RUNNING)
        jobs.progress(job, counts)
        found = jobs.get(job)
        assert found is not None
        assert share(found) == part
        done = jobs.move(job, JobStatus.COMPLETED)
        assert done is not None
        assert share(done) == 1.0
