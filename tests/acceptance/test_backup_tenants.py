"""Tenants that try to reach each other: by password, by name, by copied objects, by links in the repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.acceptance import program
from tests.acceptance.trouble import in_memory
from tests.acceptance.vaults import COMMANDS, Run

pytestmark = pytest.mark.slow

MASTER, ACME = "the owner", "of acme alone"
ENVIRONMENT = {"DUNLIN_REPO": "vault", "DUNLIN_PROGRESS": "0"}
OF_A_TENANT = COMMANDS | {
    "verify": ["verify", "--read-data"],
    "password": ["repo", "password", "add", "--new-password-file", "new"],
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path / "desk") as desk:
        (desk / "home").mkdir()
        (desk / "home" / "letter").write_text("of acme")
        (desk / "new").write_text(ACME)
        yield desk


@pytest.fixture
def run(desk: Path) -> Run:
    def run(*words: str | Path, expect: int = 0, word: str = MASTER) -> CompletedProcess[str]:
        return program.dunlin(*words, cwd=desk, env=ENVIRONMENT | {"DUNLIN_PASSWORD": word}, expect=expect)

    run("repo", "init")
    run("backup", "home", "--tenant", "acme", "--share", "docs")
    (desk / "home" / "letter").write_text("of beta")
    run("backup", "home", "--tenant", "beta", "--share", "docs")
    run("repo", "password", "add", "--new-password-file", "new", "--tenant", "acme")
    return run


def objects(desk: Path) -> dict[str, bytes]:
    return {str(path.relative_to(desk / "vault")): path.read_bytes()
            for path in (desk / "vault").rglob("*") if path.is_file()}  # fmt: skip


def test_the_password_of_a_tenant_opens_no_other_one_by_any_command(desk: Path, run: Run) -> None:
    before = objects(desk)
    for name, words in OF_A_TENANT.items():
        done = run(*words, "--tenant", "beta", word=ACME, expect=1)
        assert "that of another tenant" in done.stderr, (name, done)
        assert done.stdout == "", name
    assert not (desk / "back").exists()
    assert objects(desk) == before
    # Nor does it hand out, take away or tell what is not its own.
    assert "is that of a tenant" in run(*OF_A_TENANT["password"], word=ACME, expect=1).stderr
    (owner, mine) = json.loads(run("repo", "password", "list", "--json").stdout)
    assert json.loads(run("repo", "password", "list", "--json", word=ACME).stdout) == [mine]
    assert "is that of a tenant" in run("repo", "password", "remove", owner["id"], word=ACME, expect=1).stderr
    assert json.loads(run("repo", "stats", "--json", word=ACME).stdout)["tenants"] == 1
    assert "beta" not in run("snapshots", "--tenant", "acme", "--share", "none", word=ACME, expect=1).stderr
    assert "index knows 1 chunk in" in run("repo", "rebuild-index", word=ACME).stdout
    # Its own is open to it.
    for name, words in OF_A_TENANT.items():
        if name not in ("password", "restore", "backup", "scan"):
            run(*words, *(["--tenant", "acme"] if name not in ("stats", "rebuild-index") else []), word=ACME)
    run("restore", "latest", "back", "--tenant", "acme", word=ACME)
    assert (desk / "back" / "letter").read_text() == "of acme"
    assert {key: data for key, data in objects(desk).items() if key.startswith("beta/")} == {
        key: data for key, data in before.items() if key.startswith("beta/")
    }


def test_names_that_lead_elsewhere_are_refused_by_every_command(desk: Path, run: Run) -> None:
    before = objects(desk)
    names = ["../acme", "acme/docs", "..", ".", "a..b", "Acme", "packs", "leases", "-a", "a\nb"]
    for at, (command, words) in enumerate(OF_A_TENANT.items()):
        done = run(*words, f"--tenant={names[at % len(names)]}", expect=1)
        assert "cannot be the name of a tenant" in done.stderr, (command, done.stderr)
        if words[0] not in ("prune", "repo"):
            done = run(*words, f"--share={names[(at + 3) % len(names)]}", expect=1)
            assert "cannot be the name of a share" in done.stderr, (command, done.stderr)
    assert objects(desk) == before


def test_objects_that_were_copied_to_another_tenant_or_share_open_nothing(desk: Path, run: Run) -> None:
    vault = desk / "vault"
    (theirs,) = (vault / "acme/docs/snapshots").iterdir()
    for place, tenant, share in (("beta/docs", "beta", "docs"), ("acme/mine", "acme", "mine")):
        shutil.copytree(vault / "acme/docs", vault / place, dirs_exist_ok=True)
        done = run("snapshots", "--tenant", tenant, "--share", share, "--json", expect=3)
        assert json.loads(done.stdout)["damaged"] == [theirs.name.partition("-")[2]]
        own = [each["id"] for each in json.loads(done.stdout)["snapshots"]]
        assert len(own) == (1 if tenant == "beta" else 0)
        taken = theirs.name.partition("-")[2]
        said = run("restore", taken, "back", "--tenant", tenant, "--share", share, expect=2).stderr
        assert "is not what was written there" in said
        assert not (desk / "back").exists()
        assert run("verify", "--tenant", tenant, "--share", share, expect=3).stdout
    (vault / "beta/docs/snapshots" / theirs.name).unlink()
    run("restore", "latest", "back", "--tenant", "beta", "--share", "docs")
    assert (desk / "back" / "letter").read_text() == "of beta"


def test_links_in_a_repository_lead_nowhere(desk: Path, run: Run) -> None:
    vault, outside = desk / "vault", desk / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (vault / "evil").symlink_to(outside)
    (vault / "gamma").symlink_to("acme")
    done = run("backup", "home", "--tenant", "evil", "--share", "docs", expect=2)
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert "a symbolic link stands where a directory was" in run("ls", "latest", "--tenant", "gamma", expect=2).stderr
    assert json.loads(run("repo", "stats", "--json").stdout)["tenants"] == 2
    # A link in place of an object is no object.
    (vault / "acme/docs/tree" / ("a" * 32)).symlink_to(outside / "secret")
    (vault / "acme/docs/snapshots" / f"20990101T000000.000000Z-{'b' * 32}").symlink_to(outside / "secret")
    assert len(json.loads(run("snapshots", "--tenant", "acme", "--json").stdout)["snapshots"]) == 1
    run("backup", "home", "--tenant", "acme", "--share", "docs")
    run("prune", "--tenant", "acme")
    assert (outside / "secret").read_text() == "secret"
    assert "all is whole" in run("verify", "--tenant", "acme", "--read-data").stdout
