"""Two tenants of one service and one repository: by no route does one of them see anything of the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dunlin.config.service import Tenant
from dunlin.queue.ledger.words import Role
from dunlin.queue.ledger.words import Tenant as TenantRow
from tests.unit.web.served import Served
from tests.unit.web.test_gate import bearer, guarded, key
from tests.unit.web.test_monitor import HTML
from tests.unit.web.vaulted import Home, vaulted

BASE = "/api/v1/repositories"
MARK = "southern"
"""It is part of whatever the other one has: shares, names, tags, sources, contents."""

PLACES = {"vault": ("north", "south"), "southern-only": ("south",)}


class Two:
    def __init__(self, served: Served, id: str, other: str) -> None:
        self.served, self.id, self.other = served, id, other
        self.north = bearer(key(served, Role.ADMIN, "north"))
        self.whole = bearer(key(served, Role.ADMIN))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    place = tmp_path_factory.mktemp("tenants")
    shared, only = (Home(place, name, tenants, "a word") for name, tenants in PLACES.items())
    id = shared.back_up({"northern.txt": b"northern"}, "home", "north")
    for home in (shared, only):
        files: dict[str, bytes | None] = {f"{MARK}/{MARK}.txt": MARK.encode(), "northern.txt": MARK.encode()}
        home.back_up(files, "home", "south", tags=(MARK,))
        other = home.back_up(files, f"{MARK}-share", "south", tags=(MARK,))
        if home is shared:
            found = other
    tenants = {name: Tenant(name, ("/srv",), ("store/",), listed=True) for name in ("north", "south")}
    with vaulted(place / "service", shared, only, found=guarded(tenants=tenants, rate=0)) as made:
        for name in tenants:
            made.services.ledger.accounts.put_tenant(TenantRow(name))
        yield Two(made, id, found)


def routes(made: Served) -> list[str]:
    """Everything that the description of the API has below repositories, and nothing else is looked for in a list."""
    found: dict[str, Any] = made.get("/api/v1/openapi.json").json()["paths"]
    return sorted(path for path in found if path.startswith(BASE))


TENANTS = ("", "south", "../south")
SHARES = ("home", f"{MARK}-share", "..", "%2e%2e", "..%2fsouth%2fhome", "south", "packs", "chunks")
PATHS = ("", MARK, f"{MARK}/{MARK}.txt", "northern.txt", "../south/home", "/../../south", f"..%2f..%2fsouth%2f{MARK}")


def test_the_api_tells_nothing_of_another_tenant(two: Two) -> None:
    paths = routes(two.served)
    assert len(paths) == 13
    asked = seen = 0
    for path in paths:
        for name, share, tenant in product(("vault", "southern-only", "vault%2f..%2fsouth"), SHARES, TENANTS):
            if "{share}" not in path and share != "home":
                continue
            for snapshot in ("latest", two.other, two.other[:8]) if "{snapshot}" in path else ("",):
                url = path.replace("{name}", name).replace("{share}", share).replace("{snapshot}", snapshot)
                inner = PATHS[asked % len(PATHS)]
                more = f"?tenant={tenant}&path={inner}&pattern=*&old={snapshot or two.other}&new={two.other}&last=1"
                answer = two.served.get(url + more, headers=two.north)
                asked += 1
                seen += answer.status_code == 200
                _nothing_of_it(answer, two)
                if tenant == "south" and "{name}" in path:
                    assert answer.status_code in (400, 403, 404), url + more
    assert asked > 800
    assert seen > 10  # its own is there
    assert two.served.faults == []


def _nothing_of_it(answer: Any, two: Two) -> None:
    told = answer.text.replace(str(answer.request.url), "")
    if answer.status_code == 200:
        assert MARK not in told, answer.request.url
    else:  # what was asked for may be said again, but nothing that was not
        asked = str(answer.request.url)
        assert MARK not in told or MARK in asked
        assert answer.status_code in (400, 403, 404), (answer.status_code, asked, told)
    assert "northern" not in told or "south" not in told


def test_the_pages_tell_nothing_of_another_tenant(two: Two) -> None:
    root = "/monitoring/backup"
    for page, name, share, tenant, at in product(
        ("", "/share", "/browse", "/search", "/compare"), ("vault", "southern-only"), ("home", f"{MARK}-share"),
        ("", "south", "north"), ("latest", two.other),
    ):  # fmt: skip
        url = f"{root}{page}?repository={name}&share={share}&tenant={tenant}&at={at}&old={at}&new={at}&pattern=*&last=1"
        answer = two.served.get(url, headers=HTML | two.north)
        assert answer.status_code in (200, 400, 403, 404), url
        if answer.status_code == 200:
            assert MARK not in answer.text, url
            assert tenant != "south" or page == ""
    assert "northern.txt" in two.served.get(f"{root}/browse?repository=vault&share=home", headers=HTML | two.north).text


def test_orders_of_forms_are_for_ones_own(two: Two) -> None:
    for verb, field in product(("backup", "restore", "verify", "forget", "prune"), ("tenant", "into")):
        form = {"repository": "vault", "share": "home", "source": "/srv/x", "destination": "/srv/y", "last": "1"}
        form[field] = "south" if field == "tenant" else "vault/south"
        if field == "into" and verb != "backup":
            continue
        answer = two.served.post(f"/monitoring/backup/{verb}", data=form, headers=HTML | two.north)
        assert answer.status_code == 403, (verb, answer.text)
    assert two.served.services.ledger.jobs.page() == []


def test_the_whole_service_says_for_whom_it_asks(two: Two) -> None:
    made = two.served
    assert made.get(BASE, headers=two.whole).json()["items"] == [
        {"name": "southern-only", "tenants": ["south"], "append_only": False},
        {"name": "vault", "tenants": ["north", "south"], "append_only": False},
    ]
    assert made.get(f"{BASE}/vault/shares", headers=two.whole).status_code == 400
    names = [each["name"] for each in made.get(f"{BASE}/vault/shares?tenant=south", headers=two.whole).json()["items"]]
    assert names == ["home", f"{MARK}-share"]
    path = f"{BASE}/vault/shares/home/snapshots/latest/file?path=northern.txt"
    assert made.get(f"{path}&tenant=north", headers=two.whole).content == b"northern"
    assert made.get(f"{path}&tenant=south", headers=two.whole).content == MARK.encode()
    text = made.get("/monitoring/backup", headers=HTML | two.whole).text
    for part in ("vault, north", "vault, south", "southern-only, south"):
        assert part in text
    asked = "repository=vault&tenant=south&share=home"
    text = made.get(f"/monitoring/backup/browse?{asked}&path={MARK}", headers=HTML | two.whole).text
    assert "tenant=south" in text
    assert f"{MARK}.txt" in text


def test_a_tenant_that_is_no_more_sees_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, tenants=("north",))
    home.back_up({"a": b"a"}, tenant="north")
    tenants = {name: Tenant(name, ("/srv",), ("store/",), listed=True) for name in ("north",)}
    with vaulted(tmp_path / "service", home, found=guarded(tenants=tenants, rate=0)) as made:
        made.services.ledger.accounts.put_tenant(TenantRow("north"))
        north = bearer(key(made, Role.ADMIN, "north"))
        assert made.get(f"{BASE}/vault/shares", headers=north).status_code == 200
        del tenants["north"]
        tenants["other"] = Tenant("other", ("/srv",), ("store/",), listed=True)
        assert made.get(f"{BASE}/vault/shares", headers=north).status_code == 403
        whole = bearer(key(made, Role.ADMIN))
        assert made.get(BASE, headers=whole).json() == {"items": []}
