"""Makes repository-N-*.tar.gz for the current formats: once, when one is new. A stored sample is never changed.

PYTHONPATH=src python tests/formats/repository/make_sample.py

The sealed one opens with the password `PASSWORD`, or with `TENANT_PASSWORD` for the tenant acme alone.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import tempfile
from pathlib import Path

from dunlin.backup import marks, mend, pieces, repository, verify
from dunlin.backup.chunker import Sizes
from dunlin.backup.objects import Objects
from dunlin.backup.repository import FORMAT, Area, Settings
from dunlin.backup.verified import Subset
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.local import LocalStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up

HERE = Path(__file__).parent
PASSWORD = b"correct horse battery staple"
TENANT_PASSWORD = b"of acme alone"
SETTINGS = Settings(Sizes(4096, 8192, 16384), small=4096, group=8192)

MOMENT, LATER = 1_700_000_000_123_456_789, 1_700_000_001_000_000_100
TIMES = {
    "in 1601": -11_644_473_600 * 10**9 + 100,
    "in 1969": -1,
    "in 2107": 4_323_456_789 * 10**9 + 987_654_321,
    "in 3000": 32_503_680_000 * 10**9 + 123_456_789,
}
"""Times of modification, ns since 1970, by name."""


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size // 2) + b"0123456789abcdef" * (size // 32)


def first(source: Path) -> None:
    """What the first snapshot holds."""
    (source / "docs/letters").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "docs/plan").write_bytes(b"a plan\n")
    (source / "docs/letters/one").write_bytes(content(1, 640))
    (source / "docs/letters/Überblick").write_bytes(content(2, 32))
    (source / "docs/nothing").write_bytes(b"")
    (source / "photo").write_bytes(content(3, 30_016))
    (source / "link").symlink_to("docs/plan")
    os.link(source / "photo", source / "twin")
    os.mkfifo(source / "pipe", 0o640)
    os.setxattr(source / "docs/plan", "user.colour", b"green")
    (source / ("n" * 255)).write_bytes(b"a long name")
    with open(source / os.fsdecode(b"caf\xe9"), "wb") as file:
        file.write(b"not UTF-8")
    os.chmod(source / "docs/plan", 0o4750)
    for name, time in TIMES.items():
        (source / name).write_bytes(name.encode())
        os.utime(source / name, ns=(time, time))
    for path in sorted(source.rglob("*"), reverse=True):
        if path.name not in TIMES:
            os.utime(path, ns=(MOMENT, MOMENT), follow_symlinks=False)


def second(source: Path) -> None:
    """What is another way in the second snapshot."""
    data = bytearray((source / "photo").read_bytes())
    data[20_000] ^= 1
    (source / "photo").write_bytes(data)
    (source / "docs/letters/one").unlink()
    (source / "docs/new").write_bytes(b"new\n")
    (source / "empty").rmdir()
    os.chmod(source / "docs/letters", 0o700)
    for name in ("photo", "docs/new", "docs/letters", "docs"):
        os.utime(source / name, ns=(LATER, LATER))


def make(folder: Path, password: bytes | None, few: int = pieces.FEW) -> None:
    """A repository in which every kind of object stands that there is; joins where `few` is 1."""
    pieces.FEW = few
    source, target = folder / "source", folder / "repository"
    source.mkdir()
    target.mkdir()
    made = repository.init(Objects(LocalStore(str(target))), password, SETTINGS)
    if password is not None:
        made.add_password(TENANT_PASSWORD, "acme")

    def area() -> Area:
        return repository.open_repository(Objects(LocalStore(str(target))), lambda: password).area("acme", "docs")

    for change in (first, second):
        change(source)
        asked = Asked("file:///source", "host", ("tag", "another"), movers=1, program="1.0")
        back_up(
            asked, area(), lambda: LocalStore(str(source)), lambda: area().repository, Stop(), NullReport(),
            clock=lambda: 1_700_000_002_000_000_000,
        )  # fmt: skip
    opened = area()
    verify.verify([opened], data=Subset(), clock=lambda: 1_700_000_003_000_000_000)
    newest = opened.manifest(opened.snapshots()[-1])
    (target / opened.root / "tree" / newest.segments[0].id).unlink()
    assert [fate.error for fate in mend.trees(opened.repository, "acme", "me")] == [None]  # frames of the other kind
    mark = marks.put(opened, [opened.pack_key("1" * 32, True)])
    marks.put_leases(opened, mark, ["acme/leases/docs.0123456789abcdef0123456789abcdef"])
    marks.put_gone(opened, [opened.pack_key("0" * 32, True)])
    marks.put_bad(opened, [opened.pack_key("2" * 32, False)], [])


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted((folder / "repository").rglob("*")):
            if path.is_file() and path.name != "dunlin-reserve":
                info = tarfile.TarInfo(str(path.relative_to(folder / "repository")))
                info.size, info.mtime = path.stat().st_size, 1_700_000_000
                with open(path, "rb") as file:
                    tar.addfile(info, file)
    return gzip.compress(out.getvalue(), 9, mtime=0)


if __name__ == "__main__":
    for what, password, few in (("sealed", PASSWORD, 8), ("plain", None, 8), ("joined-sealed", PASSWORD, 1)):
        if (HERE / f"repository-{FORMAT}-{what}.tar.gz").exists():
            continue
        # On a file system that holds attributes and all times.
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            make(Path(name), password, few)
            # "x": an existing sample is never overwritten
            with open(HERE / f"repository-{FORMAT}-{what}.tar.gz", "xb") as file:
                file.write(packed(Path(name)))
