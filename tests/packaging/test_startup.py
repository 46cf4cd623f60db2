"""What `--version` and `--help` load: the start of every command, counted in imports and not in milliseconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "boto3", "azure", "obstore", "textual", "litestar", "rich", "saq", "redis", "psycopg", "cryptography")

# A finder sees the attempt even where the package is not installed, so the test cannot pass by absence.
SCRIPT = """
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            tried.append(name)
        return None

HEAVY, tried = set(sys.argv[1].split(",")), []
sys.meta_path.insert(0, Watch())
sys.argv[:] = ["dunlin", *sys.argv[2:]]
from dunlin.cli.main import main
code = None
try:
    main()
except SystemExit as end:
    code = end.code
print("TRIED", tried, "CODE", code or 0)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["sync", "--help"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, ",".join(HEAVY), *arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "TRIED [] CODE 0"


def test_the_watch_notices_an_import() -> None:
    script = SCRIPT.replace("from dunlin.cli.main import main", "import rich\ndef main(): pass")
    result = subprocess.run([sys.executable, "-c", script, "rich"], capture_output=True, text=True, check=True)
    assert "TRIED ['rich'" in result.stdout
