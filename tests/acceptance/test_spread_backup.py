"""A backup over a queue, as a black box: workers come, die, sleep and go, and the snapshot holds the whole source."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dunlin.queue.open import open_queue
from tests.acceptance.clouds import cloud
from tests.acceptance.program import dunlin, start
from tests.acceptance.spread import Crew, content
from tests.acceptance.trouble import until

pytestmark = pytest.mark.slow

PASSWORD = {"DUNLIN_PASSWORD": "correct horse", "DUNLIN_REPO": "vault"}
HASTY = ("--lease", "3s", "--heartbeat", "1s", "--processes", "1")


class Site(Crew):
    """A tree that is backed up by workers into a repository, which can open it."""

    def __init__(self, work: Path, url: str) -> None:
        work.mkdir()
        super().__init__(work, url, *HASTY, env=PASSWORD)
        dunlin("repo", "init", "vault", cwd=work, env=PASSWORD, expect=0)

    def fill(self, directories: int, files: int, size: int) -> None:
        """So many directories, two levels deep, with so many files of about that size that nothing compresses."""
        rng = random.Random(directories)
        for d in range(directories):
            path = self.source / f"a{d % 7}" / f"b{d}"
            path.mkdir(parents=True)
            for f in range(files):
                (path / f"f{f}").write_bytes(rng.randbytes(size + f))
        self.files += directories * files

    def backup(self, *words: str, command: str = "backup") -> subprocess.Popen[bytes]:
        return start(
            command, "source", "--queue", self.url, "--json", *words, cwd=self.work, env=PASSWORD,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def packs(self) -> int:
        """Packs that are stored."""
        top = self.work / "vault" / "default"
        bundles = [path for path in (top / "source").glob("?" * 32) if path.is_file()]
        return len(bundles) + sum(len(names) for _, _, names in os.walk(top / "packs"))

    def whole(self) -> None:
        """All that is stored is whole, and the last snapshot brings back the source."""
        dunlin("verify", "--read-data", cwd=self.work, env=PASSWORD, expect=0)
        words = ("--overwrite", "always", "--delete", "--max-delete", "1000", "-q")
        dunlin("restore", "latest", "out", *words, cwd=self.work, env=PASSWORD, expect=0)
        assert content(self.work / "out") == content(self.source)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "work", "queue.db")
    yield made
    made.end()


@pytest.fixture(params=["embedded", "redis"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on each of two engines."""
    url = "queue.db" if request.param == "embedded" else request.getfixturevalue("redis").queue()
    made = Site(tmp_path / "work", url)
    yield made
    made.end()


def test_two_workers_make_a_snapshot_that_holds_everything(anywhere: Site) -> None:
    site = anywhere
    site.fill(60, 30, 2_000)
    (site.source / "large").write_bytes(random.Random(1).randbytes(6 << 20))
    (site.source / "twin").write_bytes((site.source / "large").read_bytes())
    (site.source / "a1" / "twin").write_bytes((site.source / "large").read_bytes())
    (site.source / "not UTF-8 \udce9").write_text("odd")
    (site.source / "empty").touch()
    (site.source / "link").symlink_to("large")
    for number in (0, 1):
        site.worker("--workers", "2")
        site.ready(number)
    result = site.result(site.backup("--no-work"))
    totals = result["totals"]
    assert (totals["files"], totals["new_files"]) == (site.files + 6, site.files + 6 - 1)
    assert result["errors"] == []
    for number in (0, 1):
        assert "worker.joined" in site.told(number)
    assert totals["new_bytes"] < sum(p.stat().st_size for p in site.source.rglob("f*")) + 3 * (6 << 20)
    site.whole()
    index = [*(site.work / "vault/default/source/chunks").iterdir(), *(site.work / "vault/default/chunks").iterdir()]
    assert len(index) == 2  # written by the coordinator, at the end
    before = site.packs()
    again = site.result(site.backup("--no-work"))["totals"]
    assert (again["files"], again["new_files"], again["changed_files"]) == (site.files + 6, 0, 0)
    assert (site.packs(), again["read_bytes"]) == (before, 0)
    (site.source / "a1" / "b1" / "f1").write_text("changed")
    (site.source / "a2" / "new").write_text("new")
    (site.source / "large").unlink()
    third = site.result(site.backup("--no-work"))["totals"]
    assert (third["new_files"], third["changed_files"], third["removed_files"]) == (1, 1, 1)
    site.whole()


def test_the_machine_that_coordinates_works_along(site: Site) -> None:
    site.fill(20, 20, 1_000)
    assert site.result(site.backup())["totals"]["new_files"] == site.files
    site.whole()


def test_what_a_killed_worker_had_is_saved_by_another(anywhere: Site) -> None:
    site = anywhere
    site.fill(60, 20, 8_000)
    first = site.worker("--workers", "2")
    site.ready()
    run = site.backup("--no-work", "--bwlimit", "3M")
    until(lambda: site.packs() > 0)
    for pid in (first.pid, *site.children(first)):  # the one that works is a child
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    first.wait()
    site.worker("--workers", "2")
    result = site.result(run)
    assert (result["totals"]["files"], result["errors"]) == (site.files, [])
    site.whole()


def test_what_a_worker_stored_that_slept_through_its_lease_is_in_nobodys_way(site: Site) -> None:
    site.fill(70, 10, 20_000)
    first = site.worker("--workers", "1")
    site.ready()
    run = site.backup("--no-work", "--bwlimit", "2M")
    until(lambda: site.packs() > 0)
    child = site.put_to_sleep(first)
    site.worker("--workers", "1")
    assert site.result(run)["totals"]["files"] == site.files
    os.kill(child, signal.SIGCONT)
    until(lambda: "worker.lost" in site.told())
    site.whole()
    dunlin("prune", cwd=site.work, env=PASSWORD, expect=0)
    site.whole()


def test_a_worker_that_cannot_open_the_repository_says_why_and_others_do_the_work(site: Site) -> None:
    site.fill(10, 10, 500)
    site.worker(env={"DUNLIN_PASSWORD": "wrong"})
    site.worker(env={})
    for number in (0, 1):
        site.ready(number)
    run = site.backup("--no-work")
    until(lambda: "worker.refused" in site.told(0) and "worker.refused" in site.told(1))
    assert run.poll() is None
    (site.work / "password").write_text("correct horse\n")
    (site.work / "dunlin.yaml").write_text("backup:\n  password_file: password\n")
    site.worker("--config", "dunlin.yaml", env={})
    out = run.communicate(timeout=120)[0].decode()
    assert run.returncode == 0, out
    assert "takes no part" in out
    assert "password" in site.told(0)
    assert "correct horse" not in out + site.told(0) + site.told(1) + site.told(2)
    (site.work / "dunlin.yaml").unlink()
    site.whole()


def in_the_middle(site: Site) -> subprocess.Popen[bytes]:
    """A backup of 16 MB at 3 MB a second, of which a part is stored: packs come after some 7 MB."""
    site.fill(100, 20, 8_000)
    site.worker("--workers", "2")
    site.ready()
    run = site.backup("--no-work", "--bwlimit", "3M")
    until(lambda: site.packs() > 1, run)
    return run


def test_after_a_coordinator_was_killed_the_next_backup_begins_anew(site: Site) -> None:
    run = in_the_middle(site)
    run.kill()
    run.communicate(timeout=60)
    assert site.result(site.backup("--no-work"))["totals"]["files"] == site.files
    site.whole()
    queue = open_queue(str(site.work / site.url))
    try:
        assert queue.stats() == []  # of neither run is anything left
    finally:
        queue.close()


def test_one_that_is_interrupted_leaves_no_snapshot_and_what_it_stored_is_found(site: Site) -> None:
    run = in_the_middle(site)
    run.send_signal(signal.SIGINT)
    result = site.result(run, 130)
    assert result["snapshot"] is None
    stored = sum(path.stat().st_size for path in site.source.rglob("f*"))
    totals = site.result(site.backup("--no-work"))["totals"]
    assert totals["files"] == site.files
    assert totals["new_bytes"] < stored  # the rest was there
    site.whole()


def test_a_scan_goes_over_the_queue_and_a_dry_run_does_not(site: Site) -> None:
    site.fill(10, 10, 500)
    site.worker()
    site.ready()
    result = site.result(site.backup("--no-work", "--share", "names", command="scan"))
    assert (result["mode"], result["totals"]["files"], site.packs()) == ("scan", site.files, 0)
    assert "worker.joined" in site.told()
    dry = site.result(site.backup("--no-work", "-n"))
    assert (dry["mode"], dry["totals"]["new_files"]) == ("plan", site.files)


def test_a_restore_goes_on_when_a_worker_is_killed(site: Site) -> None:
    site.fill(40, 20, 8_000)
    (site.source / "a1" / "link").symlink_to("b1/f1")
    os.utime(site.source / "a1", ns=(10**18, 10**18))
    site.result(site.backup())
    first = site.worker("--workers", "2")
    site.ready()
    words = ("restore", "latest", "out", "--queue", site.url, "--no-work", "--json", "--bwlimit", "3M")
    run = start(*words, cwd=site.work, env=PASSWORD, stderr=subprocess.STDOUT)
    until(lambda: sum(len(names) for _, _, names in os.walk(site.work / "out")) > 50)
    for pid in (first.pid, *site.children(first)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    site.worker("--workers", "2")
    stats = site.result(run)["stats"]
    assert stats["failed_files"] == 0
    assert content(site.work / "out") == content(site.source)
    assert os.readlink(site.work / "out/a1/link") == "b1/f1"
    assert (site.work / "out/a1").stat().st_mtime_ns == 10**18
    assert list((site.work / "out").rglob(".dunlin-*")) == []


def test_a_worker_without_the_password_restores_nothing(site: Site) -> None:
    site.fill(5, 5, 500)
    site.result(site.backup())
    site.worker(env={})
    site.ready()
    words = ("restore", "latest", "out", "--queue", site.url, "--no-work", "--json")
    said = site.work / "said"
    with open(said, "wb") as file:
        run = start(*words, cwd=site.work, env=PASSWORD, stdout=file, stderr=subprocess.STDOUT)
    until(lambda: "worker.refused" in site.told() and "takes no part" in said.read_text())
    site.worker()
    assert run.wait(timeout=120) == 0, said.read_text()
    assert content(site.work / "out") == content(site.source)


def test_workers_find_the_damage_that_one_machine_would_find(site: Site) -> None:
    site.fill(20, 10, 3_000)
    site.result(site.backup())
    site.worker("--workers", "2")
    site.ready()
    words = ("verify", "--read-data", "--json")
    away = (*words, "--queue", site.url, "--no-work")
    whole = json.loads(dunlin(*away, cwd=site.work, env=PASSWORD, expect=0).stdout)
    assert (whole["whole"], whole["read_packs"]) == (True, site.packs())
    assert "worker.joined" in site.told()
    bundle = max((site.work / "vault/default/source").glob("?" * 32), key=lambda path: path.stat().st_size)
    data = bytearray(bundle.read_bytes())
    data[5_000] ^= 1
    bundle.write_bytes(data)
    found = json.loads(dunlin(*away, cwd=site.work, env=PASSWORD, expect=3).stdout)
    assert found == json.loads(dunlin(*words, cwd=site.work, env=PASSWORD, expect=3).stdout)
    assert found["lost"]
    assert found["damages"][0]["key"].endswith(bundle.name)


def test_a_repository_in_a_bucket_is_reached_with_each_workers_own_login_and_password(
    site: Site, request: pytest.FixtureRequest
) -> None:
    site.fill(12, 10, 300)
    (site.source / "secret").write_text("this content is nobody's business")
    bucket = cloud(request, "fast")
    flags = {f"DUNLIN_{name.replace('-', '_').upper()}": value for name, value in bucket.flags.items()}
    env = {**bucket.env, **flags, **PASSWORD, "DUNLIN_REPO": f"{bucket.url}/vault"}
    dunlin("repo", "init", cwd=site.work, env=env, expect=0)
    for number in (0, 1):
        site.worker("--workers", "2", env=env)
        site.ready(number)
    over = ("--queue", site.url, "--no-work", "--json")
    first = json.loads(dunlin("backup", "source", *over, cwd=site.work, env=env, expect=0).stdout)
    assert first["totals"]["new_files"] == site.files + 1
    again = json.loads(dunlin("backup", "source", *over, cwd=site.work, env=env, expect=0).stdout)
    assert (again["totals"]["files"], again["totals"]["read_bytes"]) == (site.files + 1, 0)
    dunlin("verify", "--read-data", *over, cwd=site.work, env=env, expect=0)
    dunlin("restore", "latest", "out", *over, cwd=site.work, env=env, expect=0)
    assert content(site.work / "out") == content(site.source)
    assert dunlin("backup", bucket.url, "--share", "bucket", *over, cwd=site.work, env=env, expect=0)
    stored = b"".join(path.read_bytes() for path in site.work.glob("queue.db*"))
    assert bucket.url.encode() in stored
    for hidden in (*bucket.login.secrets(), PASSWORD["DUNLIN_PASSWORD"], "nobody's business"):
        assert hidden.encode() not in stored
