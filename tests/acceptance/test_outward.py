"""Metrics and messages of the real program: scraped, received, and never in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dunlin.report.outbox import WAIT
from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.trees import Pair
from tests.acceptance.trouble import until
from tests.servers.identity import certificate
from tests.servers.mail import Manners, mail_server
from tests.unit.stores.objects.azure_stub import Asked, Reply, stub

SECRET = "T0K3N-s3cr3t"
FILES = 600


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair.make(tmp_path)
    for number in range(FILES):
        (made.source / f"secret-name-{number}").write_bytes(b"x" * 1000)
    return made


@pytest.fixture
def watching(pair: Pair) -> Iterator[subprocess.Popen[bytes]]:
    with open(pair.root / "err", "wb") as err:
        process = start("sync", "--watch", "--watch-interval", "10m", "--metrics-addr", ":0", pair.source, pair.target,
                        cwd=pair.cwd, stdout=subprocess.DEVNULL, stderr=err)  # fmt: skip
    yield process
    process.kill()
    process.wait()


def scrape(url: str) -> tuple[str, dict[str, float]]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge"), family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            labels = "".join(f"|{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[sample.name + labels] = sample.value
    return text, samples


def test_a_watch_is_scraped(pair: Pair, watching: subprocess.Popen[bytes]) -> None:
    def said() -> str:
        return (pair.root / "err").read_text()

    until(lambda: "the next full look is in" in said(), watching)
    found = re.search(r"metrics are at (http://127\.0\.0\.1:\d+/metrics)", said())
    assert found, said()
    text, samples = scrape(found[1])
    assert samples["dunlin_copied_files_total"] == samples["dunlin_scanned_files_total"] == FILES
    assert samples["dunlin_copied_bytes_total"] == samples["dunlin_moved_bytes_total"] == FILES * 1000
    assert samples["dunlin_runs_total|pair=1|status=completed"] == samples["dunlin_watch_cycle"] == 1
    assert (samples["dunlin_running"], samples["dunlin_pending_files"]) == (0, 0)
    assert samples["dunlin_run_exit_code|pair=1"] == 0
    assert 0 < time.time() - samples["dunlin_run_last_success_time_seconds|pair=1"] < 100
    assert samples["dunlin_process_resident_bytes"] > 10 << 20
    for word in ("secret-name", str(pair.source), str(pair.target), pair.root.name):
        assert word not in text
    (pair.root / "one more").write_bytes(b"y" * 10)
    (pair.root / "one more").rename(pair.source / "one more")
    until(lambda: scrape(found[1])[1]["dunlin_runs_total|pair=1|status=completed"] == 2, watching)
    _, samples = scrape(found[1])
    assert (samples["dunlin_copied_files_total"], samples["dunlin_watch_cycle"]) == (FILES + 1, 2)


def test_a_port_in_use(pair: Pair, watching: subprocess.Popen[bytes]) -> None:
    until(lambda: "metrics are at" in (pair.root / "err").read_text(), watching)
    found = re.search(r"metrics are at http://(127\.0\.0\.1:\d+)", (pair.root / "err").read_text())
    assert found
    other = pair.root / "other"
    done = dunlin("sync", "--metrics-addr", found[1], pair.source, other, cwd=pair.cwd, expect=1)
    assert done.stderr == (
        f"dunlin: cannot serve metrics at {found[1]}: Address already in use; --metrics-addr names another address\n"
    )
    assert not other.exists()


def test_what_failed_arrives_as_a_message_and_by_mail_and_recovery_by_the_next_run(pair: Pair) -> None:
    (pair.source / "secret-name-1").chmod(0)
    (pair.root / "hook").write_text("")
    with stub(lambda asked: Reply(200)) as chat, mail_server(Manners(login=("me", SECRET))) as post:
        (pair.root / "hook").write_text(f"{chat.url}/{SECRET}\n")
        (pair.cwd / "dunlin.yaml").write_text(
            "notify:\n"
            f"  webhook_url: '@{pair.root}/hook'\n"
            "  format: json\n"
            "  email: a@example.com\n"
            f"  smtp_url: smtp://me@127.0.0.1:{post.port}\n"
        )
        env = {"DUNLIN_SMTP_PASSWORD": SECRET}
        words = ("sync", "-p", "--log-level", "debug", "--log-file", "audit.log", pair.source, pair.target)
        failed = dunlin(*words, cwd=pair.cwd, env=env, prefix=UNPRIVILEGED, expect=23)
        (pair.source / "secret-name-1").chmod(0o644)
        well = dunlin(*words, cwd=pair.cwd, env=env, expect=0)
        again = dunlin(*words, cwd=pair.cwd, env=env, expect=0)
    told: list[dict[str, Any]] = [json.loads(asked.body) for asked in chat.asked]
    assert [(each["event"], each["exit_code"]) for each in told] == [("failure", 23), ("recovery", 0)]
    assert "secret-name-1" in told[0]["errors"][0]
    assert told[0]["stats"]["copied_files"] == FILES - 1
    assert [taken.user for taken in post.taken] == ["me", "me"]
    assert "some files failed" in post.taken[0].message["Subject"]
    assert "well again after a failed run" in post.taken[1].message["Subject"]
    for done in (failed, well, again):
        assert "WARN  cannot send" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
    for path in pair.cwd.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize("trouble", ["refused", "silent", "untrusted", "busy"])
def test_no_server_fails_or_holds_up_a_sync(pair: Pair, trouble: str) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(503)

    tls = certificate(pair.root / "cert.pem") if trouble == "untrusted" else None
    with stub(answer, tls) as server, mail_server(Manners(silent=True)) as silent:
        port = server.url.rpartition(":")[2] if trouble in ("untrusted", "busy") else "1"
        scheme = "https" if trouble == "untrusted" else "http"
        env = {"DUNLIN_NOTIFY_URL": f"{scheme}://127.0.0.1:{port}/{SECRET}", "DUNLIN_NOTIFY_ON": "finish"}
        if trouble == "silent":
            env = {"DUNLIN_NOTIFY_EMAIL": "a@x", "DUNLIN_SMTP_URL": f"smtp://127.0.0.1:{silent.port}",
                   "DUNLIN_NOTIFY_ON": "finish"}  # fmt: skip
        begun = time.monotonic()
        done = dunlin("sync", "--json", pair.source, pair.target, cwd=pair.cwd, env=env, expect=0)
        lasted = time.monotonic() - begun
    result = json.loads(done.stdout)
    assert (result["exit_code"], result["stats"]["copied_files"]) == (0, FILES)
    # Who cannot be reached has one attempt, who is silent or busy WAIT; the rest is the start of the program.
    assert lasted - result["seconds"] < (WAIT + 10 if trouble in ("silent", "busy") else 10)
    lines = [line for line in done.stderr.splitlines() if "WARN" in line]
    words = {"refused": "Connection refused", "silent": "no answer in time", "busy": "HTTP 503",
             "untrusted": "its certificate is not trusted"}[trouble]  # fmt: skip
    assert len(lines) == 1, done.stderr
    assert words in lines[0]
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_last_message_is_sent_does_not_make_a_good_run_fail(pair: Pair, number: int) -> None:
    with mail_server(Manners(silent=True)) as silent:
        env = {"DUNLIN_NOTIFY_EMAIL": "a@x", "DUNLIN_SMTP_URL": f"smtp://127.0.0.1:{silent.port}",
               "DUNLIN_NOTIFY_ON": "finish"}  # fmt: skip
        with open(pair.root / "out", "wb") as out:
            process = start("sync", "--json", pair.source, pair.target, cwd=pair.cwd, env=env, stdout=out,
                            stderr=subprocess.DEVNULL)  # fmt: skip
            # The object is printed when the run is over, and then the message is waited for.
            until(lambda: (pair.root / "out").read_bytes().endswith(b"}\n"), process)
            time.sleep(0.3)
            begun = time.monotonic()
            process.send_signal(number)
            code = process.wait(10)
            assert (code, time.monotonic() - begun < WAIT - 0.5) == (0, True)


def test_a_certificate_of_ones_own_is_trusted_where_one_says_so(pair: Pair) -> None:
    with stub(lambda asked: Reply(200), certificate(pair.root / "cert.pem")) as server:
        env = {"DUNLIN_NOTIFY_URL": f"{server.url}/{SECRET}", "DUNLIN_NOTIFY_ON": "finish",
               ssl.get_default_verify_paths().openssl_cafile_env: str(pair.root / "cert.pem")}  # fmt: skip
        done = dunlin("sync", pair.source, pair.target, cwd=pair.cwd, env=env, expect=0)
    assert [asked.target for asked in server.asked] == [f"/{SECRET}"]
    assert "WARN" not in done.stderr


def test_a_run_that_stands_still_is_told_and_that_it_goes_on(pair: Pair) -> None:
    """At 4 KiB per second the next block is four seconds away, which is long for who waits no more than one."""
    with stub(lambda asked: Reply(200)) as chat:
        env = {"DUNLIN_NOTIFY_URL": chat.url, "DUNLIN_NOTIFY_FORMAT": "json", "DUNLIN_STALLED_AFTER": "1",
               "DUNLIN_NOTIFY_ON": "stalled", "DUNLIN_BWLIMIT": "4K", "DUNLIN_FSYNC": "none"}  # fmt: skip
        (pair.source / "large").write_bytes(os.urandom(200 << 10))
        process = start("sync", "--include", "large", "--exclude", "*", pair.source, pair.target, cwd=pair.cwd, env=env)
        try:
            until(lambda: len(chat.asked) >= 2, process)
        finally:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
    told, then = (json.loads(asked.body) for asked in chat.asked[:2])
    assert (told["event"], then["event"]) == ("stalled", "resumed")
    assert "goes on after" in then["subject"]
    assert "no progress for" in told["subject"]
    assert (told["source"], told["destination"]) == (str(pair.source), str(pair.target))
