"""Repositories by HTTP: what is told of shares, snapshots and names, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import verified
from dunlin.queue.ledger.words import Role
from dunlin.web.backup import changes, looks, versions
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import Served, served
from tests.unit.web.test_gate import bearer, guarded, key
from tests.unit.web.vaulted import HOME, Home, vaulted

BASE = "/api/v1/repositories"
SHARE = f"{BASE}/vault/shares/home"
LATEST = f"{SHARE}/snapshots/latest"


class Shown:
    def __init__(self, served: Served, home: Home, ids: list[str]) -> None:
        self.served, self.home, self.ids = served, home, ids

    def ask(self, where: str, status: int = 200, **asked: Any) -> Any:
        answer = self.served.get(where, params=asked)
        assert answer.status_code == status, answer.text
        assert self.served.faults == []
        return answer.json()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """For tests that change nothing."""
    place = tmp_path_factory.mktemp("vaults")
    home = Home(place)
    home.link("link", "docs/plan.txt")
    ids = [home.back_up(HOME, tags=("first",))]
    ids.append(home.back_up({"docs/plan.txt": b"another plan", "photos/two.jpg": b"2" * 9000}))
    ids.append(home.back_up({"docs/letters/a.txt": None, "old/a.txt": b"a" * 3000, "readme.txt": None}))
    with vaulted(place, home) as made:
        yield Shown(made, home, ids)


# ---- shares and snapshots ----


def test_repositories_and_shares_are_listed(shown: Shown) -> None:
    assert shown.ask(BASE) == {"items": [{"name": "vault", "tenants": ["default"], "append_only": False}]}
    [share] = shown.ask(f"{BASE}/vault/shares")["items"]
    assert (share["name"], share["snapshots"]) == ("home", 3)
    newest = share["newest"]
    assert newest["id"] == shown.ids[2]
    assert (newest["files"], newest["bytes"], newest["time"]) == (7, 119_428, "2026-09-24T14:13:20Z")
    assert (newest["source"], newest["host"], newest["parent"]) == ("file:///srv/home", "nas", shown.ids[1])


def test_snapshots_come_in_pages_the_newest_first(shown: Shown) -> None:
    seen, after = [], ""
    while after is not None:
        page = shown.ask(f"{SHARE}/snapshots", count=2, after=after)
        seen += [each["id"] for each in page["items"]]
        after = page.get("next")
    assert seen == shown.ids[::-1]
    assert [each["id"] for each in shown.ask(f"{SHARE}/snapshots", tag="first")["items"]] == [shown.ids[0]]
    assert shown.ask(f"{SHARE}/snapshots", tag="none")["items"] == []
    assert shown.ask(f"{SHARE}/snapshots/{shown.ids[0][:10]}")["tags"] == ["first"]
    assert shown.ask(f"{SHARE}/snapshots/20260923")["id"] == shown.ids[1]


def test_usage_is_what_lies_there(shown: Shown) -> None:
    found = shown.ask(f"{SHARE}/usage")
    packs = [path.stat().st_size for path in shown.home.packs()]
    assert found["bundles"]["bytes"] + found["packs"]["bytes"] == sum(packs)
    assert found["bundles"]["objects"] + found["packs"]["objects"] == len(packs)
    assert found["snapshots"] == found["manifests"]["objects"] == 3
    assert found["newest_bytes"] == 119_428
    assert found["source_bytes"] == 110_431 + 119_435 + 119_428
    assert found["ratio"] == round(found["source_bytes"] / found["stored_bytes"], 3)
    assert found["verified"] == {"packs": 3, "bytes": sum(packs), "whole_packs": 0, "whole_bytes": 0}


def test_what_all_shares_take_is_what_lies_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    home.back_up({"large": os.urandom(200_000)}, share="other")
    (home.place / "default" / "begun" / "tree").mkdir(parents=True)
    with vaulted(tmp_path / "a", home) as made:
        found = made.get(f"{BASE}/vault/usage").json()
        parts = [made.get(f"{BASE}/vault/shares/{name}/usage").json() for name in ("home", "other")]
        every = (home.place / "default").rglob("*")
        files = [path for path in every if path.is_file() and path.parent.name != "leases"]
        kinds = ("bundles", "indexes", "trees", "manifests", "packs")
        index = home.place / "default" / "chunks"
        shared = sum(path.stat().st_size for path in index.iterdir())
        assert sum(found[kind]["bytes"] for kind in kinds) + shared == sum(path.stat().st_size for path in files)
        assert found["packs"] == parts[0]["packs"] == parts[1]["packs"]
        for name in ("snapshots", "source_bytes", "stored_bytes", "newest_bytes"):
            assert found[name] == sum(part[name] for part in parts)
        assert found["verified"]["packs"] == found["bundles"]["objects"] + found["packs"]["objects"]
        assert found["share"] == ""


def test_what_was_verified_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    area = home.area()
    bundles, packs = area.packs(True), area.packs(False)
    with vaulted(tmp_path / "a", home) as made:
        verified.add(area, dict.fromkeys(bundles, home.now), {**bundles, **packs})
        [share] = made.get(f"{BASE}/vault/shares").json()["items"]
        assert share["verified"]["whole_packs"] == share["verified"]["packs"] == len(bundles)
        assert share["verified"]["oldest"] == "2026-09-22T14:13:20Z"
        found = made.get(f"{SHARE}/usage").json()["verified"]
        assert (found["packs"], found["whole_packs"]) == (len(bundles) + len(packs), len(bundles))
        assert "oldest" not in found  # one was never read
        assert found["newest"] == "2026-09-22T14:13:20Z"


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"last": 1}, [2]), ({"last": 2}, [1, 2]), ({"last": -1}, [0, 1, 2]), ({"tag": "first"}, [0, 2]),
        ({"within": "25h"}, [1, 2]), ({"daily": 2}, [1, 2]), ({"yearly": 1, "tag": ["x", "first"]}, [0, 2]),
    ],
)  # fmt: skip
def test_a_policy_is_tried_and_nothing_removed(shown: Shown, asked: dict[str, Any], kept: list[int]) -> None:
    found = shown.ask(f"{SHARE}/retention", **asked)
    assert [each["id"] for each in found["snapshots"] if each["kept"]] == [shown.ids[n] for n in sorted(kept)[::-1]]
    assert (found["kept"], found["removed"]) == (len(kept), 3 - len(kept))
    assert all(each["reasons"] for each in found["snapshots"] if each["kept"])
    assert len(shown.home.area().snapshots()) == 3


def test_a_policy_needs_a_rule(shown: Shown) -> None:
    assert "no rule" in shown.ask(f"{SHARE}/retention", 400)["detail"]
    shown.ask(f"{SHARE}/retention", 400, within="soon")
    shown.ask(f"{SHARE}/retention", 400, last=-2)


# ---- in a snapshot ----


def test_a_directory_with_what_lies_below(shown: Shown) -> None:
    found = shown.ask(f"{LATEST}/tree")
    assert [each["path"] for each in found["items"]] == ["docs", "old", "photos", "link", "odd\\xff\\xfe name"]
    assert found["items"][0]["below"] == {"directories": 2, "files": 2, "bytes": 5012}
    assert found["below"] == {"directories": 5, "files": 7, "bytes": 119_428}
    assert (found["directories"], found["files"]) == (3, 2)
    assert [each["kind"] for each in found["items"]] == ["directory"] * 3 + ["link", "file"]
    assert found["items"][4]["exact"] == "odd%FF%FE%20name"
    found = shown.ask(f"{LATEST}/tree", path="/photos/", sort="size", down="true", count=1)
    assert ([each["path"] for each in found["items"]], found["next"]) == (["photos/one.jpg"], "1")
    found = shown.ask(f"{LATEST}/tree", path="photos", sort="size", down="true", count=1, after="1")
    assert ([each["path"] for each in found["items"]], found.get("next")) == (["photos/two.jpg"], None)
    assert "below" not in shown.ask(f"{LATEST}/tree", sums="false")["items"][0]
    assert [each["name"] for each in shown.ask(f"{SHARE}/snapshots/{shown.ids[0]}/tree", path="docs/letters")["items"]
            ] == ["a.txt", "b.txt"]  # fmt: skip


def test_one_name_with_all_that_is_known(shown: Shown) -> None:
    found = shown.ask(f"{LATEST}/entry", path="link")
    assert (found["name"]["kind"], found["target"], found["content"]) == ("link", "docs/plan.txt", False)
    found = shown.ask(f"{LATEST}/entry", path="docs/plan.txt")
    assert (found["mode"] & 0o170000, found["content"], found["name"]["size"]) == (0o100000, True, 12)
    assert shown.served.get(f"{LATEST}/entry?path=odd%FF%FE%20name").json()["name"]["kind"] == "file"
    assert shown.served.get(f"{LATEST}/entry?path=odd%FF%FE+name").status_code == 200
    assert shown.served.get(f"{LATEST}/entry?path=odd%EF%BF%BD%EF%BF%BD+name").status_code == 404


def test_names_are_searched_for(shown: Shown) -> None:
    def names(**asked: Any) -> list[str]:
        found = shown.ask(f"{LATEST}/search", **asked)
        assert found["complete"]
        return sorted(each["path"] for each in found["items"])

    assert names(pattern="*.txt") == ["docs/letters/b.txt", "docs/plan.txt", "old/a.txt"]
    assert names(pattern="PLAN") == ["docs/plan.txt"]
    assert names(pattern="PLAN", ignore_case="false") == []
    assert names(pattern="b*", path="docs") == ["docs/letters/b.txt"]
    assert names(pattern="letters") == ["docs/letters"]
    found = shown.ask(f"{LATEST}/search", pattern="*", count=2)
    assert (len(found["items"]), found["complete"]) == (2, False)


def test_a_search_without_time_says_so(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "PATIENCE", -1.0)
    found = shown.ask(f"{LATEST}/search", pattern="*")
    assert (found["items"], found["complete"]) == ([], False)


def test_sums_without_time_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    monkeypatch.setattr(looks, "PATIENCE", -1.0)
    with vaulted(tmp_path / "a", home) as made:
        found = made.get(f"{LATEST}/tree?sort=size").json()
        assert [each["name"] for each in found["items"][:2]] == ["docs", "photos"]
        assert "below" not in found
        assert "below" not in found["items"][0]


def test_two_snapshots_are_compared(shown: Shown) -> None:
    found = shown.ask(f"{SHARE}/compare", old=shown.ids[0], new=shown.ids[2])
    told = {each["path"]: each for each in found["items"]}
    assert {path: each["what"] for path, each in told.items() if each["what"] != "metadata"} == {
        "docs/plan.txt": "changed", "old": "added", "old/a.txt": "moved", "photos/two.jpg": "added",
        "readme.txt": "removed",
    }  # fmt: skip
    assert told["old/a.txt"] == {"path": "old/a.txt", "what": "moved", "directory": False, "before": 3000,
                                 "after": 3000, "source": "docs/letters/a.txt"}  # fmt: skip
    assert (told["docs/plan.txt"]["before"], told["docs/plan.txt"]["after"]) == (8, 12)
    assert "before" not in told["photos/two.jpg"]
    assert found["counts"] == {"added": 2, "removed": 1, "changed": 1, "moved": 1, "metadata": 4}
    assert found["complete"]
    found = shown.ask(f"{SHARE}/compare", old=shown.ids[0], new=shown.ids[2], path="photos", what="added")
    assert [each["path"] for each in found["items"]] == ["photos/two.jpg"]
    found = shown.ask(f"{SHARE}/compare", old=shown.ids[0], count=2, after="2")
    assert (found["next"], len(found["items"])) == ("4", 2)
    assert shown.ask(f"{SHARE}/compare", old=shown.ids[1], new=shown.ids[1])["items"] == []
    shown.ask(f"{SHARE}/compare", 404, old=shown.ids[0], path="nowhere")
    shown.ask(f"{SHARE}/compare", 400)


def test_a_comparison_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    first = home.back_up({"a": b"a"})
    home.back_up({f"f{n}": b"%d" % n for n in range(9)})
    monkeypatch.setattr(changes, "MOST", 4)
    with vaulted(tmp_path / "a", home) as made:
        found = made.get(f"{SHARE}/compare", params={"old": first}).json()
        assert (found["complete"], len(found["items"])) == (False, 4)


def test_what_was_moved_is_found_by_what_it_holds(tmp_path: Path) -> None:
    home = Home(tmp_path)
    names = {f"a/{n}": bytes([65 + n]) * 500 for n in range(3)} | {"a/twin": b"A" * 500, "empty": b"", "x/0": b"zz"}
    first = home.back_up(names)
    gone: dict[str, bytes | None] = {f"a/{n}": None for n in range(3)}
    came = {f"b/{n}": bytes([65 + n]) * 500 for n in range(3)}
    home.back_up({**gone, "empty": None, "void": b"", **came})
    with vaulted(tmp_path / "a", home) as made:
        found = made.get(f"{SHARE}/compare", params={"old": first}).json()
        assert {each["source"]: each["path"] for each in found["items"] if each["what"] == "moved"} == {
            f"a/{n}": f"b/{n}" for n in range(3)
        }
        assert {each["path"]: each["what"] for each in found["items"] if each["path"] in ("void", "empty")} == {
            "void": "added", "empty": "removed",
        }  # fmt: skip


def test_the_versions_of_a_name(shown: Shown) -> None:
    def told(path: str) -> list[tuple[int, int | None]]:
        found = shown.ask(f"{SHARE}/history", path=path)
        assert found["complete"]
        return [(each["snapshots"], each["entry"]["size"] if "entry" in each else None) for each in found["versions"]]

    assert told("docs/plan.txt") == [(2, 12), (1, 8)]
    assert told("readme.txt") == [(1, None), (2, 7)]
    assert told("old/a.txt") == [(1, 3000), (2, None)]
    assert told("photos/one.jpg") == [(3, 102_400)]
    found = shown.ask(f"{SHARE}/history", path="docs/plan.txt")["versions"]
    assert [(each["newest"], each["oldest"]) for each in found] == [(shown.ids[2], shown.ids[1]), (shown.ids[0],) * 2]
    shown.ask(f"{SHARE}/history", 404, path="nowhere")


def test_versions_go_back_as_far_as_there_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    for n in range(3):
        home.back_up({"a": b"%d" % n})
    monkeypatch.setattr(versions, "PATIENCE", -1.0)
    with vaulted(tmp_path / "a", home) as made:
        found = made.get(f"{SHARE}/history?path=a").json()
        assert (len(found["versions"]), found["complete"]) == (1, False)


# ---- odd questions ----


@pytest.mark.parametrize(
    "path", ["nowhere", "docs/../docs", "..", "../vault", ".", "docs/.", "a\0b", "docs/plan.txt/x"]
)
@pytest.mark.parametrize("what", ["tree", "entry", "file", "search"])
def test_paths_that_are_none(shown: Shown, what: str, path: str) -> None:
    more = {"pattern": "x"} if what == "search" else {}
    assert "holds no such thing" in shown.ask(f"{LATEST}/{what}", 404, path=path, **more)["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{BASE}/nothing/shares", 404), (f"{BASE}/vault/shares/nothing/snapshots", 404),
        (f"{BASE}/vault/shares/packs/snapshots", 400), (f"{BASE}/vault/shares/HOME/usage", 400),
        (f"{BASE}/vault/shares/../home/usage", 404), (f"{BASE}/vault/shares/%2e%2e%2fhome/usage", 404),
        (f"{SHARE}/snapshots/zzz", 404), (f"{SHARE}/snapshots/2026", 400), (f"{SHARE}/snapshots/a-b", 400),
        (f"{LATEST}/tree?path=docs/plan.txt", 400), (f"{LATEST}/tree?sort=odd", 400), (f"{LATEST}/tree?after=-1", 400),
        (f"{LATEST}/tree?after=999999999999999", 200), (f"{LATEST}/search", 400), (f"{LATEST}/search?pattern=", 400),
        (f"{LATEST}/search?pattern=x&path=docs/plan.txt", 400), (f"{LATEST}/tree?path={'a' * 20_000}", 400),
        (f"{SHARE}/compare?old=zzz", 404),
    ],
)  # fmt: skip
def test_questions_that_make_no_sense(shown: Shown, path: str, status: int) -> None:
    answer = shown.served.get(path)
    assert answer.status_code == status, answer.text
    assert shown.served.faults == []


@pytest.mark.parametrize(
    "pattern", ["[", "[[]", "[z-a]", "a" * 200, "*" * 200, "?" * 200, "[!]", "\\", "(a+)+$", "%", "\x00"]
)
def test_odd_patterns_are_only_patterns(shown: Shown, pattern: str) -> None:
    assert shown.ask(f"{LATEST}/search", pattern=pattern)["complete"]


def test_names_of_any_kind_are_told(tmp_path: Path) -> None:
    names = [name for name in HOSTILE if "/" not in name and "\0" not in name]
    home = Home(tmp_path)
    home.back_up({f"d/{name}": name.encode("utf-8", "surrogateescape") for name in names})
    with vaulted(tmp_path / "a", home) as made:
        items = made.get(f"{LATEST}/tree?path=d").json()["items"]
        assert len(items) == len(names)
        for each in items:
            exact = each.get("exact")
            asked = f"path={exact}" if exact else None
            path = f"{LATEST}/entry"
            answer = made.get(f"{path}?{asked}") if asked else made.get(path, params={"path": each["path"]})
            assert answer.json()["name"]["path"] == each["path"]


def test_a_service_without_repositories(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        assert made.get(BASE).json() == {"items": []}
        assert made.get(f"{BASE}/vault/shares").status_code == 404


def test_one_that_cannot_be_opened_is_told_without_its_place(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in ("dunlin-repository.json", "dunlin-repository.copy"):
        (home.place / name).unlink()
    with vaulted(tmp_path / "a", home) as made:
        answer = made.get(f"{BASE}/vault/shares")
        assert answer.status_code == 503
        assert "vault cannot be opened: there is none at its place" in answer.json()["detail"]
        assert str(tmp_path) not in answer.text


def test_a_damaged_tree_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = home.back_up(HOME)
    home.back_up({"x/y": b"1"})
    area = home.area()
    [*_, last] = area.manifest(area.snapshots()[-1]).segments
    (home.place / "default" / "home" / "tree" / last.id).write_bytes(b"nonsense")
    with vaulted(tmp_path / "a", home) as made:
        answer = made.get(f"{LATEST}/tree")
        assert answer.status_code == 500
        assert "fault of dunlin itself" not in answer.text
        assert made.get(f"{SHARE}/snapshots/{first}/tree").status_code == 200
        assert made.get(f"{SHARE}/snapshots").status_code == 200
        assert made.faults == []


# ---- roles ----


def test_viewers_see_names_and_operators_what_files_hold(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME)
    with vaulted(tmp_path / "a", home, found=guarded()) as made:
        viewer, operator = bearer(key(made)), bearer(key(made, Role.OPERATOR))
        looked = (BASE, f"{BASE}/vault/shares", f"{SHARE}/usage", f"{LATEST}/tree", f"{LATEST}/entry?path=docs",
                  f"{LATEST}/search?pattern=a", f"{SHARE}/compare?old=latest", f"{SHARE}/retention?last=1")  # fmt: skip
        for path in looked:
            assert made.get(path).status_code == 401, path
            assert made.get(path, headers=viewer).status_code == 200, path
        path = f"{LATEST}/file?path=readme.txt"
        assert made.get(path).status_code == 401
        answer = made.get(path, headers=viewer)
        assert (answer.status_code, answer.json()["detail"]) == (403, "this needs the role operator")
        assert made.get(path, headers=operator).content == b"read me"
        assert made.ask("HEAD", path, headers=viewer).status_code == 403
        assert made.ask("HEAD", path, headers=operator).headers["content-length"] == "7"


# ---- what a reader found ----


def test_a_damaged_snapshot_hides_neither_its_share_nor_others(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = home.back_up(HOME)
    home.back_up({"x/y": b"1"})
    home.back_up({"index.html": b"1"}, share="www")
    area = home.area()
    home.place.joinpath(*area.snapshots()[-1].key.split("/")).write_bytes(b"nonsense")
    shutil.rmtree(home.cache, ignore_errors=True)
    with vaulted(tmp_path / "a", home) as made:
        told = made.get(f"{BASE}/vault/shares").json()
        assert sorted(each["name"] for each in told["items"]) == ["home", "www"]
        assert [each["id"] for each in made.get(f"{SHARE}/snapshots").json()["items"]] == [first]
        for path in ("usage", "retention?last=1"):
            assert made.get(f"{SHARE}/{path}").status_code == 200
        assert made.faults == []


def test_the_preview_judges_as_forget_does(tmp_path: Path) -> None:
    """A scan takes no backup's place."""
    home = Home(tmp_path)
    backup = home.back_up(HOME)
    scan = home.back_up({"x": b"1"}, content=False)
    with vaulted(tmp_path / "a", home) as made:
        told = made.get(f"{SHARE}/retention?last=1").json()["snapshots"]
    assert {each["id"]: each["kept"] for each in told} == {backup: True, scan: True}
