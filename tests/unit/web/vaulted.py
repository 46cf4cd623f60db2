"""Repositories with snapshots of days that never were, and a service that knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from dunlin.backup import repository, verified
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Area, Settings
from dunlin.config.repositories import Repository
from dunlin.config.service import Service
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.base import Body, Meta
from dunlin.stores.local import LocalStore
from dunlin.stores.login import Login
from dunlin.stores.memory import MemoryStore
from dunlin.workers import saving
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up
from tests.unit.backup.world import FAR
from tests.unit.web.served import Served, served, settings

DAY = 86_400 * 10**9
BEGIN = 1_790_000_000 * 10**9
"""ns since 1970; 2026-09-21 14:13:20 UTC."""

ODD = "odd\udcff\udcfe name"
"""A name that is no UTF-8."""

HOME = {
    "readme.txt": b"read me",
    "docs/plan.txt": b"the plan",
    "docs/letters/a.txt": b"a" * 3000,
    "docs/letters/b.txt": b"b" * 5000,
    "photos/one.jpg": bytes(range(256)) * 400,
    ODD: b"odd",
}


class Home:
    """A repository in a directory, and sources in memory."""

    def __init__(
        self, place: Path, name: str = "vault", tenants: tuple[str, ...] = ("default",), password: str = ""
    ) -> None:
        self.place, self.name, self.tenants = place / name, name, tenants
        self.cache = place / f"{name}-cache"
        self.place.mkdir(parents=True)
        self.now = BEGIN
        self.sources: dict[tuple[str, str], MemoryStore] = {}
        self.password, self._file = password.encode() or None, place / f"{name}.txt"
        if password:
            self._file.write_text(password)
        repository.init(self._objects(), self.password, Settings()).close()

    def known(self, **more: Any) -> Repository:
        """It as the configuration of a service has it."""
        place = str(self.place)
        file = str(self._file) if self.password else ""
        found = Repository(self.name, place, place, Login(), file, self.tenants, cache=str(self.cache))
        return found._replace(**more)

    def area(self, share: str = "home", tenant: str = "default") -> Area:
        return repository.open_repository(self._objects(), lambda: self.password, None).area(tenant, share)

    def back_up(
        self, files: Mapping[str, bytes | None], share: str = "home", tenant: str = "default",
        tags: tuple[str, ...] = (), days: float = 1.0, content: bool = True,
    ) -> str:  # fmt: skip
        """Change files of a source (None: removed), and make a snapshot of it some days later; its id."""
        source = self.source(share, tenant)
        for path, data in files.items():
            if data is None:
                source.delete([path])
                continue
            above = path.split("/")[:-1]
            for at in range(len(above)):
                source.make_directory("/".join(above[: at + 1]))
            body = Body(len(data), lambda start, data=data: iter([data[start:]]))  # type: ignore[misc]
            source.write(path, body, meta=Meta(mtime=self.now))
        self.now += int(days * DAY)
        area = self.area(share, tenant)
        asked = Asked(f"file:///srv/{share}", host="nas", tags=tags, movers=1, content=content, program="1")
        # The directory that the repository lies in keeps the time of today.
        with patch.object(saving, "MOST_AHEAD", 1 << 62):
            made = back_up(
                asked, area, lambda: source, lambda: area.repository, Stop(), NullReport(), clock=lambda: self.now
            )
        assert not made.errors
        return made.manifest.id

    def source(self, share: str = "home", tenant: str = "default") -> MemoryStore:
        known = (tenant, share)
        if known not in self.sources:
            self.sources[known] = MemoryStore(share, clock=self._tick, caps=FAR)
        return self.sources[known]

    def link(self, path: str, target: str, share: str = "home", tenant: str = "default") -> None:
        self.source(share, tenant).make_link(path, target, Meta(mtime=self.now))

    def packs(self) -> list[Path]:
        """The files in which content lies."""
        folders = ("snapshots", "tree", "chunks", "verified")
        return [path for path in sorted(self.place.rglob("*")) if path.is_file() and len(path.name) == 32
                and path.parent.name not in folders]  # fmt: skip

    def _tick(self) -> int:
        self.now += 1000
        return self.now

    def _objects(self) -> Objects:
        return Objects(LocalStore(str(self.place)))


def grown(place: Path, weeks: int = 20, names: Sequence[str] = ()) -> Home:
    """A repository in use: two shares, a snapshot a week, files that come, change and go; `names`: odd ones."""
    home = Home(place)
    random = Random(7)
    home.link("newest.txt", "docs/2026/report-19.txt")
    home.back_up({"index.html": b"<h1>site</h1>" * 40, "style.css": b"body{}" * 200}, share="www", days=7)
    files: dict[str, bytes | None] = {f"photos/{year}/IMG_{n:04}.jpg": random.randbytes(3_000 + 211 * n)
                                      for year in (2024, 2025) for n in range(40)}  # fmt: skip
    files |= {f"docs/letters/{n:02}.txt": b"Dear all, " * (20 + n) for n in range(25)}
    files |= {f"odd/{name}": name.encode("utf-8", "surrogateescape") for name in names}
    files["readme.txt"] = b"What this is."
    for week in range(weeks):
        month = week // 4 + 1
        files[f"docs/2026/report-{week:02}.txt"] = b"Report. " * (100 + 13 * week)
        files[f"photos/2026/{month:02}/IMG_{week:04}.jpg"] = random.randbytes(20_000 + 9_000 * (week * 7 % 5))
        files["docs/plan.txt"] = b"The plan, as of week %d. " % week * 30
        if week == 12:
            files |= {f"docs/letters/{n:02}.txt": None for n in range(3)}
            files |= {f"docs/archive/{n:02}.txt": b"Dear all, " * (20 + n) for n in range(3)}
        home.back_up(files, tags=("monthly",) if week % 4 == 3 else (), days=7)
        files = {}
    area = home.area()
    packs = {**area.packs(True), **area.packs(False)}
    some = sorted(packs)[: len(packs) * 4 // 5]
    verified.add(area, dict.fromkeys(some, home.now), packs)
    return home


def with_homes(*homes: Home, found: Service | None = None) -> Service:
    """Settings of a service that knows these."""
    return (found or settings())._replace(repositories={home.name: home.known() for home in homes})


@contextmanager
def vaulted(directory: Path, *homes: Home, found: Service | None = None, **more: Any) -> Iterator[Served]:
    """A service over repositories."""
    directory.mkdir(exist_ok=True)
    with served(directory, found=with_homes(*homes, found=found), **more) as made:
        yield made


__all__ = ["BEGIN", "DAY", "HOME", "ODD", "Home", "grown", "vaulted", "with_homes"]
