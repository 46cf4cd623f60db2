"""Repositories that the service opens: when, for whom, for how long, and what is told where it cannot."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from dunlin.backup import repository
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Repository, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.memory import MemoryStore
from dunlin.web import vaults
from dunlin.web.problems import Refused
from dunlin.web.vaults import Answers, Known, Vault, Vaults, open_known
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up as back_up_to
from tests.unit.backup.world import FAR
from tests.unit.web.vaulted import HOME, Home


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Opens repositories and remembers which; the last ones can be asked whether they were closed."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.error: DunlinError | None = None

    def __call__(self, known: Known) -> Repository:
        self.opened.append(known.name)
        if self.error is not None:
            raise self.error
        found = open_known(known)
        shut = found.close

        def close() -> None:
            self.closed.append(known.name)
            shut()

        found.close = close  # type: ignore[method-assign]
        return found


class Made:
    def __init__(self, place: Path, *homes: Home) -> None:
        self.known: dict[str, Known] = {home.name: home.known() for home in homes}
        self.clock, self.door = Clock(), Door()
        self.vaults = Vaults(lambda: self.known, self.door, self.clock)

    def ids(self, name: str = "vault", tenant: str = "default", share: str = "home") -> list[str]:
        with self.vaults.use(name, tenant) as vault:
            return [each.id for each in vault.names(share)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    found.back_up(HOME)
    return found


# ---- what is open ----


def test_a_repository_is_opened_once_and_let_go_when_nobody_asks(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    assert made.door.opened == []
    assert len(made.ids()) == 1
    made.ids()
    made.clock.now += vaults.IDLE - 1
    made.vaults.look()
    assert (made.door.opened, made.door.closed) == (["vault"], [])
    made.clock.now += 2
    made.vaults.look()
    assert made.door.closed == ["vault"]
    made.ids()
    assert made.door.opened == ["vault", "vault"]


def test_what_is_in_use_is_not_closed(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    with made.vaults.use("vault", "default") as vault:
        made.clock.now += 10 * vaults.IDLE
        made.vaults.look()
        made.vaults.close()
        assert vault.shares() == ["home"]
        assert made.door.closed == []
    assert made.door.closed == ["vault"]


def test_only_some_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "OPEN", 2)
    made = Made(tmp_path, *(Home(tmp_path, f"v{n}") for n in range(4)))
    for name in ("v0", "v1", "v2", "v0", "v3"):
        with made.vaults.use(name, "default"):
            pass
    assert made.door.opened == ["v0", "v1", "v2", "v0", "v3"]
    assert made.door.closed == ["v0", "v1", "v2"]


def test_another_configuration_opens_it_anew(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    made.ids()
    made.known["vault"] = home.known(cache=str(tmp_path / "other"))
    made.ids()
    assert (made.door.opened, made.door.closed) == (["vault", "vault"], ["vault"])


def test_threads_open_it_together(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(made.ids())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.door.opened == ["vault"]
    assert len(found) == 8
    assert len({tuple(each) for each in found}) == 1


def test_another_repository_at_the_same_place_is_seen_after_a_while(tmp_path: Path) -> None:
    home = Home(tmp_path, password="a word")
    home.back_up(HOME)
    made = Made(tmp_path, home)
    made.ids()
    shutil.rmtree(home.place / "default")
    other = Home(tmp_path / "again", password="a word")
    id = other.back_up(HOME)
    shutil.copytree(other.place, home.place, dirs_exist_ok=True)
    made.clock.now += vaults.LIFE + 1
    assert made.ids() == [id]
    assert (made.door.opened, made.door.closed) == (["vault", "vault"], ["vault"])


def test_one_in_which_something_is_odd_is_opened_anew(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    [manifest] = (home.place / "default" / "home" / "snapshots").iterdir()
    whole = manifest.read_bytes()
    manifest.write_bytes(b"nonsense")
    with pytest.raises(DunlinError) as raised, made.vaults.use("vault", "default") as vault:
        vault.snapshot("home", "latest")
    assert raised.value.kind is ErrorKind.CORRUPT
    manifest.write_bytes(whole)
    with made.vaults.use("vault", "default") as vault:
        assert vault.snapshot("home", "latest").share == "home"
    assert made.door.opened == ["vault", "vault"]


def test_errors_in_a_repository_do_not_tell_where_it_lies(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    place = home.place
    told = DunlinError("read", f"file://{place}/x", ErrorKind.IO, f"{place} is odd", f"look at {place}/y")
    with pytest.raises(DunlinError) as raised, made.vaults.use("vault", "default"):
        raise told
    found = raised.value
    assert (found.where, found.reason, found.hint) == ("vault/x", "vault is odd", "look at vault/y")


# ---- for whom ----


def test_who_may_not_use_a_repository_is_told_that_there_is_none(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    for name, tenant in (("vault", "south"), ("nothing", "default"), ("", "default"), ("../vault", "default")):
        with pytest.raises(Refused) as raised, made.vaults.use(name, tenant):
            pass
        assert (raised.value.status, raised.value.detail) == (404, "there is no such repository")
    assert made.door.opened == []
    with pytest.raises(Refused) as raised:
        made.vaults.reads("nothing")
    assert raised.value.status == 404
    assert (made.vaults.tenants("vault"), made.vaults.tenants("nothing")) == (("default",), ())


def test_a_vault_holds_the_keys_of_its_tenant_alone(tmp_path: Path) -> None:
    home = Home(tmp_path, tenants=("north", "south"))
    for tenant in home.tenants:
        home.back_up(HOME, tenant=tenant)
    made = Made(tmp_path, home)
    with made.vaults.use("vault", "north") as vault:
        assert vault.snapshot("home", "latest").tenant == "north"
        assert vault._opened.secrets.master is None
        with pytest.raises(DunlinError) as raised:
            vault._opened.area("south", "home")
        assert raised.value.kind is ErrorKind.AUTH
    with made.vaults.use("vault", "south") as vault:
        assert vault.snapshot("home", "latest").tenant == "south"
    assert made.door.opened == ["vault"]


@pytest.mark.parametrize("share", ["../south/home", "..", "packs", "", "Home", "home/../x", "a" * 64])
def test_what_is_no_share_is_refused(tmp_path: Path, home: Home, share: str) -> None:
    made = Made(tmp_path, home)
    with pytest.raises(DunlinError) as raised, made.vaults.use("vault", "default") as vault:
        vault.names(share)
    assert raised.value.kind is ErrorKind.USAGE


# ---- what is wrong ----


def test_one_that_cannot_be_opened_is_tried_again_after_a_while(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    made.door.error = DunlinError("open", "file:///secret/place", ErrorKind.NETWORK, "no route to 10.0.0.7")
    for _ in range(3):
        made.clock.now += 1
        with pytest.raises(Refused) as raised, made.vaults.use("vault", "default"):
            pass
        words = f"{raised.value.detail} {raised.value.hint}"
        assert raised.value.status == 503
        assert "vault cannot be opened" in words
        assert "secret" not in words
        assert "10.0.0.7" not in words
    assert len(made.door.opened) == 1
    made.clock.now += vaults.AGAIN
    made.door.error = None
    assert len(made.ids()) == 1


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ErrorKind.AUTH, 502, "password"), (ErrorKind.NOT_FOUND, 503, "there is none"),
        (ErrorKind.CONFIG, 503, "password cannot be read"), (ErrorKind.DENIED, 502, "denied"),
        (ErrorKind.TIMEOUT, 504, "timeout"), (ErrorKind.CORRUPT, 500, "corrupt"),
    ],
)  # fmt: skip
def test_why_it_cannot_be_opened_is_told_without_its_place(error: ErrorKind, status: int, words: str) -> None:
    found = vaults.unopened("vault", DunlinError("open", "/secret", error, "/secret is odd"))
    assert found.status == status
    assert words in found.detail
    assert "/secret" not in found.detail


def test_without_what_backups_need_one_line_says_so(tmp_path: Path, home: Home) -> None:
    def missing(known: Known) -> Repository:
        raise ModuleNotFoundError("numpy")

    found = Vaults(lambda: {"vault": home.known()}, missing)
    with pytest.raises(Refused) as raised, found.use("vault", "default"):
        pass
    assert raised.value.status == 503
    assert "dunlin[backup]" in raised.value.hint


# ---- what is in it ----


def test_new_snapshots_are_seen_and_forgotten_ones_are_not(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)
    [first] = made.ids()
    second = home.back_up({"docs/plan.txt": b"another"})
    assert made.ids() == [first]
    made.clock.now += vaults.FRESH + 1
    assert made.ids() == [first, second]
    with made.vaults.use("vault", "default") as vault:
        kept = vault.names("home")
        area = home.area()
        area.objects.remove([area.snapshots()[0].key])
        assert [each.id for each in vault.manifests("home", kept)] == [second]
        made.clock.now += vaults.FRESH + 1
        assert [each.id for each in vault.names("home")] == [second]
        with pytest.raises(DunlinError) as raised:
            vault.snapshot("home", first)
        assert raised.value.kind is ErrorKind.NOT_FOUND


def test_a_repository_far_away_is_asked_less_often(tmp_path: Path) -> None:
    clock, store = Clock(), MemoryStore(caps=FAR)
    opened = repository.init(Objects(store), None, Settings())
    source = MemoryStore("home", caps=FAR)
    known = Home(tmp_path).known()
    found = Vaults(lambda: {"vault": known}, lambda each: opened, clock)

    def back_up() -> None:
        asked = Asked("file:///srv/home", movers=1)
        back_up_to(asked, opened.area("default", "home"), lambda: source, lambda: opened, Stop(), NullReport())

    def count() -> int:
        with found.use("vault", "default") as vault:
            assert vault.far
            return len(vault.names("home"))

    back_up()
    assert count() == 1
    with found.use("vault", "default") as vault:
        names = vault.names("home") * 20
        assert [each.id for each in vault.manifests("home", names)] == [each.id for each in names]
    back_up()
    clock.now += vaults.FRESH + 1
    assert count() == 1
    clock.now += vaults.FRESH_FAR
    assert count() == 2


def test_a_snapshot_is_found_as_by_the_command_line(tmp_path: Path, home: Home) -> None:
    second = home.back_up({"docs/plan.txt": b"another"})
    made = Made(tmp_path, home)
    first = made.ids()[0]
    with made.vaults.use("vault", "default") as vault:
        for text, id in (("latest", second), (first[:12], first), ("20260922T", first), (second, second)):
            assert vault.snapshot("home", text).id == id
        for text, kind in (("2026", ErrorKind.USAGE), ("zz", ErrorKind.NOT_FOUND), ("", ErrorKind.NOT_FOUND)):
            with pytest.raises(DunlinError) as raised:
                vault.snapshot("home", text)
            assert raised.value.kind is kind
        with pytest.raises(DunlinError) as raised:
            vault.snapshot("nothing", "latest")
        assert raised.value.kind is ErrorKind.NOT_FOUND


def test_trees_and_readers_are_kept(tmp_path: Path, home: Home) -> None:
    made = Made(tmp_path, home)

    def open(vault: Vault) -> list[object]:
        found = vault.snapshot("home", "latest")
        return [vault.tree(found), vault.looking(found), vault.reading(found)]

    with made.vaults.use("vault", "default") as vault:
        before = open(vault)
        assert [a is b for a, b in zip(before, open(vault), strict=True)] == [True, True, True]
        vault.moved(vault.snapshot("home", "latest"))
        assert [a is b for a, b in zip(before, open(vault), strict=True)] == [True, True, False]


# ---- answers ----


def test_who_waits_for_a_store_that_is_gone_holds_nobody_up(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vaults, "WAIT", 0.01)
    begun, go = threading.Event(), threading.Event()

    def hangs(known: Known) -> Repository:
        begun.set()
        assert go.wait(20)
        return open_known(known)

    made = Made(tmp_path, home)
    made.vaults = Vaults(lambda: made.known, hangs, made.clock)
    found: list[list[str]] = []
    first = threading.Thread(target=lambda: found.append(made.ids()))
    first.start()
    assert begun.wait(20)
    with pytest.raises(DunlinError) as raised, made.vaults.use("vault", "default"):
        pass
    assert raised.value.kind is ErrorKind.TIMEOUT
    go.set()
    first.join()
    assert len(found[0]) == 1
    assert made.ids() == found[0]


def test_answers_are_made_once_until_they_are_old() -> None:
    clock, made = Clock(), []

    def make() -> int:
        made.append(1)
        return len(made)

    answers = Answers(2, clock)
    assert [answers.get("a", make, 5) for _ in range(3)] == [1, 1, 1]
    clock.now += 6
    assert (answers.get("a", make), answers.get("a", make, 5)) == (1, 2)
    answers.get("b", make)
    answers.get("c", make)
    assert answers.get("a", make) == 5
    answers.drop("a")
    assert answers.get("a", make) == 6


def test_an_answer_that_cannot_be_made_is_asked_for_again() -> None:
    answers = Answers(2, Clock())

    def fail() -> int:
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            answers.get("a", fail)
    assert answers.get("a", lambda: 7) == 7


def test_who_asks_for_what_is_being_made_waits_for_it() -> None:
    answers, begun, go = Answers(4, Clock()), threading.Event(), threading.Event()
    found: list[int] = []

    def slow() -> int:
        begun.set()
        assert go.wait(20)
        return 1

    first = threading.Thread(target=lambda: found.append(answers.get("a", slow)))
    first.start()
    assert begun.wait(20)
    second = threading.Thread(target=lambda: found.append(answers.get("a", lambda: 2)))
    second.start()
    assert answers.get("b", lambda: 3) == 3  # others do not wait
    go.set()
    first.join()
    second.join()
    assert found == [1, 1]
