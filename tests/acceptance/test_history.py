"""`dunlin history` after real runs."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.acceptance.clouds import cloud
from tests.acceptance.program import UNPRIVILEGED, dunlin, start


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    source = work / "source"
    for n in range(30):
        directory = source / f"d{n % 3}" / f"s{n}"
        directory.mkdir(parents=True)
        for k in range(10):
            (directory / f"f{k}<b>.txt").write_bytes(bytes(100 * k))
    (source / "big.bin").write_bytes(bytes(3 << 20))
    return work


def test_what_a_run_did(work: Path) -> None:
    dunlin("sync", "source", "target", "--bwlimit", "6M", cwd=work, expect=0)
    found = json.loads(dunlin("history", "latest", "--json", cwd=work, expect=0).stdout)
    assert found["verdict"]["title"] == "Done, without any failure"
    assert found["stats"]["copied_files"] == 301
    assert sum(band["files"] for band in found["sizes"]) == 301
    assert sum(band["bytes"] for band in found["sizes"]) == found["stats"]["copied_bytes"]
    assert found["largest"][0] == {"path": "big.bin", "bytes": 3 << 20}
    assert {each["path"]: each["files"] for each in found["directories"]} == {"d0": 100, "d1": 100, "d2": 100, "": 1}
    seconds = [each["seconds"] for each in found["slowest"]]
    assert seconds == sorted(seconds, reverse=True)
    large = max(found["slowest"], key=lambda each: each["bytes"])
    assert large["seconds"] > 0.1  # 3 MiB at 6 MiB per second, of which some may go at once
    assert large["bytes"] >= 3 << 20


def test_a_second_run_has_only_what_it_wrote(work: Path) -> None:
    dunlin("sync", "source", "target", cwd=work, expect=0)
    (work / "source" / "d1" / "s1" / "new").write_bytes(b"12345")
    dunlin("sync", "source", "target", cwd=work, expect=0)
    found = json.loads(dunlin("history", "latest", "--json", cwd=work, expect=0).stdout)
    assert found["largest"] == [{"path": "d1/s1/new", "bytes": 5}]
    assert [run["id"] for run in found["earlier"]] == [1]
    first, second = dunlin("history", cwd=work, expect=0).stdout.splitlines()[2:]
    assert (first.split()[0], second.split()[0]) == ("2", "1")
    assert " completed " in first
    assert " 301 " in second


def test_the_page_of_a_run_with_failures(work: Path) -> None:
    (work / "source" / "d0" / "s0" / "f1<b>.txt").chmod(0)
    dunlin("sync", "source", "target", cwd=work, expect=23, prefix=UNPRIVILEGED)
    done = dunlin("history", "--html", "page.html", cwd=work, expect=0)
    assert done.stdout == "wrote page.html; open it with a browser\n"
    text = (work / "page.html").read_text(encoding="utf-8")
    assert "Done, but 1 file failed" in text
    assert "d0/s0/f1&lt;b&gt;.txt" in text
    assert "<b>.txt" not in text
    assert not [name for name in os.listdir(work) if name.startswith("page.html.part")]


def test_a_place_that_cannot_be_written(work: Path) -> None:
    dunlin("sync", "source", "target", cwd=work, expect=0)
    (work / "shut").mkdir()
    (work / "shut").chmod(0o555)
    done = dunlin("history", "--html", "shut/page.html", cwd=work, prefix=UNPRIVILEGED)
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert "cannot write the page shut/page.html: Permission denied" in line
    assert os.listdir(work / "shut") == []


def test_a_signature_behind_a_url_is_nowhere(work: Path, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "az")
    server = request.getfixturevalue("azurite")
    container = bucket.url.partition("://")[2]
    signed = generate_container_sas(
        server.account,
        container,
        account_key=server.key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    bucket.put({"a": b"1", "d/b": b"2"})
    dunlin("sync", f"{server.url}/{container}?{signed}", "target", cwd=work, expect=0)
    for words in (["history"], ["history", "latest"], ["history", "--html", "-"], ["history", "latest", "--json"]):
        said = dunlin(*words, cwd=work, expect=0).stdout
        assert container in said
        assert "sig=" not in said
        assert signed.partition("sig=")[2].partition("&")[0] not in said


def test_beside_a_run_that_goes_on(work: Path) -> None:
    # Most of a minute: each of the commands beside it may take seconds on a busy machine.
    process = start("sync", "source", "target", "--bwlimit", "64K", cwd=work)
    try:
        while True:
            done = dunlin("history", "latest", "--json", cwd=work)
            if done.returncode == 0 and process.poll() is None:
                break
            assert process.poll() is None
        found = json.loads(done.stdout)
        assert found["verdict"]["level"] == "busy"
        assert found["status"] in ("running", "throttled")
        dunlin("history", "latest", "--html", "page.html", cwd=work, expect=0)
        dunlin("control", "stop", cwd=work, expect=0)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)
    text = (work / "page.html").read_text(encoding="utf-8")
    assert "Still going on" in text or "Going on, slowed down" in text
