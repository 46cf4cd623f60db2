"""The pages of backups: what they show, to whom, what their forms ask for, whatever names hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from dunlin.config.service import Tenant
from dunlin.queue.ledger.words import Job, Role
from dunlin.web.backup import shares
from dunlin.web.backup.orders import counted
from dunlin.web.gate import COOKIE
from dunlin.web.problems import Refused
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import Served, served
from tests.unit.web.test_gate import bearer, guarded, key
from tests.unit.web.test_monitor import HTML, TAGS, Read, words
from tests.unit.web.vaulted import HOME, Home, grown, vaulted

ROOT = "/monitoring/backup"
ASKED = "repository=vault&share=home"
NAMES = [name for name in HOSTILE if "/" not in name and "\0" not in name] + ["line\nbreak", "per%cent+plus&amp;"]


class Shown:
    def __init__(self, served: Served, home: Home, ids: list[str]) -> None:
        self.served, self.home, self.ids = served, home, ids

    @property
    def pages(self) -> tuple[str, ...]:
        first, last = self.ids[3], self.ids[-1]
        return (
            ROOT, f"{ROOT}/share?{ASKED}", f"{ROOT}/share?{ASKED}&last=2&monthly=all&tag=monthly,x",
            f"{ROOT}/share?{ASKED}&last=x", f"{ROOT}/browse?{ASKED}", f"{ROOT}/browse?{ASKED}&path=odd",
            f"{ROOT}/browse?{ASKED}&path=docs/plan.txt&at={first}", f"{ROOT}/browse?{ASKED}&path=newest.txt",
            f"{ROOT}/search?{ASKED}&pattern=*", f"{ROOT}/compare?{ASKED}&old={first}&new={last}",
            f"{ROOT}/compare?{ASKED}&old={first}&new={last}&path=docs&what=moved",
        )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """For tests that change nothing."""
    place = tmp_path_factory.mktemp("vaults")
    home = grown(place, 16, NAMES)
    with vaulted(place / "service", home, clock=lambda: home.now / 1e9 + 40_000) as made:
        yield Shown(made, home, [each.id for each in home.area().snapshots()])


def page(made: Served, path: str, status: int = 200, **more: Any) -> str:
    answer = made.get(path, headers=HTML | more.pop("headers", {}), **more)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert made.faults == []
    return answer.text


def order(made: Served, verb: str, status: int = 303, headers: dict[str, str] | None = None, **fields: str) -> str:
    """Send a form; where it leads, or what it says."""
    answer = made.post(f"{ROOT}/{verb}", data=fields, headers=HTML | (headers or {}))
    assert answer.status_code == status, answer.text
    return answer.headers.get("location", "") if status == 303 else words(answer.text)


def forms(text: str) -> list[tuple[str, dict[str, str]]]:
    """The forms of a page: where each leads, and the fields that it sends without asking."""
    found = []
    for attributes, inner in re.findall(r"<form([^>]*)>(.*?)</form>", text, re.DOTALL):
        [action] = re.findall(r'action="([^"]*)"', attributes)
        fields = {}
        for each in re.findall(r"<input([^>]*)>", inner):
            if 'type="hidden"' in each:
                [name], [value] = (re.findall(rf'{word}="([^"]*)"', each) for word in ("name", "value"))
                fields[unescape(name)] = unescape(value)
        found.append((unescape(action), fields))
    return found


# ---- what is shown ----


def test_every_page_is_whole_and_safe_whatever_names_hold(shown: Shown) -> None:
    for path in shown.pages:
        text = page(shown.served, path)
        read = Read(text)
        assert read.tags <= TAGS | {"details", "summary"}
        assert [name for name in read.names if name.startswith("on") or name == "style"] == []
        assert text.count("<script") == 1
        assert re.fullmatch(r"[^\x00-\x08\x0b-\x1f\u202e]*", text)
        assert len(read.ids) == len(set(read.ids))
        assert read.unlabelled == []
        assert "http-equiv" not in text


def test_every_odd_name_leads_to_its_file(shown: Shown) -> None:
    text = page(shown.served, f"{ROOT}/browse?{ASKED}&path=odd")
    links = [unescape(each) for each in re.findall(r'href="([^"]*backup/browse[^"]*odd%2F[^"]*)"', text)]
    assert len(links) == len(NAMES)
    for link in links:
        assert "Modified" in words(page(shown.served, link))
    loads = [unescape(each) for each in re.findall(r'href="([^"]*/file\?[^"]*)"', text)]
    contents = {shown.served.get(each).content for each in loads}
    assert contents == {name.encode("utf-8", "surrogateescape") for name in NAMES}


def test_forms_keep_odd_paths(shown: Shown) -> None:
    for name in NAMES:
        path = shown.served.get(f"{ROOT}/browse", params={"repository": "vault", "share": "home"}).url
        raw = f"odd/{name}".encode("utf-8", "surrogateescape")
        asked = "".join(f"%{byte:02x}" for byte in raw)
        text = page(shown.served, f"{path.path}?{ASKED}&path={asked}")
        [chosen] = [fields for action, fields in forms(text) if action.endswith("/browse")]
        answer = shown.served.get(f"{ROOT}/browse", params={**chosen, "at": shown.ids[5]}, headers=HTML)
        assert answer.status_code == 200
        assert f"{len(raw) - 4} bytes" in words(answer.text)


def test_all_shares_with_how_they_stand(shown: Shown) -> None:
    text = words(page(shown.served, ROOT))
    assert "Share Newest (UTC) Age Files Size Snapshots Verified home" in text
    assert re.search(r"home 2027-01-18 14:13:20 11h06m \d+ [\d.]+ \w+ 16 ⚠ \d+% , 11h06m ago", text)
    assert re.search(r"www 2026-09-28 14:13:20 \S+ 2 1.7 KiB 1 ○ never", text)


def test_a_share_with_growth_and_snapshots(shown: Shown) -> None:
    text = page(shown.served, f"{ROOT}/share?{ASKED}")
    assert text.count('role="img"') == 5
    told = words(text)
    assert "Newest snapshot 11h06m ago, of file:///srv/home on nas" in told
    assert "16, the newest first." in told
    newest = shown.home.area().manifest(shown.home.area().snapshots()[-1]).totals
    assert re.search(rf"Snapshots 16 Newest {newest.bytes / 1024 / 1024:.1f} MiB", told)


def test_charts_tell_what_lasted_until_when(shown: Shown) -> None:
    area = shown.home.area()
    made = [area.manifest(each) for each in area.snapshots()]
    points = shares.spans(made, made[-1].time / 1e9 + 100)
    assert [each.begin for each in points] == [pytest.approx(7 * 86_400 * n, abs=1) for n in range(16)]
    assert [each.end for each in points[:-1]] == [each.begin for each in points[1:]]
    assert points[-1].end == pytest.approx(points[-1].begin + 100)
    assert points[-1].stored == sum(each.totals.stored_bytes for each in made)
    assert shares.spans([], 0.0) == []
    [one] = shares.spans(made[:1], 0.0)  # a clock that is behind
    assert one.end > one.begin == 0.0


def test_a_policy_is_tried_before_it_is_applied(shown: Shown) -> None:
    text = page(shown.served, f"{ROOT}/share?{ASKED}&last=2&tag=monthly")
    told = words(text)
    assert "11 of 16 snapshots would go." in told
    assert told.count("✓ keep") == 5
    assert told.count("✗ remove") == 11
    [(_, fields)] = [each for each in forms(text) if each[0].endswith("/forget")]
    assert {name: fields[name] for name in ("share", "last", "tag")} == {"share": "home", "last": "2", "tag": "monthly"}
    assert "'x' is no number" in words(page(shown.served, f"{ROOT}/share?{ASKED}&last=x"))
    assert "of 16 snapshots would go" not in words(page(shown.served, f"{ROOT}/share?{ASKED}"))
    assert "no rule" in words(page(shown.served, f"{ROOT}/share?{ASKED}&last=0"))
    assert len(shown.home.area().snapshots()) == 16


def test_directories_come_in_pages_and_orders(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    from dunlin.web.backup import browse

    monkeypatch.setattr(browse, "COUNT", 15)
    seen: list[str] = []
    path: str | None = f"{ROOT}/browse?{ASKED}&path=photos/2024&sort=size&down=1"
    while path:
        text = page(shown.served, path)
        seen += re.findall(r">(IMG_\d+\.jpg)</a>", text)
        following = re.search(r'<a href="([^"]+)" rel="next">', text)
        path = unescape(following[1]) if following else None
    assert seen == [f"IMG_{n:04}.jpg" for n in range(39, -1, -1)]
    assert "31 to 40 of 40. Page before" in words(text)


def test_another_snapshot_of_the_same_path_and_what_is_not_in_it(shown: Shown) -> None:
    text = page(shown.served, f"{ROOT}/browse?{ASKED}&path=docs/archive/00.txt")
    [fields] = [fields for action, fields in forms(text) if action.endswith("/browse")]
    assert fields == {"repository": "vault", "share": "home", "place": "docs/archive/00.txt"}
    told = page(shown.served, f"{ROOT}/browse?{ASKED}&place=docs/archive/00.txt&at={shown.ids[2]}", 404)
    assert "This snapshot holds no such thing" in words(told)
    assert f"at={shown.ids[2]}&amp;path=docs%2Farchive" in told


def test_changes_between_two_snapshots(shown: Shown) -> None:
    path = f"{ROOT}/compare?{ASKED}&old={shown.ids[11]}&new={shown.ids[12]}"
    told = words(page(shown.served, path))
    assert "moved 3" in told
    assert "→ moved docs/archive/00.txt from docs/letters/00.txt" in told
    assert "≠ changed docs/plan.txt" in told
    only = words(page(shown.served, f"{path}&what=moved"))
    assert "≠ changed" not in only
    assert "→ moved" in only


def test_the_versions_of_a_file(shown: Shown) -> None:
    told = words(page(shown.served, f"{ROOT}/browse?{ASKED}&path=docs/letters/00.txt&at={shown.ids[4]}"))
    assert "Versions The newest first." in told
    assert re.search(r"2026-12-28 14:13:20 to 2027-01-18 14:13:20 4 nothing there", told)
    assert re.search(r"2026-10-05 14:13:20 to 2026-12-21 14:13:20 \(this one\) 12 200 B", told)


def test_a_search_finds_names_and_an_empty_one_leads_back(shown: Shown) -> None:
    told = words(page(shown.served, f"{ROOT}/search?{ASKED}&pattern=REPORT-03"))
    assert "1 name found." in told
    assert "docs/2026/report-03.txt" in told
    assert "0 names found." in words(page(shown.served, f"{ROOT}/search?{ASKED}&pattern=zzz"))
    answer = shown.served.get(f"{ROOT}/search?{ASKED}&pattern=+&path=docs", headers=HTML)
    assert answer.status_code == 303
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["path"] == "docs"


@pytest.mark.parametrize(("path", "status"), [
    ("share?repository=nothing&share=home", 404), ("share?repository=vault&share=nothing", 404),
    ("share?repository=vault&share=../x", 400), ("share", 404), (f"browse?{ASKED}&at=zzz", 404),
    (f"browse?{ASKED}&after=x", 400), (f"browse?{ASKED}&after=-1", 400), (f"compare?{ASKED}", 404),
    (f"compare?{ASKED}&old=2026", 400), (f"search?{ASKED}&pattern=a&path=nowhere", 404),
    (f"search?{ASKED}&pattern=a&path=readme.txt", 400), (f"share?{ASKED}&after=9&last=%00", 200),
])  # fmt: skip
def test_nonsense_is_answered_in_words(shown: Shown, path: str, status: int) -> None:
    assert len(words(page(shown.served, f"{ROOT}/{path}", status))) > 20


# ---- without ----


def test_without_repositories_there_is_no_link(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        assert "Backups" not in words(page(made, "/monitoring"))
        assert "repositories" in words(page(made, ROOT))


def test_without_the_monitor_there_are_no_pages(tmp_path: Path) -> None:
    home = Home(tmp_path)
    from tests.unit.web.served import settings

    with vaulted(tmp_path / "a", home, found=settings(MONITOR_ENABLED="false")) as made:
        assert made.get(ROOT, headers=HTML).status_code == 404
        assert made.get("/api/v1/repositories").json()["items"] != []


def test_the_pages_lie_where_the_configuration_says(tmp_path: Path) -> None:
    from tests.unit.web.served import settings

    home = Home(tmp_path)
    home.back_up(HOME)
    with vaulted(tmp_path / "a", home, found=settings(MONITOR_ROOT_PATH="/ops/queue")) as made:
        text = page(made, f"/ops/queue/backup/browse?{ASKED}")
        assert {action.rpartition("/")[0] for action, _ in forms(text)} == {"/ops/queue/backup"}
        assert f'href="{ROOT}' not in text


def test_of_many_tenants_some_are_shown_and_the_others_one_step_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dunlin.queue.ledger.words import Tenant as TenantRow
    from dunlin.web.backup import routes

    names = ("east", "north", "south", "west")
    home = Home(tmp_path, tenants=names)
    home.back_up({"a": b"a"}, "of-west", "west")
    tenants = {name: Tenant(name, ("/srv",), ("store/",), listed=True) for name in names}
    monkeypatch.setattr(routes, "MOST_PLACES", 2)
    with vaulted(tmp_path / "a", home, found=guarded(tenants=tenants)) as made:
        for name in names:
            made.services.ledger.accounts.put_tenant(TenantRow(name))
        whole = bearer(key(made, Role.ADMIN))
        text = page(made, ROOT, headers=whole)
        assert "vault, north" in text
        assert "vault, west" not in text
        assert f'href="{ROOT}?tenant=west"' in text
        assert "of-west" in page(made, f"{ROOT}?tenant=west", headers=whole)


def test_one_that_cannot_be_opened_does_not_hide_the_others(tmp_path: Path) -> None:
    good, bad = Home(tmp_path, "good"), Home(tmp_path, "bad")
    good.back_up(HOME)
    for name in ("dunlin-repository.json", "dunlin-repository.copy"):
        (bad.place / name).unlink()
    with vaulted(tmp_path / "a", good, bad) as made:
        told = words(page(made, ROOT))
        assert "the repository bad cannot be opened: there is none at its place" in told
        assert "home 2026-09-22" in told


# ---- who may what ----


def test_a_viewer_sees_neither_buttons_nor_downloads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    home.back_up({"docs/plan.txt": b"another"})
    with vaulted(tmp_path / "a", home, found=guarded()) as made:
        viewer, operator, admin = (bearer(key(made, role)) for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN))
        pages = (ROOT, f"{ROOT}/share?{ASKED}&last=1", f"{ROOT}/browse?{ASKED}",
                 f"{ROOT}/browse?{ASKED}&path=readme.txt")  # fmt: skip
        for path in pages:
            text = page(made, path, headers=viewer)
            assert 'method="post"' not in text
            assert "/file?" not in text
            assert 'method="post"' in page(made, path, headers=operator)
        assert "/file?" in page(made, pages[2], headers=operator)
        for path in pages:
            found = {action.rpartition("/")[2] for action, _ in forms(page(made, path, headers=operator))}
            assert not found & {"forget", "prune"}
        leads = {action.rpartition("/")[2] for action, _ in forms(page(made, pages[1], headers=admin))}
        assert {"forget", "prune", "verify", "backup"} <= leads
        leads = {action.rpartition("/")[2] for action, _ in forms(page(made, pages[2], headers=admin))}
        assert leads >= {"forget", "restore"}
        for verb in ("backup", "restore", "verify", "forget", "prune"):
            answer = made.post(f"{ROOT}/{verb}", data={"repository": "vault"}, headers=HTML | viewer)
            assert answer.status_code == 403
        for verb in ("forget", "prune"):
            assert "needs the role admin" in order(made, verb, 403, headers=operator, repository="vault")
        assert made.services.ledger.jobs.page() == []


def test_in_read_only_mode_nothing_is_offered_and_nothing_done(tmp_path: Path) -> None:
    from tests.unit.web.served import settings

    home = Home(tmp_path)
    home.back_up(HOME)
    with vaulted(tmp_path / "a", home, found=settings(MONITOR_READ_ONLY_MODE="true")) as made:
        for path in (ROOT, f"{ROOT}/share?{ASKED}&last=1", f"{ROOT}/browse?{ASKED}"):
            assert 'method="post"' not in page(made, path)
        for verb in ("backup", "restore", "verify", "forget", "prune"):
            assert "read-only mode" in order(made, verb, 403, repository="vault")
        assert made.services.ledger.jobs.page() == []


def test_an_append_only_repository_offers_no_forgetting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    home.back_up({"docs/plan.txt": b"another"})
    with vaulted(tmp_path / "a", home) as made:
        settings = made.services.settings()
        settings.repositories["vault"] = home.known(append_only=True)  # type: ignore[index]
        text = page(made, f"{ROOT}/share?{ASKED}&last=1")
        assert "append-only: nothing is removed" in words(text)
        for drawn in (text, page(made, f"{ROOT}/browse?{ASKED}")):
            assert not [each for each in forms(drawn) if each[0].endswith("forget")]


# ---- orders ----


class Taking:
    """A runner that takes everything."""

    def check(self, kind: str, options: Any, tenant: Tenant) -> str:
        return kind

    def host(self, kind: str, options: Any, tenant: Tenant) -> str:
        return ""

    def wake(self) -> None:
        pass


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Served]:
    home = Home(tmp_path)
    home.back_up(HOME)
    home.back_up({"docs/plan.txt": b"another"})
    with vaulted(tmp_path / "a", home) as made:
        object.__setattr__(made.services, "runner", Taking())
        yield made


def _asked(made: Served, location: str) -> tuple[str, dict[str, Any]]:
    [id] = re.fullmatch(r"/monitoring/job\?id=(\w+)", location).groups()  # type: ignore[union-attr]
    job: Job | None = made.services.ledger.jobs.get(id)
    assert job is not None
    return job.kind, msgspec.json.decode(job.options)


def test_buttons_of_a_share_ask_for_jobs(taking: Served) -> None:
    text = page(taking, f"{ROOT}/share?{ASKED}&last=1&monthly=all&within=3d&tag=a,+b")
    sent: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for action, fields in forms(text):
        verb = action.rpartition("/")[2]
        if not verb.startswith("share"):
            sent.setdefault(verb, []).append(_asked(taking, order(taking, verb, **fields)))
    common = {"repository": "vault", "share": "home"}
    assert sent == {
        "backup": [("backup", {"repository": "vault", "source": "file:///srv/home", "share": "home"})],
        "verify": [("verify", common), ("verify", {**common, "read_data_subset": "5%"})],
        "prune": [("prune", {"repository": "vault"})],
    }  # fmt: skip
    text = page(taking, f"{ROOT}/share?{ASKED}&last=1")
    [fields] = [fields for action, fields in forms(text) if action.endswith("/forget")]
    assert _asked(taking, order(taking, "forget", **fields)) == ("forget", {**common, "keep_last": 1})
    more = {"monthly": "all", "within": "3d", "tag": "a, b", "prune": "true"}
    assert _asked(taking, order(taking, "forget", **fields | more)) == (
        "forget", {**common, "keep_last": 1, "keep_monthly": "all", "keep_within": "3d", "keep_tag": ["a", "b"],
                   "prune": True},
    )  # fmt: skip


def test_the_page_of_a_snapshot_removes_it_and_that_of_a_directory_in_it_does_not(taking: Served) -> None:
    text = page(taking, f"{ROOT}/browse?{ASKED}&at=latest")
    [fields] = [fields for action, fields in forms(text) if action.endswith("/forget")]
    assert f"Forget {fields['at'][:8]}" in words(text)
    asked = {"repository": "vault", "share": "home", "snapshots": [fields["at"]]}
    assert _asked(taking, order(taking, "forget", **fields)) == ("forget", asked)
    assert _asked(taking, order(taking, "forget", **fields, prune="true")) == ("forget", {**asked, "prune": True})
    below = page(taking, f"{ROOT}/browse?{ASKED}&path=docs")
    assert not [each for each in forms(below) if each[0].endswith("/forget")]


def test_forms_of_a_session_carry_its_token(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    with vaulted(tmp_path / "a", home, found=guarded()) as made:
        object.__setattr__(made.services, "runner", Taking())
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.OPERATOR)
        answer = made.post("/login", data={"user": "ann", "password": "correct horse"})
        session = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
        [fields] = [each for action, each in forms(page(made, f"{ROOT}/browse?{ASKED}", headers=session))
                    if action.endswith("/restore")]  # fmt: skip
        token = fields.pop("_csrf")
        assert "form is too old" in order(made, "restore", 403, headers=session, destination="/x", **fields)
        order(made, "restore", headers=session, destination="/x", _csrf=token, **fields)
        assert made.get("/api/v1/repositories/vault/shares/home/snapshots/latest/file?path=readme.txt",
                        headers=session).content == b"read me"  # fmt: skip


def test_something_else_is_backed_up(taking: Served) -> None:
    location = order(taking, "backup", into="vault", source="/srv/other", share="", tag="once")
    assert _asked(taking, location) == ("backup", {"repository": "vault", "source": "/srv/other", "tag": "once"})


def test_a_file_is_restored(taking: Served) -> None:
    text = page(taking, f"{ROOT}/browse?{ASKED}&path=docs/plan.txt")
    [fields] = [fields for action, fields in forms(text) if action.endswith("/restore")]
    kind, options = _asked(taking, order(taking, "restore", **fields, destination="/srv/new", overwrite="never",
                                         verify="true"))  # fmt: skip
    assert kind == "restore"
    assert options.pop("snapshot") == fields["at"]
    assert options == {
        "repository": "vault", "share": "home", "path": "docs/plan.txt", "destination": "/srv/new",
        "overwrite": "never", "verify": True,
    }  # fmt: skip


def test_what_is_no_text_is_restored_with_what_lies_above_it(taking: Served) -> None:
    text = page(taking, f"{ROOT}/browse?{ASKED}&path=odd%FF%FE%20name")
    assert not [each for each in forms(text) if each[0].endswith("/restore")]
    told = order(taking, "restore", 400, repository="vault", share="home", place="odd%FF", destination="/x")
    assert "restore the directory above it" in told.lower()


def test_rules_are_numbers_or_all() -> None:
    assert [counted(each) for each in ("", " 7 ", "ALL", "0")] == [0, 7, "all", 0]
    for each in ("x", "-1", "1.5", "1234567", "\u0663"):
        with pytest.raises(Refused):
            counted(each)
