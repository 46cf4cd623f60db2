"""Jobs with repositories: whose they may be, which places they may name, what is handed to those who do them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dunlin.backup import keys
from dunlin.backup.lease import EXPIRES
from dunlin.backup.prune import Pruned
from dunlin.backup.repository import Settings as Layout
from dunlin.cli.service_backups import ask
from dunlin.config.repositories import Repository
from dunlin.config.service import Service, Tenant
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import backup as saving
from dunlin.jobs import repo
from dunlin.jobs.office import Office
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import SIZE, Stats
from dunlin.pace.stop import Stop
from dunlin.plan import Policy
from dunlin.queue.ledger.words import Job, JobStatus, Wish
from dunlin.report import NullReport, RecordingReport, Report
from dunlin.stores.login import Login
from dunlin.web import backup_work
from dunlin.web.backup_work import Work
from dunlin.web.backups import AGAIN, PATIENCE, Asked, Backups
from dunlin.web.machine import Machine
from dunlin.web.outcome import Done
from dunlin.web.shares import Shares
from tests.unit.web.served import settings

OFFICE: Any = object()
GOOD = Done("completed", True, "", {"exit_code": 0})


class Made:
    """The doer, with a clock that is set and nobody behind it; `tenants`: with their roots; none: one for all."""

    def __init__(self, tmp_path: Path, *tenants: str, **more: Any) -> None:
        self.path = tmp_path
        self.works: list[tuple[Any, Work]] = []
        self.runs: list[tuple[SyncOptions, Office | None]] = []
        self.ends: list[Done | DunlinError] = []
        self.results: list[Result] = []
        self.now = 0.0
        self.machine = Machine()
        (tmp_path / "word").write_text("secret")
        known = more.pop("repositories", {"vault": tenants or ("default",)})
        repositories = {
            name: Repository(name, "", str(tmp_path / name), Login(), str(tmp_path / "word"), tuple(whose))
            for name, whose in known.items()
        }
        listed = {name: Tenant(name, (str(tmp_path / name),), (), listed=True) for name in tenants}
        self.settings: Service = settings()._replace(repositories=repositories, tenants=listed, **more)
        self.backups = Backups(
            lambda kind, options, tenant: ask(kind, options, tenant, Settings(environ={})), self._run, self._apart,
            lambda: self.settings, lambda: self.machine, Shares(lambda: self.settings), lambda: self.now, self._sleep,
        )  # fmt: skip

    def _run(self, options: SyncOptions, stop: Stop, report: Report, *, office: Office | None) -> Result:
        self.runs.append((options, office))
        return self.results.pop(0) if self.results else Result(Stats(copied_files=1), "completed", "", 0)

    def _apart(self, call: Any, work: Work, stop: Stop, report: Report) -> Done:
        self.works.append((call, work))
        end = self.ends.pop(0) if self.ends else GOOD
        if isinstance(end, DunlinError):
            raise end
        return end

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def tenant(self, name: str = "default") -> Tenant:
        found = self.settings.tenant(name)
        assert found is not None
        return found

    def check(self, kind: str, tenant: str = "default", **options: Any) -> str:
        return self.backups.check(kind, {"repository": "vault", **options}, self.tenant(tenant))

    def do(self, kind: str, tenant: str = "default", stop: Stop | None = None, **options: Any) -> Done:
        job = _job(kind, {"repository": "vault", **options}, tenant)
        return self.backups.do(job, self.tenant(tenant), stop or Stop(), NullReport(), OFFICE)

    def refused(self, kind: str, tenant: str = "default", **options: Any) -> str:
        with pytest.raises(DunlinError) as caught:
            self.check(kind, tenant, **options)
        return f"{caught.value.kind.value}: {caught.value}"


def _job(kind: str, options: Mapping[str, Any], tenant: str) -> Job:
    words = msgspec.json.encode(options)
    return Job("1", kind, tenant, "me", "", JobStatus.RUNNING, words, b"", {}, "", 0, 0, None, 0, "", "me", Wish.NONE)


def test_labels(tmp_path: Path) -> None:
    made = Made(tmp_path)
    assert made.check("backup", source="/srv/Docs") == "/srv/Docs -> vault:docs"
    assert made.check("scan", source="s3://bucket/c", share="x") == "s3://bucket/c -> vault:x"
    assert made.check("restore", destination="/srv/new", path="a/b") == "vault@latest/a/b -> /srv/new"
    assert made.check("verify", share="docs", snapshot="2026") == "vault:docs@2026"
    assert made.check("verify") == made.check("prune") == made.check("forget", keep_last=1) == "vault"


def test_each_kind_is_handed_to_its_function_with_the_password_and_the_tenant(tmp_path: Path) -> None:
    made = Made(tmp_path)
    asked: dict[str, dict[str, Any]] = {
        "backup": {"source": "/srv/docs"}, "scan": {"source": "/srv/docs"}, "verify": {"read_data": True},
        "prune": {}, "forget": {"keep_last": 1, "prune": True},
    }  # fmt: skip
    for kind, options in asked.items():
        assert made.do(kind, **options) is GOOD
    names = [call.__name__ for call, _ in made.works]
    assert names == ["back_up", "back_up", "verify", "prune", "forget"]
    for _, work in made.works:
        assert (work.name, work.place.url, work.password, work.tenant) == (
            "vault", str(tmp_path / "vault"), b"secret", "default"
        )  # fmt: skip
        assert work.asked.tenant == "default"
    assert [work.asked.content for _, work in made.works[:2]] == [True, False]
    assert [work.prune for _, work in made.works] == [False, False, False, False, True]


def test_nobody_gets_at_the_repository_of_another_tenant(tmp_path: Path) -> None:
    made = Made(tmp_path, "a", "b", repositories={"vault": ("a",), "both": ("a", "b")})
    mine = str(tmp_path / "b" / "x")
    asked: dict[str, dict[str, Any]] = {
        "backup": {"source": mine}, "scan": {"source": mine}, "restore": {"destination": mine}, "verify": {},
        "prune": {}, "forget": {"keep_last": 1},
    }  # fmt: skip
    for kind, options in asked.items():
        theirs = made.refused(kind, "b", **options)
        assert theirs == made.refused(kind, "b", **options, repository="valut").replace("valut", "vault")
        assert "usage: cannot start: there is no repository vault" in theirs
        with pytest.raises(DunlinError):
            made.do(kind, "b", **options)
        for more in ({"tenant": "a"}, {"share": "../a/docs"}, {"share": "a/docs"}):
            with pytest.raises(DunlinError) as caught:
                made.backups.check(kind, {"repository": "both", **options, **more}, made.tenant("b"))
            assert caught.value.kind is ErrorKind.USAGE
        if kind != "restore":
            made.do(kind, "b", **options, repository="both")
    assert {work.tenant for _, work in made.works} == {work.asked.tenant for _, work in made.works} == {"b"}


def test_sources_and_destinations_lie_in_the_tenants_roots(tmp_path: Path) -> None:
    made = Made(tmp_path, "a", "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    assert made.check("backup", "a", source=str(tmp_path / "a" / "docs"))
    for place in ("b", "a/../b", "a/link", "vault", "", "a/link/.."):
        assert "denied" in made.refused("backup", "a", source=str(tmp_path / place), share="x")
        assert "denied" in made.refused("restore", "a", destination=str(tmp_path / place))
    assert "denied" in made.refused("backup", "a", source="s3://bucket")
    assert "denied" in made.refused(
        "backup", "a", source=str(tmp_path / "a"), exclude_from=[str(tmp_path / "word")]
    )  # fmt: skip
    made.do("backup", "a", source=str(tmp_path / "a" / "docs"))
    assert made.works[0][1].roots == (str(tmp_path / "a"),)


def test_nothing_is_written_into_a_repository(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for place in ("vault", "vault/default", "x/../vault"):
        assert "a repository of backups is there" in made.refused("restore", destination=str(tmp_path / place))
    assert made.check("restore", destination=str(tmp_path))
    assert made.check("restore", destination=str(tmp_path / "vault"), dry_run=True)
    assert "a repository of backups" in made.refused("restore", destination=str(tmp_path), delete=True)
    sync = SyncOptions("/a", f"file://{tmp_path}/vault/x")
    for options in (sync, SyncOptions("/a", str(tmp_path), policy=Policy(delete=True))):
        with pytest.raises(DunlinError, match="a repository of backups is there"):
            made.backups.check_target(options)
    made.backups.check_target(sync._replace(mode="check"))
    made.backups.check_target(SyncOptions("/a", "s3://bucket/vault"))


def test_a_service_without_repositories_looks_at_no_destination(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.settings = made.settings._replace(repositories={})
    (tmp_path / "loop").symlink_to("loop")
    made.backups.check_target(SyncOptions("/a", str(tmp_path / "loop")))
    assert "there is no repository vault" in made.refused("verify")


def test_what_backups_need_may_not_be_installed(tmp_path: Path) -> None:
    made = Made(tmp_path)

    def missing(*_: Any) -> Asked:
        raise ImportError(name="numpy")

    made.backups._ask = missing
    assert "pip install 'dunlin[backup]'" in made.refused("verify")


def test_an_append_only_repository_forgets_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path)
    known = made.settings.repositories["vault"]._replace(append_only=True)
    made.settings = made.settings._replace(repositories={"vault": known})
    for kind, options in (("prune", {}), ("forget", {"keep_last": 1})):
        assert "it is append-only" in made.refused(kind, **options).replace("vault is", "it is")
        assert made.check(kind, **options, dry_run=True)
    assert made.check("backup", source="/srv/docs")


def test_a_service_of_root_hands_out_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    made = Made(tmp_path, "a")
    place = str(tmp_path / "a" / "x")
    assert made.check("restore", "a", destination=place)
    assert "runs as root" in made.refused("restore", "a", destination=place, owner=True)


def test_jobs_belong_to_the_machine_whose_paths_they_name(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.machine = Machine("nas", ("/shared",))
    far = Repository("far", "", "s3://bucket/c", Login(), "", ("default",))
    made.settings = made.settings._replace(repositories={**made.settings.repositories, "far": far})

    def host(kind: str, **options: Any) -> str:
        return made.backups.host(kind, options, made.tenant())

    assert host("verify", repository="vault") == "nas"
    assert host("verify", repository="far") == ""
    assert host("backup", repository="far", source="/srv/docs") == "nas"
    assert host("backup", repository="far", source="/shared/docs") == ""
    assert host("restore", repository="far", destination="s3://other/e") == ""
    assert host("backup", repository="far", source="s3://other/e", exclude_from=str(tmp_path / "word")) == "nas"


def test_who_finds_the_share_in_use_waits_as_long_as_a_dead_one_may_hold_it(tmp_path: Path) -> None:
    made = Made(tmp_path)
    locked = DunlinError("back up to", "default/docs", ErrorKind.LOCKED, "another backup is going on (nas, process 7)")
    made.ends = [locked, locked]
    report = RecordingReport()
    job = _job("backup", {"repository": "vault", "source": "/srv/docs"}, "default")
    assert made.backups.do(job, made.tenant(), Stop(), report, OFFICE) is GOOD
    assert made.now == pytest.approx(2 * AGAIN, abs=0.5)
    assert [event.message for event in report.events] == ["waiting: another backup is going on (nas, process 7)"]
    made.ends = [locked] * 1000
    begun = made.now
    with pytest.raises(DunlinError, match="process 7"):
        made.do("prune")
    assert EXPIRES < made.now - begun < EXPIRES + 120
    assert PATIENCE > EXPIRES


def test_a_snapshot_that_is_forgotten_by_name_is_shown_by_it(tmp_path: Path) -> None:
    made = Made(tmp_path)
    options = {"repository": "vault", "share": "docs", "snapshots": ["9c2f1a70" * 4, "0123abcd" * 4]}
    assert made.backups.check("forget", options, made.tenant()) == "vault:docs@9c2f1a70, 0123abcd"
    del options["snapshots"]
    assert made.backups.check("forget", {**options, "keep_last": 1}, made.tenant()) == "vault:docs"


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    made = Made(tmp_path)
    stop = Stop()
    stop.request("paused")
    made.ends = [DunlinError("prune", "", ErrorKind.LOCKED)]
    with pytest.raises(DunlinError) as caught:
        made.do("prune", stop=stop)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.INTERRUPTED, "paused")
    made.ends = [DunlinError("prune", "", ErrorKind.CORRUPT, "damaged")]
    with pytest.raises(DunlinError, match="damaged"):
        made.do("prune")


def test_bytes_are_divided_among_tenants(tmp_path: Path) -> None:
    made = Made(tmp_path, "a", jobs=4)
    made.settings = made.settings._replace(tenants={"a": made.tenant("a")._replace(bandwidth=400)})
    made.do("backup", "a", source=str(tmp_path / "a" / "x"))
    assert made.works[0][1].asked.bandwidth.entries == ((0, 100),)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A repository with a snapshot of tenant a."""
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    made = Made(tmp_path, "a", "b")
    source = tmp_path / "a" / "docs"
    source.mkdir(parents=True)
    (source / "one").write_text("one")
    place = repo.Place(str(tmp_path / "vault"))
    opened = repo.init(place, b"secret", Layout())
    asked = ask("backup", {"repository": "vault", "source": str(source)}, made.tenant("a"), Settings(environ={}))
    saving.run(asked.options._replace(repository=place), opened, Stop(), NullReport())
    opened.close()
    return made


def test_a_restore_is_a_sync_from_the_snapshot_that_holds_the_destinations_office(kept: Made) -> None:
    place = str(kept.path / "a" / "back")
    kept.results = [Result(Stats(), "completed", "", 24), Result(Stats(), "completed", "", 3)]
    done = kept.do("restore", "a", destination=place, verify=True, overwrite="always")
    (options, office), (compared, none) = kept.runs
    assert (office, none, options.mode, compared.mode) == (OFFICE, None, "sync", "check")
    assert (options.destination, options.policy.force, options.policy.devices) == (place, True, False)
    assert options.within.roots == (str(kept.path / "a"),)
    assert options.opens is not None
    store = options.opens()
    assert store.stat("one").facts[SIZE] == 3
    store.close()
    assert (done.good, done.message) == (False, "what was restored differs from the snapshot")
    assert (done.result["exit_code"], done.result["snapshot"]["share"]) == (3, "docs")


def test_a_restore_of_what_is_not_there_tells_nothing_of_other_tenants(kept: Made) -> None:
    place = str(kept.path / "b" / "back")
    for more in ({}, {"share": "docs"}, {"share": "docs", "snapshot": "2"}):
        with pytest.raises(DunlinError) as caught:
            kept.do("restore", "b", destination=place, **more)
        words = str(caught.value)
        assert caught.value.kind is ErrorKind.NOT_FOUND
        assert "there are" not in words  # whose snapshots there are
        assert str(kept.path) not in words


def test_a_repository_that_cannot_be_opened_does_not_tell_its_place(kept: Made) -> None:
    (kept.path / "word").write_text("wrong")
    place = str(kept.path / "a" / "back")
    with pytest.raises(DunlinError) as caught:
        kept.do("restore", "a", destination=place)
    assert caught.value.kind is ErrorKind.AUTH
    assert "cannot open the repository vault" in str(caught.value)
    assert str(kept.path) not in str(caught.value)


def test_who_works_for_a_tenant_has_its_keys_alone(kept: Made) -> None:
    place = repo.Place(str(kept.path / "vault"))
    opened = backup_work.open_for("vault", place, lambda: b"secret", "b")
    try:
        with pytest.raises(DunlinError) as caught:
            opened.area("a", "docs").manifest(opened.area("b", "docs").snapshots()[0])
    except IndexError:
        with pytest.raises(DunlinError) as caught:
            opened.secrets.raw("a")
    finally:
        opened.close()
    assert caught.value.kind is ErrorKind.AUTH


def test_a_verification_finds_damage_and_says_how_much(kept: Made) -> None:
    work = _work(kept, "verify", read_data=True)
    good = backup_work.verify(work, Stop(), NullReport())
    assert (good.good, good.result["whole"], good.result["totals"]["read_packs"]) == (True, True, 1)
    [pack] = [each for each in (kept.path / "vault" / "a" / "docs").iterdir() if each.is_file()]
    pack.write_bytes(b"x" * pack.stat().st_size)
    bad = backup_work.verify(work, Stop(), NullReport())
    assert (bad.good, bad.result["exit_code"]) == (False, 3)
    assert "2 objects damaged, 1 file lost" in bad.message
    assert [each["path"] for each in bad.result["lost"]] == ["one"]
    assert msgspec.json.encode(bad.result)


def test_forgetting_tells_what_stays_and_why(kept: Made) -> None:
    done = backup_work.forget(_work(kept, "forget", keep_last=1), Stop(), NullReport())
    assert (done.result["kept"], done.result["removed"]) == (1, 0)
    assert done.result["snapshots"][0]["reasons"] == ["last"]
    freed = backup_work.forget(_work(kept, "forget", keep_last=1)._replace(prune=True), Stop(), NullReport())
    assert freed.result["prune"]["totals"]["kept_bytes"] > 0
    assert backup_work.prune(_work(kept, "prune"), Stop(), NullReport()).good


def test_forgetting_by_name_goes_on_where_another_prune_was_in_the_way(
    kept: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt has removed the snapshot by then: the next one finds that, and frees what it needed."""
    place = repo.Place(str(kept.path / "vault"))
    opened = backup_work.open_for("vault", place, lambda: b"secret", "a")
    try:
        [name] = opened.area("a", "docs").snapshots()
    finally:
        opened.close()
    work = _work(kept, "forget", snapshots=[name.id])._replace(prune=True)
    asked = []

    def prune(_: object, options: Any, *__: object) -> Pruned:
        asked.append(options)
        if len(asked) == 1:
            raise DunlinError("prune", "a", ErrorKind.LOCKED, "another prune is going on")
        return Pruned(removed_objects=1)

    monkeypatch.setattr("dunlin.jobs.prune.prune", prune)
    done = kept.backups._patiently(lambda: backup_work.forget(work, Stop(), NullReport()), Stop(), NullReport())
    assert (done.good, done.result["removed"], done.result["snapshots"]) == (True, 0, [])
    assert [(each.tenant, each.max_unused) for each in asked] == [("a", 0.0)] * 2


def test_a_prune_that_had_no_room_has_failed(kept: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.jobs.prune.prune", lambda *_: Pruned(removed_objects=1, short=1))
    for kind, options in (("prune", {}), ("forget", {"keep_last": 1})):
        work = _work(kept, kind, **options)._replace(prune=True)
        done = (backup_work.prune if kind == "prune" else backup_work.forget)(work, Stop(), NullReport())
        assert (done.good, done.result["exit_code"]) == (False, 2)
        assert "short of room" in done.message


def test_a_source_that_is_led_elsewhere_meanwhile_is_not_read(kept: Made) -> None:
    work = _work(kept, "backup", source=str(kept.path / "a" / "docs"))._replace(roots=(str(kept.path / "b"),))
    with pytest.raises(DunlinError) as caught:
        backup_work.back_up(work, Stop(), NullReport())
    assert caught.value.kind is ErrorKind.DENIED


def test_a_backup_tells_its_snapshot(kept: Made) -> None:
    work = _work(kept, "backup", source=str(kept.path / "a" / "docs"), tag=["x"])
    done = backup_work.back_up(work, Stop(), NullReport())
    assert done.good
    assert (done.result["snapshot"]["tags"], done.result["totals"]["files"]) == (["x"], 1)
    dry = backup_work.back_up(work._replace(asked=work.asked._replace(dry=True)), Stop(), NullReport())
    assert "snapshot" not in dry.result


def _work(kept: Made, kind: str, **options: Any) -> Work:
    asked: Asked = ask(kind, {"repository": "vault", **options}, kept.tenant("a"), Settings(environ={}))
    return Work("vault", repo.Place(str(kept.path / "vault")), b"secret", "a", asked.options)
