"""Messages about jobs: what is worth one, what it says, and that a success after a failure is told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dunlin.config.file import load
from dunlin.config.outward import messages
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.outward import Options
from dunlin.queue.ledger.words import Job, JobStatus, Wish
from dunlin.report import Event
from dunlin.report.notify import Notice
from dunlin.report.outbox import Pause, Way
from dunlin.web.messages import Messages
from dunlin.web.outcome import Done

PATIENCE = 20.0
GOOD = Done("completed", True, "", {"exit_code": 0})
BAD = Done("completed", False, "2 objects damaged, 1 file lost",
           {"exit_code": 3, "lost": [{"path": "a\nb", "share": "docs"}]})  # fmt: skip


class Post:
    """Takes messages, or refuses them."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.events: list[Event] = []
        self.failed = False
        self.error: DunlinError | None = None
        self.came = threading.Event()

    def send(self, notice: Notice, pause: Pause) -> None:
        if self.error is not None:
            self.came.set()
            raise self.error
        self.notices.append(notice)

    def messages(self, *events: str) -> Messages:
        options = Options(events=frozenset(events or ("failure", "recovery")), interval=0.0)
        return Messages(options, "nas", lambda job: self.failed, self.events.append, [Way("post", self.send)])

    @property
    def subjects(self) -> list[str]:
        return [each.subject.removeprefix("dunlin on nas: ") for each in self.notices]


@pytest.fixture
def post() -> Post:
    return Post()


def job(kind: str = "verify", label: str = "vault", tenant: str = "acme") -> Job:
    return Job("7", kind, tenant, "me", label, JobStatus.RUNNING, b"{}", b"", {}, "", 0, 0, 0, 0, "", "me", Wish.NONE)


def test_a_failure_is_told_with_what_failed(post: Post) -> None:
    made = post.messages()
    made.ended(job(), BAD)
    made.close()
    [notice] = post.notices
    assert (notice.kind, notice.subject) == ("failure", "dunlin on nas: failed: verify vault")
    assert notice.text == ("verify vault: 2 objects damaged, 1 file lost", "lost: a\\nb (share docs)")
    expected = {"job": "7", "tenant": "acme", "exit_code": 3, "status": "failed"}
    assert {name: notice.fields[name] for name in expected} == expected


def test_what_went_well_is_told_when_somebody_wants_to_know(post: Post) -> None:
    made = post.messages()
    made.ended(job(), GOOD)
    made.close()
    assert post.subjects == []
    made = post.messages("finish")
    made.ended(job("backup", "/srv/docs -> vault:docs"), GOOD)
    made.ended(job(), Done("interrupted", False, "", {}))
    made.close()
    assert post.subjects == ["done: backup /srv/docs -> vault:docs", "interrupted: verify vault"]


def test_a_success_after_a_failure_of_the_same_job_is_told(post: Post) -> None:
    made = post.messages()
    made.ended(job(), BAD)
    made.ended(job(label="other"), GOOD)
    made.ended(job(tenant="beta"), GOOD)
    made.ended(job("prune"), GOOD)
    assert made.ended(job(), GOOD) is None
    made.ended(job(), GOOD)
    made.close()
    assert post.subjects == ["failed: verify vault", "well again after a failed run: verify vault"]


def test_a_failure_before_a_restart_is_remembered_by_the_ledger(post: Post) -> None:
    post.failed = True
    made = post.messages()
    made.ended(job(), GOOD)
    made.ended(job(), GOOD)
    made.close()
    assert post.subjects == ["well again after a failed run: verify vault"]


def test_what_cannot_be_sent_is_in_the_log(post: Post) -> None:
    post.error = DunlinError("post to", "the webhook", ErrorKind.AUTH, "it was refused")
    made = post.messages()
    made.ended(job(), BAD)
    assert post.came.wait(PATIENCE)
    made.close()
    assert any("it was refused" in event.message for event in post.events)


def settings(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "dunlin.yaml"
    file.write_text(text)
    return Settings(load(str(file)), environ=environ)


def test_the_configuration_says_where_messages_go(tmp_path: Path) -> None:
    assert messages(Settings(environ={})) is None
    (tmp_path / "hook").write_text("https://chat.example/secret\n")
    found = messages(settings(tmp_path, "notify: {webhook_url: '@hook', events: [failure], interval: 1h}"))
    assert found is not None
    assert (found.events, found.interval, found.mail) == ({"failure"}, 3600.0, None)
    assert found.webhook is not None
    assert "secret" not in repr(found)
    mail: Any = "notify: {email: [a@example.com, b@example.com], smtp_url: 'smtp://mail.example:25'}"
    found = messages(settings(tmp_path, mail, DUNLIN_NOTIFY_ON="finish"))
    assert found is not None
    assert (found.webhook, found.events) == (None, {"finish"})
    assert found.mail is not None
    with pytest.raises(DunlinError, match="the mail server"):
        messages(settings(tmp_path, "notify: {email: a@example.com}"))
