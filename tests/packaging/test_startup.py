"""What commands load: the start of every one of them, counted in imports and collections and not in milliseconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "boto3", "azure", "obstore", "textual", "litestar", "rich", "saq", "redis", "psycopg", "cryptography")

# A small run that tells a pipe needs none of these. Each is there for something else: the view of a terminal, movers,
# names that do not go into a URL as they are, directories that do not fit into memory, other hashes, other commands.
IDLE = (
    *HEAVY, "msgspec", "psutil", "prometheus_client", "xxhash", "awscrt", "asyncio", "concurrent", "ctypes", "hashlib",
    "_hashlib", "ipaddress", "logging", "multiprocessing", "pickle", "random", "selectors", "shutil", "socket", "ssl",
    "cProfile", "profile", "pstats", "subprocess", "tempfile", "traceback", "urllib", "importlib.metadata",
    "importlib.resources", "dunlin.jobs.profiled", "dunlin.workers.profiles", "dunlin.workers.crawl_news",
    "dunlin.cli.check", "dunlin.cli.control", "dunlin.cli.dashboard", "dunlin.cli.habits", "dunlin.cli.history",
    "dunlin.web", "dunlin.cli.statefile",
    "dunlin.cli.status", "dunlin.tui", "dunlin.stores.memory", "dunlin.workers.mover", "dunlin.workers.wire",
)  # fmt: skip

# A finder sees the attempt even where the package is not installed, so the test cannot pass by absence.
SCRIPT = """
import gc, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in HEAVY or name.partition(".")[0] in HEAVY:
            tried.append(name)
        return None

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

HEAVY, tried = set(sys.argv[1].split(",")), []
sys.meta_path.insert(0, Watch())
sys.argv[:] = ["dunlin", *sys.argv[2:]]
import dunlin.cli
begin = collections()
from dunlin.cli.main import main
code = None
try:
    main()
except SystemExit as end:
    code = end.code
ways = collections() - begin, gc.get_freeze_count() > 0
print("TRIED", tried, "CODE", code or 0, "COLLECTED", *ways)
"""


def watched(*arguments: str | Path, names: tuple[str, ...] = HEAVY) -> str:
    """The last line of what the script prints: which of `names` were looked for, and how the program ended."""
    command = [sys.executable, "-c", SCRIPT, ",".join(names), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["sync", "--help"], ["dashboard", "--help"], ["serve", "--help"],
     ["backup", "--help"], ["ls", "--help"], ["repo", "--help"]],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    assert watched(*arguments).startswith("TRIED [] CODE 0 ")


def test_a_small_run_imports_only_what_it_uses(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "name").write_text("content")
    run = ("sync", "-a", source, tmp_path / "target", "--state-db", tmp_path / "state.db")
    # Nor is garbage looked for: not before or while it works, and not at its end, where what is left was frozen.
    while_copying = tuple(name for name in IDLE if name != "ctypes")
    assert watched(*run, names=while_copying) == "TRIED [] CODE 0 COLLECTED 0 True"
    assert watched(*run, names=IDLE) == "TRIED [] CODE 0 COLLECTED 0 True"
    assert (tmp_path / "target" / "name").read_text() == "content"


# What makes a backup, and what hands units to workers elsewhere: who looks into a repository or restores needs neither.
ELSEWHERE = ("dunlin.jobs.backup", "dunlin.workers.saving", "dunlin.workers.savers", "dunlin.workers.remote",
             "dunlin.queue", "multiprocessing")  # fmt: skip


def test_a_restore_loads_nothing_that_makes_a_backup(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "name").write_text("content")
    where = ("--repo", tmp_path / "vault", "--no-cache")
    assert "CODE 0 " in watched("repo", "init", tmp_path / "vault", "--no-encryption")
    made = watched("backup", tmp_path / "source", *where, names=ELSEWHERE)
    assert "'dunlin.workers.saving'" in made
    assert watched("ls", "latest", *where, names=ELSEWHERE).startswith("TRIED [] CODE 0 ")
    assert watched("restore", "latest", tmp_path / "new", *where, names=ELSEWHERE).startswith("TRIED [] CODE 0 ")
    assert (tmp_path / "new" / "name").read_text() == "content"


def test_names_that_no_url_holds_are_what_urllib_is_for(tmp_path: Path) -> None:
    source = tmp_path / "a name"
    source.mkdir()
    assert "'urllib'" in watched("sync", source, tmp_path / "target", "--state-db", "none", names=IDLE)


def test_the_watch_notices_an_import() -> None:
    script = SCRIPT.replace("from dunlin.cli.main import main", "import rich\ndef main(): pass")
    result = subprocess.run([sys.executable, "-c", script, "rich"], capture_output=True, text=True, check=True)
    assert "TRIED ['rich'" in result.stdout
