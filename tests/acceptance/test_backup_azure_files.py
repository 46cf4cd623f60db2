"""`dunlin backup` and `restore` of shares of Azure Files, on the emulator: what comes back, what it costs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from dunlin.model import IDENT
from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.base import Body, Meta
from dunlin.stores.login import Login
from tests.acceptance.program import dunlin
from tests.emulators.azure_files import AzureFiles, azure_files

DIRECTORIES, FILES = 3, 30


def made(root: Path) -> Path:
    """A tree whose times and modes a listing of a share does not tell."""
    for number in range(DIRECTORIES):
        (root / f"d{number}").mkdir(parents=True)
        for file in range(FILES):
            path = root / f"d{number}" / f"f{file:02}"
            path.write_bytes(b"%d" % file * 300)
            path.chmod(0o640 if file % 2 else 0o755)
            os.utime(path, ns=(1_700_000_000_123_456_789, 1_600_000_000_123_456_700 + file))
    return root


def seen(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and content of each file."""
    found = {}
    for path in root.glob("*/*"):
        status = path.stat()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, path.read_bytes())
    return found


def asked(files: AzureFiles) -> Counter[str]:
    """How often each operation was asked for since the last time."""
    found = Counter(done.operation for done in files.server.done())
    files.server.forget()
    return found


def test_a_file_costs_one_request_on_its_way_there_and_back(tmp_path: Path) -> None:
    source, out = made(tmp_path / "source"), tmp_path / "out"
    assert len(seen(source)) == DIRECTORIES * FILES
    with azure_files() as files:
        share, other = (f"azfiles://{files.share()}" for _ in range(2))
        env = {"AZURE_STORAGE_CONNECTION_STRING": files.connection_string, "DUNLIN_PASSWORD": "word"}
        vault = ["--repo", str(tmp_path / "vault"), "--cache", str(tmp_path / "cache")]

        def call(*words: str | Path) -> Counter[str]:
            files.server.forget()
            dunlin(*words, cwd=tmp_path, env=env, expect=0)
            return asked(files)

        call("sync", "-a", source, share)
        dunlin("repo", "init", vault[1], cwd=tmp_path, env=env, expect=0)
        first = call("backup", share, *vault)
        assert first["GetFile"] == DIRECTORIES * FILES
        assert first["GetFileProperties"] == 0
        assert first.total() < DIRECTORIES * (FILES + 5) + 15
        unchanged = call("backup", share, *vault)
        assert unchanged["GetFile"] == 0
        assert unchanged.total() < DIRECTORIES * 3 + 5
        # Modes and the last digits of times stand in metadata, which came with the content.
        call("restore", "latest", out, *vault)
        assert seen(out) == seen(source)
        back = call("restore", "latest", other, *vault)
        assert back["CreateFile"] == DIRECTORIES * FILES
        assert back["GetDirectoryProperties"] <= DIRECTORIES * 2 + 5
        store = open_place(place_of(other, Login({"connection_string": files.connection_string})))
        assert store.stat("d1/f01").facts[:3] == (0o100640, 300, 1_600_000_000_123_456_701)
        assert {name for batch in store.list("d2") for name, _ in batch} == {f"f{n:02}" for n in range(FILES)}
        assert store.stat("d0").facts[IDENT] == dict(row for batch in store.list("") for row in batch)["d0"][IDENT]
        store.close()


def test_a_renamed_directory_of_a_share_is_not_read_again(tmp_path: Path) -> None:
    source = made(tmp_path / "source")
    with azure_files() as files:
        share = f"azfiles://{files.share()}"
        env = {"AZURE_STORAGE_CONNECTION_STRING": files.connection_string, "DUNLIN_PASSWORD": "word"}
        vault = ["--repo", str(tmp_path / "vault"), "--cache", str(tmp_path / "cache")]
        for number in range(20):
            (source / f"d1/below{number}").mkdir()
        dunlin("sync", "-a", source, share, cwd=tmp_path, env=env, expect=0)
        dunlin("repo", "init", vault[1], cwd=tmp_path, env=env, expect=0)
        dunlin("backup", share, *vault, cwd=tmp_path, env=env, expect=0)
        store = open_place(place_of(share, Login({"connection_string": files.connection_string})))
        store.move("d1", "d2/elsewhere")
        store.write("d2/elsewhere/new", Body(3, lambda start: iter([b"new"[start:]])), meta=Meta())
        store.close()
        files.server.forget()
        dunlin("backup", share, *vault, cwd=tmp_path, env=env, expect=0)
        cost = asked(files)
        assert cost["GetFile"] == 1
        assert cost["GetDirectoryProperties"] < 20  # nothing is asked of what lies below it
        out = tmp_path / "out"
        dunlin("restore", "latest", out, *vault, cwd=tmp_path, env=env, expect=0)
        (source / "d1").rename(source / "d2/elsewhere")
        assert (out / "d2/elsewhere/new").read_bytes() == b"new"
        (out / "d2/elsewhere/new").unlink()
        assert sorted(path.relative_to(out) for path in out.rglob("*")) == sorted(
            path.relative_to(source) for path in source.rglob("*")
        )
