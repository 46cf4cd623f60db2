"""Metrics and messages around an engine that does what a test says: what is served and sent, and what never fails."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dunlin.cli import asking, parameters
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import options as jobs
from dunlin.jobs import outward, watch
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from tests.servers.mail import MailServer, Manners, mail_server
from tests.unit.stores.objects.azure_stub import Asked, Reply, Stub, stub

Run = Callable[..., Result]
SECRET = "T0K3N"
ALL = ("--notify-on", "failure,finish,stalled,recovery", "--notify-interval", "0")


@pytest.fixture
def chat() -> Iterator[Stub]:
    with stub(lambda asked: Reply(200)) as server:
        yield server


@pytest.fixture
def post() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def posted(server: Stub) -> list[dict[str, Any]]:
    return [json.loads(asked.body) for asked in server.asked]


def hook(server: Stub) -> tuple[str, ...]:
    return ("--notify-url", f"{server.url}/{SECRET}", "--notify-format", "json", *ALL)


def served(text: str) -> str:
    found = re.search(r"metrics are at (http://\S+)", text)
    assert found, text
    return found[1]


def failing(stop: Stop, report: Report) -> jobs.Result:
    report.event(Event(Level.ERROR, "file.failed", "denied", {"path": "a/b", "kind": "denied"}))
    return jobs.Result(Stats(failed_files=1), "completed", "", 23, run=7)


# ---- metrics ----


def test_metrics_are_there_while_a_run_goes_on_and_gone_after_it(dunlin: Run, engine: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen: list[str] = []

    def act(stop: Stop, report: Report) -> None:
        report.count("copied_files", 3)
        report.gauge("pending_files", 9)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            seen.append(answer.read().decode())

    engine.act = act
    result = dunlin("sync", "--metrics-addr", f":{port}", "/secret/a", "/secret/b")
    assert result.exit_code == 0
    assert served(result.stderr) == f"http://127.0.0.1:{port}/metrics"
    [text] = seen
    for line in ("dunlin_copied_files_total 3.0", "dunlin_pending_files 9.0", "dunlin_running 1.0"):
        assert f"\n{line}\n" in text
    assert "secret" not in text
    assert float(re.findall(r"^dunlin_process_resident_bytes (\S+)", text, re.MULTILINE)[0]) > 1 << 20
    assert engine.options[0].crew.start == "spawn"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


def test_a_port_in_use_ends_the_command_before_anything_is_done(dunlin: Run, engine: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        result = dunlin("sync", "--metrics-addr", str(port), "a", "b")
    assert result.exit_code == 1
    assert result.stderr == (
        f"dunlin: cannot serve metrics at 127.0.0.1:{port}: Address already in use; "
        "--metrics-addr names another address\n"
    )
    assert not engine.options


@pytest.mark.parametrize("words", [("--metrics-addr", "nonsense"), ("--metrics-addr", ":99999")])
def test_an_address_that_is_none(dunlin: Run, engine: Any, words: tuple[str, ...]) -> None:
    result = dunlin("sync", *words, "a", "b")
    assert result.exit_code == 1
    assert "--metrics-addr" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not engine.options


def test_a_dry_run_serves_nothing_and_sends_nothing(dunlin: Run, engine: Any, chat: Stub) -> None:
    engine.act = failing
    result = dunlin("sync", "-n", "--metrics-addr", "0", *hook(chat), "a", "b")
    assert "metrics are at" not in result.stderr
    assert not chat.asked
    assert engine.options[0].crew.start == ""


@pytest.mark.parametrize("command", ["check", "sync"])
def test_every_command_that_may_take_long_has_them(dunlin: Run, engine: Any, chat: Stub, command: str) -> None:
    engine.act = failing
    result = dunlin(command, "--metrics-addr", ":0", *hook(chat), "a", "b")
    assert result.exit_code == 23
    assert served(result.stderr)
    assert [told["event"] for told in posted(chat)] == ["failure"]
    assert engine.options[0].crew.start == "spawn"


def test_without_them_nothing_changes(dunlin: Run, engine: Any) -> None:
    dunlin("sync", "a", "b")
    assert engine.options[0].crew.start == ""


# ---- messages ----


def test_a_failed_run_is_told_both_ways_and_its_exit_code_stays(
    dunlin: Run, engine: Any, chat: Stub, post: MailServer
) -> None:
    engine.act = failing
    mail = ("--notify-email", "a@example.com, b@example.com", "--smtp-url", f"smtp://127.0.0.1:{post.port}")
    result = dunlin("sync", *hook(chat), *mail, "/from", "/to")
    assert result.exit_code == 23
    [told] = posted(chat)
    assert (told["event"], told["exit_code"], told["status"], told["run"]) == ("failure", 23, "completed", 7)
    assert (told["source"], told["destination"], told["pair"]) == ("/from", "/to", 1)
    assert told["stats"]["failed_files"] == 1
    assert told["errors"] == ["a/b: denied"]
    [taken] = post.taken
    assert taken.to == ["a@example.com", "b@example.com"]
    assert "some files failed: /from -> /to" in taken.message["Subject"]


def test_slack_is_the_default(dunlin: Run, engine: Any, chat: Stub) -> None:
    engine.act = failing
    dunlin("sync", "--notify-url", chat.url, "/from", "/to")
    [told] = posted(chat)
    assert list(told) == ["text"]
    assert "some files failed: /from -&gt; /to" in told["text"]


def test_a_run_that_went_well_is_told_only_to_who_wants_it(dunlin: Run, engine: Any, chat: Stub) -> None:
    dunlin("sync", "--notify-url", chat.url, "a", "b")
    assert not chat.asked
    dunlin("sync", *hook(chat), "a", "b")
    assert [told["event"] for told in posted(chat)] == ["finish"]


def test_a_run_that_could_not_begin(dunlin: Run, engine: Any, chat: Stub) -> None:
    def act(stop: Stop, report: Report) -> None:
        raise DunlinError("read the source", "/x", ErrorKind.NOT_FOUND, "no such directory")

    engine.act = act
    result = dunlin("sync", *hook(chat), "a", "b")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "dunlin: cannot read the source /x: no such directory"
    [told] = posted(chat)
    assert (told["event"], told["exit_code"], told["status"]) == ("failure", 1, "failed")
    assert "no such directory" in told["text"]


def test_a_fault_of_the_program(dunlin: Run, engine: Any, chat: Stub) -> None:
    def act(stop: Stop, report: Report) -> None:
        raise ValueError(SECRET)

    engine.act = act
    assert dunlin("sync", *hook(chat), "a", "b").exit_code == 2
    [told] = posted(chat)
    assert (told["event"], told["exit_code"]) == ("failure", 2)
    assert SECRET not in json.dumps(told)


class AtOnce:
    """Stands for `jobs.watch.Waiting`: the next cycle comes at once."""

    def __init__(self, *arguments: object) -> None: ...

    def __call__(self, *arguments: object) -> frozenset[int]:
        return frozenset()

    def close(self) -> None: ...


def test_a_watch_that_recovers(dunlin: Run, engine: Any, chat: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "Waiting", AtOnce)
    engine.cycles = 4
    results = iter([("completed", 23), ("completed", 23), ("completed", 0), ("completed", 0)])

    def act(stop: Stop, report: Report) -> jobs.Result:
        status, code = next(results)
        return jobs.Result(Stats(copied_files=1), status, "", code, run=7)

    engine.act = act
    result = dunlin("sync", "--watch", *hook(chat), "s3://x/y", "b")
    assert result.exit_code == 130
    events = [(told["event"], told["cycle"]) for told in posted(chat)]
    assert events == [("failure", 1), ("failure", 2), ("recovery", 3), ("finish", 4)]


def test_pairs_are_told_apart(dunlin: Run, engine: Any, chat: Stub, tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    (tmp_path / "hook.txt").write_text(f"{chat.url}/{SECRET}\n")
    file.write_text(
        "notify: {webhook_url: '@hook.txt', format: json, events: [failure, finish], interval: 0}\n"
        "jobs:\n- {source: /a, destination: /b}\n- {source: /c, destination: /d}\n"
    )
    results = iter([0, 2])
    engine.act = lambda stop, report: jobs.Result(Stats(), "completed", "", next(results))
    result = dunlin("sync", "--config", str(file))
    assert result.exit_code == 2
    assert [(told["pair"], told["source"], told["event"]) for told in posted(chat)] == [
        (1, "/a", "finish"), (2, "/c", "failure"),
    ]  # fmt: skip
    assert chat.asked[0].target == f"/{SECRET}"
    assert SECRET not in result.output


def test_a_job_has_no_say_in_them(dunlin: Run, engine: Any, tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text("jobs:\n- {source: /a, destination: /b, notify_url: 'https://h/x'}\n")
    result = dunlin("sync", "--config", str(file))
    assert (result.exit_code, "there is no such key" in result.stderr) == (1, True)


def test_the_address_of_the_file_is_that_of_the_sync(dunlin: Run, engine: Any, chat: Stub, tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        notify = f"notify: {{webhook_url: '{chat.url}/x', events: finish}}"
        file.write_text(f"metrics: {{address: '127.0.0.1:{port}'}}\n{notify}\n")
        assert "cannot serve metrics" in dunlin("sync", "--config", str(file), "a", "b").stderr
        assert not engine.options
        assert dunlin("check", "--config", str(file), "a", "b").exit_code == 0
    assert len(engine.options) == len(chat.asked) == 1


# ---- servers that do not do their part ----


def test_a_server_that_refuses_changes_nothing_but_one_line(dunlin: Run, engine: Any) -> None:
    engine.act = failing
    with stub(lambda asked: Reply(400)) as server:
        result = dunlin("sync", *hook(server), "a", "b")
    assert result.exit_code == 23
    lines = [line for line in result.stderr.splitlines() if "send a message" in line]
    assert len(lines) == 1
    assert lines[0].endswith(f"WARN  cannot send a message to {server.url}: it answers with HTTP 400")
    assert SECRET not in "".join(line for line in result.stderr.splitlines() if "can be read by" not in line)


def test_a_server_that_is_busy_is_asked_again(
    dunlin: Run, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outward, "SENDING", outward.SENDING.__class__(attempts=4, base=0.001))
    answers = iter([500, 503, 200])

    def answer(asked: Asked) -> Reply:
        return Reply(next(answers))

    engine.act = failing
    with stub(answer) as server:
        result = dunlin("sync", *hook(server), "a", "b")
    assert len(server.asked) == 3
    assert len({asked.body for asked in server.asked}) == 1
    assert "send a message" not in result.stderr


def test_a_server_that_never_answers_is_left_behind(
    dunlin: Run, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outward, "WAIT", 0.1)
    engine.act = failing
    with mail_server(Manners(silent=True)) as server:
        words = ("--notify-email", "a@x", "--smtp-url", f"smtp://127.0.0.1:{server.port}")
        result = dunlin("sync", *words, "a", "b")
    assert result.exit_code == 23
    last = result.stderr.splitlines()[-1]
    assert last.endswith(f"a message was not delivered by smtp://127.0.0.1:{server.port}: no answer in time")


# ---- what is said of options ----


@pytest.mark.parametrize(("words", "said"), [
    (("--notify-email", "a@x"), "--smtp-url"),
    (("--smtp-url", "smtp://h"), "--smtp-url sends nothing by itself"),
    (("--notify-on", "failure"), "--notify-on sends nothing by itself"),
    (("--notify-on", "nonsense", "--notify-url", "https://h/x"), "'nonsense' is none of failure, finish"),
    (("--notify-url", f"http://example.com/{SECRET}"), "in clear text"),
    (("--notify-url", "@/no/such/file"), "/no/such/file"),
    (("--stalled-after", "0", "--notify-url", "https://h/x"), "less than a second"),
    (("--notify-email", "a@x", "--smtp-url", f"smtp://u:{SECRET}@h"), "--smtp-password"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(dunlin: Run, engine: Any, words: tuple[str, ...], said: str) -> None:
    result = dunlin("sync", *words, "a", "b")
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.stderr
    assert not engine.options


def test_secrets_on_the_command_line_are_warned_of(dunlin: Run, engine: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"https://h/{SECRET}")
    said = dunlin("sync", "--notify-url", f"https://h/{SECRET}", "a", "b").stderr
    assert "the secret in --notify-url can be read by everybody" in said
    assert "DUNLIN_NOTIFY_URL" in said
    assert "can be read" not in dunlin("sync", "--notify-url", f"@{tmp_path}/secret", "a", "b").stderr
    assert "can be read" not in dunlin("sync", "a", "b", env={"DUNLIN_NOTIFY_URL": f"https://h/{SECRET}"}).stderr


def test_the_lists_of_options_agree() -> None:
    made = [option.name for option in (*parameters.metrics_options(), *parameters.notify_options())]
    assert sorted(made) == sorted(asking.OUTWARD)
    assert set(asking.OUTWARD_SECRETS) < set(asking.OUTWARD)
